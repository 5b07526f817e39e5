# SPDX-License-Identifier: Apache-2.0
"""Rows of the scene between the first tile that touches them and the last: sums of weighted tiles."""

from __future__ import annotations

import numpy as np

from . import _core
from .grid import Tile, TilePlan


class OpenRows:
    """Rows of the scene that tiles are still being added to."""

    def __init__(self, plan: TilePlan, channels: int) -> None:
        self._plan, self._channels = plan, channels
        self._sums: np.ndarray = np.zeros((channels, 0, plan.scene.width), np.float32)
        self._valid: np.ndarray = np.zeros((0, plan.scene.width), np.uint8)
        self._first: int | None = None

    @property
    def stop(self) -> int:
        """One past the last row held."""
        return (self._first or 0) + self._valid.shape[0]

    def extend(self, first: int, valid: np.ndarray) -> None:
        """Hold the rows ``[first, first + n)`` as well, as zeros where they are new."""
        if self._first is None:
            self._first = first
        known = self.stop - first
        new = valid[max(known, 0) :]
        zeros = np.zeros((self._channels, new.shape[0], new.shape[1]), np.float32)
        self._sums = np.concatenate([self._sums, zeros], axis=1)
        self._valid = np.concatenate([self._valid, new])

    def add(self, tile: Tile, values: np.ndarray, channel: int = 0) -> None:
        """Add a tile's output (C, h, w) to the channels from ``channel`` with the weights of the plan."""
        assert self._first is not None
        _core.blend(
            np.ascontiguousarray(values, np.float32),
            tile.read.y0,
            tile.read.x0,
            self._plan.y.weights(tile.iy),
            self._plan.x.weights(tile.ix),
            self._sums[channel : channel + len(values)],
            self._first,
        )

    def take(self, stop: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Sums, valid and first row of the rows above ``stop``, which are then no longer held."""
        assert self._first is not None
        first, count = self._first, max(stop - self._first, 0)
        sums, valid = np.ascontiguousarray(self._sums[:, :count]), self._valid[:count]
        self._sums, self._valid = np.ascontiguousarray(self._sums[:, count:]), self._valid[count:]
        self._first = first + count
        return sums, valid, first
