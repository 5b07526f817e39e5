# SPDX-License-Identifier: Apache-2.0
"""STFDiff: a denoiser that subtracts, level by level, what a clean branch sees from what a noisy branch sees.

Huang, He, Zhang, Xia, Zhang: STFDiff: Remote Sensing Image Spatiotemporal Fusion with Diffusion Models. Information
Fusion 111, 2024, doi:10.1016/j.inffus.2024.102505.

    coarse_t1, coarse_t2, fine_t1 ──▶ clean branch  (no time) ──┐ level by level
                                                               (-)──▶ noise branch (time) ──▶ output
    x_t ────────────────────────────▶ noisy branch  (time) ─────┘

Level k has half the rows and columns of level k-1. The clean branch depends neither on ``x_t`` nor on the time:
:meth:`STFDiff.encode` is that branch, and a sampler runs it once.

The published folders differ in the norm (group or batch) and in the two activations of a residual block. Group
norm variants have the same keys, so a checkpoint does not tell which activations it was trained with: it has
to be said. The package's default is group norm with SiLU twice; most published inference settings build group
norm with SiLU, then ReLU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec, Values

from ...contract import Contract, TileWish
from ...samplers import Preset, Sampler
from ..base import About, Untold, one_of
from ..blocks.standardised import StandardisedConv2d, folded
from ..blocks.timestep import Sinusoid
from .denoiser import Denoiser, Features, Times

References = Literal[1, 2]
Norm = Literal["group", "batch"]
Activations = Literal["silu", "silu_relu", "relu"]

GROUPS = 8

_ACTIVATIONS: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "silu": (nn.SiLU, nn.SiLU),
    "silu_relu": (nn.SiLU, nn.ReLU),
    "relu": (nn.ReLU, nn.ReLU),
}


class STFDiff(Denoiser):
    """One step of STFDiff with one reference date; ``references=2`` makes the one with two.

    Conditions and ``x_t`` are ``(N, C, H, W)`` on the fine grid, H and W multiples of ``2 ** (levels - 1)``; clean
    images lie within -1 to 1 (reflectance x 2 - 1). The output ``(N, C, H, W)`` is x0 or epsilon, as the
    network was trained: nothing in the weights tells. Group norm sees the whole tile.

    Differences from the published code: the weight standardisation, done there in every call, is folded into
    plain weights by :meth:`for_export`; its eps is 1e-5 for every number type (there: 1e-3 below float32);
    ``init_conv`` is kept for its keys only, there as here no input passes through it.

    Args:
        bands: Names of the bands, in the network's order.
        references: Reference dates. With two, the clean branch sees ``fine_t1, fine_t3`` and ``coarse_t1,
            coarse_t2, coarse_t3``.
        norm: What normalises in residual blocks.
        activations: The two activations of a residual block.
        width: Features at full resolution; a multiple of 8.
        multipliers: Features of each level over ``width``.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="STFDiff",
        family="diffusion",
        paper="Huang, He, Zhang, Xia, Zhang: STFDiff: Remote Sensing Image Spatiotemporal Fusion with Diffusion "
        "Models. Information Fusion 111, 2024",
        doi="10.1016/j.inffus.2024.102505",
        options={
            "references": "reference dates: 1 (default) or 2",
            "norm": "normalisation in residual blocks: group (default) or batch",
            "activations": "the two activations of a residual block: silu (default, both), silu_relu or relu "
            "(both); an export asks for it",
            "width": "features at full resolution (default 64), a multiple of 8",
            "multipliers": "features of each level over width (default 1, 2, 4)",
        },
    )
    conditions: ClassVar[tuple[str, ...]] = ("coarse_t1", "coarse_t2", "fine_t1")
    # The published inference of one reference adds noise (eta 1), that of two on LGC, and all validation, do not.
    preset: ClassVar[Preset] = Preset(
        Sampler(
            name="ddim",
            steps=10,
            spacing="stfdiff",
            eta=0.0,
            variance="small",
            prediction="x0",
            schedule="cosine",
            train_steps=100,
        ),
        clips={"x0": "rederive", "epsilon": "on", "v": "rederive"},
    )

    def __new__(cls, *_: Any, references: References = 1, **__: Any) -> STFDiff:
        """An instance of the class whose ``forward`` has the right roles."""
        return super().__new__(_TwoReferences if references == 2 else cls)

    def __init__(
        self,
        bands: Sequence[str] = ("blue", "green", "red", "nir", "swir1", "swir2"),
        *,
        references: References = 1,
        norm: Norm = "group",
        activations: Activations = "silu",
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 4),
    ) -> None:
        super().__init__(bands)
        self.references = one_of("STFDiff", "number of references", references, get_args(References))
        self.norm = one_of("STFDiff", "norm", norm, get_args(Norm))
        self.activations = one_of("STFDiff", "activations", activations, get_args(Activations))
        self.multipliers = tuple(multipliers)
        if width < GROUPS or width % GROUPS:
            raise ExportError("The width is features in groups of 8", got=width, allowed=f"a multiple of {GROUPS}")
        if not self.multipliers or any(m < 1 or m != int(m) for m in self.multipliers):
            raise ExportError("Every level has a whole multiple of the width", got=multipliers, allowed="1, 2, ...")
        self.width = width
        self._build()

    def forward(
        self,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        fine_t1: torch.Tensor,
        x_t: torch.Tensor,
        t: torch.Tensor,
    ) -> torch.Tensor:
        """The raw output of one step, ``(N, C, H, W)``."""
        return self.denoise(self.encode(coarse_t1, coarse_t2, fine_t1), x_t, t)

    def encode(self, *conditions: torch.Tensor) -> Features:
        """Features of the clean branch: stem, every level, middle."""
        images = dict(zip(self.conditions, conditions, strict=True))
        fine = torch.cat([image for role, image in images.items() if role.startswith("fine")], dim=1)
        coarse = torch.cat([image for role, image in images.items() if role.startswith("coarse")], dim=1)
        stem = self.clean_init_conv(torch.cat((self.fine_init_conv(fine), self.coarse_init_conv(coarse)), dim=1))
        features, levels = stem, []
        for block, down in self.clean_downs:
            features = block(features)
            levels.append(features)
            features = down(features)
        return stem, *levels, self.clean_mid_block(features)

    def embed(self, t: torch.Tensor) -> Times:
        """Factor and summand of every timed block, which follow from the time."""
        time = self.time_mlp(t)
        return tuple(number for block in self._timed_blocks() for number in block.modulation(time))

    def predict(self, features: Features, x_t: torch.Tensor, times: Times) -> torch.Tensor:
        """The raw output, ``(N, C, H, W)``, with the clean branch given."""
        clean_stem, *clean_levels, clean_middle = features
        modulation = iter(zip(times[::2], times[1::2], strict=True))
        stem = self.noisy_init_conv(x_t)
        noisy, skips = stem, []
        for (block, down), clean in zip(self.noisy_downs, clean_levels, strict=True):
            noisy = block(noisy, next(modulation))
            skips.append(noisy - clean)
            noisy = down(noisy)
        noise = self.noisy_mid_block(noisy, next(modulation)) - clean_middle
        for (block, up), skip in zip(self.noise_ups, reversed(skips), strict=True):
            noise = up(block(torch.cat((noise, skip), dim=1), next(modulation)))
        noise = self.final_res_block(torch.cat((noise, stem - clean_stem), dim=1), next(modulation))
        return self.final_conv(noise)

    def _timed_blocks(self) -> list[_ResidualBlock]:
        """The blocks that the time goes into, in the order of use."""
        downs, ups = ([block for block, _ in stack] for stack in (self.noisy_downs, self.noise_ups))
        return [*downs, self.noisy_mid_block, *ups, self.final_res_block]

    def contract(self) -> Contract:
        """Reflectance from 0 to 1, stretched to -1 to 1; group norm sees the tile, so tiles are blended."""
        values = Values(scale=2.0, offset=-1.0, minimum=0.0, maximum=1.0)
        inputs = [InputSpec(role=role, tensor=role, bands=self.bands, values=values) for role in self.conditions]
        own = {n: getattr(self, n) for n in ("references", "norm", "activations", "width", "multipliers")}
        return Contract(
            network="stfdiff",
            inputs=tuple(inputs),
            output=OutputSpec(tensor="fine_t2", bands=self.bands, values=values),
            tile=TileWish(mode="blend" if self.norm == "group" else "auto"),
            sampler=self.preset.sampler,
            options=own,
            source=self.about.source,
        )

    def for_export(self) -> STFDiff:
        """This network with plain convolutions in place of weight-standardised ones."""
        return folded(self)

    def untold(self, kind: str) -> Sequence[Untold]:
        """Activations have no weights. The published folders, and settings within one, disagree on them."""
        return (
            Untold(
                "activations",
                {
                    "silu": "SiLU twice, the package's default",
                    "silu_relu": "SiLU, then ReLU, most published settings",
                    "relu": "ReLU twice",
                },
            ),
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Output channels of the last layer."""
        last = state.get("final_conv.weight")
        return None if last is None else int(last.shape[0])

    @classmethod
    def options_of(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Dates that enter, features at full resolution, and whether the norm counts."""
        fine, last = state.get("fine_init_conv.weight"), state.get("final_conv.weight")
        if fine is None or last is None:
            return {}
        return {
            "references": int(fine.shape[1]) // int(last.shape[0]),
            "norm": "batch" if any(key.endswith("norm_1.running_mean") for key in state) else "group",
            "width": int(last.shape[1]),
        }

    def _build(self) -> None:
        width, count = self.width, len(self.bands)
        widths = [width, *(width * multiplier for multiplier in self.multipliers)]
        levels = list(pairwise(widths))
        deepest = widths[-1]
        self.time_mlp = nn.Sequential(
            Sinusoid(width, order="sin-cos", closed=True),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, 4 * width),
        )
        self.init_conv = nn.Conv2d(count, width, 3, padding=1)  # only in the state dict
        self.fine_init_conv = nn.Conv2d(self._dates("fine") * count, width, 3, padding=1)
        self.coarse_init_conv = nn.Conv2d(self._dates("coarse") * count, width, 3, padding=1)
        self.noisy_init_conv = nn.Conv2d(count, width, 3, padding=1)
        self.clean_init_conv = nn.Conv2d(2 * width, width, 1)
        self.clean_downs = nn.ModuleList(self._down(pair, levels, timed=False) for pair in levels)
        self.noisy_downs = nn.ModuleList(self._down(pair, levels, timed=True) for pair in levels)
        self.clean_mid_block = self._block(deepest, deepest, timed=False)
        self.noisy_mid_block = self._block(deepest, deepest, timed=True)
        self.noise_ups = nn.ModuleList(
            nn.ModuleList((self._block(below + here, below, timed=True), _up(below, here, last=index == 0)))
            for index, (here, below) in reversed(list(enumerate(levels)))
        )
        self.final_res_block = self._block(2 * width, width, timed=True)
        self.final_conv = nn.Conv2d(width, count, 1)

    def _down(self, pair: tuple[int, int], levels: list[tuple[int, int]], *, timed: bool) -> nn.ModuleList:
        here, below = pair
        return nn.ModuleList((self._block(here, here, timed=timed), _halve(here, below, last=pair is levels[-1])))

    def _block(self, channels_in: int, channels_out: int, *, timed: bool) -> _ResidualBlock:
        return _ResidualBlock(
            channels_in,
            channels_out,
            time_width=4 * self.width if timed else None,
            norm=self.norm,
            activations=_ACTIVATIONS[self.activations],
        )

    def _dates(self, kind: str) -> int:
        return sum(role.startswith(kind) for role in self.conditions)


