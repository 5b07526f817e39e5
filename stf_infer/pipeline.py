# SPDX-License-Identifier: Apache-2.0
"""Read, gather, infer, blend, write: a scene streams through an engine in constant memory.

Three threads, two bounded queues::

    reader                      caller's thread     writer
    read rows, gather tiles ──▶ engine.infer ────▶ blend, finalise, write

One row of tiles after the other. The engine never waits for the disk unless the disk is slower than it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from .channel import Channel, Stopped
from .engines.base import Engine
from .ensemble import Ensemble
from .errors import EngineError, NodataError
from .grid import Tile, Window
from .noise import TileNoise
from .open_rows import FinishedRows, OpenRows, Result
from .profile import Profile, Stage
from .scene import Scene
from .seam import SeamMeter
from .storage import Storage
from .threads import ThreadSplit
from .tiles import QUEUED, Tiles

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class Writer(Protocol):
    """Where finished rows go; ``first_row`` is the first one that is still wanted."""

    first_row: int

    def write(self, rows: np.ndarray, first: int) -> None:
        """Take rows (C, n, W) that begin at row ``first``."""


@dataclass
class FusionResult:
    """What a run did.

    Attributes:
        path: The file written, or None.
        array: The result as physical float32 (C, H, W) with NaN for nodata, where no path was given.
        pixels: Scene pixels that were written.
        valid_fraction: Share of them that are valid in all inputs.
        not_finite: Values (pixels times bands) that the network gave as NaN or infinite; they are nodata too.
        bands: Names of the bands of the result.
        tiles: Tiles run by the engine, each once for every sample.
        skipped_tiles: Tiles without a single valid pixel, not run.
        seconds: Wall time from first read to the finished file.
        finish_seconds: Part of it after the last row: overviews, and reading the file back to verify it.
        engine_seconds: Time inside of the engine.
        seam_ratio: Mean gradient across tile borders over that elsewhere; None without a border.
        provenance: Bundle, engine, precision and tile plan that made the result.
        profile: What each thread did and for how long, where that was asked for.
        threads: How many threads read and compressed, and why.
    """

    path: Any = None
    array: np.ndarray | None = None
    bands: tuple[str, ...] = ()
    pixels: int = 0
    valid_fraction: float = 0.0
    not_finite: int = 0
    tiles: int = 0
    skipped_tiles: int = 0
    seconds: float = 0.0
    finish_seconds: float = 0.0
    engine_seconds: float = 0.0
    seam_ratio: float | None = None
    provenance: dict[str, str] = field(default_factory=dict)
    profile: tuple[Stage, ...] = ()
    threads: ThreadSplit | None = None

    @property
    def mpx_per_second(self) -> float:
        """Scene megapixels per second of wall time."""
        return self.pixels / 1e6 / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values, without the array."""
        shown = {k: v for k, v in vars(self).items() if k not in ("array", "profile", "threads")}
        if self.threads:
            shown["threads"] = self.threads.as_dict()
        if self.profile:
            shown["profile"] = [stage.as_dict() for stage in self.profile]
        return {**shown, "path": None if self.path is None else str(self.path), "mpx_per_s": self.mpx_per_second}


