# SPDX-License-Identifier: Apache-2.0
"""DiffSTSF: spatiotemporal-spectral fusion of Gaofen-1 images by a denoising U-Net.

Wei, Gan, Tang, Li, Song: Diffusion Models for Spatiotemporal-Spectral Fusion of Homogeneous Gaofen-1 Satellite
Platforms. International Journal of Applied Earth Observation and Geoinformation 128, 103752, 2024,
doi:10.1016/j.jag.2024.103752.

    wfv_t2 (4 bands) ─┐
    pan_t1 (1 band)  ─┼─▶ three convolutions each ─┐
    ms_t1  (4 bands) ─┘                            ├─▶ U-Net of guided diffusion ──▶ epsilon, variance
    x_t ───────────────────────────────────────────┘        ▲
    Haar details of pan_t1, small wfv_t2 ──▶ queries of cross attention, levels 1 to 4

Level k has half the rows and columns of level k-1. The condition of level k is the sum of the absolute details of the
k-th Haar level of the panchromatic image, and the wide-field image interpolated to that size (corners aligned) and
multiplied by 0.01. All queries come from conditions alone: :meth:`DiffSTSF.encode` makes them, and a sampler runs
it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from stf_infer.spec import InputSpec, OutputSpec, Values

from ...contract import Contract, TileWish
from ...samplers import Preset, Sampler
from ..base import About
from ..blocks.guided import GROUPS, Double, Halve, PixelAttention, PointConv, TimedResidual, attend
from ..blocks.haar import haar_split
from ..blocks.timestep import Sinusoid
from .denoiser import Denoiser, Features, Times

WIDTH = 64
MULTIPLIERS = (1, 1, 2, 2, 4, 4)
BLOCKS = 2  # residual blocks of a level on the way down; one more on the way up
ASKING = range(1, 5)  # levels with cross attention
CHAIN = 4  # features of each convolution on a condition
SMALL = 0.01  # weight of the wide-field image among the queries; published as 0.1, twice

TILE = 128


class DiffSTSF(Denoiser):
    """One step of DiffSTSF.

    All images are on the panchromatic grid, H and W multiples of 32: ``wfv_t2`` and ``ms_t1`` ``(N, C, H, W)``,
    ``pan_t1`` ``(N, 1, H, W)``, all within 0 to 1 (DN x 0.0001), ``x_t`` ``(N, C, H, W)``; ``timesteps`` are indices of
    the original 1000 steps. The output ``(N, 2C, H, W)`` is epsilon, then what the learnt variance is mixed by. At
    level 1 every pixel attends to every pixel: memory grows with the fourth power of the tile's side (67 MB a sample
    in float32 at 128).

    Differences from the published code: the wavelets are computed here in the graph, there by NumPy outside of it; the
    conditions are made for any tile, there for 128 x 128 only, which is what the weights were trained on.

    Args:
        bands: Names of the bands of the wide-field and multispectral images. Published: four. The widths of the
            inner convolutions do not follow their number.
    """

    about: ClassVar[About] = About(
        title="DiffSTSF",
        family="diffusion",
        paper="Wei, Gan, Tang, Li, Song: Diffusion Models for Spatiotemporal-Spectral Fusion of Homogeneous Gaofen-1 "
        "Satellite Platforms. International Journal of Applied Earth Observation and Geoinformation 128, 103752, 2024",
        doi="10.1016/j.jag.2024.103752",
        options={},
    )
    conditions: ClassVar[tuple[str, ...]] = ("wfv_t2", "pan_t1", "ms_t1")
    preset: ClassVar[Preset] = Preset(
        Sampler(
            name="ddpm",
            steps=250,
            spacing="guided",
            eta=0.0,
            variance="learned",
            prediction="epsilon",
            clip="rederive",
            schedule="cosine",
            train_steps=1000,
        )
    )

    def __init__(self, bands: Sequence[str] = ("blue", "green", "red", "nir")) -> None:
        super().__init__(bands)
        count = len(self.bands)
        time_width = 4 * WIDTH
        self.time_embed = nn.Sequential(nn.Linear(WIDTH, time_width), nn.SiLU(), nn.Linear(time_width, time_width))
        self.waves = Sinusoid(WIDTH, order="cos-sin", closed=False)
        self.input_blocks = nn.ModuleList([_Stem(count)])
        widths = [WIDTH * multiplier for multiplier in MULTIPLIERS]
        skips = [WIDTH]
        for level, (before, width) in enumerate(pairwise((WIDTH, *widths))):
            for index in range(BLOCKS):
                block = nn.ModuleList([TimedResidual(width if index else before, width, time_width)])
                if level in ASKING:
                    block.append(_CrossAttention(width, 1 + count))
                self.input_blocks.append(block)
                skips.append(width)
            if level + 1 < len(widths):
                self.input_blocks.append(nn.ModuleList([Halve(width)]))
                skips.append(width)
        deepest = widths[-1]
        self.middle_block = nn.ModuleList(
            [
                TimedResidual(deepest, deepest, time_width),
                PixelAttention(deepest),
                TimedResidual(deepest, deepest, time_width),
            ]
        )
        self.output_blocks = nn.ModuleList()
        channels = deepest
        for level, width in reversed(list(enumerate(widths))):
            for index in range(BLOCKS + 1):
                block = nn.ModuleList([TimedResidual(channels + skips.pop(), width, time_width)])
                channels = width
                if level and index == BLOCKS:
                    block.append(Double(width))
                self.output_blocks.append(block)
        self.out = nn.Sequential(nn.GroupNorm(GROUPS, WIDTH), nn.SiLU(), nn.Conv2d(WIDTH, 2 * count, 3, padding=1))

    def forward(
        self,
        x_t: torch.Tensor,
        timesteps: torch.Tensor,
        wfv_t2: torch.Tensor,
        pan_t1: torch.Tensor,
        ms_t1: torch.Tensor,
    ) -> torch.Tensor:
        """Epsilon and variance mixture of one step, ``(N, 2C, H, W)``."""
        return self.denoise(self.encode(wfv_t2, pan_t1, ms_t1), x_t, timesteps)

    def encode(self, *conditions: torch.Tensor) -> Features:
        """Features of the three conditions, then the queries of every cross attention."""
        wfv, pan, ms = conditions
        levels = pan_details(pan, len(ASKING))
        queries = []
        for attention, level in self._attentions():
            details = levels[level - ASKING.start]
            small = functional.interpolate(wfv, size=details.shape[2:], mode="bilinear", align_corners=True)
            queries.append(attention.ask(torch.cat((details, SMALL * small), dim=1)))
        return self.input_blocks[0].encode(pan, ms, wfv), *queries

    def embed(self, t: torch.Tensor) -> Times:
        """What every residual block adds for the time."""
        time = self.time_embed(self.waves(t))
        return tuple(module.summand(time) for module in self.modules() if isinstance(module, TimedResidual))

    def predict(self, features: Features, x_t: torch.Tensor, times: Times) -> torch.Tensor:
        """Epsilon and variance mixture, ``(N, 2C, H, W)``, with the conditions encoded."""
        stem, *queries = features
        summands = iter(times)
        image = self.input_blocks[0](stem, x_t)
        skips, asking = [image], iter(queries)
        for block in self.input_blocks[1:]:
            for part in block:
                if isinstance(part, TimedResidual):
                    image = part(image, next(summands))
                elif isinstance(part, _CrossAttention):
                    image = part(image, next(asking))
                else:
                    image = part(image)
            skips.append(image)
        before, attention, after = self.middle_block
        image = after(attention(before(image, next(summands))), next(summands))
        for residual, *doubling in self.output_blocks:
            image = residual(torch.cat((image, skips.pop()), dim=1), next(summands))
            for part in doubling:
                image = part(image)
        return self.out(image)

    def contract(self) -> Contract:
        """Reflectance from 0 to 1 on the panchromatic grid, in tiles of 128 that are blended.

        The panchromatic image, of 2 m, defines the output grid and so has the role ``fine_t1``; the wide-field image of
        16 m is ``coarse_t2``. The multispectral image of 8 m is neither and keeps its name: its pixels are not those
        that the ratio speaks of.
        """
        values = Values(minimum=0.0, maximum=1.0)
        inputs = (
            InputSpec(role="coarse_t2", tensor="wfv_t2", bands=self.bands, values=values),
            InputSpec(role="fine_t1", tensor="pan_t1", bands=("pan",), values=values),
            InputSpec(role="ms_t1", tensor="ms_t1", bands=self.bands, values=values),
        )
        return Contract(
            network="diffstsf",
            ratio=8,
            inputs=inputs,
            output=OutputSpec(tensor="fine_t2", bands=self.bands, values=values),
            tile=TileWish(size=TILE, mode="blend", overlap=TILE - 32),
            sampler=self.preset.sampler,
            source=self.about.source,
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Half the output channels of the last layer."""
        last = state.get("out.2.weight")
        return None if last is None else int(last.shape[0]) // 2

    def _attentions(self) -> list[tuple[_CrossAttention, int]]:
        """Every cross attention with its level, in the order of use."""
        found, level = [], 0
        for block in self.input_blocks[1:]:
            for part in block:
                if isinstance(part, Halve):
                    level += 1
                elif isinstance(part, _CrossAttention):
                    found.append((part, level))
        return found


