# SPDX-License-Identifier: Apache-2.0
"""How a denoising network is sampled: a list of steps as plain numbers, and the one formula of a step.

Every sampler that is offered (DDIM, DPM-Solver++, ancestral) is the same recurrence with other numbers. A network's
output is read as a clean image ``x0`` and a noise ``epsilon``, ``x0`` is clipped, and the next image is

    x' = a x + b x0 + c epsilon + d x0(previous step) + s z

:class:`SamplerSpec` holds the numbers of all steps, worked out in float64 by the export stage; :func:`advance` does the
arithmetic. It is written with what NumPy arrays and torch tensors share, so the graph that holds all steps and the
loop around a graph of one step cannot differ in their mathematics.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

SamplerName = Literal["ddim", "dpm", "ddpm"]
Prediction = Literal["epsilon", "x0", "v"]
Clip = Literal["off", "on", "rederive"]
Variance = Literal["small", "large", "learned"]
Loop = Literal["graph", "host"]

Array = TypeVar("Array", bound=Any)  # a NumPy array or a torch tensor


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Update(_Frozen):
    """The factors of one step.

    Attributes:
        x: Of the noisy image.
        x0: Of the clean image read in this step.
        epsilon: Of the noise read in this step.
        previous_x0: Of the clean image read in the step before.
        noise: Of fresh standard normal noise; 0 in a step that draws none.
        largest_noise: For a network that has learnt its variance: ``noise`` where the second half of its output is -1,
            this where it is 1, and their weighted geometric mean in between. None where the factor is fixed.
    """

    x: float = 0.0
    x0: float = 0.0
    epsilon: float = 0.0
    previous_x0: float = 0.0
    noise: float = Field(default=0.0, ge=0)
    largest_noise: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _range_of_noise(self) -> Update:
        if self.largest_noise is not None and not 0 < self.noise <= self.largest_noise:
            raise ValueError("the largest noise is not below the noise, which is above 0")
        return self


class SamplerSpec(_Frozen):
    """A whole sampling, as data.

    Attributes:
        name: ``ddim``, ``dpm`` (DPM-Solver++ 2M) or ``ddpm`` (ancestral).
        prediction: What the network's output is: the noise, the clean image, or the velocity.
        clip: ``off``; ``on``: x0 is clipped and epsilon stays as it was read; ``rederive``: epsilon is computed again
            from the clipped x0.
        limits: What x0 is clipped to, in network values.
        eta: Share of the ancestral noise that DDIM adds, 0 to 1.
        variance: Whose variance the noise of ``ddpm`` has: the posterior's (``small``), beta (``large``), or between
            the two as the network says (``learned``). None for the others.
        loop: ``graph``: one graph holds all steps. ``host``: the runtime repeats a graph of one step.
        schedule: Where the noise levels come from: a name, or ``checkpoint``.
        spacing: How the time steps were chosen.
        diffusers_compatible: Whether a step leads to ``t - T // N`` rather than to the next time step of the list.
        train_steps: T, the steps that the network was trained with.
        timesteps: The time steps in the order of use.
        alphas_cumprod: Share of the clean image's variance that is left at each of them (alpha-bar).
        next_alphas_cumprod: The same after each step; 1 after the last.
        updates: The factors of each step.
        train_alphas_cumprod: Alpha-bar of all T training steps, where the loop is on the host: the graph of a step can
            be sampled through any of them. Empty where one graph holds all steps.
    """

    name: SamplerName
    prediction: Prediction
    clip: Clip = "off"
    limits: tuple[float, float] = (-1.0, 1.0)
    eta: float = Field(default=0.0, ge=0, le=1)
    variance: Variance | None = None
    loop: Loop = "graph"
    schedule: str = ""
    spacing: str = ""
    diffusers_compatible: bool = False
    train_steps: int = Field(ge=1)
    timesteps: tuple[int, ...] = Field(min_length=1)
    alphas_cumprod: tuple[float, ...]
    next_alphas_cumprod: tuple[float, ...]
    updates: tuple[Update, ...]
    train_alphas_cumprod: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _lists_fit(self) -> SamplerSpec:
        lists = (self.timesteps, self.alphas_cumprod, self.next_alphas_cumprod, self.updates)
        if len({len(one) for one in lists}) > 1:
            raise ValueError("timesteps, alphas_cumprod, next_alphas_cumprod and updates are of different lengths")
        if not 0 <= self.timesteps[-1] <= self.timesteps[0] < self.train_steps:
            raise ValueError(f"time steps lie between 0 and {self.train_steps - 1}")
        if any(later >= earlier for earlier, later in pairwise(self.timesteps)):
            raise ValueError("time steps go down")
        if not all(0 < a < 1 for a in self.alphas_cumprod) or not all(0 < a <= 1 for a in self.next_alphas_cumprod):
            raise ValueError("an alpha-bar lies between 0 and 1")
        if self.train_alphas_cumprod and len(self.train_alphas_cumprod) != self.train_steps:
            raise ValueError(f"there are not {self.train_steps} alpha-bars of training steps")
        if not self.limits[0] < self.limits[1]:
            raise ValueError("the lower limit is below the upper one")
        return self

    @property
    def draws(self) -> tuple[int | None, ...]:
        """For each step the number of the noise that it draws, from 1, or None; number 0 is the first noisy image."""
        numbers, last = [], 0
        for update in self.updates:
            last += update.noise > 0
            numbers.append(last if update.noise > 0 else None)
        return tuple(numbers)

    @property
    def gain(self) -> float:
        """Largest factor by which a step hands an error of the network's output on to the next image.

        It is 1 or less where the output is x0 or v. Where it is epsilon, x0 is read as a small difference, blown up: by
        ``sqrt((1 - abar) / abar)``, which passes 1000 at the noisy end of a schedule. Clipping is left out.
        """
        found = []
        for level, update in zip(self.alphas_cumprod, self.updates, strict=True):
            signal, spread = level**0.5, (1 - level) ** 0.5
            of_x0 = {"epsilon": -spread / signal, "x0": 1.0, "v": -spread}[self.prediction]
            of_epsilon = {"epsilon": 1.0, "x0": -signal / spread, "v": signal}[self.prediction]
            if self.clip == "rederive":
                of_epsilon = -signal / spread * of_x0
            found.append(abs(update.x0 * of_x0 + update.epsilon * of_epsilon))
        return max(found)

    def describe(self) -> str:
        """The sampling in one line."""
        count, shown = len(self.timesteps), ", ".join(map(str, self.timesteps[:8]))
        parts = [
            f"{self.name}, {count} step{'s' * (count > 1)} of {self.train_steps} ({shown}{', ...' * (count > 8)})",
            f"{self.schedule} schedule",
            f"reads {self.prediction}",
            f"clip {self.clip}"
            if self.clip == "off"
            else f"clip {self.clip} to {self.limits[0]:g}..{self.limits[1]:g}",
        ]
        if self.name == "ddim":
            parts.append(f"eta {self.eta:g}")
        if self.variance is not None:
            parts.append(f"variance {self.variance}")
        return ", ".join([*parts, "one graph" if self.loop == "graph" else "a loop around one step"])

    @property
    def inputs(self) -> tuple[int, ...]:
        """Draws that are inputs of the network: those of all steps, or in a loop on the host the first image alone."""
        return (0,) if self.loop == "host" else (0, *(draw for draw in self.draws if draw is not None))


def run(
    sampler: SamplerSpec,
    network: Callable[[int, Array], Array],
    x: Array,
    draw: Callable[[int], Array],
) -> Array:
    """A whole sampling.

    Args:
        sampler: The steps.
        network: What the network gives for the number of a step and a noisy image.
        x: The first noisy image ``(N, C, H, W)``: standard normal noise.
        draw: Gives the noise of a number, ``(N, C, H, W)``; each is asked for once, when it is needed.

    Returns:
        The sample ``(N, C, H, W)``, in network values.
    """
    previous = None
    for number, wanted in enumerate(sampler.draws):
        noise = None if wanted is None else draw(wanted)
        x, previous = advance(sampler, number, x, network(number, x), previous, noise)
    return x


def advance(
    sampler: SamplerSpec, number: int, x: Array, output: Array, previous_x0: Array | None, noise: Array | None
) -> tuple[Array, Array]:
    """One step of a sampling.

    Args:
        sampler: The sampling.
        number: Which of its steps, from 0.
        x: The noisy image ``(N, C, H, W)``, in network values.
        output: What the network gave for it: ``(N, C, H, W)``, or ``(N, 2C, H, W)`` with the learnt variance behind.
        previous_x0: The clean image of the step before; None in the first.
        noise: Standard normal noise ``(N, C, H, W)``; None where the step draws none.

    Returns:
        The next noisy image (after the last step: the sample), and the clean image that was read.
    """
    update, channels = sampler.updates[number], x.shape[1]
    mean = output if output.shape[1] == channels else output[:, :channels]
    x0, epsilon = read_output(sampler, sampler.alphas_cumprod[number], x, mean)
    terms = [(update.x, x), (update.x0, x0), (update.epsilon, epsilon), (update.previous_x0, previous_x0)]
    if update.largest_noise is not None:
        # exp of a weighted mean of logarithms is a weighted geometric mean (Nichol and Dhariwal 2021, equation 15).
        share = output[:, channels:] * 0.5 + 0.5
        terms.append((update.noise, (update.largest_noise / update.noise) ** share * noise))
    else:
        terms.append((update.noise, noise))
    used = [term if factor == 1 else term * factor for factor, term in terms if factor]
    image = used[0]
    for term in used[1:]:
        image = image + term
    return image, x0


def read_output(sampler: SamplerSpec, alpha_cumprod: float, x: Array, output: Array) -> tuple[Array, Array]:
    """The clean image and the noise that a network's output stands for, clipped by the sampler's rule.

    With ``a`` the share of the clean image's variance, ``x = sqrt(a) x0 + sqrt(1 - a) epsilon`` (Ho, Jain, Abbeel 2020,
    equation 4), and ``v = sqrt(a) epsilon - sqrt(1 - a) x0`` (Salimans and Ho 2022, appendix D).

    Args:
        sampler: Says what the output is and how x0 is clipped.
        alpha_cumprod: ``a`` at the time of ``x``.
        x: The noisy image.
        output: The network's output for it, of the same shape.
    """
    signal, spread = alpha_cumprod**0.5, (1 - alpha_cumprod) ** 0.5
    if sampler.prediction == "epsilon":
        x0, epsilon = (x - spread * output) * (1 / signal), output
    elif sampler.prediction == "x0":
        x0, epsilon = output, (x - signal * output) * (1 / spread)
    else:
        x0, epsilon = signal * x - spread * output, signal * output + spread * x
    if sampler.clip != "off":
        x0 = x0.clip(*sampler.limits)
    if sampler.clip == "rederive":
        epsilon = (x - signal * x0) * (1 / spread)
    return x0, epsilon
