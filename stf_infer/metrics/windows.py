# SPDX-License-Identifier: Apache-2.0
"""The mean of an index over sliding windows, as a partial sum.

Only windows that lie wholly inside the image are used (border ``valid``), along one axis with a window of 5::

    image    a b c d e f g h
    windows  [a b c d e]
               [b c d e f]
                 [c d e f g]
                   [d e f g h]          8 pixels, 4 windows: nothing is invented beyond the border
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import MetricError


class WindowedMean:
    """Sum of an index over the windows of a scene that hold no excluded pixel.

    Args:
        bands: Number of bands C.
        kind: ``ssim`` or ``uqi``.
        taps: Weights along one axis; a window's weights are their outer product. Ones stand for equal weights.
        uniform: Whether the weights are equal.
        c1: Constant of the formula, 0 for ``uqi``.
        c2: Likewise.

    Attributes:
        total: Sum of the index over the windows, ``(C,)``.
        windows: Windows that were summed, per band.
    """

    def __init__(
        self, bands: int, kind: str, taps: np.ndarray, *, uniform: bool, c1: float = 0.0, c2: float = 0.0
    ) -> None:
        self.total = np.zeros(bands)
        self.windows = 0
        self.kind, self.taps, self.uniform, self.c1, self.c2 = kind, taps, uniform, c1, c2

    @property
    def size(self) -> int:
        """Rows and columns of a window."""
        return len(self.taps)

    def wanted(self, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[Any, ...]:
        """The index as the core takes it, for windows whose first pixel lies in these rows and columns."""
        return self.kind, self.taps, self.uniform, self.c1, self.c2, rows, columns

    def merge(self, other: WindowedMean) -> WindowedMean:
        """Add the windows of another sum to this one; returns self.

        Raises:
            MetricError: They are not of the same index and window.
        """
        mine, theirs = ((w.kind, w.size, w.uniform, w.c1, w.c2, len(w.total)) for w in (self, other))
        if mine != theirs:
            raise MetricError("Sums of other windows cannot be merged", got=theirs, allowed=mine)
        self.total += other.total
        self.windows += other.windows
        return self

    @property
    def mean(self) -> np.ndarray:
        """Mean over the windows, ``(C,)``; NaN without windows."""
        return self.total / self.windows if self.windows else np.full_like(self.total, np.nan)
