# SPDX-License-Identifier: Apache-2.0
"""Rows of the scene between the first tile that touches them and the last: sums of weighted tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from .grid import Tile, TilePlan, Window
from .seam import SeamMeter

if TYPE_CHECKING:
    from .spec import OutputSpec
    from .storage import Storage


@dataclass(frozen=True)
class FinishedRows:
    """Rows of the area that can be written.

    Attributes:
        first: Scene row that they begin at.
        stored: ``(bands, rows, W)`` in the storage's numbers; to be taken before more rows are finished.
        valid_pixels: How many pixels are valid in all inputs.
        not_finite: How many values of those the network gave as NaN or infinite.
    """

    first: int
    stored: np.ndarray
    valid_pixels: int
    not_finite: int

    @property
    def stop(self) -> int:
        """One past the last scene row."""
        return self.first + self.stored.shape[1]


@dataclass(frozen=True)
class Result:
    """What rows are finished for.

    Attributes:
        plan: The tile plan.
        area: Window of the scene that is still to be written.
        output: What the network gives.
        storage: How it is stored.
    """

    plan: TilePlan
    area: Window
    output: OutputSpec
    storage: Storage


class OpenRows:
    """Rows of the scene that tiles are still being added to.

    Args:
        result: What they are for.
        seam: Told of the finished rows.
    """

    def __init__(self, result: Result, seam: SeamMeter) -> None:
        self._result, self._seam = result, seam
        self._plan, self._bands = result.plan, len(result.output.bands)
        width = self._plan.scene.width
        self._sums: Any = np.zeros((result.storage.samples * self._bands, 0, width), np.float32)
        self._valid: np.ndarray = np.zeros((0, width), np.uint8)
        self._first: int | None = None

    @property
    def stop(self) -> int:
        """One past the last row held."""
        return (self._first or 0) + self._valid.shape[0]

    def extend(self, first: int, valid: np.ndarray) -> None:
        """Hold the rows ``[first, first + n)`` as well, as zeros where they are new."""
        if self._first is None:
            self._first = first
        new = valid[max(self.stop - first, 0) :]
        self._valid = np.concatenate([self._valid, new])
        if len(new):
            self._hold(len(new))

    def _hold(self, new: int) -> None:
        """Hold so many more rows of sums, all of them 0, behind those that are held."""
        zeros = np.zeros((len(self._sums), new, self._valid.shape[1]), np.float32)
        self._sums = np.concatenate([self._sums, zeros], axis=1)

    def add(self, tile: Tile, values: Any, sample: int = 0) -> None:
        """Add a tile's output (C, h, w) to the sums of a sample with the weights of the plan."""
        assert self._first is not None
        channel = sample * self._bands
        _core.blend(
            np.ascontiguousarray(values, np.float32),
            tile.read.y0,
            tile.read.x0,
            self._plan.y.weights(tile.iy),
            self._plan.x.weights(tile.ix),
            self._sums[channel : channel + len(values)],
            self._first,
        )

    def finish(self, stop: int) -> list[FinishedRows]:
        """Let go of the rows above ``stop``; gives what can be written now of the area, finalised."""
        sums, valid, first = self._take(stop)
        area, storage = self._result.area, self._result.storage
        begin, end = max(area.y0, first), min(area.y1, first + len(valid))
        if end <= begin:
            return []
        # Outside of the area lie tiles that were not run.
        wanted = slice(begin - first, end - first), slice(area.x0, area.x1)
        sums, valid = np.ascontiguousarray(sums[(slice(None), *wanted)]), np.ascontiguousarray(valid[wanted])
        samples = sums.reshape(storage.samples, -1, *sums.shape[1:])
        self._seam.feed(sums if len(samples) == 1 else samples.mean(axis=0), valid, begin, area.x0)
        stored, not_finite = storage.finalise(sums, valid, self._result.output)
        return [FinishedRows(begin, stored, int(np.count_nonzero(valid)), not_finite)]

    def rest(self) -> list[FinishedRows]:
        """Finished rows that have not been handed out."""
        return []

    def _take(self, stop: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Sums, valid and first row of the rows above ``stop``, which are then no longer held."""
        assert self._first is not None
        first, count = self._first, max(stop - self._first, 0)
        sums, valid = np.ascontiguousarray(self._sums[:, :count]), self._valid[:count]
        self._sums, self._valid = np.ascontiguousarray(self._sums[:, count:]), self._valid[count:]
        self._first = first + count
        return sums, valid, first
