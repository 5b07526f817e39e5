# SPDX-License-Identifier: Apache-2.0
"""Time steps of a diffusion as vectors of waves."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

Order = Literal["sin-cos", "cos-sin"]


class Sinusoid(nn.Module):
    """Time steps ``(N,)`` to waves ``(N, width)``, float32.

    Half of the waves are sines and half cosines of ``t * f``, with frequencies from 1 down to 1/10000 in
    equal ratios. Code bases differ in the order of the halves, and in whether the lowest frequency is reached
    (``closed``: exponents i/(n-1)) or is the one after the last (exponents i/n).

    Products of ``t`` and a frequency reach hundreds of radians: below float32 they have no fraction left.

    Args:
        width: Waves; even.
        order: Which half comes first.
        closed: Whether 1/10000 is the last frequency.
    """

    frequencies: torch.Tensor

    def __init__(self, width: int, *, order: Order, closed: bool) -> None:
        super().__init__()
        self.order = order
        count = width // 2
        number = torch.arange(count, dtype=torch.float32)
        # The order of operations of the two code bases, so that the float32 frequencies are theirs.
        exponents = number * -(math.log(10000.0) / (count - 1)) if closed else -math.log(10000.0) * number / count
        self.register_buffer("frequencies", torch.exp(exponents), persistent=False)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """Waves of each time step."""
        angle = t.to(torch.float32)[:, None] * self.frequencies[None, :]
        halves = (angle.sin(), angle.cos())
        return torch.cat(halves if self.order == "sin-cos" else halves[::-1], dim=1)
