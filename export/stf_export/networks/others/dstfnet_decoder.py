# SPDX-License-Identifier: Apache-2.0
"""The decoder of DSTFNet: joins the two branches level by level, and climbs back to the fine size.

    level 5 ─▶ join ─▶ context ──────────▶ up ─┐
    level 4 ─▶ join ─▶ gate, with the deeper ◀─┘─▶ up ─┐
    ...                                                └─ ... level 1 ─▶ up ─▶ three heads

All enlargements are bilinear and put corners on corners. Convolutions are followed by batch normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ..blocks.attention import channel_weights, mean_and_peak

DILATIONS = (1, 2, 4)


class Decoder(nn.Module):
    """Features of the five levels, of both branches, to three maps.

    Args:
        widths: Features of the levels, which both branches have in common.
        squeeze: Channels over those within a channel gate.
    """

    def __init__(self, widths: Sequence[int], squeeze: int) -> None:
        super().__init__()
        one, two, three, four, five = widths
        self.upblock_1 = _Up(five, four, "cam", _Context(five))
        self.upblock_2 = _Up(four, three, "scalefusion", _Gate(four))
        self.upblock_3 = _Up(three, two, "scalefusion", _Gate(three))
        self.upblock_4 = _Up(two, one, "scalefusion", _Gate(two))
        self.branchfusion = _Joins(widths, squeeze)
        self.upblock_5 = _Up(one, one, "scalefusion", _Gate(one))
        self.semantic_seg_block = _Heads(one)

    def forward(self, fine: Sequence[torch.Tensor], coarse: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Maps ``(N, 1, H, W)`` from 0 to 1: extent, distance, boundary."""
        *levels, deepest = self.branchfusion(fine, coarse)
        features = self.upblock_1(deepest)
        ups = (self.upblock_2, self.upblock_3, self.upblock_4, self.upblock_5)
        for up, level in zip(ups, reversed(levels), strict=True):
            features = up(features, level)
        return self.semantic_seg_block(features)


