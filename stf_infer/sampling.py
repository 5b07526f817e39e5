# SPDX-License-Identifier: Apache-2.0
"""Positions: what lies past a border, and where a fine pixel lies between coarse ones."""

from __future__ import annotations

from typing import Literal

import numpy as np


def mirrored(index: np.ndarray, length: int, unit: int = 1) -> np.ndarray:
    """Positions folded back onto ``[0, length)`` by mirrors at the border: ``c b a | a b c d | d c b``.

    Fine and coarse grids of one scene are mirrored at the same ground line, so that they stay on top of each other.

    Args:
        index: Positions, any int array.
        length: Pixels of the axis.
        unit: Pixels that a coarse one covers: the far mirror stands at the end of the last coarse pixel, and what lies
            between the axis' end and it is mirrored at the axis' end.
    """
    far = -(-length // unit) * unit
    phase = index % (2 * far)
    folded = np.where(phase < far, phase, 2 * far - 1 - phase)
    return np.where(folded < length, folded, np.maximum(2 * length - 1 - folded, 0))


def interpolation(
    start: int, stop: int, coarse: int, ratio: int, rule: Literal["align-corners", "half-pixel"]
) -> tuple[np.ndarray, np.ndarray]:
    """Bilinear positions of the fine pixels ``[start, stop)`` between the pixels of a coarse axis.

    Positions are those of the whole scene, so that a tile gets the numbers that the scene would get. Past either end
    of the axis the outermost coarse pixel is repeated.

    Args:
        start: First fine pixel.
        stop: One past the last fine pixel.
        coarse: Pixels of the coarse axis.
        ratio: Fine pixels of a coarse pixel.
        rule: ``half-pixel``: ``x = (i + 1/2) / ratio - 1/2``. ``align-corners``: ``x = i (n - 1) / (n ratio - 1)``
            for n coarse pixels.

    Returns:
        ``(first, weight)``: int64 and float32 of shape ``(stop - start,)``; fine pixel i is
        ``(1 - weight) coarse[first] + weight coarse[first + 1]``.
    """
    fine = np.arange(start, stop, dtype=np.float64)
    if rule == "half-pixel":
        position = (fine + 0.5) / ratio - 0.5
    elif coarse == 1:
        position = np.zeros_like(fine)
    else:
        position = fine * (coarse - 1) / (coarse * ratio - 1)
    position = np.clip(position, 0, coarse - 1)
    first = np.minimum(np.floor(position), max(coarse - 2, 0)).astype(np.int64)
    return first, (position - first).astype(np.float32)
