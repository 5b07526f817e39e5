# SPDX-License-Identifier: Apache-2.0
"""Gates that weigh channels and places, as in CBAM (Woo, Park, Lee, Kweon: ECCV 2018, arXiv:1807.06521).

The two classes have the layout of one code base; the functions are what every layout has in common.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


def channel_weights(image: torch.Tensor, excite: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Weights ``(N, C, 1, 1)`` of the channels, equation 2: what ``excite`` makes of their means and of their maxima.

    The result depends on the tile's extent.
    """
    mean = image.mean(dim=(2, 3), keepdim=True)
    peak = image.amax(dim=(2, 3), keepdim=True)
    return torch.sigmoid(excite(mean) + excite(peak))


def mean_and_peak(image: torch.Tensor) -> torch.Tensor:
    """Mean and maximum over the channels, ``(N, 2, H, W)``: what weights of places are computed from (equation 3)."""
    return torch.cat((image.mean(dim=1, keepdim=True), image.amax(dim=1, keepdim=True)), dim=1)


class ChannelGate(nn.Module):
    """Weighs channels by what their mean and their maximum over the whole tile say.

    Both go through the same two 1x1 convolutions (``fc1``, ReLU, ``fc2``); the sigmoid of the sum is the weight. The
    result depends on the tile's extent.

    Args:
        channels: Channels of the image.
        reduction: Channels over those in between.
        bias: Whether the convolutions have one.
    """

    def __init__(self, channels: int, reduction: int = 16, *, bias: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=bias)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Weighted image ``(N, C, H, W)``."""
        return image * channel_weights(image, self._excite)

    def _excite(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.relu(self.fc1(pooled)))


class SpatialGate(nn.Module):
    """Weighs places by the mean and the maximum over the channels, through one bias-free convolution (``conv1``).

    Args:
        size: Rows and columns of the kernel, odd; the border is padded with zeros.
    """

    def __init__(self, size: int = 7) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, size, padding=size // 2, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Weighted image ``(N, C, H, W)``."""
        return image * torch.sigmoid(self.conv1(mean_and_peak(image)))
