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

    The angle is computed as 2 atan2(|u - v|, |u + v|) with u = p/|p| and v = t/|t| (Kahan 2006, How Futile
    are Mindless Assessments of Roundoff, on mangled angles): the same angle, but exact to rounding for small
    ones, where arccos loses half of the digits.

    A spectrum of zeros has no direction: such a pixel is left out of the mean and counted. One band has no
    direction but its sign: SAM is undefined (NaN) for it.

    Attributes:
        total: Sum of the angles in radians.
        pixels: Pixels that were averaged.
        zero_vectors: Pixels left out because either spectrum is zero.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self.pixels = 0
        self.zero_vectors = 0

    def add(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Add pixels that are known to be finite: float64 ``(C, N)`` each, C at least 2."""
        with np.errstate(over="ignore", invalid="ignore"):
            length_p, length_t = _length(prediction), _length(truth)
            directed = (length_p > 0) & (length_t > 0)
            count = int(np.count_nonzero(directed))
            if count < len(directed):
                prediction, truth = prediction[:, directed], truth[:, directed]
                length_p, length_t = length_p[directed], length_t[directed]
            apart, along = np.zeros(count), np.zeros(count)
            for p, t in zip(prediction, truth, strict=True):
                u, v = p / length_p, t / length_t
                difference = u - v
                u += v
                apart += np.square(difference, out=difference)
                along += np.square(u, out=u)
            angles = np.arctan2(np.sqrt(apart, out=apart), np.sqrt(along, out=along))
        self.total += 2 * float(angles.sum())
        self.pixels += count
        self.zero_vectors += len(directed) - count

    def merge(self, other: SpectralAngles) -> SpectralAngles:
        """Add the pixels of another sum to this one; returns self."""
        self.total += other.total
        self.pixels += other.pixels
        self.zero_vectors += other.zero_vectors
        return self

    @property
    def radians(self) -> float:
        """Mean angle in radians, in [0, pi]; NaN without pixels."""
        return self.total / self.pixels if self.pixels else math.nan

    @property
    def degrees(self) -> float:
        """Mean angle in degrees, in [0, 180]; NaN without pixels."""
        return math.degrees(self.radians)


def _length(spectra: np.ndarray) -> np.ndarray:
    """Euclidean length of each column of ``(C, N)``."""
    out: np.ndarray = np.sqrt(np.einsum("cn,cn->n", spectra, spectra))
    return out