def pan_details(pan: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """Sum of the absolute horizontal, vertical and diagonal Haar details of each level.

    Args:
        pan: ``(N, 1, H, W)``, H and W multiples of ``2 ** levels``.
        levels: How often the image is halved.

    Returns:
        ``(N, 1, H / 2**k, W / 2**k)`` for k from 1 to ``levels``.
    """
    found = []
    for _ in range(levels):
        pan, horizontal, vertical, diagonal = haar_split(pan)
        found.append(horizontal.abs() + vertical.abs() + diagonal.abs())
    return found


class _Stem(nn.Module):
    """The first features: every convolution of a chain is seen, not only its last."""

    def __init__(self, count: int) -> None:
        super().__init__()
        for name, channels in (("pan", 1), ("ms", count), ("wfv", count)):
            for index in (1, 2, 3):
                self.add_module(f"{name}{index}", _conv3(channels if index == 1 else CHAIN, CHAIN))
        self.xt = _conv3(count, 3 * CHAIN)
        self.all_conv = _conv3(12 * CHAIN, WIDTH)

    def encode(self, pan: torch.Tensor, ms: torch.Tensor, wfv: torch.Tensor) -> torch.Tensor:
        """The three chains, ``(N, 36, H, W)``."""
        seen = []
        for name, image in (("pan", pan), ("ms", ms), ("wfv", wfv)):
            for index in (1, 2, 3):
                image = self.get_submodule(f"{name}{index}")(image)
                seen.append(image)
        return torch.cat(seen, dim=1)

    def forward(self, chains: torch.Tensor, x_t: torch.Tensor) -> torch.Tensor:
        return self.all_conv(torch.cat((self.xt(x_t), chains), dim=1))


class _CrossAttention(nn.Module):
    """Conditions ask, all pixels of the features answer, and the answer is added to the features."""

    def __init__(self, channels: int, condition_channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.kv = PointConv(channels, 2 * channels)
        self.q = PointConv(condition_channels, channels)
        self.proj_out = PointConv(channels, channels)

    def ask(self, condition: torch.Tensor) -> torch.Tensor:
        """Queries ``(N, C, H, W)``."""
        return self.norm1(self.q(condition))

    def forward(self, image: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        key, value = self.kv(self.norm(image)).chunk(2, dim=1)
        return image + self.proj_out(attend(query, key, value))


def _conv3(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)
