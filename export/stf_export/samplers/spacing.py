# SPDX-License-Identifier: Apache-2.0
"""Which N of the T training steps a sampling visits, from noise to image.

=========== ===================================================== ======================= ==========================
name        time steps, i from 0 to N-1, before they are reversed T = 1000, N = 4         who uses it
=========== ===================================================== ======================= ==========================
leading     i floor(T / N)                                        750, 500, 250, 0        Song et al. 2021, D.3
trailing    round(T - i T / N) - 1                                999, 749, 499, 249      Lin et al. 2024, table 2
linspace    round(i (T - 1) / (N - 1))                            999, 666, 333, 0        Nichol and Dhariwal 2021, 4
stfdiff     trunc(-1 + (i + 1) T / N)                             999, 749, 499, 249      STFDiff
guided      i s, with the smallest whole s that gives N of them   750, 500, 250, 0        guided diffusion ("ddimN")
=========== ===================================================== ======================= ==========================

Only trailing and stfdiff begin at the noisiest step T-1, where the first image is nothing but noise. With one step
leading, linspace and guided begin and end at time 0. Halves are rounded to even, as floating-point numbers fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from stf_infer.errors import ExportError

SpacingName = Literal["leading", "trailing", "linspace", "stfdiff", "guided"]


def timesteps(spacing: SpacingName, steps: int, train_steps: int) -> tuple[int, ...]:
    """The time steps of a sampling, from high to low.

    Args:
        spacing: Which rule.
        steps: N.
        train_steps: T.

    Raises:
        ExportError: An unknown rule, fewer than one step, more than T, or a number that the rule cannot give.
    """
    if spacing not in get_args(SpacingName):
        raise ExportError("There is no spacing of that name", got=spacing, allowed=", ".join(get_args(SpacingName)))
    if not 1 <= steps <= train_steps:
        raise ExportError(
            "The network was not trained with that many steps",
            got=f"{steps} steps",
            allowed=f"1 to {train_steps}",
            fix="Choose fewer --steps, or state the number of training steps with --timesteps-count",
        )
    if spacing == "leading":
        found = np.arange(steps) * (train_steps // steps)
    elif spacing == "trailing":
        # Rounding of the quotient may give one entry too many at the end.
        found = np.round(np.arange(train_steps, 0, -train_steps / steps))[:steps][::-1] - 1
    elif spacing == "linspace":
        found = np.round(np.linspace(0, train_steps - 1, steps))
    elif spacing == "stfdiff":
        found = np.array([(i + 1) * train_steps // steps - 1 for i in range(steps)])
    else:
        found = np.arange(steps) * _guided_stride(steps, train_steps)
    return tuple(int(t) for t in found[::-1])


def check_timesteps(given: Sequence[int], train_steps: int) -> tuple[int, ...]:
    """Time steps that were given one by one.

    Raises:
        ExportError: They do not go down, or one of them is no training step.
    """
    found = tuple(int(t) for t in given)
    falling = all(later < earlier for earlier, later in pairwise(found))
    if not found or not falling or found[0] >= train_steps or found[-1] < 0:
        raise ExportError(
            "These time steps cannot be sampled",
            got=", ".join(map(str, found)) or "none",
            allowed=f"whole numbers from {train_steps - 1} down to 0, each below the one before",
        )
    return found


def _guided_stride(steps: int, train_steps: int) -> int:
    strides = range(1, train_steps + 1)
    for stride in strides:
        if -(-train_steps // stride) == steps:
            return stride
    counts = sorted({-(-train_steps // stride) for stride in strides}, key=lambda n: abs(n - steps))
    raise ExportError(
        f"No whole stride through {train_steps} training steps makes that many steps",
        got=f"{steps} steps",
        allowed=f"{' or '.join(map(str, sorted(counts[:2])))}, or another spacing",
    )
