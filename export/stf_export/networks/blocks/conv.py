# SPDX-License-Identifier: Apache-2.0
"""Convolutions whose border or weight layout is not what ``nn.Conv2d`` gives."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def edge_conv3(channels_in: int, channels_out: int) -> nn.Sequential:
    """3x3 convolution that repeats the border pixel: ``a a | a b c | c c``, size kept.

    The convolution is entry ``1`` of the block, so its keys are ``<block>.1.weight`` and ``<block>.1.bias``.
    """
    return nn.Sequential(nn.ReplicationPad2d(1), nn.Conv2d(channels_in, channels_out, 3))


class PixelDense(nn.Linear):
    """A dense layer on the channels of every pixel: ``(N, C_in, H, W)`` to ``(N, C_out, H, W)``.

    Its weight has a dense layer's shape ``(C_out, C_in)``; it is run as a 1x1 convolution, which needs no
    transposed copy of the image.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Apply the layer to every pixel."""
        return functional.conv2d(image, self.weight[:, :, None, None], self.bias)


class TrimmedDeconv3(nn.ConvTranspose2d):
    """3x3 transposed convolution of stride 2, ``(N, C_in, H, W)`` to ``(N, C_out, 2H, 2W)``.

    The full result has ``2H + 1`` rows and columns. TensorFlow's ``same`` padding drops the last of each.
    PyTorch's usual ``padding=1, output_padding=1`` drops the first instead, which shifts the image by one
    pixel: weights trained with one rule are wrong with the other.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, kernel_size=3, stride=2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Double the size."""
        return super().forward(image)[:, :, :-1, :-1]
