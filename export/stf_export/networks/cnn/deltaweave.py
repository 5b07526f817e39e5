# SPDX-License-Identifier: Apache-2.0
"""DeltaWeave: a small network of this project's own, behind the embedded demo.

    fine_t1 ───────────────────────────────────────────┐
    coarse_t2 - coarse_t1 ────────────────────────────(+)──▶ fine_t2
    fine_t1, coarse_t1, coarse_t2 ──▶ what is left ────┘

The coarse sensor saw one change for all fine pixels below it; the network predicts how that change is shared out among
them. It learns only the difference to the plain sum, from an encoder with two halvings, dilated convolutions
at a quarter of the resolution (where a few pixels reach over several coarse ones) and a decoder with skips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from stf_infer.spec import InputSpec, OutputSpec, Values

from ...contract import Contract
from ..base import About, FusionNetwork

WIDTHS = (24, 36, 44)  # features at full, half and quarter resolution
DILATIONS = (1, 2, 3)

# Reflectance of land lies around 0.15; this makes it about zero mean and unit size.
MIDDLE, STRETCH = 0.15, 5.0


class DeltaWeave(FusionNetwork):
    """A fusion network with about 0.1 million weights, made of convolutions, ReLU and pixel shuffle.

    Images are ``(N, C, H, W)`` reflectance on the fine grid; H and W are multiples of 4. Nothing in it sees a
    whole tile, so tiled and untiled results agree.

    Args:
        bands: Names of the bands, in the network's order.
        ratio: Coarse pixel over fine pixel; recorded in the contract, it changes no layer.
    """

    about: ClassVar[About] = About(
        title="DeltaWeave",
        family="cnn",
        paper="none: made for the demo of stf-infer",
        doi="",
        options={"ratio": "coarse pixel over fine pixel (default 16)"},
    )

    def __init__(self, bands: Sequence[str] = ("blue", "green", "red", "nir"), *, ratio: int = 16) -> None:
        super().__init__(tuple(bands))
        self.ratio = ratio
        count = len(self.bands)
        full, half, quarter = WIDTHS
        self.stem = nn.Conv2d(3 * count, full, 3, padding=1)
        self.down_half = nn.Conv2d(full, half, 3, stride=2, padding=1)
        self.down_quarter = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.context = nn.ModuleList(
            nn.Conv2d(quarter, quarter, 3, padding=dilation, dilation=dilation) for dilation in DILATIONS
        )
        self.up_half = nn.Conv2d(quarter, 4 * half, 1)
        self.at_half = nn.Conv2d(half, half, 3, padding=1)
        self.up_full = nn.Conv2d(half, 4 * full, 1)
        self.at_full = nn.Conv2d(full, full, 3, padding=1)
        self.residual = nn.Conv2d(full, count, 1)
        nn.init.zeros_(self.residual.weight)  # training starts at the plain sum
        nn.init.zeros_(self.residual.bias)

    def forward(self, coarse_t1: torch.Tensor, fine_t1: torch.Tensor, coarse_t2: torch.Tensor) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)`` reflectance."""
        change = coarse_t2 - coarse_t1
        seen = torch.cat((fine_t1 - MIDDLE, coarse_t1 - MIDDLE, change), dim=1) * STRETCH
        full = functional.relu(self.stem(seen))
        half = functional.relu(self.down_half(full))
        deep = functional.relu(self.down_quarter(half))
        for layer in self.context:
            deep = deep + functional.relu(layer(deep))
        half = half + functional.pixel_shuffle(self.up_half(deep), 2)
        half = half + functional.relu(self.at_half(functional.relu(half)))
        full = full + functional.pixel_shuffle(self.up_full(half), 2)
        full = full + functional.relu(self.at_full(functional.relu(full)))
        return fine_t1 + change + self.residual(full) / STRETCH

    def contract(self) -> Contract:
        """Reflectance from 0 to 1; coarse images are interpolated to the fine grid where they lie on the ground."""
        values = Values(unit="reflectance", minimum=0.0, maximum=1.0)
        inputs = tuple(
            InputSpec(
                role=role,
                tensor=role,
                bands=self.bands,
                from_coarse="half-pixel" if role.startswith("coarse") else None,
                values=values,
            )
            for role in ("coarse_t1", "fine_t1", "coarse_t2")
        )
        return Contract(
            network="deltaweave",
            ratio=self.ratio,
            inputs=inputs,
            output=OutputSpec(tensor="fine_t2", bands=self.bands, values=values),
            options={"ratio": self.ratio},
            source=self.about.source,
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Output channels of the last layer."""
        last = state.get("residual.weight")
        return None if last is None else int(last.shape[0])
