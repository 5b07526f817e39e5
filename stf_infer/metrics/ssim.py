# SPDX-License-Identifier: Apache-2.0
"""Indices made from local statistics: structural similarity, and the universal quality index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..errors import MetricError
from .windows import WindowedMean

WindowName = Literal["gaussian", "uniform"]
WINDOWS: tuple[str, ...] = get_args(WindowName)

K1, K2, SIGMA = 0.01, 0.03, 1.5
DEFAULT_SIZE = {"gaussian": 11, "uniform": 7}
UQI_SIZE = 8


@dataclass(frozen=True)
class Window:
    """The sliding window of SSIM.

    Attributes:
        name: ``gaussian`` (sigma 1.5) or ``uniform``.
        size: Rows and columns, odd: 11 for ``gaussian`` and 7 for ``uniform`` unless stated.
    """

    name: WindowName = "gaussian"
    size: int = 11

    @classmethod
    def of(cls, name: str, size: int | None = None) -> Window:
        """A window by name.

        Raises:
            MetricError: The name is unknown, or the size is not an odd number of at least 3.
        """
        if name not in WINDOWS:
            raise MetricError("There is no SSIM window of that name", got=repr(name), allowed=", ".join(WINDOWS))
        size = DEFAULT_SIZE[name] if size is None else size
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 3 or size % 2 == 0:
            raise MetricError("The SSIM window has no centre", got=repr(size), allowed="an odd number, at least 3")
        return cls(name, int(size))  # type: ignore[arg-type]

    @property
    def taps(self) -> np.ndarray:
        """Weights along one axis, ``(size,)``; the window is their outer product.

        w_k = exp(-k^2 / (2 sigma^2)) / sum, k = -r ... r, r = (size - 1) / 2; for ``uniform`` all are 1, and their
        sum is divided by at the end.
        """
        if self.name == "uniform":
            return np.ones(self.size)
        radius = self.size // 2
        taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SIGMA) ** 2)
        out: np.ndarray = taps / taps.sum()
        return out


def ssim(bands: int, window: Window, data_range: float) -> WindowedMean:
    """Mean structural similarity of a scene, at most 1; 1 for identical images.

    SSIM = (2 m_p m_t + C1)(2 s_pt + C2) / ((m_p^2 + m_t^2 + C1)(s_p^2 + s_t^2 + C2)) in every window, with
    local means m, population variances s^2 and covariance s_pt, C1 = (K1 L)^2, C2 = (K2 L)^2, K1 = 0.01, K2 =
    0.03, L the data range; averaged over all windows that lie wholly inside the image and hold no excluded
    pixel. Source: Wang, Bovik, Sheikh and Simoncelli (2004), IEEE Trans. Image Process. 13(4):600-612:
    equation 13, with the statistics of equations 14 to 16 and the mean of equation 17. Their window is the
    default: Gaussian, 11 x 11, sigma 1.5. Review, equation 19. Cost: the dearest of the figures; sums along columns
    and rows one after the other, each of about 1.5 ``size`` operations a value for four fields.
    """
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    return WindowedMean(bands, "ssim", window.taps, uniform=window.name == "uniform", c1=c1, c2=c2)


def uqi(bands: int) -> WindowedMean:
    """Mean universal image quality index of a scene, in [-1, 1]; 1 for identical images.

    Q = 4 s_pt m_p m_t / ((s_p^2 + s_t^2)(m_p^2 + m_t^2)) in windows of 8 x 8 equal weights, moved by one
    pixel: SSIM with C1 = C2 = 0. Where both images are flat in a window, the factor 2 s_pt / (s_p^2 + s_t^2)
    is 1; where both means are zero, the factor 2 m_p m_t / (m_p^2 + m_t^2) is 1. Sums are built by doubling
    (8 = 2 x 2 x 2 in three additions), so that a flat window has exactly its own value as mean and a variance of
    exactly zero. Source: Wang and Bovik (2002), IEEE Signal Process. Lett. 9(3):81-84, equation 1.
    """
    return WindowedMean(bands, "uqi", np.ones(UQI_SIZE), uniform=True)
