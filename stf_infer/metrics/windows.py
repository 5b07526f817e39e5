# SPDX-License-Identifier: Apache-2.0
"""Local means in sliding windows, and the mean of an index made from them over a scene that streams by in rows.

Only windows that lie wholly inside the image are used (border ``valid``), along one axis with a window of 5::

    image    a b c d e f g h
    windows  [a b c d e]
               [b c d e f]
                 [c d e f g]
                   [d e f g h]          8 pixels, 4 windows: nothing is invented beyond the border
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Smooth = Callable[[np.ndarray], np.ndarray]


def gaussian_smooth(size: int, sigma: float) -> Smooth:
    """A Gaussian window of ``size`` x ``size`` (odd) that sums to one: ``(H, W)`` to ``(H - size + 1, W - size + 1)``.

    The window is the outer product of w_k = exp(-k^2 / (2 sigma^2)) / sum, k = -r ... r, r = (size - 1) / 2.
    Cost: two passes, each of about 1.5 ``size`` operations per pixel.
    """
    radius = size // 2
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()

    def smooth(field: np.ndarray) -> np.ndarray:
        return _symmetric(_symmetric(field, taps, 0), taps, 1)

    return smooth


def box_smooth(size: int) -> Smooth:
    """A window of ``size`` x ``size`` equal weights: ``(H, W)`` to ``(H - size + 1, W - size + 1)``.

    Sums are built by doubling (8 = 2 x 2 x 2 in three additions), so that a rounding error stays in its
    window, and for a power of two a flat window has exactly its own value as mean. A running sum would carry
    errors along the row.
    """

    def smooth(field: np.ndarray) -> np.ndarray:
        total = _box_sum(_box_sum(field, size, 0), size, 1)
        total *= 1 / size**2
        return total

    return smooth


def all_inside(usable: np.ndarray, size: int) -> np.ndarray:
    """Windows ``(H - size + 1, W - size + 1)`` in which every pixel is usable."""
    out: np.ndarray = _box_sum(_box_sum((~usable).astype(np.int32), size, 0), size, 1) == 0
    return out


def _cut(field: np.ndarray, start: int, length: int, axis: int) -> np.ndarray:
    return field[start : start + length] if axis == 0 else field[:, start : start + length]


def _symmetric(field: np.ndarray, taps: np.ndarray, axis: int) -> np.ndarray:
    """Correlate with symmetric taps along an axis, inside only; each pair of equal taps costs one product."""
    size = len(taps)
    length = field.shape[axis] - size + 1
    out = _cut(field, size // 2, length, axis) * taps[size // 2]
    for k in range(size // 2):
        pair = _cut(field, k, length, axis) + _cut(field, size - 1 - k, length, axis)
        pair *= taps[k]
        out += pair
    return out


def _box_sum(field: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Sum over ``size`` neighbours along an axis, inside only, by the binary digits of ``size``."""
    length = field.shape[axis] - size + 1
    total: np.ndarray | None = None
    power, width, offset = field, 1, 0
    while True:
        if size & width:
            part = _cut(power, offset, length, axis)
            total = part.copy() if total is None else total + part
            offset += width
        if 2 * width > size:
            assert total is not None
            return total
        kept = power.shape[axis] - width
        power = _cut(power, 0, kept, axis) + _cut(power, width, kept, axis)
        width *= 2


@dataclass(frozen=True)
class LocalStatistics:
    """Weighted statistics of every window of one band, population form (weights sum to one, no n - 1).

    Attributes:
        mean_p: Mean of the prediction.
        mean_t: Mean of the truth.
        variances: Variance of the prediction plus variance of the truth.
        covariance: Covariance of prediction and truth.
    """

    mean_p: np.ndarray
    mean_t: np.ndarray
    variances: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, prediction: np.ndarray, truth: np.ndarray, shift: float, smooth: Smooth) -> LocalStatistics:
        """Statistics of images ``(H, W)`` from which ``shift`` has been subtracted.

        Variances do not feel the shift but lose fewer digits near zero; the means get it back.
        """
        mean_p, mean_t = smooth(prediction), smooth(truth)
        variances = smooth(prediction * prediction + truth * truth)
        variances -= mean_p * mean_p + mean_t * mean_t
        covariance = smooth(prediction * truth)
        covariance -= mean_p * mean_t
        mean_p += shift
        mean_t += shift
        return cls(mean_p, mean_t, variances, covariance)


class WindowedMean:
    """Mean of an index over all windows of a scene whose rows arrive from top to bottom.

    Holds the last ``size - 1`` rows between calls: memory depends on the width of the scene, not on its
    height. A window that touches a pixel that is not usable is not averaged.

    Args:
        bands: Number of bands C.
        size: Rows and columns of a window.
        smooth: Weighted mean in every window.
        index: The index of every window, from its statistics.

    Attributes:
        total: Sum of the index over the windows, ``(C,)``.
        windows: Windows that were averaged, per band.
    """

    def __init__(self, bands: int, size: int, smooth: Smooth, index: Callable[[LocalStatistics], np.ndarray]) -> None:
        self.total = np.zeros(bands)
        self.windows = 0
        self._size, self._smooth, self._index = size, smooth, index
        self._shift = np.zeros(bands)
        self._shift_is_set = False
        self._kept: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def update(self, prediction: np.ndarray, truth: np.ndarray, usable: np.ndarray) -> None:
        """Add the rows that follow those of the last call.

        Args:
            prediction: float64 ``(C, R, W)``; may hold anything where not usable.
            truth: float64 ``(C, R, W)``.
            usable: bool ``(R, W)``.
        """
        if not self._shift_is_set and usable.any():
            row, column = np.unravel_index(int(usable.argmax()), usable.shape)
            self._shift, self._shift_is_set = truth[:, row, column].copy(), True
        p, t = self._shifted(prediction, usable), self._shifted(truth, usable)
        if self._kept is not None:
            before_p, before_t, before_usable = self._kept
            p, t = np.concatenate([before_p, p], axis=1), np.concatenate([before_t, t], axis=1)
            usable = np.concatenate([before_usable, usable])
        if p.shape[1] >= self._size:
            self._measure(p, t, usable)
            first = p.shape[1] - self._size + 1
            p, t, usable = p[:, first:].copy(), t[:, first:].copy(), usable[first:].copy()
        self._kept = (p, t, usable)

    def _shifted(self, image: np.ndarray, usable: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            out = image - self._shift[:, None, None]
        if not usable.all():
            out[:, ~usable] = 0.0
        return out

    def _measure(self, prediction: np.ndarray, truth: np.ndarray, usable: np.ndarray) -> None:
        whole = None if usable.all() else all_inside(usable, self._size)
        if whole is not None and not whole.any():
            return
        with np.errstate(over="ignore", invalid="ignore"):
            for b, (p, t, shift) in enumerate(zip(prediction, truth, self._shift, strict=True)):
                values = self._index(LocalStatistics.of(p, t, float(shift), self._smooth))
                if whole is not None:
                    values = values[whole]
                self.total[b] += values.sum()
        self.windows += values.size

    @property
    def mean(self) -> np.ndarray:
        """Mean over the windows, ``(C,)``; NaN without windows."""
        return self.total / self.windows if self.windows else np.full_like(self.total, np.nan)
