# SPDX-License-Identifier: Apache-2.0
"""STF-EGFA: EDCSTFN with a branch for the fine image's edges, and gates that weigh channels and places.

Cheng, Fu, Tang, Huang, Huang, Ji: STF-EGFA: A Remote Sensing Spatiotemporal Fusion Network with Edge-Guided Feature
Attention. Remote Sensing 14(13), 3057, 2022, doi:10.3390/rs14133057.

    fine_t1 ──▶ gradient ──▶ ed ──────┐
    fine_t1 ────────▶ encoder ───────(+)──▶ calayer ──▶ palayer ──▶ decoder ──▶ fine_t2
    coarse_t1, fine_t1,               │
    coarse_t2 ──────▶ residual ───────┘

With a second reference date the same weights make gated features from ``coarse_t3`` and ``fine_t3``; the two are
averaged feature by feature, weighted inversely to the absolute residual, and decoded once.

The paper's figure shows an average pool in the edge branch; the published code has a maximum there, as here. The
channel gate averages over the whole tile, so the result depends on the tile's extent.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec

from ...contract import Contract, TileWish
from ..base import About, FusionNetwork, Untold, one_of
from ..blocks.codec import FEATURES, decoder, encoder
from ..blocks.conv import edge_conv3
from ..blocks.weighting import NO_CHANGE, inverse_weight

References = Literal[1, 2]

SQUEEZED = FEATURES // 8

# Gradients are stretched by this power of two while they are squared: the square of 1e-4 is zero in half precision.
_STRETCH = 64.0


class STFEGFA(FusionNetwork):
    """The network with one reference date; ``references=2`` makes the one with two.

    All images are ``(N, C, H, W)`` reflectance (DN x 0.0001) on the fine grid, coarse ones too; nothing is clipped.
    The output is reflectance, shape ``(N, C, H, W)``.

    Differences from the published code: inputs are separate arguments (there: one list, which is overwritten);
    with two references it always returns the fused image; the weights of the two dates are written without
    reciprocals and with an eps of ``2**-24`` in place of ``1e-8``. A state dict may hold ``ed.spatial.*`` (the fixed
    gradient kernels that some versions of a library saved); these keys are ignored, and no others.

    Args:
        bands: Names of the bands, in the network's order.
        references: Reference dates.
        ratio: Coarse pixel over fine pixel; recorded in the contract, it changes no layer.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="STF-EGFA",
        family="cnn",
        paper="Cheng, Fu, Tang, Huang, Huang, Ji: STF-EGFA: A Remote Sensing Spatiotemporal Fusion Network with "
        "Edge-Guided Feature Attention. Remote Sensing 14(13), 3057, 2022",
        doi="10.3390/rs14133057",
        options={
            "references": "reference dates: 1 (default) or 2",
            "ratio": "coarse pixel over fine pixel (default 16)",
        },
    )
    ignored: ClassVar[tuple[str, ...]] = ("ed.spatial.",)
    roles: ClassVar[tuple[str, ...]] = ("coarse_t1", "fine_t1", "coarse_t2")

    def __new__(cls, *_: Any, references: References = 1, **__: Any) -> STFEGFA:
        """An instance of the class whose ``forward`` has the right roles."""
        return super().__new__(_TwoReferences if references == 2 else cls)

    def __init__(
        self,
        bands: Sequence[str] = ("blue", "green", "red", "nir"),
        *,
        references: References = 1,
        ratio: int = 16,
    ) -> None:
        super().__init__(bands)
        self.references = one_of("STF-EGFA", "number of references", references, get_args(References))
        if ratio < 1:
            raise ExportError("The ratio is coarse pixel over fine pixel", got=ratio, allowed="1 or more")
        self.ratio = ratio
        count = len(self.bands)
        self.ed = _Edges(count)
        self.encoder = encoder(count, relu_last=True)
        self.residual = encoder(3 * count, relu_last=False)
        self.calayer = _ChannelGate()
        self.palayer = _PlaceGate()
        self.decoder = decoder(count)

    def forward(self, coarse_t1: torch.Tensor, fine_t1: torch.Tensor, coarse_t2: torch.Tensor) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)`` reflectance."""
        return self.decoder(self._gated(fine_t1, self._change(coarse_t1, fine_t1, coarse_t2)))

    def contract(self) -> Contract:
        """All images on the fine grid, reflectance; tiles are blended, since the channel gate sees all of a tile."""
        return Contract(
            network="stf_egfa",
            ratio=self.ratio,
            inputs=tuple(InputSpec(role=role, tensor=role, bands=self.bands) for role in self.roles),
            output=OutputSpec(tensor="fine_t2", bands=self.bands),
            tile=TileWish(mode="blend"),
            options={"references": self.references, "ratio": self.ratio},
            source=self.about.source,
        )

    def for_export(self) -> STFEGFA:
        """This network with the channel gate's kernels summed beforehand; all else is shared."""
        twin = copy.copy(self)
        twin._modules = {**self._modules, "calayer": _SummedGate(self.calayer)}
        return twin

    def untold(self, kind: str) -> Sequence[Untold]:
        """Both forms have the same keys and shapes."""
        return (Untold("references", {"1": "one reference date", "2": "two"}, assumed="the first published form"),)

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Input channels of the edge branch."""
        first = state.get("ed.conv.0.1.weight")
        return int(first.shape[1]) if first is not None and first.ndim == 4 else None

    def _change(self, coarse: torch.Tensor, fine: torch.Tensor, coarse_t2: torch.Tensor) -> torch.Tensor:
        """Features of what happened between a reference date and t2."""
        return self.residual(torch.cat((coarse, fine, coarse_t2), dim=1))

    def _gated(self, fine: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """Features of a reference date, moved by the change, after both gates."""
        return self.palayer(self.calayer(self.ed(fine) + self.encoder(fine) + change))


class _TwoReferences(STFEGFA):
    """STF-EGFA between two reference dates."""

    roles: ClassVar[tuple[str, ...]] = ("coarse_t1", "fine_t1", "coarse_t3", "fine_t3", "coarse_t2")

    def forward(  # type: ignore[override]
        self,
        coarse_t1: torch.Tensor,
        fine_t1: torch.Tensor,
        coarse_t3: torch.Tensor,
        fine_t3: torch.Tensor,
        coarse_t2: torch.Tensor,
    ) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)`` reflectance."""
        change_1 = self._change(coarse_t1, fine_t1, coarse_t2)
        change_3 = self._change(coarse_t3, fine_t3, coarse_t2)
        weight_1 = inverse_weight(change_1, change_3, NO_CHANGE)
        gated_1, gated_3 = self._gated(fine_t1, change_1), self._gated(fine_t3, change_3)
        return self.decoder(weight_1 * gated_1 + (1 - weight_1) * gated_3)


