# SPDX-License-Identifier: Apache-2.0
"""What every network of the zoo is: an ``nn.Module`` that takes its inputs by role and knows its contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..contract import Contract


@dataclass(frozen=True)
class About:
    """Where a network comes from.

    Attributes:
        title: The network's name as its paper writes it.
        family: ``cnn``, ``transformer``, ``gan``, ``diffusion``, ``sequence`` or ``others``.
        paper: Authors, title, journal, year.
        doi: Digital object identifier, or empty where it is not known.
        options: Option name: what it does, with its allowed values.
    """

    title: str
    family: str
    paper: str
    doi: str
    options: dict[str, str]


class FusionNetwork(nn.Module):
    """Base of the zoo's networks.

    ``forward`` takes tensors ``(N, C, H, W)`` by role name, in network values, and returns one tensor (or a dict by
    output name). ``state_dict`` keys are those of the published code. ``bands`` are the names of the fine bands.
    """

    about: ClassVar[About]

    def __init__(self, bands: tuple[str, ...]) -> None:
        super().__init__()
        self.bands = tuple(bands)

    def contract(self) -> Contract:
        """Roles, bands, scaling and grids of this instance, before anything is measured."""
        raise TypeError(f"{type(self).__name__} states no contract")
