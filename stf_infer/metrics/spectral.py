# SPDX-License-Identifier: Apache-2.0
"""The spectral angle, as a partial sum over pixels."""

from __future__ import annotations

import math

import numpy as np


class SpectralAngles:
    """Sum of the spectral angles between the spectra of prediction and truth, one per pixel.

    SAM = 1/n sum over pixels of arccos(<p, t> / (|p| |t|)), p and t being the spectra ``(C,)`` of one pixel.
    Sources: Kruse et al. (1993), Remote Sens. Environ. 44:145-163; Yuhas, Goetz and Boardman (1992), JPL
    Publ. 92-14 vol. 1, 147-149; Sun, Cui, Liu and Yan (review), equation 20.

    The angle is computed as 2 atan(|u - v| / |u + v|) with u = p and v = t |p|/|t| (Kahan 2006, How Futile
    are Mindless Assessments of Roundoff, on mangled angles): the same angle, but exact to rounding for small
    ones, where arccos loses half of the digits.

    A spectrum of zeros has no direction: such a pixel is left out of the mean and counted. One band has no
    direction but its sign: SAM is undefined (NaN) for it.

    Attributes:
        sums: float64 ``(1,)``: sum of the angles in radians.
        counts: int64 ``(2,)``: pixels that were averaged, and pixels with a spectrum of zeros.
    """

    def __init__(self) -> None:
        self.sums = np.zeros(1)
        self.counts = np.zeros(2, np.int64)

    @property
    def total(self) -> float:
        """Sum of the angles in radians."""
        return float(self.sums[0])

    @property
    def pixels(self) -> int:
        """Pixels that were averaged."""
        return int(self.counts[0])

    @property
    def zero_vectors(self) -> int:
        """Pixels left out because either spectrum is zero."""
        return int(self.counts[1])

    def add(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Add pixels that stand in a row: ``(C, N)`` each, C at least 2; N may be 0."""
        from .stream import Stream, Sums

        if prediction.shape[1]:
            Stream(len(prediction), Sums(angles=self)).update(prediction[:, None], truth[:, None])

    def merge(self, other: SpectralAngles) -> SpectralAngles:
        """Add the pixels of another sum to this one; returns self."""
        self.sums += other.sums
        self.counts += other.counts
        return self

    @property
    def radians(self) -> float:
        """Mean angle in radians, in [0, pi]; NaN without pixels."""
        return self.total / self.pixels if self.pixels else math.nan

    @property
    def degrees(self) -> float:
        """Mean angle in degrees, in [0, 180]; NaN without pixels."""
        return math.degrees(self.radians)
