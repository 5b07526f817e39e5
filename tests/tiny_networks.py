# SPDX-License-Identifier: Apache-2.0
"""Small torch modules with known receptive fields, and contracts for them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from stf_export.contract import Contract, TileWish
from stf_infer.spec import InputSpec, OutputSpec, Values


def contract_for(
    inputs: Mapping[str, str],
    *,
    bands: tuple[str, ...] = ("red", "nir"),
    ratio: int = 4,
    values: Values | None = None,
    tile: TileWish | None = None,
    network: str = "tiny",
) -> Contract:
    """A contract whose inputs are ``role: grid``; tensors are named by their roles, the output ``fine_t2``."""
    values = values or Values()
    return Contract(
        network=network,
        ratio=ratio,
        inputs=tuple(
            InputSpec(role=r, tensor=r, bands=bands, grid=g, values=values)  # type: ignore[arg-type]
            for r, g in inputs.items()
        ),
        output=OutputSpec(tensor="fine_t2", bands=bands, values=values),
        tile=tile or TileWish(),
    )


class OneInput(nn.Module):
    """``fine_t1`` through a sequence of layers."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        for layer in layers:
            for module in layer.modules():
                if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                    module.reset_parameters()
        self.layers = nn.Sequential(*layers)
        self.eval()

    def forward(self, fine_t1: torch.Tensor) -> torch.Tensor:
        return self.layers(fine_t1)


class ThreeInputs(nn.Module):
    """``fine_t1`` plus the change of the coarse images, each seen through one convolution; all on the fine grid."""

    def __init__(self, bands: int = 2, kernel: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fine = nn.Conv2d(bands, 4, kernel, padding=kernel // 2)
        self.coarse = nn.Conv2d(bands, 4, 3, padding=1)
        self.out = nn.Conv2d(4, bands, 1)
        self.eval()

    def forward(self, coarse_t2: torch.Tensor, fine_t1: torch.Tensor, coarse_t1: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.fine(fine_t1)) + self.coarse(coarse_t2) - self.coarse(coarse_t1))


class CoarseInput(nn.Module):
    """``fine_t1`` through a 3x3 kernel, plus ``coarse_t2`` through one of 3x3 coarse pixels, repeated to fine."""

    def __init__(self, bands: int = 2, ratio: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.ratio = ratio
        self.fine = nn.Conv2d(bands, bands, 3, padding=1)
        self.coarse = nn.Conv2d(bands, bands, 3, padding=1)
        self.eval()

    def forward(self, fine_t1: torch.Tensor, coarse_t2: torch.Tensor) -> torch.Tensor:
        enlarged = nn.functional.interpolate(self.coarse(coarse_t2), scale_factor=self.ratio, mode="nearest")
        return torch.relu(self.fine(fine_t1)) + enlarged


class ChannelAttention(nn.Module):
    """Weighs the bands by their means over the whole tile."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x.mean(dim=(2, 3), keepdim=True))
