# SPDX-License-Identifier: Apache-2.0
"""The three-layer convolutional mapping of early fusion networks, after SRCNN.

Dong, Loy, He, Tang: Learning a Deep Convolutional Network for Image Super-Resolution. ECCV 2014.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


class ThreeLayerMapping(nn.Sequential):
    """9x9, 5x5 and 5x5 convolutions of stride 1 with a ReLU between; zeros beyond the border, size kept.

    Sees 8 pixels to each side.

    Args:
        channels_in: Channels of the image.
        widths: Features after the first and the second layer.
        channels_out: Channels of the result.
    """

    def __init__(self, channels_in: int, widths: tuple[int, int], channels_out: int) -> None:
        wide, narrow = widths
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            feature_extraction_layer=nn.Sequential(nn.Conv2d(channels_in, wide, 9, padding=4), nn.ReLU()),
            nonlinear_mapping_layer=nn.Sequential(nn.Conv2d(wide, narrow, 5, padding=2), nn.ReLU()),
            reconstruction_layer=nn.Sequential(nn.Conv2d(narrow, channels_out, 5, padding=2)),
        )
        super().__init__(layers)


def mapped(layers: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The result of a :class:`ThreeLayerMapping` whose layers are children of ``layers``."""
    image = layers.feature_extraction_layer(image)
    return layers.reconstruction_layer(layers.nonlinear_mapping_layer(image))
