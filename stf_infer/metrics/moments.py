# SPDX-License-Identifier: Apache-2.0
"""Partial sums from which every pixelwise figure follows, and which merge without loss.

A scene is measured tile by tile, in any order and on any number of workers: each adds its pixels to its own
:class:`Moments`, and the moments are merged. Averaging the figures of tiles would be wrong; merging sums is
exact.
"""

from __future__ import annotations

import numpy as np

from ..errors import MetricError
from .checks import as_pair, as_use, usable_pixels


class Moments:
    """Centred sums of pairs (prediction, truth), per band.

    Variances are kept as sums of squared deviations from the mean and merged by the pairwise update of Chan,
    Golub and LeVeque (1983), The American Statistician 37(3):242-247; a plain sum of squares would lose all
    digits where the mean is large against the spread (land surface temperature in kelvin). A constant band
    has a deviation of exactly zero, however it is split.

    Every pixel counts in all bands or in none, so one count serves all bands.

    Args:
        bands: Number of bands C.

    Attributes:
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

    def __init__(self, bands: int) -> None:
        if bands < 1:
            raise MetricError("Moments need at least one band", got=bands)
        self.count = 0
        self.mean_prediction = np.zeros(bands)
        self.mean_truth = np.zeros(bands)
        self.deviation_prediction = np.zeros(bands)
        self.deviation_truth = np.zeros(bands)
        self.codeviation = np.zeros(bands)
        self.error = np.zeros(bands)
        self.absolute_error = np.zeros(bands)
        self.squared_error = np.zeros(bands)
        self.minimum_truth = np.full(bands, np.inf)
        self.maximum_truth = np.full(bands, -np.inf)

    @property
    def bands(self) -> int:
        """Number of bands C."""
        return len(self.error)

    def update(self, prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Add pixels of images.

        Args:
            prediction: ``(C, H, W)``, or ``(H, W)`` for one band; any real dtype.
            truth: Of the same shape.
            mask: ``(H, W)``, True where a pixel is used. A pixel that is not finite in every band is left out.

        Raises:
            MetricError: Shapes or the number of bands do not fit.
        """
        prediction, truth = as_pair(prediction, truth)
        if len(prediction) != self.bands:
            raise MetricError("The number of bands changed", got=len(prediction), allowed=self.bands)
        wanted = as_use(mask, prediction.shape[1:])
        p, t = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
        usable = usable_pixels(p, t, wanted)
        self.add(p[:, usable], t[:, usable])

    def add(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Add pixels that are known to be finite: float64 ``(C, N)`` each; N may be 0."""
        if prediction.shape[1] == 0:
            return
        self.merge(self._of(prediction, truth))

    @classmethod
    def _of(cls, prediction: np.ndarray, truth: np.ndarray) -> Moments:
        out = cls(len(prediction))
        out.count = prediction.shape[1]
        # A value near the top of float64 overflows when squared; Evaluation refuses the result by name.
        with np.errstate(over="ignore", invalid="ignore"):
            for b, (p, t) in enumerate(zip(prediction, truth, strict=True)):
                out.mean_prediction[b], dp = _centred(p)
                out.mean_truth[b], dt = _centred(t)
                out.deviation_prediction[b] = _dot(dp, dp)
                out.deviation_truth[b] = _dot(dt, dt)
                out.codeviation[b] = _dot(dp, dt)
                error = p - t
                out.error[b] = error.sum()
                out.squared_error[b] = _dot(error, error)
                out.absolute_error[b] = np.abs(error, out=error).sum()
                out.minimum_truth[b], out.maximum_truth[b] = t.min(), t.max()
        return out

    def merge(self, other: Moments) -> Moments:
        """Add the pixels of other moments to these; returns self.

        Raises:
            MetricError: The numbers of bands differ.
        """
        if other.bands != self.bands:
            raise MetricError(
                "Moments of different numbers of bands cannot be merged", got=other.bands, allowed=self.bands
            )
        if other.count == 0:
            return self
        count = self.count + other.count
        share = other.count / count
        weight = self.count * share
        with np.errstate(over="ignore", invalid="ignore"):
            step_p = other.mean_prediction - self.mean_prediction
            step_t = other.mean_truth - self.mean_truth
            self.deviation_prediction += other.deviation_prediction + weight * step_p * step_p
            self.deviation_truth += other.deviation_truth + weight * step_t * step_t
            self.codeviation += other.codeviation + weight * step_p * step_t
            self.mean_prediction += share * step_p
            self.mean_truth += share * step_t
            self.error += other.error
            self.absolute_error += other.absolute_error
            self.squared_error += other.squared_error
        np.minimum(self.minimum_truth, other.minimum_truth, out=self.minimum_truth)
        np.maximum(self.maximum_truth, other.maximum_truth, out=self.maximum_truth)
        self.count = count
        return self


def _centred(values: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean and deviations of a vector; the deviations of a constant are exactly zero."""
    first = values[0]
    deviation = values - first
    step = deviation.mean()
    deviation -= step
    return float(first + step), deviation


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of products, in this thread: BLAS would start threads of its own, which spin where cores are shared."""
    return float(np.einsum("n,n->", a, b))
