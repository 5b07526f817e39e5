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
    """Rows of the scene that tiles are still being added to, and of them the area's columns.

    Args:
        result: What they are for.
        seam: Told of the finished rows.

    Attributes:
        at_once: Rows that should be finished in one call, so that little memory beside the sums is needed.
    """

    at_once = 64

    def __init__(self, result: Result, seam: SeamMeter) -> None:
        self._result, self._seam = result, seam
        self._plan, self._bands = result.plan, len(result.output.bands)
        width = result.area.shape.width
        self._sums: Any = np.zeros((result.storage.samples * self._bands, 0, width), np.float32)
        self._valid: np.ndarray = np.zeros((0, width), np.uint8)
        self._first: int | None = None
        self._base = 0  # scene row that the sums begin at: finished rows go when others come

    @property
    def first(self) -> int:
        """The first row that is not finished."""
        return self._first or 0

    @property
    def stop(self) -> int:
        """One past the last row held."""
        return (self._first or 0) + self._valid.shape[0]

    def extend(self, first: int, valid: np.ndarray) -> None:
        """Hold the scene rows ``[first, first + n)`` as well, as zeros where they are new; ``valid`` is (n, W)."""
        if self._first is None:
            self._first = first
        new = valid[max(self.stop - first, 0) :]
        self._valid = np.concatenate([self._valid, new])
        if len(new):
            self._hold(len(new))

    def _hold(self, new: int) -> None:
        """Hold so many more rows of sums, all of them 0, behind those that are held."""
        assert self._first is not None
        kept = self.stop - new - self._first
        # Memory of zeros is taken from the system when it is written to.
        sums = np.zeros((len(self._sums), kept + new, self._valid.shape[1]), np.float32)
        sums[:, :kept] = self._sums[:, self._sums.shape[1] - kept :]
        self._sums, self._base = sums, self._first

    def add(self, tile: Tile, values: Any, sample: int = 0, skipped: int = 0) -> None:
        """Add a tile's output (C, h, w) to the sums of a sample with the weights of the plan.

        Args:
            tile: The tile.
            values: Its output, from column ``skipped`` on.
            sample: The sample.
            skipped: Columns of the tile that ``values`` lacks.
        """
        channel = sample * self._bands
        _core.blend(
            np.ascontiguousarray(values, np.float32),
            tile.read.y0,
            tile.read.x0 + skipped - self._result.area.x0,
            self._plan.y.weights(tile.iy),
            np.ascontiguousarray(self._plan.x.weights(tile.ix)[skipped : skipped + values.shape[2]]),
            self._sums[channel : channel + len(values)],
            self._base,
        )

    def finish(self, stop: int) -> list[FinishedRows]:
        """Let go of the rows above ``stop``; gives what can be written now of the area, finalised."""
        begin, valid = self._let_go(stop)
        if not len(valid):
            return []
        area, storage = self._result.area, self._result.storage
        rows = slice(begin - self._base, begin - self._base + len(valid))
        sums = np.ascontiguousarray(self._sums[:, rows])
        samples = sums.reshape(storage.samples, -1, *sums.shape[1:])
        self._seam.feed(sums if len(samples) == 1 else samples.mean(axis=0), valid, begin, area.x0)
        stored, not_finite = storage.finalise(sums, valid, self._result.output)
        return [FinishedRows(begin, stored, int(np.count_nonzero(valid)), not_finite)]

    def _let_go(self, stop: int) -> tuple[int, np.ndarray]:
        """Hold the rows above ``stop`` no longer.

        Outside of the area lie tiles that were not run.

        Returns:
            The first scene row of them that lies in the area, and the valid pixels there, (rows, W).
        """
        area, first = self._result.area, self.first
        held, self._valid = np.split(self._valid, [max(stop - first, 0)])
        self._first = first + len(held)
        begin = max(area.y0, first)
        return begin, held[begin - first : max(area.y1 - first, 0)]

    def rest(self) -> list[FinishedRows]:
        """Finished rows that have not been handed out."""
        return []
