# SPDX-License-Identifier: Apache-2.0
"""Convolution with standardised weights, and how it becomes a plain one."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional

_EPS = 1e-5

M = TypeVar("M", bound=nn.Module)


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose filters are shifted and scaled to mean 0 and variance 1 before use.

    Per output filter over its inputs and taps, with the biased variance: ``(w - mean) / sqrt(var + 1e-5)``.
    Qiao, Wang, Liu, Shen, Yuille: Micro-Batch Training with Batch-Channel Normalization and Weight
    Standardization. arXiv:1903.10520, 2019, equation 6.
    """

    def standardised(self) -> torch.Tensor:
        """The weight that is used, same shape."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        return (self.weight - mean) * torch.rsqrt(variance + _EPS)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Convolve with the standardised weight."""
        return functional.conv2d(
            image, self.standardised(), self.bias, self.stride, self.padding, self.dilation, self.groups
        )


def folded(network: M) -> M:
    """A copy whose standardised convolutions are plain ones with the weight that they use.

    Everything else is shared with the original, tensor by tensor. The weights are standardised in float64 and
    rounded once.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    twin = copy.deepcopy(network, shared)
    for module in list(twin.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, StandardisedConv2d):
                setattr(module, name, _plain(child))
    return twin


def _plain(conv: StandardisedConv2d) -> nn.Conv2d:
    with torch.device("meta"):
        plain = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            bias=conv.bias is not None,
        )
    exact = copy.copy(conv)
    exact._parameters = {"weight": nn.Parameter(conv.weight.detach().double(), requires_grad=False)}
    plain.weight = nn.Parameter(exact.standardised().to(conv.weight.dtype), requires_grad=False)
    plain.bias = conv.bias
    return plain.train(conv.training)