class _Joins(nn.Module):
    """The two branches of every level as one."""

    def __init__(self, widths: Sequence[int], squeeze: int) -> None:
        super().__init__()
        for level, width in enumerate(widths, 1):
            self.add_module(f"branchfusion{level}", _Join(width, squeeze))

    def forward(self, fine: Sequence[torch.Tensor], coarse: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        pairs = enumerate(zip(fine, coarse, strict=True), 1)
        return [self.get_submodule(f"branchfusion{level}")(torch.cat(pair, dim=1)) for level, pair in pairs]


class _Join(nn.Module):
    """Both branches side by side, weighed by channel, then by place, and mixed to the width of one."""

    def __init__(self, width: int, squeeze: int) -> None:
        super().__init__()
        both = 2 * width
        self.spatial_attn = nn.Module()
        self.spatial_attn.conv = conv_norm(2, 1)
        self.channel_attn = nn.Module()
        self.channel_attn.channel_attn_block = nn.Sequential(
            nn.Conv2d(both, both // squeeze, 1), nn.ReLU(), nn.Conv2d(both // squeeze, both, 1)
        )
        self.fuse_conv = conv_norm(both, width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = features * channel_weights(features, self.channel_attn.channel_attn_block)
        features = features * torch.sigmoid(self.spatial_attn.conv(mean_and_peak(features)))
        return torch.relu(self.fuse_conv(features))


class _Context(nn.Module):
    """What lies around, at the deepest level: dilated rows and columns, and the mean of each column."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels // 4
        self.cab1 = conv_norm(channels, channels)
        self.cab2 = _Dilated(channels, quarter, rows=False)
        self.cab3 = _Dilated(channels, quarter, rows=True)
        self.cab4 = nn.Module()
        self.cab4.conv = nn.Sequential(nn.Conv2d(channels, quarter, 1))
        # Never used: the published code passes the columns twice where it may have meant the rows.
        self.cab5 = nn.Module()
        self.cab5.conv = nn.Sequential(nn.Conv2d(channels, quarter, 1))
        self.conv = conv_norm(channels, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        strip = torch.relu(self.cab4.conv(features.mean(dim=2, keepdim=True)))
        strip = strip.expand(-1, -1, features.shape[2], -1)
        around = torch.cat((self.cab2(features), self.cab3(features), strip, strip), dim=1)
        return torch.relu(self.conv(torch.relu(self.cab1(features)) + around))


class _Dilated(nn.Module):
    """Sum of three convolutions of 3 pixels, along columns (``rows``) or along rows, ever farther apart."""

    def __init__(self, channels_in: int, channels_out: int, *, rows: bool) -> None:
        super().__init__()
        side = (3, 1) if rows else (1, 3)
        self.conv1, self.conv2, self.conv3 = (
            conv_norm(channels_in, channels_out, side, dilation=dilation) for dilation in DILATIONS
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return sum(torch.relu(conv(features)) for conv in (self.conv1, self.conv2, self.conv3))


class _Gate(nn.Module):
    """An attention gate (Oktay and others: Attention U-Net, arXiv:1804.03999, equations 1 and 2), and both as one.

    ``W_g`` sees what comes from below, ``W_x`` the level's own features, which the gate weighs place by place.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.W_g = conv_norm(channels, channels)
        self.W_x = conv_norm(channels, channels)
        self.psi = conv_norm(channels, 1)
        self.conv = conv_norm(2 * channels, channels)

    def forward(self, below: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        weight = torch.sigmoid(self.psi(torch.relu(self.W_g(below) + self.W_x(level))))
        return torch.relu(self.conv(torch.cat((below, weight * level), dim=1)))


class _Up(nn.Module):
    """One level up: ``first``, which has another name at the deepest level, then twice the size."""

    def __init__(self, channels_in: int, channels_out: int, name: str, first: nn.Module) -> None:
        super().__init__()
        self.first = name
        self.add_module(name, first)
        self.resblock = _Residual(channels_in, channels_out)

    def forward(self, *features: torch.Tensor) -> torch.Tensor:
        """``(N, C_in, h, w)``, of one level or two, to ``(N, C_out, 2h, 2w)``."""
        return self.resblock(self.get_submodule(self.first)(*features))


class _Residual(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        narrow = channels_out // 2
        self.conv = conv_norm(channels_in, channels_out)
        self.res_conv = nn.Sequential(
            *conv_norm(channels_out, narrow, 3), nn.ReLU(), *conv_norm(narrow, channels_out, 3)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        kept = enlarge(self.conv(features), 2)
        return torch.relu(kept + self.res_conv(kept))


class _Heads(nn.Module):
    """Three maps of the same features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = channels // 2
        self.extent_conv = nn.Module()
        self.extent_conv.conv = nn.Sequential(*conv_norm(channels, narrow, 3), nn.ReLU(), nn.Conv2d(narrow, 1, 1))
        self.distance_conv = nn.Module()
        self.distance_conv.conv = nn.Sequential(
            *conv_norm(channels, narrow, 3),
            nn.ReLU(),
            *conv_norm(narrow, narrow, 3),
            nn.ReLU(),
            nn.Conv2d(narrow, 1, 1),
        )
        self.boundary_conv = nn.Module()
        self.boundary_conv.conv_v = _twice(channels, narrow, (3, 1))
        self.boundary_conv.conv_h = _twice(channels, narrow, (1, 3))
        self.boundary_conv.out_conv = nn.Conv2d(narrow, 1, 1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        edges = self.boundary_conv.conv_v(features) + self.boundary_conv.conv_h(features)
        scores = (
            self.extent_conv.conv(features),
            self.distance_conv.conv(features),
            self.boundary_conv.out_conv(edges),
        )
        return tuple(torch.sigmoid(score) for score in scores)


def _twice(channels_in: int, channels_out: int, side: tuple[int, int]) -> nn.Sequential:
    first, second = conv_norm(channels_in, channels_out, side), conv_norm(channels_out, channels_out, side)
    return nn.Sequential(*first, nn.ReLU(), *second, nn.ReLU())


def conv_norm(
    channels_in: int, channels_out: int, side: int | tuple[int, int] = 1, *, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """A convolution (entry 0) that keeps the size, or divides it by the stride, and its normalisation (entry 1)."""
    sides = (side, side) if isinstance(side, int) else side
    padding = tuple(dilation * (n // 2) for n in sides)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, sides, stride=stride, padding=padding, dilation=dilation),
        nn.BatchNorm2d(channels_out),
    )


def enlarge(features: torch.Tensor, times: int) -> torch.Tensor:
    """Bilinear, corners on corners: ``(N, C, h, w)`` to ``(N, C, times h, times w)``."""
    if times == 1:
        return features
    size = (times * features.shape[2], times * features.shape[3])
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=True)
