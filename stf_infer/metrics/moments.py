# SPDX-License-Identifier: Apache-2.0
"""Partial sums from which every pixelwise figure follows, and which merge without loss.

A scene is measured tile by tile, in any order and on any number of workers: each adds its pixels to its own
:class:`Moments`, and the moments are merged. Averaging the figures of tiles would be wrong; merging sums is
exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from ..errors import MetricError
from .checks import as_pair, as_use


def _column(place: int) -> Any:
    """One of the sums of every band, ``(C,)``: a view."""
    return property(lambda moments: moments.sums[:, place])


class Moments:
    """Centred sums of pairs (prediction, truth), per band.

    Variances are kept as sums of squared deviations from the mean and merged by the pairwise update of Chan,
    Golub and LeVeque (1983), The American Statistician 37(3):242-247; a plain sum of squares would lose all
    digits where the mean is large against the spread (land surface temperature in kelvin). A constant band
    has a deviation of exactly zero, however it is split.

    Every pixel counts in all bands or in none, so one count serves all bands. Sums run in float64, some thousand
    pixels at a time about a value of theirs, and parts are merged in a fixed order: the number of threads does not
    change a bit.

    Args:
        bands: Number of bands C.

    Attributes:
        sums: float64 ``(C, 11)``: the sums below, in their order.
        count: Pixels n.
        mean_prediction: Mean of the predictions, ``(C,)``.
        mean_truth: Mean of the truth, ``(C,)``.
        deviation_prediction: Sum of ``(p - mean_p)^2``, ``(C,)``.
        deviation_truth: Sum of ``(t - mean_t)^2``, ``(C,)``.
        codeviation: Sum of ``(p - mean_p) (t - mean_t)``, ``(C,)``.
        error: Sum of ``p - t``, ``(C,)``.
        absolute_error: Sum of ``|p - t|``, ``(C,)``.
        squared_error: Sum of ``(p - t)^2``, ``(C,)``.
        minimum_truth: Smallest truth, ``(C,)``; inf without pixels.
        maximum_truth: Largest truth, ``(C,)``; -inf without pixels.
    """

    mean_prediction = _column(1)
    mean_truth = _column(2)
    deviation_prediction = _column(3)
    deviation_truth = _column(4)
    codeviation = _column(5)
    error = _column(6)
    absolute_error = _column(7)
    squared_error = _column(8)
    minimum_truth = _column(9)
    maximum_truth = _column(10)

    def __init__(self, bands: int) -> None:
        if bands < 1:
            raise MetricError("Moments need at least one band", got=bands)
        self.sums = np.zeros((bands, 11))
        self.sums[:, 9], self.sums[:, 10] = np.inf, -np.inf

    @property
    def bands(self) -> int:
        """Number of bands C."""
        return len(self.sums)

    @property
    def count(self) -> int:
        """Pixels n: the same in every band."""
        return int(self.sums[0, 0])

    def update(self, prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Add pixels of images.

        Args:
            prediction: ``(C, H, W)``, or ``(H, W)`` for one band; any real dtype.
            truth: Of the same shape.
            mask: ``(H, W)``, True where a pixel is used. A pixel that is not finite in every band is left out.

        Raises:
            MetricError: Shapes or the number of bands do not fit.
        """
        from .stream import Stream, Sums

        prediction, truth = as_pair(prediction, truth)
        if len(prediction) != self.bands:
            raise MetricError("The number of bands changed", got=len(prediction), allowed=self.bands)
        Stream(self.bands, Sums(moments=self)).update(prediction, truth, as_use(mask, prediction.shape[1:]))

    def add(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Add pixels that stand in a row: ``(C, N)`` each; N may be 0."""
        if prediction.shape[1]:
            self.update(prediction[:, None], truth[:, None])

    def merge(self, other: Moments) -> Moments:
        """Add the pixels of other moments to these; returns self.

        Raises:
            MetricError: The numbers of bands differ.
        """
        if other.bands != self.bands:
            raise MetricError(
                "Moments of different numbers of bands cannot be merged", got=other.bands, allowed=self.bands
            )
        _core.merge_pairs(self.sums, other.sums)
        return self
