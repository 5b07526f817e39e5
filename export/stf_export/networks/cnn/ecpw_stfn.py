# SPDX-License-Identifier: Apache-2.0
"""ECPW-STFN: fine reference and coarse residual are added in the features of their wavelet sub-bands, then refined.

Zhang, Li, Tan, Li: Enhanced Wavelet Based Spatiotemporal Fusion Networks Using Cross-Paired Remote Sensing Images.
ISPRS Journal of Photogrammetry and Remote Sensing 211, 281-297, 2024, doi:10.1016/j.isprsjprs.2024.04.016.

    fine_t1 ─────────────▶ Haar ─▶ Landsat_encoder ─┐ sub-band by sub-band
                                                   (+)──▶ inverse Haar ──▶ decoder ──▶ coarse-to-fine image
    coarse_t2 - fine_t1 ─▶ Haar ─▶ MLRes_encoder ───┘                                        │
                                             fine_t2 ◀── RFDecoder ◀── RFEncoder ◀── concat fine_t1

The network takes no coarse image of the reference date: the published one is handed ``coarse_t1`` and never reads
it. The published wavelets leave the automatic differentiation, so that no gradient reached the two encoders:
checkpoints hold them as they were initialised. What they compute is well defined all the same.

The channel gates of the refinement see the whole tile, so the result depends on its extent; the authors test on
whole images of 1000 pixels and more, after training on tiles of 200.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import nn

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec, Values

from ...contract import Contract, TileWish
from ..base import About, FusionNetwork
from ..blocks.attention import ChannelGate, SpatialGate
from ..blocks.codec import FEATURES, decoder, encoder
from ..blocks.conv import edge_conv3
from ..blocks.haar import haar_join, haar_split


class ECPWSTFN(FusionNetwork):
    """Wavelet fusion and refinement.

    Images are ``(N, C, H, W)`` reflectance (DN x 0.0001, clipped below 0) on the fine grid; H and W are even. The
    output is reflectance, shape ``(N, C, H, W)``.

    Args:
        bands: Names of the bands, in the network's order.
        ratio: Coarse pixel over fine pixel; recorded in the contract, it changes no layer.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="ECPW-STFN",
        family="cnn",
        paper="Zhang, Li, Tan, Li: Enhanced Wavelet Based Spatiotemporal Fusion Networks Using Cross-Paired Remote "
        "Sensing Images. ISPRS Journal of Photogrammetry and Remote Sensing 211, 281-297, 2024",
        doi="10.1016/j.isprsjprs.2024.04.016",
        options={"ratio": "coarse pixel over fine pixel (default 16)"},
    )
    roles: ClassVar[tuple[str, ...]] = ("fine_t1", "coarse_t2")

    def __init__(
        self, bands: Sequence[str] = ("blue", "green", "red", "nir", "swir1", "swir2"), *, ratio: int = 16
    ) -> None:
        super().__init__(bands)
        if ratio < 1:
            raise ExportError("The ratio is coarse pixel over fine pixel", got=ratio, allowed="1 or more")
        self.ratio = ratio
        count = len(self.bands)
        self.Landsat_encoder = encoder(count, relu_last=True)
        self.MLRes_encoder = encoder(count, relu_last=True)
        self.decoder = decoder(count)
        self.RFEncoder = nn.Sequential(_Refine(2 * count, 32), _Refine(32, 64), _Refine(64, FEATURES))
        self.RFDecoder = decoder(count)

    def forward(
        self, fine_t1: torch.Tensor, coarse_t2: torch.Tensor, coarse_t1: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)`` reflectance.

        Args:
            fine_t1: Fine image at t1.
            coarse_t2: Coarse image at t2.
            coarse_t1: Not read, as in the published network.

        Raises:
            ExportError: An odd size.
        """
        height, width = fine_t1.shape[-2:]
        if height % 2 or width % 2:
            raise ExportError("The wavelet needs an even size", got=f"{height} x {width}", allowed="multiples of 2")
        fine = self.Landsat_encoder(_sub_bands(fine_t1))
        change = self.MLRes_encoder(_sub_bands(coarse_t2 - fine_t1))
        first = self.decoder(_joined(fine + change))
        return self.RFDecoder(self.RFEncoder(torch.cat((first, fine_t1), dim=1)))

    def contract(self) -> Contract:
        """Two images on the fine grid, reflectance; tiles are blended, since the channel gates see all of a tile."""
        values = Values(minimum=0.0)
        return Contract(
            network="ecpw_stfn",
            ratio=self.ratio,
            inputs=tuple(InputSpec(role=role, tensor=role, bands=self.bands, values=values) for role in self.roles),
            output=OutputSpec(tensor="fine_t2", bands=self.bands),
            tile=TileWish(mode="blend"),
            options={"ratio": self.ratio},
            source=self.about.source,
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Input channels of the fine encoder."""
        first = state.get("Landsat_encoder.0.1.weight")
        return int(first.shape[1]) if first is not None and first.ndim == 4 else None


def _sub_bands(image: torch.Tensor) -> torch.Tensor:
    """``(N, C, H, W)`` to its four sub-bands as a batch ``(4N, C, H/2, W/2)``: one encoder call for all."""
    bands = torch.stack(haar_split(image), dim=1)
    return bands.reshape(-1, *bands.shape[2:])


def _joined(features: torch.Tensor) -> torch.Tensor:
    """Features of the sub-bands ``(4N, C, H/2, W/2)`` to ``(N, C, H, W)``."""
    low, horizontal, vertical, diagonal = features.reshape(-1, 4, *features.shape[1:]).unbind(dim=1)
    return haar_join(low, horizontal, vertical, diagonal)


class _Refine(nn.Module):
    """A 3x3 convolution with ReLU, a channel gate and a spatial gate."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(nn.Sequential(*edge_conv3(channels_in, channels_out), nn.ReLU()))
        self.ChannelA = nn.Sequential(ChannelGate(channels_out))
        self.SpatialA = nn.Sequential(SpatialGate())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.SpatialA(self.ChannelA(self.residual(image)))
