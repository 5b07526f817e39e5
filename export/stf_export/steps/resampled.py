# SPDX-License-Identifier: Apache-2.0
"""A bundle's sampler through other time steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stf_infer.diffusion import SamplerSpec
from stf_infer.engines.host_loop import HostLoop
from stf_infer.errors import UsageError
from stf_infer.model import Model

from ..samplers import Sampler, Schedule, SpacingName, resolve, timesteps

# The rule of spacing where the bundle's own time steps follow none.
DEFAULT: SpacingName = "trailing"


def loop_of(model: Model) -> HostLoop:
    """The engine of a bundle whose number of steps can be chosen.

    Raises:
        UsageError: The bundle has no sampler, or holds all its steps in one graph.
    """
    sampler = model.spec.sampler
    if sampler is None:
        raise UsageError(
            f"{model.spec.name} is not sampled in steps: it has no sampler",
            got=model.spec.network,
            allowed="the bundle of a diffusion network",
        )
    if sampler.loop == "graph":
        raise UsageError(
            f"{model.spec.name} holds all its steps in one graph, which takes no others",
            got=f"{len(sampler.timesteps)} steps",
            allowed="a bundle whose sampler is a loop around the graph of one step",
            fix=f"Export it again: stf-infer export {model.spec.network} --weights ... --loop host. Time steps "
            "that are found with that bundle become one graph by the option --timesteps",
        )
    assert isinstance(model.engine, HostLoop)
    return model.engine


def through(sampler: SamplerSpec, times: Sequence[int], spacing: str = "given") -> SamplerSpec:
    """The same sampler through other time steps.

    Args:
        sampler: That of a bundle with a loop around one step: it knows the noise levels of all training steps.
        times: From high to low.
        spacing: How they were chosen.

    Raises:
        UsageError: They do not go down, or one is no training step.
    """
    asked = Sampler(
        name=sampler.name,
        timesteps=tuple(times),
        eta=sampler.eta if sampler.name == "ddim" else None,
        variance=sampler.variance,
        prediction=sampler.prediction,
        clip=sampler.clip,
        limits=sampler.limits,
        diffusers_compatible=sampler.diffusers_compatible,
        loop="host",
    )
    schedule = Schedule(sampler.schedule, np.array(sampler.train_alphas_cumprod))
    return resolve(asked, found=schedule).model_copy(update={"spacing": spacing})


def spaced(sampler: SamplerSpec, steps: int, spacing: SpacingName | None = None) -> SamplerSpec:
    """The same sampler through a number of time steps.

    Args:
        sampler: As in :func:`through`.
        steps: 1 to T.
        spacing: The rule; None takes the sampler's own, or ``trailing`` where its time steps follow none.

    Raises:
        UsageError: More steps than the network was trained with, or fewer than one.
        ExportError: The rule cannot give that many.
    """
    if not 1 <= steps <= sampler.train_steps:
        raise UsageError(
            "The network was not trained with that many steps",
            got=f"{steps} steps",
            allowed=f"1 to {sampler.train_steps}",
        )
    if steps == sampler.train_steps:
        return through(sampler, range(steps - 1, -1, -1), "all")
    rule = spacing or rule_of(sampler)
    return through(sampler, timesteps(rule, steps, sampler.train_steps), rule)


def rule_of(sampler: SamplerSpec) -> SpacingName:
    """The rule of spacing that a sampler's time steps follow, or the default."""
    from typing import get_args

    known = {name: name for name in get_args(SpacingName)}
    return known.get(sampler.spacing, DEFAULT)
