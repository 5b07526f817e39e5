# SPDX-License-Identifier: Apache-2.0
"""GAN-STFM: the coarse image of the day and any fine image of the place; no pair of one date is needed.

Tan, Gao, Li, Jiang: A Flexible Reference-Insensitive Spatiotemporal Fusion Model for Remote Sensing Images Using
Conditional Generative Adversarial Network. IEEE Transactions on Geoscience and Remote Sensing 60, 1-13, 2022,
doi:10.1109/TGRS.2021.3050551.

    coarse_t2 ──▶ lateral ──▶ lateral ──▶ lateral ──▶ lateral ──┐
                     │           │           │           │      (++)──▶ decoder ──▶ fine_t2
                     ▼           ▼           ▼           ▼      │
    fine_t1 ────▶  trunk ───▶  trunk ───▶  trunk ───▶  trunk ───┘

Everything runs at full resolution: 75.5 GFLOP for six bands of 256 x 256. ``fine_t1`` is the fine reference; it may
be of any date, before or after t2.

Code bases differ. The authors feed the coarse image of t2. The re-implementation in the survey's library has the
same layers and keys, and feeds the coarse image of **t1**: its output does not depend on the coarse image of t2 at
all. Weights trained there need that input; ``variant`` names the choice.
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
from ..blocks.conv import edge_conv3
from ..blocks.normalisation import SwitchNorm

Variant = Literal["authors", "survey"]

WIDTHS = (16, 32, 64, 128)


class GANSTFM(FusionNetwork):
    """The generator as published; ``variant="survey"`` makes the one with the other coarse image.

    Images are ``(N, C, H, W)`` reflectance (DN x 0.0001), negative values set to 0; any size. The output is
    reflectance, ``(N, C, H, W)``, without activation and not clipped.

    The statistics of switchable normalisation are those of the tile, in inference too: tiles of one scene do not
    agree at their seams and are blended. The authors run whole scenes or few large tiles.

    Differences from the published code: inputs are separate arguments (there: one list); the layer variance is
    written without cancellation.

    Args:
        bands: Names of the bands, in the network's order.
        variant: Which coarse image the weights were trained with: ``authors`` that of t2, ``survey`` that of t1.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="GAN-STFM",
        family="gan",
        paper="Tan, Gao, Li, Jiang: A Flexible Reference-Insensitive Spatiotemporal Fusion Model for Remote Sensing "
        "Images Using Conditional Generative Adversarial Network. IEEE Transactions on Geoscience and Remote "
        "Sensing 60, 1-13, 2022",
        doi="10.1109/TGRS.2021.3050551",
        options={
            "variant": "whose weights: authors (default; the coarse image is that of t2) or survey (the survey's "
            "library; the coarse image is that of t1, and that of t2 has no influence)",
        },
    )
    roles: ClassVar[tuple[str, ...]] = ("coarse_t2", "fine_t1")

    def __new__(cls, *_: Any, variant: Variant = "authors", **__: Any) -> GANSTFM:
        """An instance of the class whose ``forward`` has the right roles."""
        return super().__new__(_SurveyVariant if variant == "survey" else cls)

    def __init__(
        self,
        bands: Sequence[str] = ("blue", "green", "red", "nir", "swir1", "swir2"),
        *,
        variant: Variant = "authors",
    ) -> None:
        super().__init__(bands)
        self.variant = one_of("GAN-STFM", "variant", variant, get_args(Variant))
        count = len(self.bands)
        wide = tuple(2 * w for w in WIDTHS[::-1])
        self.encoder = nn.ModuleList(_Step(i, o) for i, o in zip((count, *WIDTHS), WIDTHS, strict=False))
        self.decoder = nn.Sequential(
            *(_Narrowing(i, o) for i, o in zip(wide, WIDTHS[::-1], strict=True)), nn.Conv2d(WIDTHS[0], count, 1)
        )

    def forward(
        self, coarse_t2: torch.Tensor, fine_t1: torch.Tensor | None = None, *, fine_ref: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)`` reflectance.

        Args:
            coarse_t2: Coarse image at t2.
            fine_t1: Fine reference of any date.
            fine_ref: The same by the authors' name; one of the two is given.

        Raises:
            ExportError: Both are given, or none.
        """
        return self._generate(coarse_t2, _one_reference(fine_t1, fine_ref))

    def contract(self) -> Contract:
        """All images on the fine grid; reflectance from 0; tiles are blended."""
        inputs = tuple(
            InputSpec(role=role, tensor=role, bands=self.bands, values=Values(minimum=0.0)) for role in self.roles
        )
        return Contract(
            network="ganstfm",
            inputs=inputs,
            output=OutputSpec(tensor="fine_t2", bands=self.bands),
            tile=TileWish(mode="blend"),
            options={"variant": self.variant},
            source=self.about.source,
        )

    def untold(self, kind: str) -> Sequence[Untold]:
        """Both have the same keys and shapes."""
        return (
            Untold(
                "variant",
                {"authors": "the coarse image is that of t2", "survey": "the coarse image is that of t1"},
                assumed="as published",
            ),
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Output channels of the last layer."""
        last = state.get("decoder.4.weight")
        return int(last.shape[0]) if last is not None and last.ndim == 4 else None

    def _generate(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        lateral, trunk = coarse, fine
        for step in self.encoder:
            lateral, trunk = step(lateral, trunk)
        return self.decoder(torch.cat((lateral, trunk), dim=1))


def _one_reference(fine_t1: torch.Tensor | None, fine_ref: torch.Tensor | None) -> torch.Tensor:
    given = [image for image in (fine_t1, fine_ref) if image is not None]
    if len(given) != 1:
        raise ExportError(
            "GAN-STFM takes one fine reference", got=f"{len(given)} of them", allowed="fine_t1 or fine_ref"
        )
    return given[0]


class _SurveyVariant(GANSTFM):
    """The generator as the survey's library feeds it."""

    roles: ClassVar[tuple[str, ...]] = ("coarse_t1", "fine_t1")

    def forward(  # type: ignore[override]
        self, coarse_t1: torch.Tensor, fine_t1: torch.Tensor
    ) -> torch.Tensor:
        """What these weights take for the fine image, ``(N, C, H, W)`` reflectance; it follows ``coarse_t1``."""
        return self._generate(coarse_t1, fine_t1)


class _Step(nn.Module):
    """One level of both paths: ``(N, C_in, H, W)`` each to ``(N, C_out, H, W)`` each."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        narrow = min(channels_in, channels_out)
        self.residual = nn.Sequential(
            SwitchNorm(channels_in),
            nn.LeakyReLU(),
            edge_conv3(channels_in, narrow),
            SwitchNorm(narrow),
            nn.LeakyReLU(),
            nn.Conv2d(narrow, channels_out, 1),
        )
        self.transform = nn.Sequential(
            edge_conv3(channels_in, narrow), nn.Conv2d(narrow, channels_out, 1), nn.LeakyReLU()
        )

    def forward(self, lateral: torch.Tensor, trunk: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        lateral = self.transform(lateral)
        return lateral, self.residual(trunk) + lateral


class _Narrowing(nn.Module):
    """``(N, C_in, H, W)`` to ``(N, C_out, H, W)``, around a 1x1 shortcut."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        narrow = min(channels_in, channels_out)
        self.residual = nn.Sequential(
            edge_conv3(channels_in, narrow), nn.LeakyReLU(), nn.Conv2d(narrow, channels_out, 1)
        )
        self.transform = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.residual(features) + self.transform(features)
