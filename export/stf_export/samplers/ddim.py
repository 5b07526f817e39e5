# SPDX-License-Identifier: Apache-2.0
"""DDIM: from one noise level to any lower one along the noise that the network reads.

Song, Meng, Ermon: Denoising Diffusion Implicit Models. ICLR 2021, arXiv:2010.02502.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from stf_infer.diffusion import Update


def updates(levels: Iterable[tuple[float, float]], eta: float) -> tuple[Update, ...]:
    """Factors of every step.

    With abar at the step and abar' after it, equation 12 is

        x' = sqrt(abar') x0 + sqrt(1 - abar' - sigma^2) epsilon + sigma z

    and equation 16 is sigma = eta sqrt((1 - abar') / (1 - abar)) sqrt(1 - abar / abar'). With eta 0 nothing is drawn;
    with eta 1 as much as the ancestral sampler draws. After the last step abar' is 1, and the sample is x0.

    Args:
        levels: Alpha-bar at, and after, each step.
        eta: 0 to 1.
    """
    return tuple(_update(level, following, eta) for level, following in levels)


def _update(level: float, following: float, eta: float) -> Update:
    left = 1 - following
    sigma = eta * math.sqrt(left / (1 - level) * (1 - level / following))
    # Rounding must not make the root's argument negative where eta is 1.
    return Update(x0=math.sqrt(following), epsilon=math.sqrt(max(left - sigma**2, 0.0)), noise=sigma)
