# SPDX-License-Identifier: Apache-2.0
"""Indices made from local statistics: structural similarity, and the universal quality index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..errors import MetricError
from .windows import LocalStatistics, WindowedMean, box_smooth, gaussian_smooth

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


def ssim(bands: int, window: Window, data_range: float) -> WindowedMean:
    """Mean structural similarity of a scene, at most 1; 1 for identical images.

    SSIM = (2 m_p m_t + C1)(2 s_pt + C2) / ((m_p^2 + m_t^2 + C1)(s_p^2 + s_t^2 + C2)) in every window, with
    local means m, population variances s^2 and covariance s_pt, C1 = (K1 L)^2, C2 = (K2 L)^2, K1 = 0.01, K2 =
    0.03, L the data range; averaged over all windows that lie wholly inside the image and hold no excluded
    pixel. Source: Wang, Bovik, Sheikh and Simoncelli (2004), IEEE Trans. Image Process. 13(4):600-612:
    equation 13, with the statistics of equations 14 to 16 and the mean of equation 17. Their window is the
    default: Gaussian, 11 x 11, sigma 1.5. Review, equation 19. Cost: the dearest of the figures, some 140
    operations per value.
    """
    smooth = gaussian_smooth(window.size, SIGMA) if window.name == "gaussian" else box_smooth(window.size)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2

    def index(local: LocalStatistics) -> np.ndarray:
        product = local.mean_p * local.mean_t
        squares = local.mean_p**2 + local.mean_t**2
        upper = (2 * product + c1) * (2 * local.covariance + c2)
        upper /= (squares + c1) * (local.variances + c2)
        return upper

    return WindowedMean(bands, window.size, smooth, index)


def uqi(bands: int) -> WindowedMean:
    """Mean universal image quality index of a scene, in [-1, 1]; 1 for identical images.

    Q = 4 s_pt m_p m_t / ((s_p^2 + s_t^2)(m_p^2 + m_t^2)) in windows of 8 x 8 equal weights, moved by one
    pixel: SSIM with C1 = C2 = 0. Where both images are flat in a window, the factor 2 s_pt / (s_p^2 + s_t^2)
    is 1; where both means are zero, the factor 2 m_p m_t / (m_p^2 + m_t^2) is 1. Source: Wang and Bovik
    (2002), IEEE Signal Process. Lett. 9(3):81-84, equation 1.
    """

    def index(local: LocalStatistics) -> np.ndarray:
        structure = _ratio_or_one(2 * local.covariance, local.variances)
        np.clip(structure, -1, 1, out=structure)
        structure *= _ratio_or_one(2 * local.mean_p * local.mean_t, local.mean_p**2 + local.mean_t**2)
        return structure

    return WindowedMean(bands, UQI_SIZE, box_smooth(UQI_SIZE), index)


def _ratio_or_one(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.ones_like(denominator)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
