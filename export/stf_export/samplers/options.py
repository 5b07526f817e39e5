# SPDX-License-Identifier: Apache-2.0
"""What a person may ask of a sampler, and the list of steps that it means for a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from stf_infer.diffusion import Clip, Loop, Prediction, SamplerName, SamplerSpec, Update, Variance
from stf_infer.errors import ExportError

from . import ddim, ddpm, dpm
from .schedules import Schedule, ScheduleName, schedule
from .spacing import SpacingName, check_timesteps, timesteps

# Steps up to which all of them become one graph, where nothing else is asked for. The graph, and the time to write and
# compile it, grow with every step.
GRAPH_STEPS = 16

# Alpha-bar of a checkpoint is stored in float32; another schedule differs by far more.
_SAME_SCHEDULE = 1e-5

# What the options that are names may be.
CHOICES: dict[str, tuple[Any, ...]] = {
    "name": get_args(SamplerName),
    "spacing": get_args(SpacingName),
    "prediction": get_args(Prediction),
    "schedule": (*get_args(ScheduleName), "checkpoint"),
    "clip": get_args(Clip),
    "variance": get_args(Variance),
    "loop": get_args(Loop),
}


@dataclass(frozen=True)
class Sampler:
    """A sampling as it is asked for; what is None is as the network's authors have it.

    Attributes:
        name: ``ddim``, ``dpm`` (DPM-Solver++ 2M) or ``ddpm`` (ancestral).
        steps: How many steps, 1 to T.
        spacing: Which steps: see :mod:`stf_export.samplers.spacing`.
        timesteps: The steps one by one, from high to low, in place of ``steps`` and ``spacing``.
        eta: For ``ddim``: the share of the ancestral noise that is added, 0 to 1.
        variance: For ``ddpm``: ``small``, ``large`` or ``learned``.
        prediction: What the network was trained to give: ``epsilon``, ``x0`` or ``v``. Nothing in weights tells.
        clip: ``off``, ``on`` or ``rederive``.
        limits: What x0 is clipped to, in network values. None is -1 to 1.
        schedule: See :func:`stf_export.samplers.schedules.schedule`; ``checkpoint`` takes what the checkpoint holds.
        train_steps: T.
        beta_range: First and last beta of a linear schedule.
        diffusers_compatible: The step before t is taken to be ``t - T // N``, as the library diffusers does, and not
            the next one of the list.
        loop: ``graph`` or ``host``; None unrolls up to 16 steps.
        image: For a module of your own: the parameter of its ``forward`` that takes the noisy image.
        time: For a module of your own: the parameter that takes the time steps, int64 ``(N,)``.

    Raises:
        ExportError: A value is not allowed, or two of them exclude each other.
    """

    name: SamplerName | None = None
    steps: int | None = None
    spacing: SpacingName | None = None
    timesteps: tuple[int, ...] | None = None
    eta: float | None = None
    variance: Variance | None = None
    prediction: Prediction | None = None
    clip: Clip | None = None
    limits: tuple[float, float] | None = None
    schedule: ScheduleName | Literal["checkpoint"] | None = None
    train_steps: int | None = None
    beta_range: tuple[float, float] | None = None
    diffusers_compatible: bool = False
    loop: Loop | None = None
    image: str = "x_t"
    time: str = "t"

    def __post_init__(self) -> None:
        for option, allowed in CHOICES.items():
            value = getattr(self, option)
            if value is not None and value not in allowed:
                raise ExportError(
                    f"A sampler does not know this {option}", got=value, allowed=", ".join(map(str, allowed))
                )
        for option in ("steps", "train_steps"):
            value = getattr(self, option)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ExportError(f"A sampler cannot have this number of {option}", got=value, allowed="1 or more")
        if self.eta is not None and not 0 <= self.eta <= 1:
            raise ExportError("eta is the share of the ancestral noise", got=self.eta, allowed="0 to 1")
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise ExportError("x0 is clipped to a range", got=self.limits, allowed="LOW, HIGH with LOW below HIGH")
        if self.timesteps is not None and (self.steps is not None or self.spacing is not None):
            raise ExportError(
                "Time steps that are given one by one have a number and a spacing already",
                got=", ".join(o for o in ("steps", "spacing") if getattr(self, o) is not None),
                fix="Leave these out, or the list",
            )

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Sampler:
        """A sampler from plain values, such as a table of a TOML file.

        Raises:
            ExportError: An option is unknown or its value is not allowed.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(table) - set(known))
        if unknown:
            raise ExportError("A sampler has no option of that name", got=", ".join(unknown), allowed=", ".join(known))
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
        return cls(**values)

    def over(self, other: Sampler) -> Sampler:
        """This sampler, with what it leaves open as ``other`` has it."""
        usual = other.asked
        if self.timesteps is not None:
            usual = {name: value for name, value in usual.items() if name not in ("steps", "spacing")}
        elif self.steps is not None or self.spacing is not None:
            usual.pop("timesteps", None)
        return Sampler(**{**usual, **self.asked})

    @property
    def asked(self) -> dict[str, Any]:
        """The options that say something, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


@dataclass(frozen=True)
class Preset:
    """How a network was trained and is sampled by its authors.

    Attributes:
        sampler: Their sampling.
        clips: Their clipping rule for each prediction, where they differ.
    """

    sampler: Sampler = Sampler()
    clips: Mapping[str, Clip] = dataclasses.field(default_factory=dict)


# For a network of which nothing is known: trailing begins at the noisiest step.
UNKNOWN = Preset(Sampler(name="ddim", spacing="trailing", clip="off", eta=0.0, variance="small"))


def resolve(asked: Sampler, preset: Preset = UNKNOWN, found: Schedule | None = None) -> SamplerSpec:
    """The sampling with all its steps.

    Args:
        asked: What a person wants.
        preset: What the network's authors did.
        found: The noise schedule in the checkpoint, or None if there is none.

    Raises:
        ExportError: Something is missing, not allowed, or contradicts the checkpoint.
    """
    usual = preset.sampler
    name: SamplerName = asked.name or _need(usual.name, "sampler", "name")
    _refuse_strangers(asked, name)
    prediction: Prediction = asked.prediction or _need(usual.prediction, "prediction", "prediction")
    levels = _schedule(asked, usual, found)
    times = _timesteps(asked, usual, levels.steps)
    at, after = _levels(levels.alphas_cumprod, times, asked.diffusers_compatible)
    eta = (asked.eta if asked.eta is not None else usual.eta or 0.0) if name == "ddim" else 0.0
    variance = (asked.variance or usual.variance or "small") if name == "ddpm" else None
    loop: Loop = asked.loop or ("graph" if len(times) <= GRAPH_STEPS else "host")
    return SamplerSpec(
        name=name,
        prediction=prediction,
        clip=asked.clip or preset.clips.get(prediction) or usual.clip or "off",
        limits=asked.limits or usual.limits or (-1.0, 1.0),
        eta=eta,
        variance=variance,
        loop=loop,
        schedule=levels.name,
        spacing="given" if asked.timesteps else asked.spacing or usual.spacing or "",
        diffusers_compatible=asked.diffusers_compatible,
        train_steps=levels.steps,
        timesteps=times,
        alphas_cumprod=tuple(at),
        next_alphas_cumprod=tuple(after),
        updates=_updates(name, list(zip(at, after, strict=True)), eta, variance),
        train_alphas_cumprod=tuple(levels.alphas_cumprod.tolist()) if loop == "host" else (),
    )


def _updates(
    name: SamplerName, levels: list[tuple[float, float]], eta: float, variance: Variance | None
) -> tuple[Update, ...]:
    if name == "ddim":
        return ddim.updates(levels, eta)
    if name == "dpm":
        return dpm.updates(levels)
    assert variance is not None
    return ddpm.updates(levels, variance)


def _refuse_strangers(asked: Sampler, name: SamplerName) -> None:
    """Refuse options that another sampler has."""
    owners = {"eta": ("ddim",), "variance": ("ddpm",), "diffusers_compatible": ("ddim", "ddpm")}
    for option, samplers in owners.items():
        value = getattr(asked, option)
        if value not in (None, False) and name not in samplers:
            raise ExportError(f"The sampler {name} has no {option}", got=value, allowed=f"with {' or '.join(samplers)}")


def _need(value: Any, what: str, option: str) -> Any:
    if value is None:
        raise ExportError(
            f"Nothing is known about the {what} of this network, and its weights do not tell",
            allowed=", ".join(map(str, CHOICES[option])),
            fix=f"State {option}: as an option of the sampler, or in the table [sampler] of the contract",
        )
    return value


def _schedule(asked: Sampler, usual: Sampler, found: Schedule | None) -> Schedule:
    """The noise schedule: the checkpoint's, unless what is asked for contradicts it."""
    if found is None:
        if asked.schedule == "checkpoint":
            raise ExportError(
                "The checkpoint holds no noise schedule (no tensor betas or alphas_cumprod)",
                allowed=", ".join(get_args(ScheduleName)),
                fix="Name the schedule that the network was trained with",
            )
        name = asked.schedule or usual.schedule
        _need(name, "noise schedule", "schedule")
        steps = asked.train_steps or usual.train_steps
        if steps is None:
            raise ExportError(
                "Nothing is known about the number of training steps of this network",
                allowed="1 or more",
                fix="State train_steps (--timesteps-count)",
            )
        return schedule(name, steps, asked.beta_range or usual.beta_range)  # type: ignore[arg-type]
    _compare_with_checkpoint(asked, usual, found)
    return found


