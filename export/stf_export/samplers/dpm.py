# SPDX-License-Identifier: Apache-2.0
"""DPM-Solver++(2M): the probability flow solved to second order, with the clean image of the step before.

Lu, Zhou, Bao, Chen, Li, Zhu: DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models.
arXiv:2211.01095, 2022.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from stf_infer.diffusion import Update


def updates(levels: Sequence[tuple[float, float]]) -> tuple[Update, ...]:
    """Factors of every step.

    With alpha = sqrt(abar), sigma = sqrt(1 - abar), lambda = log(alpha / sigma), h = lambda' - lambda over a step and
    r = h(step before) / h, algorithm 2 is

        D  = (1 + 1 / 2r) x0 - (1 / 2r) x0(step before)
        x' = (sigma' / sigma) x - alpha' (exp(-h) - 1) D

    The first step has nothing before it and is of first order: D = x0, which is DDIM. So is the last one, where
    lambda' is infinite and x' = x0.

    Args:
        levels: Alpha-bar at, and after, each step; the latter is that at the next one.
    """
    found, before = [], None
    for level, following in levels:
        alpha, sigma = math.sqrt(level), math.sqrt(1 - level)
        next_alpha, next_sigma = math.sqrt(following), math.sqrt(1 - following)
        of_data = next_alpha - alpha * next_sigma / sigma  # exp(-h) = alpha sigma' / (sigma alpha')
        if following == 1:
            found.append(Update(x0=1.0))
            break
        h = math.log(next_alpha / next_sigma) - math.log(alpha / sigma)
        share = 0.0 if before is None else h / before / 2  # 1 / 2r
        found.append(Update(x=next_sigma / sigma, x0=of_data * (1 + share), previous_x0=-of_data * share))
        before = h
    return tuple(found)
