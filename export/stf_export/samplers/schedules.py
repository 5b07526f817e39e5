# SPDX-License-Identifier: Apache-2.0
"""Noise schedules: how much of a clean image is left after t of T training steps.

A schedule is its ``alpha-bar``: the share of the clean image's variance in the noisy one, for t from 0 to T-1, with

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) epsilon,   abar_t = product over s <= t of (1 - beta_s)

(Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models. NeurIPS 2020, arXiv:2006.11239, equation 4.) Everything is
computed in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from stf_infer.errors import ExportError

ScheduleName = Literal["linear", "scaled-linear", "cosine", "sqrt"]

# No step may take away more than this part of what is left of the image.
LARGEST_BETA = 0.999

# First and last beta of the linear schedules where there are a thousand steps (Ho et al. 2020, section 4).
BETA_RANGE = (1e-4, 0.02)

_COSINE_OFFSET = 0.008
_SQRT_OFFSET = 1e-4


@dataclass(frozen=True)
class Schedule:
    """Noise levels of the training steps.

    Attributes:
        name: A name of :data:`ScheduleName`, ``checkpoint`` or ``given``.
        alphas_cumprod: Alpha-bar, float64, falling from almost 1.
    """

    name: str
    alphas_cumprod: np.ndarray

    def __post_init__(self) -> None:
        values = self.alphas_cumprod
        usable = values.ndim == 1 and len(values) > 0 and np.isfinite(values).all()
        if not usable or not (values > 0).all() or not (values < 1).all() or not (np.diff(values) < 0).all():
            raise ExportError(
                f"The noise schedule {self.name} cannot be sampled: alpha-bar must fall in every step",
                got=_shown(values),
                allowed="numbers that fall from below 1 to above 0",
            )

    @property
    def steps(self) -> int:
        """T, the number of training steps."""
        return len(self.alphas_cumprod)


def schedule(name: ScheduleName, steps: int, beta_range: tuple[float, float] | None = None) -> Schedule:
    """A schedule by name.

    ``linear``
        Betas in equal steps (Ho et al. 2020, section 4).
    ``scaled-linear``
        Square roots of the betas in equal steps (Rombach et al. 2022, arXiv:2112.10752, the released code).
    ``cosine``
        ``abar(u) = cos^2((u + 0.008) / 1.008 * pi / 2)`` over u = t / T, each beta at most 0.999 (Nichol and Dhariwal
        2021, arXiv:2102.09672, equation 17).
    ``sqrt``
        ``abar(u) = 1 - sqrt(u + 0.0001)``, each beta at most 0.999 (Li et al. 2022, arXiv:2205.14217, appendix A).

    Args:
        name: Which one.
        steps: T.
        beta_range: First and last beta of the linear ones. None takes 0.0001 and 0.02 for T = 1000, and in proportion
            to 1000 / T otherwise, so that the last image is noise for every T.

    Raises:
        ExportError: An unknown name, no step, or betas that cannot be.
    """
    if name not in get_args(ScheduleName):
        raise ExportError(
            "There is no noise schedule of that name", got=name, allowed=", ".join(get_args(ScheduleName))
        )
    if steps < 1:
        raise ExportError("A diffusion has at least one training step", got=steps, allowed="1 or more")
    if name in ("cosine", "sqrt"):
        if beta_range is not None:
            raise ExportError(
                f"The schedule {name} has no range of betas", got=beta_range, allowed="linear, scaled-linear"
            )
        betas = _betas_of_curve(name, steps)
    else:
        betas = _betas_in_equal_steps(steps, beta_range, power=1 if name == "linear" else 2)
    return from_betas(name, betas)


def from_betas(name: str, betas: np.ndarray) -> Schedule:
    """The schedule of given betas.

    Raises:
        ExportError: A beta is not between 0 and 1.
    """
    betas = np.asarray(betas, np.float64)
    if betas.ndim != 1 or not len(betas) or not ((betas > 0) & (betas < 1)).all():
        raise ExportError(
            f"The betas of the noise schedule {name} cannot be", got=_shown(betas), allowed="numbers between 0 and 1"
        )
    return Schedule(name, np.cumprod(1 - betas))


def _betas_in_equal_steps(steps: int, beta_range: tuple[float, float] | None, *, power: int) -> np.ndarray:
    first, last = beta_range or (b * 1000 / steps for b in BETA_RANGE)
    # A short schedule in proportion may pass what a beta can be.
    limit = LARGEST_BETA if beta_range is None else math.inf
    return np.minimum(np.linspace(first ** (1 / power), last ** (1 / power), steps) ** power, limit)


def _betas_of_curve(name: str, steps: int) -> np.ndarray:
    u = np.arange(steps + 1) / steps
    if name == "cosine":
        left = np.cos((u + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * np.pi / 2) ** 2
    else:
        left = 1 - np.sqrt(np.minimum(u + _SQRT_OFFSET, 1.0))
    return np.minimum(1 - left[1:] / left[:-1], LARGEST_BETA)


def _shown(values: np.ndarray) -> str:
    """The ends of a list of numbers."""
    flat = np.ravel(values)
    if len(flat) <= 4:
        return np.array2string(flat, separator=", ")
    return f"{len(flat)} numbers, {flat[0]:.6g}, {flat[1]:.6g} ... {flat[-1]:.6g}"
