# SPDX-License-Identifier: Apache-2.0
"""STARFM, the moving window that most papers of the field compare with.

Gao, Masek, Schwaller, Hall: On the Blending of the Landsat and MODIS Surface Reflectance: Predicting Daily Landsat
Surface Reflectance. IEEE Transactions on Geoscience and Remote Sensing 44 (8), 2207-2218, 2006,
doi:10.1109/TGRS.2006.872081. With one pair of reference images, band by band::

    S = |F1 - C1|    T = |C1 - C2|    D = 1 + distance / (window / 2)
    F2(x) = sum of w(k) (F1(k) + C2(k) - C1(k)) over the k that take part,    w ~ 1 / (ln(S + 1) ln(T + 1) D)

A pixel k of the window around x takes part if |F1(k) - F1(x)| is at most twice the scene's standard deviation over the
number of classes, S(k) at most S(x) and T(k) at most T(x), each with an allowance for the uncertainty of the images. S
and T are counted in steps of the smallest difference that the images tell; the paper's cases without any difference are
its limits for one step.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from .. import _core
from ..errors import UsageError

Weight = Literal["logarithm", "product"]


@dataclass(frozen=True)
class Starfm:
    """Settings of STARFM, in units of the images.

    Attributes:
        window: Rows and columns of the window in fine pixels, odd.
        classes: Estimated number of land cover classes: more of them make fewer pixels alike.
        fine_uncertainty: Standard error of the fine images.
        coarse_uncertainty: That of the coarse images.
        step: The smallest difference that the images tell, 0.0001 for reflectance stored in ten-thousandths.
        weight: ``logarithm`` as above, or ``product``: w ~ 1 / (S T D).

    Raises:
        UsageError: A value is not allowed.
    """

    window: int = 51
    classes: int = 4
    fine_uncertainty: float = 0.002
    coarse_uncertainty: float = 0.002
    step: float = 1e-4
    weight: Weight = "logarithm"

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0:
            raise UsageError("The window of STARFM cannot be used", got=self.window, allowed="odd, 1 or more")
        if self.classes < 1:
            raise UsageError("The number of classes cannot be used", got=self.classes, allowed="1 or more")
        for name in ("fine_uncertainty", "coarse_uncertainty"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"The {name} cannot be used", got=getattr(self, name), allowed="0 or more")
        if not 0 < self.step < math.inf:
            raise UsageError("The step cannot be used", got=self.step, allowed="more than 0")
        if self.weight not in get_args(Weight):
            raise UsageError("There is no such weight", got=self.weight, allowed=", ".join(get_args(Weight)))

    @property
    def radius(self) -> int:
        """Pixels around a pixel that its prediction depends on."""
        return self.window // 2

    @property
    def fine_coarse(self) -> float:
        """Uncertainty of a difference between a fine and a coarse image."""
        return math.hypot(self.fine_uncertainty, self.coarse_uncertainty)

    @property
    def coarse_coarse(self) -> float:
        """Uncertainty of a difference between two coarse images."""
        return math.sqrt(2) * self.coarse_uncertainty

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def starfm(
    fine_t1: np.ndarray,
    coarse_t1: np.ndarray,
    coarse_t2: np.ndarray,
    settings: Starfm | None = None,
    *,
    deviation: np.ndarray | None = None,
    threads: int = 1,
) -> np.ndarray:
    """The fine image at t2, band by band.

    Args:
        fine_t1: ``(C, H, W)``, finite.
        coarse_t1: The same shape: brought to the fine grid already.
        coarse_t2: The same.
        settings: See :class:`Starfm`; None takes its defaults.
        deviation: Standard deviation of each band of the scene that the images are part of, ``(C,)``; None takes that
            of ``fine_t1``.
        threads: CPU threads.

    Returns:
        float32 ``(C, H, W)``. Windows are cut at the images' edges.

    Raises:
        UsageError: The images do not lie on each other.

    Cost: ``window**2`` times a few operations a pixel and band; linear in pixels. Five images of one band in memory.
    """
    settings = settings or Starfm()
    images = [np.ascontiguousarray(image, np.float32) for image in (fine_t1, coarse_t1, coarse_t2)]
    fine = images[0]
    if fine.ndim != 3 or any(image.shape != fine.shape for image in images) or not fine.size:
        raise UsageError(
            "STARFM takes three images on the fine grid",
            got=", ".join(str(image.shape) for image in images),
            allowed="(C, H, W), all alike",
        )
    spread = fine.std(axis=(1, 2), dtype=np.float64) if deviation is None else np.asarray(deviation, np.float64)
    out = np.empty_like(fine)
    for band, (before, coarse_before, coarse_after) in enumerate(zip(*images, strict=True)):
        _core.starfm(
            before,
            coarse_before,
            coarse_after,
            settings.radius,
            2 * float(spread[band]) / settings.classes,
            settings.fine_coarse,
            settings.coarse_coarse,
            settings.step,
            settings.weight,
            out[band],
            threads,
        )
    return out
