# SPDX-License-Identifier: Apache-2.0
"""What a diffusion network of the zoo is: one step, in two halves, of which the first need not be repeated."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from ...contract import Contract
from ..base import FusionNetwork

Features = tuple[torch.Tensor, ...]


class Denoiser(FusionNetwork):
    """A network that reads the noise, or the clean image, out of a noisy one.

    ``forward`` is one step: conditions by role, the noisy image ``x_t`` of shape ``(N, C, H, W)`` in network values and
    its time steps, int64 of shape ``(N,)``. It is ``denoise(encode(conditions), x_t, t)``: a sampler calls
    :meth:`encode` once and :meth:`denoise` in every step.

    A step has no contract, since a runtime cannot supply its time: what a sampler makes of it has one
    (:meth:`sampled_contract`).
    """

    conditions: ClassVar[tuple[str, ...]]

    def encode(self, *conditions: torch.Tensor) -> Features:
        """What depends neither on the noisy image nor on the time, from the conditions in their order."""
        raise NotImplementedError

    def denoise(self, features: Features, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The network's raw output for a noisy image at time steps ``t``, from what :meth:`encode` gave."""
        raise NotImplementedError

    def sampled_contract(self, **options: Any) -> Contract:
        """The contract of a whole sampling: the conditions and ``noise``, a standard normal image, in; ``fine_t2`` out.

        Args:
            options: What the sampler wants to have recorded beside the options of the network.
        """
        raise NotImplementedError
