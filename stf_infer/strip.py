# SPDX-License-Identifier: Apache-2.0
"""Rows of a raster that tiles are being cut from: each is read once, and kept for as long as a tile may need it."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from .gaps import fill_across_edges
from .layer import Layer


class Strip:
    """A sliding window of rows of a layer; rows that the next window shares are kept, not read again.

    Invalid pixels are filled along their row (:func:`stf_infer._core.fill_invalid`), so that they do not poison
    their neighbours inside of the network; ``valid`` remembers them. What they are filled with depends on the whole
    row, whatever the range of columns is.

    Args:
        layer: The raster.
        columns: The range of columns of the layer's grid that is held; None is all of them.
    """

    def __init__(self, layer: Layer, columns: tuple[int, int] | None = None) -> None:
        self.layer = layer
        self.left, right = columns or (0, layer.grid.shape.width)
        self.width = right - self.left
        self.first = 0
        self.pixels: Any = np.empty((len(layer.fallback), 0, self.width), layer.dtype)
        self._memory = np.empty(0, layer.dtype)
        self.valid: np.ndarray = np.empty((0, self.width), np.uint8)

    def move_to(self, first: int, stop: int) -> int:
        """Hold the rows ``[first, stop)`` of the layer's grid, and those up to the end of a row of the file's blocks.

        Returns:
            Bytes of those that had to be read.
        """
        held_stop = self.first + len(self.valid)
        if self.valid.size and self.first <= first <= stop <= held_stop:
            return 0
        known = self.valid.size and self.first <= first <= held_stop
        kept = held_stop - first if known else 0
        valid = np.empty((self.layer.whole_blocks(stop) - first, self.width), np.uint8)
        valid[:kept] = self.valid[len(self.valid) - kept :]
        room = self._make_room(kept, len(valid))
        self.first, self.valid = first, valid
        self.layer.read_into(first + kept, self.left, room, valid[kept:])
        to_fill = fill_across_edges(self.layer, first + kept, self.left, room, valid[kept:])
        self._take_in(kept, room, to_fill)
        return room.nbytes

    def _make_room(self, kept: int, rows: int) -> np.ndarray:
        """Hold so many rows, the first ``kept`` of them those held last; gives where the others are to be read to."""
        bands, held, width = self.pixels.shape
        size = bands * rows * width
        # Bands slide to their new places from the first to the last, if none runs over the next one.
        if size > self._memory.size or (bands - 1) * (rows - held) > held - kept:
            # What is not written to yet takes no memory.
            self._memory = np.empty(bands * (rows + self.layer.surplus_rows) * width, self.layer.dtype)
        pixels = self._memory[:size].reshape(bands, rows, width)
        for to, band in zip(pixels, self.pixels, strict=True):
            to[:kept] = band[held - kept :]
        self.pixels = pixels
        return pixels[:, kept:]

    def _take_in(self, kept: int, read: np.ndarray, valid: np.ndarray) -> None:
        """Fill the rows behind the first ``kept``, which have been read, where they are not valid."""
        if not valid.all():
            for band, fallback in zip(read, self.layer.fallback, strict=True):
                _core.fill_invalid(band[None], valid, np.array([fallback]))
