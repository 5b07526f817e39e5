# SPDX-License-Identifier: Apache-2.0
"""What a diffusion network of the zoo is: one step, in parts, of which not all are needed in every step."""

from __future__ import annotations

from typing import ClassVar

import torch

from ...samplers import Preset
from ..base import FusionNetwork

Features = tuple[torch.Tensor, ...]
Times = tuple[torch.Tensor, ...]


class Denoiser(FusionNetwork):
    """A network that reads the noise, or the clean image, out of a noisy one.

    ``forward`` is one step: conditions by role, the noisy image ``x_t`` of shape ``(N, C, H, W)`` in network values and
    its time steps, int64 of shape ``(N,)``. It is ``predict(encode(conditions), x_t, embed(t))``: a sampler calls
    :meth:`encode` once for a tile, :meth:`embed` once for all tiles, and :meth:`predict` in every step.

    :meth:`contract` is that of the step: its conditions, its output, and how its authors sample it. A runtime cannot
    supply the time of a step; the contract of a bundle is made of it by :func:`stf_export.contract.sampled`.
    """

    conditions: ClassVar[tuple[str, ...]]
    preset: ClassVar[Preset]

    def encode(self, *conditions: torch.Tensor) -> Features:
        """What depends neither on the noisy image nor on the time, from the conditions in their order."""
        raise NotImplementedError

    def embed(self, t: torch.Tensor) -> Times:
        """What depends on the time only, for time steps ``(N,)``: constants of a step, in the order of their use."""
        raise NotImplementedError

    def predict(self, features: Features, x_t: torch.Tensor, times: Times) -> torch.Tensor:
        """The network's raw output for a noisy image, from what :meth:`encode` and :meth:`embed` gave.

        ``times`` of one time step serve any number of images.
        """
        raise NotImplementedError

    def denoise(self, features: Features, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The network's raw output for a noisy image at time steps ``t``, from what :meth:`encode` gave."""
        return self.predict(features, x_t, self.embed(t))