class _Edges(nn.Module):
    """Features ``(N, 128, H, W)`` of the strongest gradient within one pixel of each place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(edge_conv3(channels, FEATURES), nn.ReLU())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(functional.max_pool2d(gradient_magnitude(image), 3, stride=1, padding=1))


def gradient_magnitude(image: torch.Tensor) -> torch.Tensor:
    """Length of the central-difference gradient of each band, ``(N, C, H, W)``; border pixels are repeated."""
    wide = functional.pad(image, (1, 1, 0, 0), mode="replicate")
    tall = functional.pad(image, (0, 0, 1, 1), mode="replicate")
    dx = (wide[..., 2:] - wide[..., :-2]) * (_STRETCH / 2)
    dy = (tall[..., 2:, :] - tall[..., :-2, :]) * (_STRETCH / 2)
    return torch.sqrt(dx * dx + dy * dy) * (1 / _STRETCH)


class _ChannelGate(nn.Module):
    """Weighs channels by their mean over the tile."""

    def __init__(self) -> None:
        super().__init__()
        self.ca = nn.Sequential(edge_conv3(FEATURES, SQUEEZED), nn.ReLU(), edge_conv3(SQUEEZED, FEATURES), nn.Sigmoid())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features * self.ca(features.mean(dim=(2, 3), keepdim=True))


class _SummedGate(nn.Module):
    """The same weights from 1x1 convolutions: on a 1x1 image all nine taps of a kernel see the same pixel."""

    def __init__(self, gate: _ChannelGate) -> None:
        super().__init__()
        self.ca = nn.Sequential(_summed(gate.ca[0][1]), nn.ReLU(), _summed(gate.ca[2][1]), nn.Sigmoid())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features * self.ca(features.mean(dim=(2, 3), keepdim=True))


def _summed(conv: nn.Conv2d) -> nn.Conv2d:
    """A 1x1 convolution whose kernel is the sum over the places of another's."""
    small = nn.Conv2d(conv.in_channels, conv.out_channels, 1)
    small.load_state_dict({"weight": conv.weight.sum(dim=(2, 3), keepdim=True), "bias": conv.bias})
    return small


class _PlaceGate(nn.Module):
    """Weighs places by a small convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        self.pa = nn.Sequential(edge_conv3(FEATURES, SQUEEZED), nn.ReLU(), edge_conv3(SQUEEZED, 1), nn.Sigmoid())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features * self.pa(features)
