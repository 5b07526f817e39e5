# SPDX-License-Identifier: Apache-2.0
"""MLFF-GAN: features of five levels, restyled to the prediction date and mixed with the coarse ones by a mask.

Song, Liu, Li, Wang, Zhang, He, Chen, Liu: MLFF-GAN: A Multilevel Feature Fusion With GAN for Spatiotemporal Remote
Sensing Images. IEEE Transactions on Geoscience and Remote Sensing 60, 1-16, 2022, doi:10.1109/TGRS.2022.3169916.

    fine_t1 ────▶ HSNet ──▶ levels 1..5 ──▶ AdaIN(style: coarse_t2) ──▶ a ┐
    coarse_t1 ──▶ LSNet ──▶ levels 1..5 ──▶ mask M = what changed        (M·c + (1-M)·a) ──▶ decoder ──▶ fine_t2
    coarse_t2 ──▶ LSNet ──▶ levels 1..5 ──────────────────────────────▶ c ┘

Levels have 16, 32, 64, 128, 256 channels and halve the size from each to the next: 20.7 GFLOP for six bands of
256 x 256.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec, Values

from ...contract import Contract, TileWish
from ..base import About, FusionNetwork, Untold, one_of
from ..blocks.normalisation import adain
from ..blocks.pyramid import Doubling, Pyramid, ReflectedResidual

Inputs = Literal[3, 2]

LEVELS = (16, 32, 64, 128, 256)
SHRINK = 16  # four halvings from the first level to the last
SMALLEST = 32  # the deepest level is padded by reflection and needs two pixels


class MLFFGAN(FusionNetwork):
    """The generator; ``inputs=2`` makes the one without ``coarse_t1``.

    Images are ``(N, C, H, W)`` reflectance (DN x 0.0001), negative values set to 0; H and W are multiples of 16, at
    least 32. The output is reflectance, ``(N, C, H, W)``, without activation and not clipped.

    The statistics of AdaIN are those of the tile, so tiles are blended. The authors cut a scene of 1792 x 1280 into
    3 x 3 tiles of 1024 x 768.

    Code bases differ. The authors take both coarse images down by 16 (every 16th pixel) and up again (bicubic) before
    the network, in training and in use: say ``degrade=True`` with their weights. The survey's library has the same
    network and keys without that step.

    Differences from the published code: inputs are separate arguments (there: one list, in which a fourth entry is
    ignored); with ``inputs=2`` the unused coarse image is not asked for. With ``attention=False`` the mask is 1/2
    everywhere, ``coarse_t1`` has no influence, and ``inputs=2`` gives the same numbers without it.

    Args:
        bands: Names of the bands, in the network's order.
        inputs: 3: the mask compares coarse t2 with coarse t1; 2: with the restyled fine features. Same keys.
        adain: Restyle the fine features; False leaves them as they are. Same keys.
        attention: Mix by a learnt mask; False takes the plain mean and has no ``SignE_List`` keys.
        degrade: Take the coarse images down and up by ``ratio`` first.
        ratio: Coarse pixel over fine pixel, for ``degrade``.

    Raises:
        ExportError: A value that is not allowed; in ``forward``, a size that is not allowed.
    """

    about: ClassVar[About] = About(
        title="MLFF-GAN",
        family="gan",
        paper="Song, Liu, Li, Wang, Zhang, He, Chen, Liu: MLFF-GAN: A Multilevel Feature Fusion With GAN for "
        "Spatiotemporal Remote Sensing Images. IEEE Transactions on Geoscience and Remote Sensing 60, 1-16, 2022",
        doi="10.1109/TGRS.2022.3169916",
        options={
            "inputs": "images: 3 (default; coarse_t1, fine_t1, coarse_t2) or 2 (fine_t1, coarse_t2)",
            "adain": "restyle fine features to the prediction date: True (default) or False",
            "attention": "mix by a learnt mask: True (default) or False (plain mean, fewer keys)",
            "degrade": "take coarse images down by ratio (nearest) and up (bicubic) first: False (default; weights "
            "of the survey's library) or True (the authors' weights); an export asks for it",
            "ratio": "coarse pixel over fine pixel, for degrade (default 16)",
        },
    )
    roles: ClassVar[tuple[str, ...]] = ("coarse_t1", "fine_t1", "coarse_t2")

    def __new__(cls, *_: Any, inputs: Inputs = 3, **__: Any) -> MLFFGAN:
        """An instance of the class whose ``forward`` has the right roles."""
        return super().__new__(_TwoInputs if inputs == 2 else cls)

    def __init__(
        self,
        bands: Sequence[str] = ("blue", "green", "red", "nir", "swir1", "swir2"),
        *,
        inputs: Inputs = 3,
        adain: bool = True,
        attention: bool = True,
        degrade: bool = False,
        ratio: int = 16,
    ) -> None:
        super().__init__(bands)
        self.inputs = one_of("MLFF-GAN", "number of inputs", inputs, get_args(Inputs))
        self.adain = bool(one_of("MLFF-GAN", "adain", adain, (True, False)))
        self.attention = bool(one_of("MLFF-GAN", "attention", attention, (True, False)))
        self.degrade = bool(one_of("MLFF-GAN", "degrade", degrade, (True, False)))
        if ratio < 1:
            raise ExportError("The ratio is coarse pixel over fine pixel", got=ratio, allowed="1 or more")
        self.ratio = ratio
        count = len(self.bands)
        self.LSNet = Pyramid(count, LEVELS, dropout=True)
        self.HSNet = Pyramid(count, LEVELS, dropout=True)
        if self.attention:
            self.SignE_List = nn.ModuleList(_Mask(width) for width in LEVELS)
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            nn.Sequential(Doubling(2 * wide, narrow), ReflectedResidual(narrow, dropout=True))
            for wide, narrow in ((256, 128), (128, 64), (64, 32), (32, 16))
        )
        self.conv5 = nn.Sequential(
            ReflectedResidual(32, dropout=True),
            nn.Conv2d(32, 16, 1),
            ReflectedResidual(16, dropout=True),
            nn.Conv2d(16, count, 1),
        )

    def forward(self, coarse_t1: torch.Tensor, fine_t1: torch.Tensor, coarse_t2: torch.Tensor) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)`` reflectance."""
        self._require_size(fine_t1)
        before = self.LSNet(self._seen(coarse_t1)) if self.attention else None
        return self._fuse(before, fine_t1, coarse_t2)

    def contract(self) -> Contract:
        """All images on the fine grid; reflectance from 0; tiles are blended.

        With ``degrade`` every ratio-th pixel counts from a tile's corner, so corners are multiples of the ratio.
        """
        inputs = tuple(
            InputSpec(role=role, tensor=role, bands=self.bands, values=Values(minimum=0.0)) for role in self.roles
        )
        return Contract(
            network="mlffgan",
            ratio=self.ratio,
            inputs=inputs,
            output=OutputSpec(tensor="fine_t2", bands=self.bands),
            tile=TileWish(mode="blend", stride=self._unit if self.degrade else None),
            options={
                "inputs": self.inputs,
                "adain": self.adain,
                "attention": self.attention,
                "degrade": self.degrade,
                "ratio": self.ratio,
            },
            source=self.about.source,
        )

    def untold(self, kind: str) -> Sequence[Untold]:
        """Keys and shapes tell ``attention`` only. Code bases disagree on ``degrade``."""
        published = "as published"
        found = [
            Untold(
                "degrade",
                {"true": "the authors' weights", "false": "weights of the survey's library"},
            ),
            Untold("adain", {"true": "fine features are restyled", "false": "they are not"}, assumed=published),
        ]
        if self.attention:
            found.append(Untold("inputs", {"3": "with coarse_t1", "2": "without"}, assumed=published))
        return found

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Output channels of the last layer."""
        last = state.get("conv5.3.weight")
        return int(last.shape[0]) if last is not None and last.ndim == 4 else None

    @classmethod
    def options_of(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Whether there are masks."""
        if "conv5.3.weight" not in state:
            return {}
        return {"attention": any(key.startswith("SignE_List.") for key in state)}

    def _fuse(
        self, before: Sequence[torch.Tensor] | None, fine_t1: torch.Tensor, coarse_t2: torch.Tensor
    ) -> torch.Tensor:
        """Decode the mixture of both; ``before`` is what coarse t2 is compared with, level by level."""
        fine, after = self.HSNet(fine_t1), self.LSNet(self._seen(coarse_t2))
        if self.adain:
            fine = [adain(f, c) for f, c in zip(fine, after, strict=True)]
        fused = [self._mix(i, before[i] if before else fine[i], fine[i], after[i]) for i in range(len(LEVELS))]
        features = self.conv1(torch.cat((fused[4], after[4]), dim=1))
        for level, step in zip((3, 2, 1, 0), (self.conv2, self.conv3, self.conv4, self.conv5), strict=True):
            features = step(torch.cat((fused[level], features), dim=1))
        return features

    def _mix(self, level: int, before: torch.Tensor, fine: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        if not self.attention:
            return (after + fine) / 2
        return fine + self.SignE_List[level](after, before) * (after - fine)

    def _seen(self, coarse: torch.Tensor) -> torch.Tensor:
        """A coarse image as the first layer sees it."""
        return down_and_up(coarse, self.ratio) if self.degrade else coarse

    @property
    def _unit(self) -> int:
        """What rows and columns are multiples of."""
        return math.lcm(SHRINK, self.ratio) if self.degrade else SHRINK

    def _require_size(self, image: torch.Tensor) -> None:
        height, width = image.shape[-2:]
        unit = self._unit
        if height % unit or width % unit or height < SMALLEST or width < SMALLEST:
            raise ExportError(
                "MLFF-GAN does not run on this size",
                got=f"{height} x {width}",
                allowed=f"multiples of {unit}, at least {SMALLEST}",
                fix="Choose another tile",
            )


class _TwoInputs(MLFFGAN):
    """The generator that compares coarse t2 with the restyled fine features."""

    roles: ClassVar[tuple[str, ...]] = ("fine_t1", "coarse_t2")

    def forward(  # type: ignore[override]
        self, fine_t1: torch.Tensor, coarse_t2: torch.Tensor
    ) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)`` reflectance."""
        self._require_size(fine_t1)
        return self._fuse(None, fine_t1, coarse_t2)


def down_and_up(image: torch.Tensor, ratio: int) -> torch.Tensor:
    """Every ``ratio``-th pixel, from the first, interpolated back to ``(N, C, H, W)`` (bicubic, a = -0.75)."""
    small = image[:, :, ::ratio, ::ratio]
    return functional.interpolate(small, scale_factor=ratio, mode="bicubic", align_corners=False)


class _Mask(nn.Module):
    """Where to trust the coarse features: two times ``(N, C, h, w)`` to ``(N, 1, h, w)`` in 0 to 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
        self.conv2 = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
        self.conv = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, after: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        return self.conv(self.conv1(after) - self.conv2(before))
