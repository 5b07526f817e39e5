# SPDX-License-Identifier: Apache-2.0
"""Normalisation by statistics of the image at hand: AdaIN and switchable normalisation.

Both divide by ``n - 1`` where ``n`` is the number of pixels of a plane. ONNX's instance normalisation divides by
``n`` and may not stand in for them. Both make the result depend on the extent of the tile.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn


def plane_moments(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and unbiased variance of every channel of every image.

    The variance is the mean of squared distances from the mean, in two passes: no difference of large numbers.
    Rows and columns must be known when the graph is made; the factor ``n / (n - 1)`` is then a constant.

    Args:
        image: ``(N, C, H, W)``.

    Returns:
        Mean and variance, each ``(N, C, 1, 1)``; the variance of a single pixel is 0.
    """
    pixels = image.shape[-2] * image.shape[-1]
    mean = image.mean(dim=(-2, -1), keepdim=True)
    distance = image - mean
    return mean, (distance * distance).mean(dim=(-2, -1), keepdim=True) * (pixels / max(pixels - 1, 1))


def adain(
    content: torch.Tensor,
    style: torch.Tensor,
    eps: float = 1e-5,
    *,
    eps_on: Literal["variance", "deviation"] = "variance",
) -> torch.Tensor:
    """Adaptive instance normalisation: content with the per-channel mean and deviation of style.

    Huang and Belongie: Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization, ICCV 2017,
    equation 8; deviations are unbiased.

    Args:
        content: ``(N, C, H, W)``.
        style: ``(N, C, h, w)``.
        eps: Added to both variances, under the square roots, or to both deviations.
        eps_on: Which of the two.

    Returns:
        ``(N, C, H, W)``.
    """
    mean, variance = plane_moments(content)
    style_mean, style_variance = plane_moments(style)
    if eps_on == "deviation":
        gain = (style_variance.sqrt() + eps) / (variance.sqrt() + eps)
    else:
        gain = (style_variance + eps).sqrt() * (variance + eps).rsqrt()
    return (content - mean) * gain + style_mean


class SwitchNorm(nn.Module):
    """Switchable normalisation: a learnt mixture of instance, layer and batch statistics.

    Luo, Ren, Peng, Zhang, Li: Differentiable Learning-to-Normalize via Switchable Normalization, ICLR 2019,
    equations 3 to 5. Means and variances are mixed separately, each by a softmax over three weights in the order
    instance, layer, batch; ``eps`` is added to the mixed variance. The batch statistics are the running ones of
    training: this is the form for inference.

    The layer variance follows from the instance statistics. It is written here as the mean of the variances plus
    the variance of the means; the usual ``mean(var + mean^2) - mean(mean)^2`` is the same number, by a difference
    that half precision cannot take.

    Keys: ``weight`` and ``bias`` ``(1, C, 1, 1)``, ``mean_weight`` and ``var_weight`` ``(3,)``, ``running_mean`` and
    ``running_var`` ``(1, C, 1)``.

    Args:
        channels: C.
        eps: Added to the variance.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.mean_weight = nn.Parameter(torch.ones(3))
        self.var_weight = nn.Parameter(torch.ones(3))
        self.register_buffer("running_mean", torch.zeros(1, channels, 1))
        self.register_buffer("running_var", torch.ones(1, channels, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise ``(N, C, H, W)``."""
        mean, variance = plane_moments(image)
        layer_mean = mean.mean(dim=1, keepdim=True)
        between = mean - layer_mean
        layer_variance = (variance + between * between).mean(dim=1, keepdim=True)
        mixed_mean = self._mix(self.mean_weight, mean, layer_mean, self.running_mean)
        mixed_variance = self._mix(self.var_weight, variance, layer_variance, self.running_var)
        return (image - mixed_mean) * (self.weight * (mixed_variance + self.eps).rsqrt()) + self.bias

    @staticmethod
    def _mix(weight: torch.Tensor, instance: torch.Tensor, layer: torch.Tensor, running: torch.Tensor) -> torch.Tensor:
        share = weight.softmax(0)
        return share[0] * instance + share[1] * layer + share[2] * running.unsqueeze(-1)
