# SPDX-License-Identifier: Apache-2.0
"""DSTFNet: field parcels from one very high resolution image and a time series of medium resolution.

Cai, Hu, Zhang, Yang, Wei, Wang, Zeng, Yin, Li, You, Xu, Shi: Improving Agricultural Field Parcel Delineation with a
Dual Branch Spatiotemporal Fusion Network by Integrating Multimodal Satellite Data. ISPRS Journal of Photogrammetry and
Remote Sensing 205, 34-49, 2023, doi:10.1016/j.isprsjprs.2023.09.021.

    fine_t1 ─▶ stem ─▶ ResNet-50 stages ──────────────────────▶ levels 1..5 ─┐
                                                                             ├─▶ decoder ─▶ extent, distance, boundary
    series ──▶ ConvLSTM both ways ─▶ mean over the dates ─▶ 4 halvings ──────┘
                                     weighted by attention      each enlarged to the size of its fine level

Level k has 1/2^k of the fine rows and columns. It does not predict an image of t2: it fuses a fine image with a coarse
series into three maps. The decoder is in :mod:`.dstfnet_decoder`.

The definition follows from a list of keys and shapes, a short description, and numbers that the published code gave;
what the three leave open was found by trying what gives those numbers (to 1e-6 of 1). They do not tell the largest
dilation of the context module from any other of 4 or more; it is 4 here, after 1 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError, TilePlanError
from stf_infer.spec import InputSpec, OutputSpec, Values

from ...contract import Contract, TileWish
from .. import band_names
from ..base import About, FusionNetwork
from ..blocks.recurrent import JointGateCell, hidden_states
from ..blocks.resnet import EXPANSION, stage
from .dstfnet_decoder import Decoder, conv_norm, enlarge

MAPS = ("extent", "distance", "boundary")
BLOCKS = (3, 4, 6, 3)  # ResNet-50
WIDTH = 64
STEP = 16  # halvings of a branch behind its first level
SQUEEZE = 16  # what the channel gates divide by; they see two branches


class DSTFNet(FusionNetwork):
    """Extent of fields, distance to their boundary, and boundary, each from 0 to 1.

    ``fine_t1`` is ``(N, C, H, W)``; ``series`` is ``(N, T, B, H / ratio, W / ratio)``, any number of dates T from one
    up. H and W are multiples of 16 ratios (128 as published). The output holds ``extent``, ``distance`` and
    ``boundary``, each ``(N, 1, H, W)`` behind a sigmoid, and ``attention`` ``(N, T, 1, H / ratio, W / ratio)``, which
    sums to one over the dates.

    The published training data: ``series`` is reflectance; ``fine_t1`` is reflectance from 0 to 1 that was stretched
    band by band from its 2nd and 98th percentile to 0 and 1. The contract cannot state that stretch: give an image
    that has gone through it.

    For a bundle the series is one raster on the coarse grid whose bands are all bands of date 1, then of date 2, and
    the three maps are the bands of one output. Gates and pools look at the whole tile, so tiles are blended; the
    authors train on 256 pixels.

    Differences from the published code: the decoder's first convolution is applied before the enlargement, at a quarter
    of the cost (both are linear). ``decoder.upblock_1.cam.cab5`` is kept for its keys only, there as here nothing
    passes through it. The published ratio is 8 (each level of the series is enlarged 4 times).

    Args:
        bands: Names of the fine bands, in the network's order.
        series_bands: Names of the bands of each date, or how many; None takes ``bands``.
        dates: Images of the series in an exported graph.
        ratio: Coarse pixel over fine pixel, even.
        width: Features of the first level; those of all others follow.
        blocks: Bottlenecks of the four stages of the fine branch.
        layers: ConvLSTM cells behind one another, in either direction.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="DSTFNet",
        family="others",
        paper="Cai, Hu, Zhang, Yang, Wei, Wang, Zeng, Yin, Li, You, Xu, Shi: Improving Agricultural Field Parcel "
        "Delineation with a Dual Branch Spatiotemporal Fusion Network by Integrating Multimodal Satellite Data. ISPRS "
        "Journal of Photogrammetry and Remote Sensing 205, 34-49, 2023",
        doi="10.1016/j.isprsjprs.2023.09.021",
        options={
            "series_bands": "names of the bands of each date of the series or how many (default: those of the fine "
            "image)",
            "dates": "images of the series in an exported graph (default 8)",
            "ratio": "coarse pixel over fine pixel, even (default 8)",
            "width": "features of the first level, a multiple of 8 (default 64)",
            "blocks": "bottlenecks of the four stages of the fine branch (default 3, 4, 6, 3)",
            "layers": "ConvLSTM cells behind one another (default 2)",
        },
    )

    def __init__(
        self,
        bands: Sequence[str] = ("blue", "green", "red", "nir"),
        *,
        series_bands: int | Sequence[str] | None = None,
        dates: int = 8,
        ratio: int = 8,
        width: int = WIDTH,
        blocks: Sequence[int] = BLOCKS,
        layers: int = 2,
    ) -> None:
        super().__init__(bands)
        self.series_bands = self.bands if series_bands is None else band_names(series_bands)
        self.dates, self.ratio, self.width = dates, ratio, width
        self.blocks, self.layers = tuple(blocks), layers
        self._check_options()
        widths = (width, *(width * EXPANSION * 2**level for level in range(4)))
        self.spatial_encoder = _Spatial(len(self.bands), width, self.blocks)
        self.temporal_encoder = _Temporal(len(self.series_bands), widths, layers, ratio // 2)
        self.decoder = Decoder(widths, SQUEEZE)

    def forward(self, fine_t1: torch.Tensor, series: torch.Tensor) -> dict[str, torch.Tensor]:
        """Three maps of the parcels, and the attention to the dates, by name.

        Args:
            fine_t1: The very high resolution image.
            series: The images of medium resolution, in the order of time.

        Raises:
            TilePlanError: A size that the levels do not divide, or that is not that of the other input.
        """
        self._check_sizes(fine_t1, series)
        seen, attention = self.temporal_encoder(series)
        maps = self.decoder(self.spatial_encoder(fine_t1), seen)
        return {**dict(zip(MAPS, maps, strict=True)), "attention": attention}

    def for_export(self) -> nn.Module:
        """A module that takes the series as one image and returns the maps as bands; the weights are shared."""
        return _AsRasters(self)

    def contract(self) -> Contract:
        """The fine image, and the series on the coarse grid; tiles are blended."""
        unit = Values(minimum=0.0, maximum=1.0)
        return Contract(
            network="dstfnet",
            ratio=self.ratio,
            inputs=(
                InputSpec(role="fine_t1", tensor="fine_t1", bands=self.bands, values=unit),
                InputSpec(role="series", tensor="series", bands=self.raster_bands, grid="coarse"),
            ),
            output=OutputSpec(tensor="parcels", bands=MAPS, values=Values(unit="1", minimum=0.0, maximum=1.0)),
            tile=TileWish(mode="blend"),
            options={
                "series_bands": list(self.series_bands),
                "dates": self.dates,
                "ratio": self.ratio,
                "width": self.width,
                "blocks": list(self.blocks),
                "layers": self.layers,
            },
            source=self.about.source,
        )

    @property
    def raster_bands(self) -> tuple[str, ...]:
        """Names of the bands of the series as one raster: ``t1_blue``, ``t1_green`` and so on."""
        return tuple(f"t{date + 1}_{band}" for date in range(self.dates) for band in self.series_bands)

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Input channels of the fine branch."""
        first = state.get("spatial_encoder.conv1.conv_3.weight")
        return None if first is None else int(first.shape[1])

    @classmethod
    def options_of(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Bands of the series, features of the first level, cells behind one another."""
        rnn = "temporal_encoder.temporal_encoder.forward_rnn.cell_list."
        first, stem = state.get(f"{rnn}0.conv.weight"), state.get("spatial_encoder.bn1.weight")
        if first is None or stem is None:
            return {}
        width = int(stem.shape[0])
        cells = sum(key.startswith(rnn) and key.endswith(".conv.weight") for key in state)
        return {"series_bands": int(first.shape[1]) - width // 2, "width": width, "layers": cells}

    def _check_options(self) -> None:
        for option, value in (("dates", self.dates), ("layers", self.layers)):
            if value < 1:
                raise ExportError(f"DSTFNet needs {option}", got=value, allowed="1 or more")
        if self.ratio < 2 or self.ratio % 2:
            raise ExportError("DSTFNet joins the branches at half the fine size", got=self.ratio, allowed="even ratios")
        if self.width < 8 or self.width % 8:
            raise ExportError("DSTFNet does not have this width", got=self.width, allowed="multiples of 8")
        if len(self.blocks) != len(BLOCKS) or min(self.blocks) < 1:
            raise ExportError("The fine branch has four stages", got=self.blocks, allowed="four numbers from 1 up")

    def _check_sizes(self, fine: torch.Tensor, series: torch.Tensor) -> None:
        size = tuple(fine.shape[-2:])
        step = STEP * self.ratio
        if any(side % step for side in size):
            raise TilePlanError("DSTFNet does not run on this size", got=size, allowed=f"multiples of {step}")
        wanted = tuple(side // self.ratio for side in size)
        if tuple(series.shape[-2:]) != wanted:
            raise TilePlanError(
                f"The series does not cover the fine image of {size} at the ratio {self.ratio}",
                got=tuple(series.shape[-2:]),
                allowed=wanted,
            )


class _AsRasters(nn.Module):
    """The network between rasters: the series' dates are stacked along the bands, and so are the maps."""

    def __init__(self, network: DSTFNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, fine_t1: torch.Tensor, series: torch.Tensor) -> torch.Tensor:
        bands = len(self.network.series_bands)
        maps = self.network(fine_t1, series.unflatten(1, (self.network.dates, bands)))
        return torch.cat([maps[name] for name in MAPS], dim=1)


class _Spatial(nn.Module):
    """The fine branch: ResNet-50 whose stem looks through three kernels at once."""

    def __init__(self, bands: int, width: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = _Stem(bands, width)
        self.bn1 = nn.BatchNorm2d(width)
        before = width
        for level, count in enumerate(blocks):
            inner = width * 2**level
            self.add_module(f"layer{level + 1}", stage(before, inner, count, stride=1 if level == 0 else 2))
            before = EXPANSION * inner

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features of the five levels."""
        levels = [torch.relu(self.bn1(self.conv1(image)))]
        features = functional.max_pool2d(levels[0], 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = layer(features)
            levels.append(features)
        return levels


class _Stem(nn.Module):
    """Sum of a 3x3, a 5x5 and a 7x7 convolution of stride 2."""

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.conv_3, self.conv_5, self.conv_7 = (
            nn.Conv2d(bands, width, side, stride=2, padding=side // 2, bias=False) for side in (3, 5, 7)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv_3(image) + self.conv_5(image) + self.conv_7(image)


class _Temporal(nn.Module):
    """The coarse branch: what the dates hold together, at five sizes."""

    def __init__(self, bands: int, widths: Sequence[int], layers: int, enlarged: int) -> None:
        super().__init__()
        hidden = widths[0] // 2
        self.temporal_encoder = _BothWays(bands, hidden, layers)
        self.temporal_aggregator = _Attention(2 * hidden)
        for level, width in enumerate(widths, 1):
            self.add_module(f"uplayer{level if level > 1 else ''}", _Enlarged(width, enlarged))
        for level, (before, after) in enumerate(pairwise(widths), 1):
            self.add_module(f"layer{level}", _Halved(before, after))

    def forward(self, series: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Features of the five levels at the size of the fine branch's, and the attention ``(N, T, 1, h, w)``."""
        dates = self.temporal_encoder(series)
        attention = self.temporal_aggregator(dates)
        features = (dates * attention).sum(dim=1)
        levels = [self.uplayer(features)]
        for level in range(1, 5):
            features = self.get_submodule(f"layer{level}")(features)
            levels.append(self.get_submodule(f"uplayer{level + 1}")(features))
        return levels, attention


class _BothWays(nn.Module):
    """Two ConvLSTM, one from the first date to the last and one back, side by side."""

    def __init__(self, bands: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.forward_rnn = _Cells(bands, hidden, layers)
        self.backward_rnn = _Cells(bands, hidden, layers)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """``(N, T, B, h, w)`` to ``(N, T, 2 hidden, h, w)``."""
        dates = series.unbind(1)
        onward, back = self.forward_rnn(dates), self.backward_rnn(dates[::-1])[::-1]
        return torch.stack([torch.cat(pair, dim=1) for pair in zip(onward, back, strict=True)], dim=1)


class _Cells(nn.Module):
    def __init__(self, bands: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.cell_list = nn.ModuleList(JointGateCell(hidden if layer else bands, hidden) for layer in range(layers))

    def forward(self, images: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        for cell in self.cell_list:
            images = hidden_states(cell, images)
        return images


class _Attention(nn.Module):
    """How much each date counts, pixel by pixel; the weights sum to one over the dates."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv_norm(channels, 1)

    def forward(self, dates: torch.Tensor) -> torch.Tensor:
        """``(N, T, C, h, w)`` to ``(N, T, 1, h, w)``."""
        scores = torch.stack([self.conv(date) for date in dates.unbind(1)], dim=1)
        return scores.softmax(dim=1)


class _Enlarged(nn.Module):
    """Enlarged to the size of the fine level, then a convolution, normalised, with ReLU."""

    def __init__(self, channels: int, times: int) -> None:
        super().__init__()
        self.times = times
        # The enlargement is entry 0 of the published block and has no weights.
        self.uplayer = nn.Sequential(nn.Identity(), *conv_norm(channels, channels, 3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.uplayer(enlarge(features, self.times)))


class _Halved(nn.Module):
    """One level down: a convolution of stride 2, then two that are added."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.down = conv_norm(before, before, 3, stride=2)
        self.conv1 = conv_norm(before, after, 3)
        self.conv2 = conv_norm(after, after, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        wide = torch.relu(self.conv1(torch.relu(self.down(features))))
        return wide + torch.relu(self.conv2(wide))