@dataclass(frozen=True)
class _TileRow:
    """The start of the row of tiles ``iy``.

    ``valid`` says which pixels of its scene rows ``[first, ...)`` are valid, (rows, W). No tile is still to come of the
    rows of tiles before ``complete``.
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


class Pipeline:
    """One fusion, from open rasters to finished rows.

    Args:
        scene: The open rasters.
        engine: The open engine.
        writer: Takes the finished rows of ``area``.
        storage: How rows are stored; None hands physical float32 values to the writer.
        area: Window of the scene to write; None is all of it. Its pixels are those of the whole scene's result.
        tile_batch: Tiles in one engine call.
        ensemble: Which noise a network with noise inputs sees, and how many samples it draws.
        progress: Called with (pixels done, pixels in all) from the writer's thread.
        profile: Told what each thread does, and when.
        tiles: What is done with tiles; None does it on the host.
    """

    def __init__(
        self,
        scene: Scene,
        engine: Engine,
        writer: Writer,
        storage: Storage,
        *,
        area: Window | None = None,
        tile_batch: int = 1,
        ensemble: Ensemble | None = None,
        progress: Progress | None = None,
        profile: Profile | None = None,
        tiles: Tiles | None = None,
    ) -> None:
        self.scene, self.engine, self.writer, self.storage = scene, engine, writer, storage
        self.plan = scene.plan()
        self.area = area or Window(0, scene.shape.height, 0, scene.shape.width)
        self.tile_batch, self.ensemble, self.progress = tile_batch, ensemble or Ensemble(), progress
        self.spec = scene.spec
        self.tiles = tiles or Tiles(scene, engine)
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self.profile = profile or Profile(wanted=False)
        self._batches = Channel(QUEUED, self._stop, self.profile)
        self._outputs = Channel(QUEUED, self._stop, self.profile)
        self._filling: _Filling | None = None
        self._valid_pixels = self._not_finite = self._skipped = 0
        self._seam = SeamMeter(self.plan)
        wanted = replace(self.area, y0=self._first_wanted_row())
        self._rows: OpenRows = self.tiles.open_rows(Result(self.plan, wanted, self.spec.output, storage), self._seam)

    def run(self) -> FusionResult:
        """Run everything; the writer is not finished by this.

        Raises:
            NodataError: Not one pixel of the area is valid in all inputs.
            EngineError: The engine failed, or gave not one finite value.
            RasterError, OutputError: Reading or writing failed. Whatever fails, the other stages are stopped first.
        """
        began = time.perf_counter()
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
        self._check_result()
        written = (self.area.y1 - self.area.y0 - self.writer.first_row) * self.area.shape.width
        return FusionResult(
            pixels=written,
            valid_fraction=self._valid_pixels / max(written, 1),
            not_finite=self._not_finite,
            tiles=tiles,
            skipped_tiles=self._skipped,
            seconds=time.perf_counter() - began,
            engine_seconds=self.tiles.engine_seconds,
            seam_ratio=self._seam.ratio,
        )

    def _check_result(self) -> None:
        """Refuse a result without a single value; warn of values that are missing from it."""
        values = self._valid_pixels * len(self.spec.output.bands)
        if self._valid_pixels == 0 and self.writer.first_row == 0:
            raise NodataError(
                "Not one pixel is valid in all inputs, so there is nothing to fuse",
                got=", ".join(f"{role}: {layer.label}" for role, layer in self.scene.layers.items()),
                fix="Check nodata values and masks, and that the rasters overlap",
            )
        if values and self._not_finite == values:
            raise EngineError(
                "The network gave no finite value at all",
                got=self.engine.describe()["engine"],
                fix="`stf-infer check` proves a bundle and an engine; check the scale of the rasters",
            )
        if self._not_finite:
            _log.warning("%d of %d values are not finite; they became nodata", self._not_finite, values)

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
        columns = self.plan.x.touching(self.area.x0, self.area.x1)
        for iy in self.plan.y.touching(self._first_wanted_row(), self.area.y1):
            self._produce_row(iy, columns)
        self._hand_on()
        self._batches.end()

    def _produce_row(self, iy: int, columns: list[int]) -> None:
        origin = self.plan.y.origins[iy]
        first, stop = max(origin, 0), min(origin + self.plan.y.size, self.scene.shape.height)
        valid = np.ones((stop - first, self.scene.shape.width), np.uint8)
        with self.profile.at_work("read") as span:
            for reader in self.tiles.readers.values():
                span.bytes += reader.move_to((origin, origin + self.plan.y.size))
                valid &= reader.valid(first, stop)
        if self._filling and iy - self._filling.tiles[0].iy >= self.plan.rows_of_batch(self.tile_batch, len(columns)):
            self._hand_on()  # or its rows would stay open for as long as tiles without a valid pixel follow
        complete = self._filling.tiles[0].iy if self._filling else iy
        self._batches.put(_TileRow(iy, first, valid, complete))
        for ix in columns:
            tile = self.plan[iy, ix]
            if self._has_valid(tile, valid, first):
                self._take(tile)
            else:
                self._skipped += 1

    def _has_valid(self, tile: Tile, valid: np.ndarray, first: int) -> bool:
        y0, y1 = self.plan.y.reach(tile.iy)
        x0, x1 = self.plan.x.reach(tile.ix)
        return bool(valid[y0 - first : y1 - first, x0:x1].any())

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
        """Run all batches; how many tiles they held."""
        tiles = 0
        for item in self._batches:
            if isinstance(item, _Batch):
                with self.profile.at_work("infer") as span:
                    output = self.tiles.infer(item.inputs, item.noise)
                    span.bytes = sum(array.nbytes for array in item.inputs.values())
                tiles += len(item.tiles) if item.sample == 0 else 0
                item = _Output(item.tiles, item.sample, output)
            self._outputs.put(item)
        self._outputs.end()
        return tiles

    def _consume(self) -> None:
        last: int | None = None
        for item in self._outputs:
            if isinstance(item, _TileRow):
                if last is not None and item.complete:
                    self._finish_rows(self.plan.final_rows(item.complete - 1))
                last = item.iy
                self._rows.extend(item.first, item.valid)
            else:
                with self.profile.at_work("blend") as span:
                    for tile, values in zip(item.tiles, item.output, strict=True):
                        self._rows.add(tile, values, item.sample)
                    span.bytes = item.output.nbytes
                self.tiles.recycle(item.output)
        if last is not None:
            self._finish_rows(self.plan.final_rows(last))
        self._write(self._rows.rest())

    def _finish_rows(self, stop: int) -> None:
        """Finalise and write the rows above ``stop``, and let go of them."""
        stop = min(stop, self._rows.stop)
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
                self.progress((rows.stop - self.area.y0) * self.area.shape.width, self.area.shape.pixels)
