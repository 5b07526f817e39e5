# SPDX-License-Identifier: Apache-2.0
"""Noise as a pure function of place: what a diffusion network starts from, and what its stochastic steps add.

The noise of a pixel depends on the seed, the band, the pixel's row and column in the scene, and the draw, and on
nothing else: not on the tile that looks at it, the batch, the order of the work, or a run that was interrupted. Past
the scene's border, where rasters are mirrored, it goes on with rows and columns below 0 and beyond the last.

Words come from Philox 4x32-10 (J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy
as 1, 2, 3", SC 2011; NumPy's own Philox is the 4x64 one)::

    counter  (band, y, x, draw), each modulo 2^32
    key      (seed modulo 2^32, seed / 2^32)

and become normal by the method of Box and Muller (Ann. Math. Stat. 29, 1958) from the first two words of the four::

    u1 = (word 0 + 1/2) / 2^32      u2 = (word 1 + 1/2) / 2^32      z = sqrt(-2 ln u1) cos(2 pi u2)

in double, rounded to float32. The largest number that can come out is 6.76. Logarithm and cosine are computed without
a library's, so the bits are the same on every machine.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import _core
from .errors import UsageError

if TYPE_CHECKING:
    from .grid import Window

# What a seed and a draw must be below.
SEEDS, DRAWS = 2**64, 2**32


def noise(seed: int, step: int, y: int, x: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Standard normal noise for the pixels of a tile.

    Args:
        seed: 0 to 2^64 - 1.
        step: Which draw: 0 for the image that sampling starts from, k for what stochastic step k adds; below 2^32.
        y: Scene row of the tile's first pixel in fine pixels; may lie past the border.
        x: Scene column of the tile's first pixel; likewise.
        shape: ``(C, H, W)``.

    Returns:
        float32 ``(C, H, W)``; any window of it is what the same call gives for that window. Costs some 8 ns a number
        with AVX2, twice that without.

    Raises:
        UsageError: A seed or draw that does not exist, or a shape without a pixel.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise UsageError("Noise cannot have this shape", got=shape, allowed="(bands, rows, columns), each 1 or more")
    out = np.empty(shape, np.float32)
    _core.noise(check_seed(seed), _checked("draw", step, DRAWS), y, x, out)
    return out


def check_seed(seed: int) -> int:
    """The seed as a plain int.

    Raises:
        UsageError: It is not within 0 to 2^64 - 1.
    """
    return _checked("seed", seed, SEEDS)


def _checked(name: str, value: int, limit: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < limit or isinstance(value, bool):
        raise UsageError(f"The {name} cannot be used", got=value, allowed=f"a whole number from 0 to {limit - 1}")
    return number


@dataclass(frozen=True)
class TileNoise:
    """The noise that the tiles of one batch see; nothing is drawn before it is asked for.

    Attributes:
        seed: See :func:`noise`.
        windows: The window that each tile reads, in fine pixels of the scene.
    """

    seed: int
    windows: Sequence[Window]

    def draw(self, step: int, bands: int) -> np.ndarray:
        """One draw for every tile: float32 ``(N, bands, H, W)``.

        Args:
            step: See :func:`noise`.
            bands: Channels of the tensor.
        """
        shape = self.windows[0].shape
        out = np.empty((len(self.windows), bands, shape.height, shape.width), np.float32)
        for window, tile in zip(self.windows, out, strict=True):
            _core.noise(self.seed, step, window.y0, window.x0, tile)
        return out
