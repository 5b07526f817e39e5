# SPDX-License-Identifier: Apache-2.0
"""A whole sampling as one torch module: conditions and noise in, the fine image out.

What does not depend on the noisy image is done once: the conditions are encoded at the start of a call and serve every
step; what follows from the time alone is computed here, when the module is made, and is a few numbers a step. The
weights of the denoiser are those of the one module that all steps call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from stf_infer.diffusion import SamplerSpec, run
from stf_infer.errors import ExportError

from .parts import StepParts


class Unrolled(nn.Module):
    """All steps of a sampling, one after the other.

    Args:
        denoiser: One step, in evaluation mode; it is shared, not copied.
        sampler: The steps.
        conditions: Roles of the denoiser's conditions, in its order.
        noises: Roles of the noise inputs: the first noisy image, then what each step draws.

    Raises:
        ExportError: There are other noise inputs than the sampler draws.
    """

    def __init__(
        self, denoiser: StepParts, sampler: SamplerSpec, conditions: Sequence[str], noises: Sequence[str]
    ) -> None:
        super().__init__()
        wanted = 1 + sum(draw is not None for draw in sampler.draws)
        if len(noises) != wanted:
            raise ExportError(
                "A sampling needs one noise for the start and one for each draw", got=len(noises), allowed=wanted
            )
        self.denoiser, self.sampler = denoiser, sampler
        self.conditions, self.noises = tuple(conditions), tuple(noises)
        with torch.no_grad():
            for number, t in enumerate(sampler.timesteps):
                for place, constant in enumerate(denoiser.embed(torch.tensor([t]))):
                    self.register_buffer(_buffer(number, place), constant, persistent=False)
        self._constants = place + 1

    def forward(self, **images: torch.Tensor) -> torch.Tensor:
        """The sample ``(N, C, H, W)``, from images ``(N, C, H, W)`` by role, in network values."""
        start, *drawn = (images[role] for role in self.noises)
        return self.sample([images[role] for role in self.conditions], start, lambda number: drawn[number - 1])

    def sample(
        self, conditions: Sequence[torch.Tensor], start: torch.Tensor, draw: Callable[[int], torch.Tensor]
    ) -> torch.Tensor:
        """The sample ``(N, C, H, W)``, from the conditions in their order, with later noise drawn when it is needed."""
        features = self.denoiser.encode(*conditions)

        def output(number: int, x_t: torch.Tensor) -> torch.Tensor:
            times = tuple(self.get_buffer(_buffer(number, place)) for place in range(self._constants))
            found = self.denoiser.predict(features, x_t, times)
            check_output(self.sampler, x_t, found)
            return found

        return run(self.sampler, output, start, draw)


class Encoder(nn.Module):
    """What a denoiser makes of its conditions, once for a tile: the first of the two graphs of a loop on the host."""

    def __init__(self, denoiser: StepParts) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features from the conditions in their order."""
        return self.denoiser.encode(*tensors)


class Step(nn.Module):
    """One step of a denoiser, time included: the second of the two graphs of a loop on the host."""

    def __init__(self, denoiser: StepParts) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """The raw output, from the features, ``x_t`` and the time as a number ``(N, 1, 1, 1)``."""
        *features, x_t, t = tensors
        times = self.denoiser.embed(t[:, 0, 0, 0].to(torch.int64))
        return self.denoiser.predict(tuple(features), x_t, times)


def check_output(sampler: SamplerSpec, x_t: torch.Tensor, output: torch.Tensor) -> None:
    """Refuse an output of a step that is not what the sampler reads.

    Raises:
        ExportError: The output is of another size than the noisy image, or lacks the learnt variance.
    """
    channels = x_t.shape[1]
    allowed = (2 * channels,) if sampler.variance == "learned" else (channels, 2 * channels)
    if output.shape[2:] != x_t.shape[2:] or output.shape[1] not in allowed:
        raise ExportError(
            "The output of a step does not fit the noisy image",
            got=f"{tuple(output.shape[1:])} for {tuple(x_t.shape[1:])}",
            allowed=f"{' or '.join(map(str, allowed))} channels, of which the second half is a learnt variance",
            fix="A network without a learnt variance is sampled with the variance small or large"
            if sampler.variance == "learned"
            else None,
        )


def _buffer(number: int, place: int) -> str:
    return f"step_{number}_{place}"
