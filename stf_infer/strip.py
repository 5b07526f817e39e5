# SPDX-License-Identifier: Apache-2.0
"""Rows of a raster that tiles are being cut from: each is read once, and kept for as long as a tile may need it."""

from __future__ import annotations

import numpy as np

from . import _core
from .layer import Layer


class Strip:
    """A sliding window of rows of a layer; rows that the next window shares are kept, not read again.

    Invalid pixels are filled along their row (:func:`stf_infer._core.fill_invalid`), so that they do not poison
    their neighbours inside of the network; ``valid`` remembers them.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.first = 0
        self.pixels: np.ndarray = np.empty((len(layer.fallback), 0, layer.grid.shape.width), layer.dtype)
        self.valid: np.ndarray = np.empty((0, layer.grid.shape.width), np.uint8)

    def move_to(self, first: int, stop: int) -> int:
        """Hold the rows ``[first, stop)`` of the layer's grid, and those up to the end of a row of the file's blocks.

        Returns:
            Bytes of those that had to be read.
        """
        held_stop = self.first + len(self.valid)
        if self.valid.size and self.first <= first <= stop <= held_stop:
            return 0
        known = self.valid.size and self.first <= first <= held_stop
        kept = slice(first - self.first, None) if known else slice(0, 0)
        end, count = self.layer.whole_blocks(stop), len(self.valid[kept])
        pixels = np.empty((len(self.layer.fallback), end - first, self.layer.grid.shape.width), self.layer.dtype)
        valid = np.empty(pixels.shape[1:], np.uint8)
        pixels[:, :count], valid[:count] = self.pixels[:, kept], self.valid[kept]
        # The rows that were held are let go before others are read.
        self.first, self.pixels, self.valid = first, pixels, valid
        self.layer.read_into(first + count, pixels[:, count:], valid[count:])
        if not valid[count:].all():
            for band, fallback in enumerate(self.layer.fallback):
                _core.fill_invalid(pixels[band : band + 1, count:], valid[count:], np.array([fallback]))
        return pixels[:, count:].nbytes
