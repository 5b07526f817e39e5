# SPDX-License-Identifier: Apache-2.0
"""The options of a sampler on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stf_infer.errors import UsageError

if TYPE_CHECKING:
    from ..samplers import Sampler

F = TypeVar("F", bound=Callable[..., Any])

# Option of the command line: field of the sampler.
_FIELDS = {
    "sampler": "name",
    "steps": "steps",
    "spacing": "spacing",
    "timesteps": "timesteps",
    "eta": "eta",
    "variance": "variance",
    "prediction": "prediction",
    "clip": "clip",
    "schedule": "schedule",
    "timesteps_count": "train_steps",
    "diffusers_compatible": "diffusers_compatible",
    "loop": "loop",
}


def sampler_options(function: F) -> F:
    """Give a command the options of a sampler; what is left out is as the network's authors have it."""
    options = (
        click.option("--sampler", metavar="NAME", help="Diffusion: ddim, dpm (DPM-Solver++ 2M) or ddpm (ancestral)."),
        click.option("--steps", type=int, help="Diffusion: how many steps."),
        click.option("--spacing", metavar="RULE", help="Which: leading, trailing, linspace, stfdiff or guided."),
        click.option("--timesteps", metavar="A,B,...", help="The steps one by one, in place of both."),
        click.option("--eta", type=float, help="For ddim: share of the ancestral noise, 0 to 1."),
        click.option("--variance", metavar="KIND", help="For ddpm: small, large or learned."),
        click.option("--prediction", metavar="KIND", help="What the network was trained to give: epsilon, x0 or v."),
        click.option("--clip", metavar="RULE", help="Clipping of x0: off, on, or rederive (epsilon from it, too)."),
        click.option("--schedule", metavar="NAME", help="linear, scaled-linear, cosine, sqrt or checkpoint."),
        click.option("--timesteps-count", type=int, metavar="T", help="Steps that the network was trained with."),
        click.option("--diffusers-compatible", is_flag=True, help="Take t - T // N for the step after t."),
        click.option("--loop", metavar="WHERE", help="graph (all steps in one) or host.  [default: by their number]"),
    )
    for option in reversed(options):
        function = option(function)
    return function


def sampler_from(options: dict[str, Any]) -> Sampler | None:
    """Take the sampler's options out of those of a verb; None where none is given.

    Raises:
        UsageError: The time steps cannot be read.
        ExportError: A value is not allowed.
    """
    from ..samplers import Sampler

    given = {field: options.pop(option) for option, field in _FIELDS.items()}
    asked = {field: value for field, value in given.items() if value is not None and value is not False}
    if "timesteps" in asked:
        asked["timesteps"] = _numbers(asked["timesteps"])
    return Sampler(**asked) if asked else None


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise UsageError("The time steps cannot be read", got=text, allowed="N,N,... from high to low") from error
