# SPDX-License-Identifier: Apache-2.0
"""One step of a diffusion network, as a sampler sees it: what need not be repeated, apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn

from ..contract import Contract
from ..torch_graph import RoleBound, parameter_names, ready
from .options import Sampler

Tensors = tuple[torch.Tensor, ...]


class StepParts(Protocol):
    """What a sampler wants of a step, which is a torch module.

    Attributes:
        conditions: Names of the conditions, each a role or a tensor of the contract, in the order of ``encode``.
    """

    @property
    def conditions(self) -> Sequence[str]:
        """See above."""
        ...

    def encode(self, *conditions: torch.Tensor) -> Tensors:
        """What depends on the conditions only."""
        ...

    def embed(self, t: torch.Tensor) -> Tensors:
        """What depends on the time only, for time steps int64 ``(N,)``."""
        ...

    def predict(self, features: Tensors, x_t: torch.Tensor, times: Tensors) -> torch.Tensor:
        """The output for noisy images ``(N, C, H, W)``; ``times`` of one time step serve any number of images."""
        ...


class PlainStep(nn.Module):
    """A module of one's own as a step, of which nothing is known but its ``forward``: it is repeated whole.

    Args:
        module: Takes the conditions, the noisy image and the time steps by name.
        contract: The conditions and the output.
        sampler: Says what the noisy image and the time steps are called.

    Raises:
        ExportError: ``forward`` has other parameters.
    """

    def __init__(self, module: nn.Module, contract: Contract, sampler: Sampler) -> None:
        super().__init__()
        names = parameter_names(module, contract, sampler.image, sampler.time)
        self.conditions = contract.roles
        self.bound = RoleBound(ready(module), names, contract.output.tensor)

    def encode(self, *conditions: torch.Tensor) -> Tensors:
        """The conditions as they are."""
        return conditions

    def embed(self, t: torch.Tensor) -> Tensors:
        """The time steps as they are."""
        return (t,)

    def predict(self, features: Tensors, x_t: torch.Tensor, times: Tensors) -> torch.Tensor:
        """What the module gives."""
        (t,) = times
        found: Any = self.bound(*features, x_t, t.expand(x_t.shape[0]))
        return found
