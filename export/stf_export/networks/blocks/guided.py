# SPDX-License-Identifier: Apache-2.0
"""Blocks of the denoising U-Net of guided diffusion (Dhariwal and Nichol, arXiv:2105.05233).

Keys are those of that code base: ``in_layers``, ``emb_layers``, ``out_layers``, ``skip_connection``, ``op``, ``conv``,
``norm``, ``qkv``, ``proj_out``.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

GROUPS = 32


class TimedResidual(nn.Module):
    """Norm, SiLU, convolution, plus the time; norm, SiLU, convolution, plus the input.

    Args:
        channels_in: Channels of the image.
        channels_out: Channels of the result; the input passes a 1x1 convolution where they differ.
        time_width: Numbers that describe the time.
    """

    def __init__(self, channels_in: int, channels_out: int, time_width: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels_out, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time_width, channels_out))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, channels_out),
            nn.SiLU(),
            nn.Identity(),  # dropout in training
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
        )
        same = channels_in == channels_out
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def summand(self, time: torch.Tensor) -> torch.Tensor:
        """What is added for the time: ``(N, width)`` to ``(N, C_out, 1, 1)``."""
        return self.emb_layers(time)[:, :, None, None]

    def forward(self, image: torch.Tensor, summand: torch.Tensor) -> torch.Tensor:
        """Image ``(N, C_in, H, W)`` and what is added for its time to ``(N, C_out, H, W)``."""
        features = self.in_layers(image) + summand
        return self.skip_connection(image) + self.out_layers(features)


class Halve(nn.Module):
    """Half the rows and columns by a convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(N, C, H, W)`` to ``(N, C, H/2, W/2)``."""
        return self.op(image)


class Double(nn.Module):
    """Twice the rows and columns: every pixel twice, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(N, C, H, W)`` to ``(N, C, 2H, 2W)``."""
        return self.conv(functional.interpolate(image, scale_factor=2.0, mode="nearest"))


class PointConv(nn.Conv1d):
    """A convolution of kernel 1 over a list of pixels, applied to an image as it is.

    The weight is ``(C_out, C_in, 1)``, as code that flattens images before attention saves it.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(N, C_in, H, W)`` to ``(N, C_out, H, W)``."""
        return functional.conv2d(image, self.weight[..., None], self.bias)


class PixelAttention(nn.Module):
    """Every pixel asks all pixels of the same image (one head), and adds the answer to itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = PointConv(channels, 3 * channels)
        self.proj_out = PointConv(channels, channels)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(N, C, H, W)``, same shape."""
        query, key, value = self.qkv(self.norm(image)).chunk(3, dim=1)
        return image + self.proj_out(attend(query, key, value))


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Softmax attention of every pixel to every pixel; all ``(N, C, H, W)``.

    Cost and memory grow with the square of the pixels. Query and key are both scaled by ``C ** -0.25``, so that
    their products stay small in half precision.
    """
    scale = query.shape[1] ** -0.25
    products = (query * scale).flatten(2).transpose(1, 2) @ (key * scale).flatten(2)
    answers = value.flatten(2) @ products.softmax(dim=-1).transpose(1, 2)
    return answers.unflatten(2, value.shape[2:])
