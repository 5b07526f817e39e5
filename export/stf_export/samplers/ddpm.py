# SPDX-License-Identifier: Apache-2.0
"""The ancestral sampler of DDPM, over all training steps or some of them.

Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models. NeurIPS 2020, arXiv:2006.11239.
Nichol, Dhariwal: Improved Denoising Diffusion Probabilistic Models. ICML 2021, arXiv:2102.09672.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from stf_infer.diffusion import Update, Variance


def updates(levels: Iterable[tuple[float, float]], variance: Variance) -> tuple[Update, ...]:
    """Factors of every step.

    Between two steps with alpha-bar abar and abar' lies beta = 1 - abar / abar' (Nichol and Dhariwal, equation 19);
    over all training steps that is their beta. The posterior of Ho et al., equation 7, is

        mean     = sqrt(abar') beta / (1 - abar) x0  +  sqrt(1 - beta) (1 - abar') / (1 - abar) x
        variance = (1 - abar') / (1 - abar) beta

    ``small`` draws with that variance, ``large`` with beta (Ho et al., section 3.2). ``learned`` mixes their logarithms
    by what the network says (Nichol and Dhariwal, equation 15). Nothing is drawn after the last step.

    Args:
        levels: Alpha-bar at, and after, each step.
        variance: Which variance the noise has.
    """
    return tuple(_update(level, following, variance) for level, following in levels)


def _update(level: float, following: float, variance: Variance) -> Update:
    beta = 1 - level / following
    left = (1 - following) / (1 - level)
    small, large = math.sqrt(left * beta), math.sqrt(beta)
    mean = {"x0": math.sqrt(following) * beta / (1 - level), "x": math.sqrt(1 - beta) * left}
    if following == 1:
        return Update(x0=1.0)
    if variance == "learned":
        return Update(**mean, noise=small, largest_noise=large)
    return Update(**mean, noise=small if variance == "small" else large)
