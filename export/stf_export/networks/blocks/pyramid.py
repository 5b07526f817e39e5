# SPDX-License-Identifier: Apache-2.0
"""A pyramid of residual levels, each half the size of the one before, and the step of its decoder back up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class ReflectedResidual(nn.Module):
    """Two 3x3 convolutions with reflected borders, ``b | a b c | b``, around a shortcut; size and width kept.

    Args:
        channels: Channels of the features; rows and columns must be at least 2.
        dropout: Whether a dropout follows each convolution. It does nothing in evaluation, and moves the second
            convolution's key from ``residual.4`` to ``residual.5``.
    """

    def __init__(self, channels: int, *, dropout: bool = False) -> None:
        super().__init__()
        drop = [nn.Dropout(0.5)] if dropout else []
        first = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), *drop, nn.LeakyReLU()]
        second = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), *drop]
        self.residual = nn.Sequential(*first, *second)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the same shape."""
        return features + self.residual(features)


class Pyramid(nn.Module):
    """Features of an image at full size, half size and so on: a convolution and a residual block a level.

    Keys: ``conv1`` (7x7) to ``convN`` (3x3, stride 2; zeros beyond the border).

    Args:
        channels: Channels of the image.
        widths: Features of each level, the finest first.
        dropout: As in :class:`ReflectedResidual`.
    """

    def __init__(self, channels: int, widths: Sequence[int], *, dropout: bool = False) -> None:
        super().__init__()
        self.levels = len(widths)
        self.conv1 = nn.Sequential(
            nn.Conv2d(channels, widths[0], 7, padding=3), ReflectedResidual(widths[0], dropout=dropout)
        )
        for level, (above, width) in enumerate(itertools.pairwise(widths), start=2):
            down = nn.Conv2d(above, width, 3, stride=2, padding=1)
            self.add_module(f"conv{level}", nn.Sequential(down, ReflectedResidual(width, dropout=dropout)))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """``(N, C, H, W)`` to one tensor a level; H and W are multiples of ``2 ** (levels - 1)``."""
        features = [self.conv1(image)]
        for level in range(2, self.levels + 1):
            features.append(self.get_submodule(f"conv{level}")(features[-1]))
        return features


class Doubling(nn.Module):
    """A 4x4 transposed convolution of stride 2 and a leaky ReLU: ``(N, C_in, h, w)`` to ``(N, C_out, 2h, 2w)``."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Double the size."""
        return functional.leaky_relu(self.deconv(features))
