# SPDX-License-Identifier: Apache-2.0
"""StfMLP: perceptrons over the channels of a pixel and over the pixels of a tile predict how the fine image changed.

Chen, Lu, Di, Li, Emam, Jing: StfMLP: Spatiotemporal Fusion Multilayer Perceptron for Remote-Sensing Images. IEEE
Geoscience and Remote Sensing Letters 20, 2023, doi:10.1109/LGRS.2022.3230720.

    coarse_t2 - coarse_t1, fine_t1 ──▶ n1 ──▶ d12
    coarse_t3 - coarse_t2, fine_t3 ──▶ n2 ──▶ d23        fine_t2 = alpha (fine_t1 + d12) + (1 - alpha) (fine_t3 - d23)

alpha is one number for the whole scene: which of the dates changed less. It is an input of the exported graph,
never computed from a tile; :func:`stf_export.networks.scene_scalars.stfmlp_alpha` is the rule.

A net keeps the tile at up to four resolutions (40, 30, 20 and 10 pixels a side). A step to the next one is a
perceptron over all pixels of the tile, so the weights fix the tile, and nothing of a tile's neighbours is seen:
tiles are blended.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec, SceneStatistic

from ...contract import Contract, TileWish
from ..base import About, FusionNetwork
from ..blocks.weighting import per_scene
from ..scene_scalars import stfmlp_alpha

TILE = 40
WIDTH = 60
# Sides of the resolutions, in quarters of the tile.
QUARTERS = (4, 3, 2, 1)


class StfMLP(FusionNetwork):
    """Both nets and their weighted mean.

    Images are ``(N, C, tile, tile)`` reflectance (DN / 10000) on the fine grid. ``forward`` returns the fine image at
    t2 as ``fine_t2``, the predicted changes ``d12`` (by n1) and ``d23`` (by n2), the change from t1 to t3 by each
    net (``d13_n1``, ``d13_n2``; of use in training only), and the ``alpha`` that was used.

    Differences from the published code: ``alpha`` is an output of the network, or given to it (there: computed outside
    of it, from whole scenes); the exported graph leaves out the passes from t1 to t3, which predict nothing at t2.

    Args:
        bands: Names of the bands, in the network's order.
        tile: Rows and columns of a tile, a multiple of 4; the published one is 40. It is in the weights.
        ratio: Coarse pixel over fine pixel; recorded in the contract, it changes no layer.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="StfMLP",
        family="others",
        paper="Chen, Lu, Di, Li, Emam, Jing: StfMLP: Spatiotemporal Fusion Multilayer Perceptron for Remote-Sensing "
        "Images. IEEE Geoscience and Remote Sensing Letters 20, 2023",
        doi="10.1109/LGRS.2022.3230720",
        options={
            "tile": "rows and columns of a tile, a multiple of 4 that the weights fix (default 40)",
            "ratio": "coarse pixel over fine pixel (default 16)",
        },
    )
    roles: ClassVar[tuple[str, ...]] = ("coarse_t1", "coarse_t2", "coarse_t3", "fine_t1", "fine_t3")

    def __init__(
        self,
        bands: Sequence[str] = ("blue", "green", "red", "nir", "swir1", "swir2"),
        *,
        tile: int = TILE,
        ratio: int = 16,
    ) -> None:
        super().__init__(bands)
        if ratio < 1:
            raise ExportError("The ratio is coarse pixel over fine pixel", got=ratio, allowed="1 or more")
        if tile < 4 or tile % 4:
            raise ExportError("StfMLP halves and quarters its tile", got=tile, allowed="a multiple of 4")
        self.tile, self.ratio = tile, ratio
        self.n1 = _Net(len(self.bands), tile)
        self.n2 = _Net(len(self.bands), tile)

    def forward(
        self,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        coarse_t3: torch.Tensor,
        fine_t1: torch.Tensor,
        fine_t3: torch.Tensor,
        alpha: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """``fine_t2`` and four changes ``(N, C, tile, tile)``, ``alpha`` ``(N, 1, 1, 1)``.

        Args:
            coarse_t1: Coarse image at t1.
            coarse_t2: Coarse image at t2.
            coarse_t3: Coarse image at t3.
            fine_t1: Fine image at t1.
            fine_t3: Fine image at t3.
            alpha: Weight of the prediction from t1; None takes the images for whole scenes and computes it.

        Raises:
            ExportError: Another size than the weights were made for.
        """
        if alpha is None:
            alpha = per_scene(stfmlp_alpha, coarse_t1, coarse_t2, coarse_t3)
        outputs = self.between(coarse_t1, coarse_t2, coarse_t3, fine_t1, fine_t3, alpha)
        whole = coarse_t3 - coarse_t1
        return {**outputs, "d13_n1": self.n1(whole, fine_t1), "d13_n2": self.n2(whole, fine_t3), "alpha": alpha}

    def between(
        self,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        coarse_t3: torch.Tensor,
        fine_t1: torch.Tensor,
        fine_t3: torch.Tensor,
        alpha: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """``fine_t2``, ``d12`` and ``d23``: what prediction needs. Arguments as in :meth:`forward`."""
        size = tuple(fine_t1.shape[-2:])
        if size != (self.tile, self.tile):
            raise ExportError(
                "The weights of StfMLP fix the tile",
                got=f"{size[0]} x {size[1]}",
                allowed=f"{self.tile} x {self.tile}",
            )
        d12 = self.n1(coarse_t2 - coarse_t1, fine_t1)
        d23 = self.n2(coarse_t3 - coarse_t2, fine_t3)
        return {"fine_t2": alpha * (fine_t1 + d12) + (1 - alpha) * (fine_t3 - d23), "d12": d12, "d23": d23}

    def for_export(self) -> nn.Module:
        """The network with ``alpha`` as an input, returning the fine image at t2, without the changes t1 to t3."""
        return _WithAlpha(self)

    def contract(self) -> Contract:
        """All images on the fine grid, reflectance; ``alpha`` is a number of the scene."""
        scalar = InputSpec(
            role="alpha",
            tensor="alpha",
            bands=("all",),
            grid="scene",
            statistic=SceneStatistic(rule="switched-mean-change", of=("coarse_t1", "coarse_t2", "coarse_t3")),
        )
        return Contract(
            network="stfmlp",
            ratio=self.ratio,
            inputs=(*(InputSpec(role=role, tensor=role, bands=self.bands) for role in self.roles), scalar),
            output=OutputSpec(tensor="fine_t2", bands=self.bands),
            tile=TileWish(size=self.tile, mode="blend"),
            options={"tile": self.tile, "ratio": self.ratio},
            source=self.about.source,
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Output channels of the first net."""
        last = state.get("n1.lastlayer.proj.fc2.bias")
        return None if last is None else int(last.shape[0])

    @classmethod
    def options_of(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """The tile, whose pixels are mixed by a dense layer."""
        mixed = state.get("n1.transition1.proj.fc1.weight")
        return {} if mixed is None else {"tile": math.isqrt(int(mixed.shape[1]))}


class _WithAlpha(nn.Module):
    """StfMLP whose weight of the dates is an input."""

    def __init__(self, network: StfMLP) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        coarse_t3: torch.Tensor,
        fine_t1: torch.Tensor,
        fine_t3: torch.Tensor,
        alpha: torch.Tensor,
    ) -> torch.Tensor:
        """The fine image at t2, ``(N, C, tile, tile)``."""
        return self.network.between(coarse_t1, coarse_t2, coarse_t3, fine_t1, fine_t3, alpha)["fine_t2"]


class _Net(nn.Module):
    """A coarse change and a fine image ``(N, C, T, T)`` to the fine change, over tokens ``(N, pixels, 60)``.

    Each stage works on the newest resolution and, from the third on, on the one before it as well.
    """

    def __init__(self, bands: int, tile: int) -> None:
        super().__init__()
        self.sides = tuple(tile * quarter // 4 for quarter in QUARTERS)
        tokens = tuple(side * side for side in self.sides)
        self.fistlayer = _Projection(2 * bands, WIDTH)
        self.stage1 = _blocks()
        self.transition1 = _Step(tokens[0], tokens[1])
        self.stage2 = nn.ModuleList((nn.Sequential(), _blocks()))
        self.transition2 = _Step(tokens[1], tokens[2])
        self.stage3 = nn.ModuleList((nn.Sequential(), _blocks(), _blocks()))
        self.transition3 = _Step(tokens[2], tokens[3])
        self.stage4 = nn.ModuleList((nn.Sequential(), nn.Sequential(), _blocks(), _blocks()))
        self.lastlayer = _Projection(len(QUARTERS) * WIDTH, bands)

    def forward(self, change: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        branches = [self.stage1(self.fistlayer(_tokens(torch.cat((change, fine), dim=1))))]
        for step, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            branches.append(step(branches[-1]))
            branches = [blocks(branch) for blocks, branch in zip(stage, branches, strict=True)]
        size = (self.sides[0], self.sides[0])
        maps = [_map(branch, side) for branch, side in zip(branches, self.sides, strict=True)]
        maps[1:] = [functional.interpolate(m, size, mode="bilinear", align_corners=False) for m in maps[1:]]
        return _map(self.lastlayer(_tokens(torch.cat(maps, dim=1))), self.sides[0])


def _tokens(image: torch.Tensor) -> torch.Tensor:
    """``(N, C, H, W)`` to ``(N, H W, C)``."""
    return image.flatten(2).transpose(1, 2)


def _map(tokens: torch.Tensor, side: int) -> torch.Tensor:
    """``(N, side side, C)`` to ``(N, C, side, side)``."""
    return tokens.transpose(1, 2).unflatten(2, (side, side))


class _Mlp(nn.Module):
    """Two dense layers on the last axis with a GELU between; the first doubles the width."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width_out)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens)))


class _Projection(nn.Module):
    """A perceptron over the channels of each pixel, ``(N, P, C)`` to ``(N, P, C')``."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.proj = _Mlp(width, width_out)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.proj(tokens)


class _Step(nn.Module):
    """A perceptron over all pixels of each channel, ``(N, P, C)`` to ``(N, P', C)``."""

    def __init__(self, pixels: int, pixels_out: int) -> None:
        super().__init__()
        self.proj = _Mlp(pixels, pixels_out)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.proj(tokens.transpose(1, 2)).transpose(1, 2)


class _Block(nn.Module):
    """Layer normalisation and a perceptron, both over the channels; no shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(WIDTH)
        self.mlp = _Mlp(WIDTH, WIDTH)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.mlp(self.layernorm(tokens))


def _blocks() -> nn.Sequential:
    return nn.Sequential(_Block(), _Block())
