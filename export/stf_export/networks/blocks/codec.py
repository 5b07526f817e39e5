# SPDX-License-Identifier: Apache-2.0
"""The encoder and decoder of EDCSTFN and of the networks made from it; every border pixel is repeated outward."""

from __future__ import annotations

from torch import nn

from .conv import edge_conv3

FEATURES = 128


def encoder(channels: int, *, relu_last: bool) -> nn.Sequential:
    """Three 3x3 convolutions from ``channels`` to 128 features, size kept; keys ``0.1``, ``2.1`` and ``4.1``.

    Args:
        channels: Channels of the image.
        relu_last: Whether a ReLU follows the last convolution, as it follows the others.
    """
    layers = [edge_conv3(channels, 32), nn.ReLU(), edge_conv3(32, 64), nn.ReLU(), edge_conv3(64, FEATURES)]
    return nn.Sequential(*layers, nn.ReLU()) if relu_last else nn.Sequential(*layers)


def decoder(channels: int) -> nn.Sequential:
    """Two 3x3 convolutions and a 1x1 one from 128 features to an image; keys ``0.1``, ``2.1`` and ``4``."""
    return nn.Sequential(edge_conv3(FEATURES, 64), nn.ReLU(), edge_conv3(64, 32), nn.ReLU(), nn.Conv2d(32, channels, 1))
