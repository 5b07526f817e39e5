# SPDX-License-Identifier: Apache-2.0
"""Convolutional LSTM cells, and the loop over a sequence.

Shi, Chen, Wang, Yeung, Wong, Woo: Convolutional LSTM Network. arXiv:1506.04214, 2015; equation 3 without the peepholes
(the products of W_c and C). With x the image, H the hidden state, C the memory, * a convolution::

    i = sigmoid(W_i * [x, H])    f = sigmoid(W_f * [x, H])    o = sigmoid(W_o * [x, H])    g = tanh(W_g * [x, H])
    C' = f C + i g               H' = o tanh(C')

The state is zero before the first image. That step is computed without it: nothing is multiplied by zeros, and the
graph has no zeros whose shape would have to follow the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

State = tuple[torch.Tensor, torch.Tensor]


class ConvLSTMCell(nn.Module):
    """One step; subclasses hold the weights in the layout of a code base."""

    def forward(self, image: torch.Tensor, state: State | None) -> State:
        """Hidden state and memory ``(N, hidden, H, W)`` after an image ``(N, C, H, W)``; None before the first."""
        if state is None:
            enter, leave, fresh = self.first_gates(image)
            memory = enter.sigmoid() * fresh.tanh()
        else:
            hidden, memory = state
            enter, keep, leave, fresh = self.gates(torch.cat((image, hidden), dim=1))
            memory = keep.sigmoid() * memory + enter.sigmoid() * fresh.tanh()
        return leave.sigmoid() * memory.tanh(), memory

    def first_gates(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gates i, o, g of the first image, before their functions."""
        raise NotImplementedError

    def gates(self, seen: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gates i, f, o, g of an image and the hidden state, before their functions."""
        raise NotImplementedError


class SplitGateCell(ConvLSTMCell):
    """A cell with one convolution for each gate: ``in_gate``, ``forget_gate``, ``out_gate``, ``cell_gate``."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.in_gate = _conv3(channels + hidden, hidden)
        self.forget_gate = _conv3(channels + hidden, hidden)
        self.out_gate = _conv3(channels + hidden, hidden)
        self.cell_gate = _conv3(channels + hidden, hidden)

    def first_gates(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gates i, o, g of the first image."""
        return tuple(_of_image(gate, image) for gate in (self.in_gate, self.out_gate, self.cell_gate))

    def gates(self, seen: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gates i, f, o, g."""
        return tuple(gate(seen) for gate in (self.in_gate, self.forget_gate, self.out_gate, self.cell_gate))


class JointGateCell(ConvLSTMCell):
    """A cell with one convolution ``conv`` for all gates, in the order i, f, o, g."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv = _conv3(channels + hidden, 4 * hidden)

    def first_gates(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gates i, o, g of the first image."""
        enter, _, leave, fresh = _of_image(self.conv, image).chunk(4, dim=1)
        return enter, leave, fresh

    def gates(self, seen: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gates i, f, o, g."""
        return self.conv(seen).chunk(4, dim=1)


def hidden_states(cell: ConvLSTMCell, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The hidden state after each image of a sequence, each ``(N, hidden, H, W)``; unrolled."""
    state, found = None, []
    for image in images:
        state = cell(image, state)
        found.append(state[0])
    return found


def _conv3(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


def _of_image(conv: nn.Conv2d, image: torch.Tensor) -> torch.Tensor:
    """The convolution of an image and a hidden state of zeros."""
    return functional.conv2d(image, conv.weight[:, : image.shape[1]], conv.bias, padding=conv.padding)
