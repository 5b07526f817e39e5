# SPDX-License-Identifier: Apache-2.0
"""SDCS: a first-stage reconstruction of t2 is corrected with the coarse image of t2 and the fine image of t1.

Liu, Wang, Chen, Cui: Semiblind Compressed Sensing: A Bidirectional-Driven Method for Spatiotemporal Fusion of Remote
Sensing Images. IEEE Journal of Selected Topics in Applied Earth Observations and Remote Sensing 17, 19048-19066, 2024,
doi:10.1109/JSTARS.2024.3463750.

    sr_t2 ─────▶ CSBSNet ──▶ levels 1..5 ──┐
    coarse_t2 ─▶ LSNet ────▶ levels 1..5 ──┼─▶ fusion_blocks ──▶ decoder, fused level by level ──▶ fine_t2
    fine_t1 ───▶ HSNet ────▶ levels 1..5 ──┘

This is the second of two stages. The first, a compressed-sensing reconstruction, is no network: its product at t2
(``sr_t2``) is an input.

In a fusion block, ``l`` is a mixture of the reconstruction and the fine reference, restyled (AdaIN) to the coarse
features as ``a``; ``d`` is the restyled fine reference. Their signs choose::

               d >= 0      d < 0
    a >= 0     a + l       0.1 a + l
    a < 0      0.1 a       0.1 a + coarse

so the result jumps where ``a`` or ``d`` passes 0: rounding flips single elements, and an element at a deep level
moves a neighbourhood. :meth:`SDCS.gate_margin` tells how near to that an input comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import nn

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec, Values

from ...contract import Contract, TileWish
from ..base import About, FusionNetwork, Untold, one_of
from ..blocks.normalisation import adain
from ..blocks.pyramid import Doubling, Pyramid, ReflectedResidual

FusionInput = Literal["mean", "sr"]

WIDTHS = (16, 32, 64, 128)  # of the first four levels; the last is an option
PUBLISHED_WITH_MEAN = 256  # features of the last level
STEP = 16  # four halvings
SMALLEST = 32  # the deepest level is padded by reflection and needs two pixels
LEAK = 0.1
EPS = 1e-6

_Level = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class SDCS(FusionNetwork):
    """The second stage.

    Images are ``(N, C, H, W)`` on the fine grid, from 0 to 1 (DN / 10000, or DN / 255 for sets of 8 bit; negative
    values set to 0); H and W are multiples of 16, at least 32. The output ``(N, C, H, W)`` has the same unit and is
    not clipped. AdaIN takes the statistics of the tile, so tiles are blended; the authors train on 256 and test on
    512 pixels.

    The published file has two switches in its source. ``last_width`` can be told from the weights; ``fusion_input``
    cannot and has to be said. For the CIA set: 128 and ``sr``; for LGC, AHB, Daxing and Tianjin: 256 and ``mean``;
    the file as committed: 128 and ``mean``.

    Args:
        bands: Names of the bands, in the network's order.
        last_width: Features of the deepest level.
        fusion_input: What a fusion block starts from: ``mean`` of reconstruction and fine reference, or ``sr``, the
            reconstruction alone.
        ratio: Coarse pixel over fine pixel; recorded in the contract, it changes no layer.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="SDCS",
        family="others",
        paper="Liu, Wang, Chen, Cui: Semiblind Compressed Sensing: A Bidirectional-Driven Method for Spatiotemporal "
        "Fusion of Remote Sensing Images. IEEE Journal of Selected Topics in Applied Earth Observations and Remote "
        "Sensing 17, 19048-19066, 2024",
        doi="10.1109/JSTARS.2024.3463750",
        options={
            "last_width": "features of the deepest level: 256 (default) or, for CIA, 128",
            "fusion_input": "what a fusion block starts from: mean (default) or, for CIA, sr; "
            "with a last_width of 128 an export asks for it",
            "ratio": "coarse pixel over fine pixel (default 16)",
        },
    )
    roles: ClassVar[tuple[str, ...]] = ("sr_t2", "coarse_t2", "fine_t1")

    def __init__(
        self,
        bands: Sequence[str] = ("blue", "green", "red", "nir", "swir1", "swir2"),
        *,
        last_width: int = 256,
        fusion_input: FusionInput = "mean",
        ratio: int = 16,
    ) -> None:
        super().__init__(bands)
        if ratio < 1:
            raise ExportError("The ratio is coarse pixel over fine pixel", got=ratio, allowed="1 or more")
        if last_width < 1:
            raise ExportError("The deepest level needs features", got=last_width, allowed="128, 256 or another count")
        self.fusion_input = one_of("SDCS", "fusion_input", fusion_input, get_args(FusionInput))
        self.last_width, self.ratio = last_width, ratio
        count, widths = len(self.bands), (*WIDTHS, last_width)
        self.CSBSNet = Pyramid(count, widths)
        self.LSNet = Pyramid(count, widths)
        self.HSNet = Pyramid(count, widths)
        self.fusion_blocks = nn.ModuleList(_Fusion(width, fusion_input) for width in widths)
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            nn.Sequential(Doubling(2 * wide, narrow), ReflectedResidual(narrow))
            for wide, narrow in ((last_width, 128), (128, 64), (64, 32), (32, 16))
        )
        self.conv5 = nn.Sequential(
            ReflectedResidual(32), nn.Conv2d(32, 16, 1), ReflectedResidual(16), nn.Conv2d(16, count, 1)
        )

    def forward(self, sr_t2: torch.Tensor, coarse_t2: torch.Tensor, fine_t1: torch.Tensor) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)``.

        Args:
            sr_t2: First-stage reconstruction at t2.
            coarse_t2: Coarse image at t2.
            fine_t1: Fine image at t1.

        Raises:
            ExportError: A size that the levels do not divide.
        """
        height, width = fine_t1.shape[-2:]
        if height % STEP or width % STEP or min(height, width) < SMALLEST:
            raise ExportError(
                "SDCS does not run on this size",
                got=f"{height} x {width}",
                allowed=f"multiples of {STEP}, at least {SMALLEST}",
            )
        levels = self._levels(sr_t2, coarse_t2, fine_t1)
        fused = [block(*level) for block, level in zip(self.fusion_blocks, levels, strict=True)]
        features = self.conv1(torch.cat((fused[4], levels[4][0]), dim=1))
        for level, step in zip((3, 2, 1, 0), (self.conv2, self.conv3, self.conv4, self.conv5), strict=True):
            features = step(torch.cat((fused[level], features), dim=1))
        return features

    def gate_margin(self, sr_t2: torch.Tensor, coarse_t2: torch.Tensor, fine_t1: torch.Tensor) -> float:
        """Smallest absolute value whose sign a fusion block asks for, on these images.

        Where it is not well above the rounding error of the features (about 1e-6), two exact implementations may
        disagree visibly: compare them on other images.
        """
        levels = self._levels(sr_t2, coarse_t2, fine_t1)
        gates = [block.gates(*level)[1:] for block, level in zip(self.fusion_blocks, levels, strict=True)]
        return min(float(gate.abs().min()) for pair in gates for gate in pair)

    def contract(self) -> Contract:
        """All images on the fine grid, from 0; tiles are blended."""
        values = Values(minimum=0.0)
        return Contract(
            network="sdcs",
            ratio=self.ratio,
            inputs=tuple(InputSpec(role=role, tensor=role, bands=self.bands, values=values) for role in self.roles),
            output=OutputSpec(tensor="fine_t2", bands=self.bands),
            tile=TileWish(mode="blend"),
            options={"last_width": self.last_width, "fusion_input": self.fusion_input, "ratio": self.ratio},
            source=self.about.source,
        )

    def untold(self, kind: str) -> Sequence[Untold]:
        """The shapes tell ``last_width``; of 128 features two settings are published, of 256 one."""
        return (
            Untold(
                "fusion_input",
                {"sr": "the setting for CIA", "mean": "for all other sets, and for the file as committed"},
                assumed="as published with 256 features" if self.last_width == PUBLISHED_WITH_MEAN else "",
            ),
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Output channels of the last layer."""
        last = state.get("conv5.3.weight")
        return int(last.shape[0]) if last is not None and "CSBSNet.conv1.0.weight" in state else None

    @classmethod
    def options_of(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Features of the deepest level."""
        deepest = state.get("CSBSNet.conv5.0.weight")
        return {} if deepest is None else {"last_width": int(deepest.shape[0])}

    def _levels(self, sr_t2: torch.Tensor, coarse_t2: torch.Tensor, fine_t1: torch.Tensor) -> list[_Level]:
        return list(zip(self.CSBSNet(sr_t2), self.LSNet(coarse_t2), self.HSNet(fine_t1), strict=True))


class _Fusion(nn.Module):
    """One level: reconstruction, coarse and fine features ``(N, C, h, w)`` to one."""

    def __init__(self, channels: int, fusion_input: FusionInput) -> None:
        super().__init__()
        self.fusion_input = fusion_input
        self.conv1 = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
        self.conv2 = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, first: torch.Tensor, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        mixed, restyled, reference = self.gates(first, coarse, fine)
        up, agrees = restyled >= 0, reference >= 0
        gated = torch.where(up & agrees, restyled, LEAK * restyled)
        return self.conv2(gated + torch.where(up, mixed, torch.where(agrees, 0.0, coarse)))

    def gates(
        self, first: torch.Tensor, coarse: torch.Tensor, fine: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``l``, ``a`` and ``d``: the signs of the last two choose."""
        mixed = self.conv1(first if self.fusion_input == "sr" else (first + fine) * 0.5)
        restyled = adain(mixed, coarse, EPS, eps_on="deviation")
        return mixed, restyled, adain(fine, coarse, EPS, eps_on="deviation")
