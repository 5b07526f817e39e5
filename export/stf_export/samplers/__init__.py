# SPDX-License-Identifier: Apache-2.0
"""Samplers of diffusion networks: noise schedules, lists of steps, and the factors of each step.

    resolve(Sampler(name="ddim", steps=4), preset)   the stf_infer.diffusion.SamplerSpec of a bundle

The mathematics is here and in :mod:`stf_infer.diffusion`, without torch; ``unrolled`` makes a torch module of it.
"""

from __future__ import annotations

from .options import GRAPH_STEPS, UNKNOWN, Preset, Sampler, resolve
from .schedules import Schedule, ScheduleName, from_betas, schedule
from .spacing import SpacingName, timesteps

__all__ = [
    "GRAPH_STEPS",
    "UNKNOWN",
    "Preset",
    "Sampler",
    "Schedule",
    "ScheduleName",
    "SpacingName",
    "from_betas",
    "resolve",
    "schedule",
    "timesteps",
]
