# SPDX-License-Identifier: Apache-2.0
"""Stages of bottlenecks, as in ResNet-50 (He, Zhang, Ren, Sun: CVPR 2016, arXiv:1512.03385, figure 5 and table 1).

Keys are those of the usual PyTorch code: ``N.conv1``, ``N.bn1`` and so on, ``N.downsample.0``, ``N.downsample.1``.
"""

from __future__ import annotations

import torch
from torch import nn

EXPANSION = 4  # features behind a bottleneck over those within it


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each normalised, added to the input.

    Args:
        channels_in: Features of the image.
        width: Features within; :data:`EXPANSION` times as many come out.
        stride: Of the 3x3 convolution.
    """

    def __init__(self, channels_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        channels_out = EXPANSION * width
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(N, C_in, H, W)`` to ``(N, 4 width, H / stride, W / stride)``."""
        kept = image if self.downsample is None else self.downsample(image)
        inner = torch.relu(self.bn1(self.conv1(image)))
        inner = torch.relu(self.bn2(self.conv2(inner)))
        return torch.relu(kept + self.bn3(self.conv3(inner)))


def stage(channels_in: int, width: int, blocks: int, stride: int = 1) -> nn.Sequential:
    """Bottlenecks in a row, the first with the stride."""
    rest = (Bottleneck(EXPANSION * width, width) for _ in range(blocks - 1))
    return nn.Sequential(Bottleneck(channels_in, width, stride), *rest)
