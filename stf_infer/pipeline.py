# SPDX-License-Identifier: Apache-2.0
"""Read, gather, infer, blend, write: a panel of a scene streams through an engine in constant memory.

Three threads, two bounded queues::

    reader                      caller's thread     writer
    read rows, gather tiles ──▶ engine.infer ────▶ blend, finalise, write

One row of tiles after the other. The engine never waits for the disk unless the disk is slower than it.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from .channel import Channel, Stopped
from .ensemble import Ensemble
from .grid import Tile
from .kept_tiles import KeptTiles
from .noise import TileNoise
from .open_rows import FinishedRows, OpenRows, Result
from .panels import Panel
from .profile import Profile
from .scene import Scene
from .seam import SeamMeter
from .storage import Storage
from .tiles import QUEUED, Tiles


class Writer(Protocol):
    """Where the finished rows of a panel go; ``first_row`` is the first one that is still wanted."""

    first_row: int

    def write(self, rows: np.ndarray, first: int) -> None:
        """Take rows (C, n, W) that begin at row ``first``."""


@dataclass(frozen=True)
class Counts:
    """What was done of a scene, or of a panel of it.

    Attributes:
        pixels: Pixels that were written.
        valid: Those that are valid in all inputs.
        not_finite: Values of those that the network gave as NaN or infinite.
        tiles: Tiles run by the engine, each once for every sample.
        skipped_tiles: Tiles without a single valid pixel, not run.
        engine_seconds: Time inside of the engine.
    """

    pixels: int = 0
    valid: int = 0
    not_finite: int = 0
    tiles: int = 0
    skipped_tiles: int = 0
    engine_seconds: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(here + there for here, there in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class _TileRow:
    """The start of the row of tiles ``iy``.

    ``valid`` says which pixels of its scene rows ``[first, ...)`` are valid, (rows, W) in the columns of the panel. No
    tile is still to come of the rows of tiles before ``complete``.
    """

    iy: int
    first: int
    valid: np.ndarray
    complete: int


@dataclass
class _Filling:
    """A batch that is being filled: arrays for all of its tiles, and those that it has."""

    inputs: dict[str, Any]
    tiles: list[Tile] = field(default_factory=list)


@dataclass(frozen=True)
class _Batch:
    tiles: list[Tile]
    sample: int
    inputs: dict[str, Any]
    noise: TileNoise


@dataclass(frozen=True)
class _Output:
    tiles: list[Tile]
    sample: int
    output: Any


# What the engine's thread holds: a batch and what waits for its output, or the start of a row of tiles.
_Begun = tuple[_Batch | _TileRow, Callable[[], Any] | None]


def _batches(begun: Iterable[_Begun]) -> int:
    return sum(output is not None for _, output in begun)


class Pipeline:
    """One panel of a fusion, from open rasters to finished rows.

    Args:
        scene: The open rasters.
        panel: What of it is written and read.
        tiles: What is done with tiles.
        writer: Takes the finished rows of the panel.
        storage: How rows are stored.
        seam: Told of the finished rows.
        kept: Where tiles are kept that a neighbouring panel needs as well.
        tile_batch: Tiles in one engine call.
        ensemble: Which noise a network with noise inputs sees, and how many samples it draws.
        progress: Called with the pixels of the panel that are done, from the writer's thread.
        profile: Told what each thread does, and when.
    """

    def __init__(
        self,
        scene: Scene,
        panel: Panel,
        tiles: Tiles,
        writer: Writer,
        storage: Storage,
        seam: SeamMeter,
        kept: KeptTiles,
        *,
        tile_batch: int = 1,
        ensemble: Ensemble | None = None,
        progress: Callable[[int], None] | None = None,
        profile: Profile | None = None,
    ) -> None:
        self.scene, self.panel, self.tiles, self.writer, self.kept = scene, panel, tiles, writer, kept
        self.spec, self.plan, self.area = scene.spec, scene.plan(), panel.area
        self.tile_batch, self.ensemble, self.progress = tile_batch, ensemble or Ensemble(), progress
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self.profile = profile or Profile(wanted=False)
        self._batches = Channel(QUEUED, self._stop, self.profile)
        self._outputs = Channel(QUEUED, self._stop, self.profile)
        self._filling: _Filling | None = None
        self._valid_pixels = self._not_finite = self._skipped = 0
        wanted = replace(self.area, y0=self._first_wanted_row())
        self._rows: OpenRows = tiles.open_rows(Result(self.plan, wanted, self.spec.output, storage), seam)

    def run(self) -> Counts:
        """Run everything; the writer is not finished by this.

        Raises:
            EngineError: The engine failed.
            RasterError, OutputError: Reading or writing failed. Whatever fails, the other stages are stopped first.
        """
        threads = [
            threading.Thread(target=self._guard, args=(stage,), name=name, daemon=True)
            for name, stage in (("stf-reader", self._produce), ("stf-writer", self._consume))
        ]
        for thread in threads:
            thread.start()
        tiles = 0
        try:
            tiles = self._infer()
            for thread in threads:
                thread.join()
        except Stopped:
            pass
        except BaseException:  # Ctrl-C too, wherever it strikes
            self._stop.set()
            raise
        finally:
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]
        return Counts(
            pixels=(self.area.y1 - self._first_wanted_row()) * self.area.shape.width,
            valid=self._valid_pixels,
            not_finite=self._not_finite,
            tiles=tiles,
            skipped_tiles=self._skipped,
            engine_seconds=self.tiles.engine_seconds,
        )

    def _guard(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except Stopped:
            pass
        except BaseException as error:
            self._errors.append(error)
            self._stop.set()

    def _first_wanted_row(self) -> int:
        return self.area.y0 + self.writer.first_row

    # Stages --------------------------------------------------------------------------------------------------

    def _produce(self) -> None:
        for iy in self.plan.y.touching(self._first_wanted_row(), self.area.y1):
            self._produce_row(iy)
        self._hand_on()
        self._batches.end()

    def _produce_row(self, iy: int) -> None:
        origin = self.plan.y.origins[iy]
        first, stop = max(origin, 0), min(origin + self.plan.y.size, self.scene.shape.height)
        x0, x1 = self.panel.within(self.scene.shape)
        valid = np.ones((stop - first, x1 - x0), np.uint8)
        with self.profile.at_work("read") as span:
            for reader in self.tiles.readers.values():
                span.bytes += reader.move_to((origin, origin + self.plan.y.size))
                valid &= reader.valid(first, stop, (x0, x1))
        most = self.plan.rows_of_batch(self.tile_batch, max(len(self.panel.runs), 1))
        if self._filling and iy - self._filling.tiles[0].iy >= most:
            self._hand_on()  # or its rows would stay open for as long as tiles without a valid pixel follow
        complete = self._filling.tiles[0].iy if self._filling else iy
        self._batches.put(_TileRow(iy, first, valid[:, self.area.x0 - x0 : self.area.x1 - x0], complete))
        for ix in self.panel.runs:
            tile = self.plan[iy, ix]
            (top, bottom), (left, right) = self.plan.y.reach(iy), self.plan.x.reach(ix)
            if valid[top - first : bottom - first, left - x0 : right - x0].any():
                self._take(tile)
            else:
                self._skipped += 1

    def _take(self, tile: Tile) -> None:
        """Gather a tile into the batch that is being filled: batches are full, whatever the tiles of a row are."""
        if self._filling is None:
            self._filling = _Filling(self.tiles.empty_batch(self.tile_batch))
        with self.profile.at_work("gather") as span:
            span.bytes = self.tiles.gather(tile, self._filling.inputs, len(self._filling.tiles))
        self._filling.tiles.append(tile)
        if len(self._filling.tiles) == self.tile_batch:
            self._hand_on()

    def _hand_on(self) -> None:
        """One batch for each sample: they share the rasters and differ in the noise."""
        if self._filling is None:
            return
        tiles = self._filling.tiles
        inputs = {name: array[: len(tiles)] for name, array in self._filling.inputs.items()}
        self._filling = None
        for sample, seed in enumerate(self.ensemble.seeds):
            noise = TileNoise(seed, [tile.read for tile in tiles])
            with self.profile.at_work("noise") if self.spec.noises else contextlib.nullcontext():
                batch = self.tiles.with_noise(inputs, noise)
            self._batches.put(_Batch(tiles, sample, batch, noise))

    def _infer(self) -> int:
        """Run all batches; how many tiles they held.

        A few are given to the engine ahead of those that it computes, so that it never waits for the next one.
        """
        tiles = 0
        begun: deque[_Begun] = deque()
        for item in self._batches:
            output = None
            if isinstance(item, _Batch):
                with self.profile.at_work("infer") as span:
                    output = self.tiles.infer(item.inputs, item.noise)
                    span.bytes = sum(array.nbytes for array in item.inputs.values())
                tiles += len(item.tiles) if item.sample == 0 else 0
            begun.append((item, output))
            while begun and (begun[0][1] is None or _batches(begun) > self.tiles.ahead):
                self._hand_over(*begun.popleft())
        for one in begun:
            self._hand_over(*one)
        self._outputs.end()
        return tiles

    def _hand_over(self, item: _Batch | _TileRow, output: Callable[[], Any] | None) -> None:
        """Give the writer the output of a batch, or the start of a row of tiles."""
        if isinstance(item, _TileRow) or output is None:
            self._outputs.put(item)
            return
        with self.profile.at_work("infer") if self.tiles.ahead else contextlib.nullcontext():
            values = output()
        self._outputs.put(_Output(item.tiles, item.sample, values))

    def _consume(self) -> None:
        last: int | None = None
        for item in self._outputs:
            if isinstance(item, _TileRow):
                if last is not None and item.complete:
                    self._finish_rows(item.complete - 1)
                last = item.iy
                self._rows.extend(item.first, item.valid)
            else:
                with self.profile.at_work("blend") as span:
                    for tile, values in zip(item.tiles, item.output, strict=True):
                        self._add_kept((tile.iy, tile.ix), item.sample)
                        self._add(tile, values, item.sample)
                    span.bytes = item.output.nbytes
                self.tiles.recycle(item.output)
        if last is not None:
            self._finish_rows(last)
        self._write(self._rows.rest())

    def _add(self, tile: Tile, values: Any, sample: int, skipped: int = 0) -> None:
        self._rows.add(tile, values, sample, skipped)
        self.kept.keep(tile, values, sample, skipped)

    def _add_kept(self, before: tuple[int, int], sample: int) -> None:
        """Add what a panel on the left has kept of the tiles before one: all are added in the order of the plan."""
        for tile, values, skipped in self.kept.take(before, sample):
            self._add(tile, values, sample, skipped)

    def _finish_rows(self, iy: int) -> None:
        """Finalise and write the rows that are final after the row of tiles ``iy``, and let go of them."""
        for sample in range(self.ensemble.samples):
            self._add_kept((iy + 1, 0), sample)
        stop = min(self.plan.final_rows(iy), self._rows.stop)
        while self._rows.first < stop:
            with self.profile.at_work("finalise") as span:
                finished = self._rows.finish(min(self._rows.first + self._rows.at_once, stop))
                span.bytes = sum(rows.stored.nbytes for rows in finished)
            self._write(finished)

    def _write(self, finished: list[FinishedRows]) -> None:
        for rows in finished:
            self._not_finite += rows.not_finite
            self._valid_pixels += rows.valid_pixels
            with self.profile.at_work("write") as span:
                self.writer.write(rows.stored, rows.first - self.area.y0)
                span.bytes = rows.stored.nbytes
            if self.progress:
                self.progress((rows.stop - self.area.y0) * self.area.shape.width)