class _TwoReferences(STFDiff):
    """STFDiff between two reference dates."""

    conditions: ClassVar[tuple[str, ...]] = ("coarse_t1", "coarse_t2", "coarse_t3", "fine_t1", "fine_t3")

    def forward(  # type: ignore[override]
        self,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        coarse_t3: torch.Tensor,
        fine_t1: torch.Tensor,
        fine_t3: torch.Tensor,
        x_t: torch.Tensor,
        t: torch.Tensor,
    ) -> torch.Tensor:
        """The raw output of one step, ``(N, C, H, W)``."""
        return self.denoise(self.encode(coarse_t1, coarse_t2, coarse_t3, fine_t1, fine_t3), x_t, t)


class _ResidualBlock(nn.Module):
    """``act2(norm2(conv2(act1(norm1(conv1(x)) * (1 + scale) + shift)))) + x``; scale and shift come from the time.

    What comes from the time and the factors of the first norm are one factor and one summand (:meth:`modulation`).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        time_width: int | None,
        norm: Norm,
        activations: tuple[type[nn.Module], type[nn.Module]],
    ) -> None:
        super().__init__()
        if time_width is not None:
            self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_width, 2 * channels_out))
        self.conv_1 = StandardisedConv2d(channels_in, channels_out, 3, padding=1)
        self.norm_1 = _norm(norm, channels_out)
        self.act_1 = activations[0]()
        self.conv_2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.norm_2 = _norm(norm, channels_out)
        self.act_2 = activations[1]()
        self.res_conv = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def modulation(self, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Factor and summand ``(N, C, 1, 1)`` of the normalised features, those of the norm itself included."""
        scale, shift = self.mlp(time)[:, :, None, None].chunk(2, dim=1)
        weight, bias = self.norm_1.weight[:, None, None], self.norm_1.bias[:, None, None]
        return weight * (scale + 1), bias * (scale + 1) + shift

    def forward(self, image: torch.Tensor, modulation: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor:
        features = self.conv_1(image)
        if modulation is None:
            features = self.norm_1(features)
        else:
            factor, summand = modulation
            features = _bare(self.norm_1, features) * factor + summand
        features = self.act_2(self.norm_2(self.conv_2(self.act_1(features))))
        return features + self.res_conv(image)


def _bare(norm: nn.GroupNorm | nn.BatchNorm2d, features: torch.Tensor) -> torch.Tensor:
    """The features normalised, without the norm's own factor and summand."""
    if isinstance(norm, nn.GroupNorm):
        return functional.group_norm(features, norm.num_groups, eps=norm.eps)
    mean, variance, momentum = norm.running_mean, norm.running_var, norm.momentum or 0.0
    return functional.batch_norm(features, mean, variance, None, None, norm.training, momentum, norm.eps)


def _norm(kind: Norm, channels: int) -> nn.Module:
    return nn.GroupNorm(GROUPS, channels) if kind == "group" else nn.BatchNorm2d(channels)


def _halve(channels_in: int, channels_out: int, *, last: bool) -> nn.Module:
    """Half the rows and columns, but for the last level."""
    if last:
        return nn.Conv2d(channels_in, channels_out, 3, padding=1)
    return nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)


def _up(channels_in: int, channels_out: int, *, last: bool) -> nn.Module:
    """Twice the rows and columns, but for the last level."""
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    return conv if last else nn.Sequential(_Twice(), conv)


class _Twice(nn.Module):
    """Every pixel twice along rows and columns."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(image, scale_factor=2.0, mode="nearest")