def _compare_with_checkpoint(asked: Sampler, usual: Sampler, found: Schedule) -> None:
    if asked.train_steps not in (None, found.steps):
        raise ExportError(
            "The noise schedule in the checkpoint is of another length than asked for",
            got=f"{asked.train_steps} training steps asked for",
            allowed=f"{found.steps}, as the checkpoint has",
            fix="Leave the number out: it is read from the checkpoint",
        )
    if asked.schedule in (None, "checkpoint") and asked.beta_range is None:
        return
    name = usual.schedule if asked.schedule in (None, "checkpoint") else asked.schedule
    stated = schedule(name or "linear", found.steps, asked.beta_range)  # type: ignore[arg-type]
    difference = np.abs(stated.alphas_cumprod - found.alphas_cumprod)
    if difference.max() > _SAME_SCHEDULE:
        t = int(difference.argmax())
        raise ExportError(
            "The noise schedule in the checkpoint is not the one asked for",
            got=f"{stated.name} over {stated.steps} steps, with alpha-bar {stated.alphas_cumprod[t]:.6g} at step {t}",
            allowed=f"the checkpoint's, with alpha-bar {found.alphas_cumprod[t]:.6g} at step {t}",
            fix="Leave the schedule out: it is read from the checkpoint",
        )


def _timesteps(asked: Sampler, usual: Sampler, train_steps: int) -> tuple[int, ...]:
    if asked.timesteps is not None:
        return check_timesteps(asked.timesteps, train_steps)
    steps = asked.steps or usual.steps
    if steps is None:
        raise ExportError(
            "Nothing is known about the number of steps that this network is sampled with",
            allowed=f"1 to {train_steps}",
            fix="State steps (--steps)",
        )
    return timesteps(asked.spacing or _need(usual.spacing, "spacing", "spacing"), steps, train_steps)


def _levels(
    alphas_cumprod: np.ndarray, times: tuple[int, ...], diffusers_compatible: bool
) -> tuple[list[float], list[float]]:
    """Alpha-bar at each step and after it; a clean image is left after the last."""
    at = [float(alphas_cumprod[t]) for t in times]
    if not diffusers_compatible:
        return at, [*at[1:], 1.0]
    stride = len(alphas_cumprod) // len(times)
    return at, [float(alphas_cumprod[t - stride]) if t >= stride else 1.0 for t in times]
