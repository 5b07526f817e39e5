# SPDX-License-Identifier: Apache-2.0
"""MUSTFN: two fine and three coarse dates in one multi-scale network that tolerates gaps and misregistration.

Qin, Huang, Tang, Wang, Liu: MUSTFN: A Spatiotemporal Fusion Method for Multi-Scale and Multi-Sensor Remote Sensing
Images Based on a Convolutional Neural Network. International Journal of Applied Earth Observation and Geoinformation
115, 2022, doi:10.1016/j.jag.2022.103113.

    fine_t1, fine_t3 ──▶ 2 convs ─┐                 ┌─ feature 1 (full size) ───────────────┐
                                  ├─▶ feature_net ──┼─ feature 2 (1/2) ─▶ pool: 2, 4, 8 ────┼─▶ attention ─▶ fine_t2
    coarse_t1..t3 ──────▶ 1 conv ─┘                 └─ feature 3 (1/4) ─▶ dilate: 2, 4, 8 ──┘

Every 3x3 convolution repeats border pixels and is followed by batch normalisation and a ReLU. The published network
runs on tiles of 256 pixels only: it pools to, and interpolates from, sizes that are constants. Here the pooling
windows are constants (the same at 256), so that other tiles run; the authors never trained any. The attention
averages over the whole tile, and the interpolations hang on its corners.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec

from ...contract import Contract, TileWish
from .. import band_names
from ..base import About, FusionNetwork

FINE_DATES, COARSE_DATES = 2, 3
TILE = 256
STEP = 16  # the coarsest pooling cell, in pixels of the tile

# Features at half and quarter size, after pooling, after dilation, and in the attention.
HALF, QUARTER, POOLED, DILATED, SQUEEZED = 132, 264, 264, 396, 150
WINDOWS = (2, 4, 8)  # of the pooling, in pixels of the half size
DILATIONS = (2, 4, 8)


class MUSTFN(FusionNetwork):
    """The network as published: dates of one sensor are stacked along the channels.

    ``fine_pair`` is ``(N, 2 C, H, W)``: all bands of ``fine_t1``, then of ``fine_t3``. ``coarse_triple`` is ``(N, 3
    D, H, W)``: t1, t2, t3, each with its D bands, on the fine grid. The order of dates is not documented; this is
    the one of time. Values are reflectance from 0 to 1; the output ``(N, C, H, W)`` went through a sigmoid. H and
    W are multiples of 16. :meth:`for_export` takes the five images one by one.

    Differences from the published code: the 1x1 convolution behind the pooling is applied before the interpolation,
    at a 16th to a 256th of the cost; both are linear, so the result is the same. ``feature_net.deep_conv1_4`` is
    kept for its keys only, there as here nothing passes through it. Band counts other than 6 and 7 change the
    layers that the stacked images enter; the widths behind them stay.

    Args:
        bands: Names of the fine bands, in the network's order.
        coarse_bands: Names of the coarse bands, or how many there are.
        tile: Rows and columns of a tile; the published network knows 256 only.
        ratio: Coarse pixel over fine pixel; recorded in the contract, it changes no layer.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="MUSTFN",
        family="cnn",
        paper="Qin, Huang, Tang, Wang, Liu: MUSTFN: A Spatiotemporal Fusion Method for Multi-Scale and Multi-Sensor "
        "Remote Sensing Images Based on a Convolutional Neural Network. International Journal of Applied Earth "
        "Observation and Geoinformation 115, 2022",
        doi="10.1016/j.jag.2022.103113",
        options={
            "coarse_bands": "names of the coarse bands or how many there are (default 7)",
            "tile": "rows and columns of a tile: 256 (default, the only one that was trained) or a multiple of 16",
            "ratio": "coarse pixel over fine pixel (default 16)",
        },
    )

    def __init__(
        self,
        bands: Sequence[str] = ("blue", "green", "red", "nir", "swir1", "swir2"),
        *,
        coarse_bands: int | Sequence[str] = 7,
        tile: int = TILE,
        ratio: int = 16,
    ) -> None:
        super().__init__(bands)
        if ratio < 1:
            raise ExportError("The ratio is coarse pixel over fine pixel", got=ratio, allowed="1 or more")
        if tile < STEP or tile % STEP:
            raise ExportError("MUSTFN does not run on this tile", got=tile, allowed=f"a multiple of {STEP}")
        self.coarse_bands = band_names(coarse_bands)
        if not self.coarse_bands:
            raise ExportError("MUSTFN needs at least one coarse band", got=coarse_bands)
        self.tile, self.ratio = tile, ratio
        fine, coarse = FINE_DATES * len(self.bands), COARSE_DATES * len(self.coarse_bands)
        full = 2 * (fine + coarse)
        self.feature_net = _Features(fine, coarse)
        self.pool = _Pool()
        self.dilate = _Dilate()
        self.attention2 = _Attention(full + POOLED + DILATED)
        self.conv1 = _ConvBnRelu(full + POOLED + DILATED, 128)
        self.conv2 = _ConvBnRelu(128, 64)
        self.conv3 = nn.Conv2d(64, len(self.bands), 1, bias=False)

    def forward(self, fine_pair: torch.Tensor, coarse_triple: torch.Tensor) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)`` reflectance.

        Args:
            fine_pair: Fine images at t1 and t3, stacked.
            coarse_triple: Coarse images at t1, t2 and t3, stacked.

        Raises:
            ExportError: A size that cannot be pooled.
        """
        height, width = fine_pair.shape[-2:]
        if height % STEP or width % STEP:
            raise ExportError(
                "MUSTFN does not run on this size", got=f"{height} x {width}", allowed=f"multiples of {STEP}"
            )
        size = (height, width)
        feature_1, feature_2, feature_3 = self.feature_net(fine_pair, coarse_triple)
        seen = torch.cat((feature_1, self.pool(feature_2, size), self.dilate(feature_3, size)), dim=1)
        return torch.sigmoid(self.conv3(self.conv2(self.conv1(self.attention2(seen)))))

    def for_export(self) -> nn.Module:
        """The network with one input a date, and with the normalisation behind the pooling folded away."""
        return _ByDate(self)

    def contract(self) -> Contract:
        """Five images on the fine grid, reflectance; the tile is part of the network."""
        inputs = tuple(
            InputSpec(role=role, tensor=role, bands=self.bands if role.startswith("fine") else self.coarse_bands)
            for role in ("fine_t1", "fine_t3", "coarse_t1", "coarse_t2", "coarse_t3")
        )
        return Contract(
            network="mustfn",
            ratio=self.ratio,
            inputs=inputs,
            output=OutputSpec(tensor="fine_t2", bands=self.bands),
            tile=TileWish(size=self.tile, mode="blend"),
            options={"coarse_bands": list(self.coarse_bands), "tile": self.tile, "ratio": self.ratio},
            source=self.about.source,
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Output channels of the last layer."""
        last = state.get("conv3.weight")
        return int(last.shape[0]) if last is not None and "attention2.conv1_2.weight" in state else None

    @classmethod
    def options_of(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """How many coarse bands enter."""
        first = state.get("feature_net.deep_conv1_3.conv.weight")
        return {} if first is None else {"coarse_bands": int(first.shape[1]) // COARSE_DATES}


class _ByDate(nn.Module):
    """MUSTFN that takes its dates one by one."""

    def __init__(self, network: MUSTFN) -> None:
        super().__init__()
        self.network = copy.copy(network)
        self.network._modules = {**network._modules, "pool": _FoldedPool(network.pool)}

    def forward(
        self,
        fine_t1: torch.Tensor,
        fine_t3: torch.Tensor,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        coarse_t3: torch.Tensor,
    ) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)``."""
        return self.network(torch.cat((fine_t1, fine_t3), dim=1), torch.cat((coarse_t1, coarse_t2, coarse_t3), dim=1))


class _ConvBnRelu(nn.Module):
    """Bias-free convolution with repeated border pixels, batch normalisation and ReLU."""

    def __init__(
        self, channels_in: int, channels_out: int, size: int = 3, *, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.pad = nn.ReplicationPad2d(dilation * (size // 2))
        self.conv = nn.Conv2d(
            channels_in, channels_out, size, stride=stride, dilation=dilation, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(channels_out)
        self.padded = size > 1

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = self.pad(image) if self.padded else image
        return functional.relu(self.bn(self.conv(image)))


class _Features(nn.Module):
    """Features at full, half and quarter size."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        both = fine + coarse
        self.deep_conv1 = _ConvBnRelu(fine, fine)
        self.deep_conv1_2 = _ConvBnRelu(fine, fine)
        self.deep_conv1_3 = _ConvBnRelu(coarse, coarse)
        self.deep_conv1_4 = _ConvBnRelu(coarse, coarse)
        self.conv_feature1 = nn.Sequential(
            _ConvBnRelu(both, 2 * both, 1),
            _ConvBnRelu(2 * both, 2 * both, groups=2 * both),
            _ConvBnRelu(2 * both, both, 1),
        )
        self.deep_conv2 = _ConvBnRelu(2 * both, HALF, stride=2, dilation=2)
        self.conv_feature2 = _bottleneck(HALF)
        self.deep_conv3 = _ConvBnRelu(HALF, QUARTER, stride=2, dilation=2)
        self.conv_feature3 = _bottleneck(QUARTER)

    def forward(
        self, fine_pair: torch.Tensor, coarse_triple: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.deep_conv1_2(self.deep_conv1(fine_pair))
        both = torch.cat((fine, self.deep_conv1_3(coarse_triple)), dim=1)
        feature_1 = torch.cat((both, self.conv_feature1(both)), dim=1)
        half = self.deep_conv2(feature_1)
        feature_2 = half + self.conv_feature2(half)
        quarter = self.deep_conv3(feature_2)
        return feature_1, feature_2, quarter + self.conv_feature3(quarter)


def _bottleneck(width: int) -> nn.Sequential:
    return nn.Sequential(
        _ConvBnRelu(width, 2 * width, 1), _ConvBnRelu(2 * width, 2 * width), _ConvBnRelu(2 * width, width, 1)
    )


class _Pool(nn.Module):
    """Means over three window sizes, each through a 1x1 convolution, joined at full size by another.

    The last one is applied before the enlargement: both are linear, and a 16th to a 256th of the pixels is left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv2 = _ConvBnRelu(HALF, POOLED, 1)
        self.conv3 = _ConvBnRelu(HALF, POOLED, 1)
        self.conv4 = _ConvBnRelu(HALF, POOLED, 1)
        self.conv1 = _ConvBnRelu(3 * POOLED, POOLED, 1)

    def forward(self, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        kernels = self.conv1.conv.weight.split(POOLED, dim=1)
        convs = (self.conv2, self.conv3, self.conv4)
        near, middle, far = (
            _enlarged(functional.conv2d(conv(functional.avg_pool2d(features, window)), kernel), size)
            for window, conv, kernel in zip(WINDOWS, convs, kernels, strict=True)
        )
        return functional.relu(self.conv1.bn(near + middle + far))


class _FoldedPool(nn.Module):
    """The same from plain convolutions. A constant stays what it is when it is enlarged, so one bias serves for all."""

    def __init__(self, pool: _Pool) -> None:
        super().__init__()
        self.means = nn.ModuleList((pool.conv2, pool.conv3, pool.conv4))
        norm = pool.conv1.bn
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        kernels = (pool.conv1.conv.weight * gain[:, None, None, None]).split(POOLED, dim=1)
        self.joins = nn.ModuleList(nn.Conv2d(POOLED, POOLED, 1, bias=i == 0) for i in range(len(WINDOWS)))
        self.joins[0].load_state_dict({"weight": kernels[0], "bias": norm.bias - norm.running_mean * gain})
        for join, kernel in zip(self.joins[1:], kernels[1:], strict=True):
            join.load_state_dict({"weight": kernel})

    def forward(self, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        near, middle, far = (
            _enlarged(join(mean(functional.avg_pool2d(features, window))), size)
            for window, mean, join in zip(WINDOWS, self.means, self.joins, strict=True)
        )
        return functional.relu(near + middle + far)


class _Dilate(nn.Module):
    """Three dilated convolutions side by side, joined by a 1x1 one and enlarged."""

    def __init__(self) -> None:
        super().__init__()
        self.d2, self.d3, self.d4 = (_ConvBnRelu(QUARTER, DILATED, dilation=dilation) for dilation in DILATIONS)
        self.conv1 = _ConvBnRelu(3 * DILATED, DILATED, 1)

    def forward(self, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        seen = torch.cat((self.d2(features), self.d3(features), self.d4(features)), dim=1)
        return _enlarged(self.conv1(seen), size)


class _Attention(nn.Module):
    """Weighs channels by their mean over the tile."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, SQUEEZED, 1, bias=False)
        self.conv1_2 = nn.Conv2d(SQUEEZED, SQUEEZED, 1, bias=False)
        self.conv2 = nn.Conv2d(SQUEEZED, channels, 1, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mean = features.mean(dim=(2, 3), keepdim=True)
        return features * torch.sigmoid(self.conv2(self.conv1_2(functional.relu(self.conv1(mean)))))


def _enlarged(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Interpolated bilinearly, corner pixels on corner pixels."""
    return functional.interpolate(image, size, mode="bilinear", align_corners=True)
