# SPDX-License-Identifier: Apache-2.0
"""SwinSTFM: two Swin pyramids, and a decoder that moves the coarse change by two attentions multiplied.

Chen, Jiao, Hu, Xiao, Ye: SwinSTFM: Remote Sensing Spatiotemporal Fusion Using Swin Transformer. IEEE Transactions on
Geoscience and Remote Sensing 60, 1-18, 2022, doi:10.1109/TGRS.2022.3182809.

    coarse_t1 ──▶ coarse_down ──▶ c1: 64, 128, 256, 512, 512 channels ┐
    coarse_t2 ──▶ coarse_down ──▶ c2   at 1/2 ... 1/32 of the size    ├─▶ fine_up ──▶ fine_t2
    fine_t1 ────▶ fine_down ────▶ f                                   ┘

    at each level, from the smallest:  change = c2 - c1, moved by softmax(c1 · f) x softmax(c1 · c2)
                                       merge(c2, change + f, what the level below gave)

61.8 GFLOP for six bands of 256 x 256; 37.5 million parameters.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec, Values

from ...contract import Contract, TileWish
from ..base import About, FusionNetwork, Rounding
from ..blocks.windows import Cut, MaskedBlock, Mlp, RelativeBias, SwinBlock, Windows

WIDTHS = (64, 128, 256, 512, 512)  # at 1/2, 1/4, 1/8, 1/16, 1/32 of the tile
DEPTHS = (2, 2, 6, 2)
WINDOW = 8
HEAD = 32  # channels of a head
SHRINK = 32

# What the product of two softmaxes is scaled by before 1e-6 is added and its sum is divided out. In half precision
# 1e-6 alone has four significant bits; times 512 it has eleven, and 64 products still sum to less than 65504.
GAIN = 512.0

VALUES = Values(scale=2.0, offset=-1.0, minimum=0.0, maximum=1.0)


class SwinSTFM(FusionNetwork):
    """The network for one tile size.

    Images are ``(N, C, tile, tile)`` in -1 to 1: reflectance, clipped to 0 to 1, times two minus one. The output has
    the same shape and range (tanh).

    The tile size is part of the graph (windows, masks); the batch is free. Weights do not depend on it as long as the
    smallest level (1/32) is made of whole windows of 8: they go from any multiple of 256 to any other, since masks
    and index tables are made here, not taken from the checkpoint. Below 256 the smallest level is one window of its
    own size: such a network (tile 32, 64, 128) has other bias tables and needs weights trained at that size.

    The authors run tiles of 256 with stride 128 and keep the middle; here tiles share 128 pixels and are blended. They
    also average predictions from two reference dates, which is two runs.

    Differences from the published code: what is computed there and never used is left out; windows are cut by one
    gather; the product of softmaxes is renormalised in a form that half precision can hold (see ``GAIN``). And the
    samples of a batch do not touch each other: there, heads and windows are mixed across the whole batch (see
    ``_ProductAttention``), so that a result depends on its neighbours in the batch; here each sample gives what the
    published code gives for it alone.

    Args:
        bands: Names of the bands, in the network's order.
        tile: Rows and columns of a tile.

    Raises:
        ExportError: The windows do not fit the tile; in ``forward``, another size.
    """

    about: ClassVar[About] = About(
        title="SwinSTFM",
        family="transformer",
        paper="Chen, Jiao, Hu, Xiao, Ye: SwinSTFM: Remote Sensing Spatiotemporal Fusion Using Swin Transformer. IEEE "
        "Transactions on Geoscience and Remote Sensing 60, 1-18, 2022",
        doi="10.1109/TGRS.2022.3182809",
        options={
            "tile": "rows and columns of a tile: a multiple of 256 (default 256), or 32, 64, 128 for weights trained "
            "at that size",
        },
    )
    derived: ClassVar[tuple[str, ...]] = ("attn_mask", "relative_position_index")
    # Features of the coarse images carry 2e-6 of rounding after twelve blocks. On land-like tiles the change is a
    # fiftieth of them, and it is normalised: 1e-4 of rounding, in torch (6e-5 of the output's range from double
    # precision at most) as in ONNX Runtime (1e-4).
    rounding: ClassVar[Rounding | None] = Rounding(
        1e-4,
        "the change between the coarse dates is a small difference of features and is normalised, which enlarges their "
        "rounding: torch in single precision is as far from double precision",
    )
    roles: ClassVar[tuple[str, ...]] = ("coarse_t1", "fine_t1", "coarse_t2")

    def __init__(
        self, bands: Sequence[str] = ("blue", "green", "red", "nir", "swir1", "swir2"), *, tile: int = 256
    ) -> None:
        super().__init__(bands)
        if tile not in (32, 64, 128) and (tile < 256 or tile % 256):
            raise ExportError(
                "SwinSTFM's windows do not fit this tile",
                got=tile,
                allowed="a multiple of 256, or 32, 64, 128 for weights trained at that size",
            )
        self.tile = tile
        count = len(self.bands)
        sides = tuple(tile >> level for level in range(1, 6))
        self.coarse_down = _Down(count, sides)
        self.fine_down = _Down(count, sides)
        self.fine_up = _Up(count, sides)

    def forward(self, coarse_t1: torch.Tensor, fine_t1: torch.Tensor, coarse_t2: torch.Tensor) -> torch.Tensor:
        """The fine image at t2, ``(N, C, tile, tile)`` in -1 to 1."""
        if fine_t1.shape[-2:] != (self.tile, self.tile):
            raise ExportError(
                "This SwinSTFM is made for another tile",
                got=" x ".join(map(str, fine_t1.shape[-2:])),
                allowed=f"{self.tile} x {self.tile}",
                fix="Create it with tile=...",
            )
        return self.fine_up(self.coarse_down(coarse_t1), self.fine_down(fine_t1), self.coarse_down(coarse_t2))

    def contract(self) -> Contract:
        """All images on the fine grid; reflectance in 0 to 1 brought to -1 to 1; one tile size, blended."""
        inputs = tuple(InputSpec(role=role, tensor=role, bands=self.bands, values=VALUES) for role in self.roles)
        return Contract(
            network="swinstfm",
            inputs=inputs,
            output=OutputSpec(tensor="fine_t2", bands=self.bands, values=VALUES),
            tile=TileWish(size=self.tile, mode="blend", overlap=min(128, self.tile // 2)),
            options={"tile": self.tile},
            source=self.about.source,
        )

    def for_export(self) -> SwinSTFM:
        """This network with the position bias of every window worked out; the other weights are shared."""
        shared = {id(t): t for t in (*self.parameters(), *self.buffers())}
        twin = copy.deepcopy(self, shared)
        masks: dict[torch.Size, torch.Tensor] = {}
        for module in twin.modules():
            if isinstance(module, RelativeBias):
                module.fold()
            elif isinstance(module, MaskedBlock) and module.attn_mask is not None:
                module.attn_mask = masks.setdefault(module.attn_mask.shape, module.attn_mask)
        return twin

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Input channels of the fine encoder."""
        first = state.get("fine_down.inc.proj.weight")
        return int(first.shape[1]) if first is not None and first.ndim == 4 else None

    @classmethod
    def options_of(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """The tile, where it is smaller than what full windows need at the deepest level."""
        table = state.get("fine_up.layer.blocks.0.attn.relative_position_bias_table")
        window = WINDOW if table is None else (math.isqrt(int(table.shape[0])) + 1) // 2
        return {} if window == WINDOW else {"tile": SHRINK * window}


class _Down(nn.Module):
    """``(N, C, tile, tile)`` to tokens of five levels, ``(N, (tile / 2)^2, 64)`` to ``(N, (tile / 32)^2, 512)``."""

    def __init__(self, channels: int, sides: Sequence[int]) -> None:
        super().__init__()
        self.inc = _Patches(channels, WIDTHS[0])
        self.down1, self.down2, self.down3, self.down4 = (
            _Stage(WIDTHS[i], WIDTHS[i + 1], sides[i], DEPTHS[i]) for i in range(4)
        )

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        levels = [self.inc(image)]
        for stage in (self.down1, self.down2, self.down3, self.down4):
            levels.append(stage(levels[-1]))
        return levels


class _Patches(nn.Module):
    """2x2 pixels to a token."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, 2, stride=2)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.norm(_to_tokens(self.proj(image)))


class _Stage(nn.Module):
    """Swin blocks, then 2x2 tokens to one."""

    def __init__(self, width: int, width_out: int, side: int, depth: int) -> None:
        super().__init__()
        self.layer = _Plain(width, side, depth)
        self.downsample = _Merging(width, width_out, side)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.downsample(self.layer(tokens))


class _Plain(nn.Module):
    """Swin blocks, every other one shifted by half a window."""

    def __init__(self, width: int, side: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(SwinBlock(width, width // HEAD, cut) for cut in _cuts(side, depth)))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.blocks(tokens)


class _Merging(nn.Module):
    """``(N, L, C)`` to ``(N, L / 4, C_out)``: the four tokens of a square, column by column, side by side."""

    def __init__(self, width: int, width_out: int, side: int) -> None:
        super().__init__()
        self.half = side // 2
        self.reduction = nn.Linear(4 * width, width_out, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        width = tokens.shape[-1]
        squares = tokens.reshape(-1, self.half, 2, self.half, 2, width).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(squares.reshape(-1, self.half**2, 4 * width)))


class _Up(nn.Module):
    """Tokens of coarse t1, fine t1 and coarse t2 at five levels to ``(N, C, tile, tile)`` in -1 to 1."""

    def __init__(self, channels: int, sides: Sequence[int]) -> None:
        super().__init__()
        self.side = sides[0]
        self.layer = _Cross(WIDTHS[4], sides[4], 1)
        self.up1, self.up2, self.up3, self.up4 = (
            _Level(WIDTHS[i], WIDTHS[max(i - 1, 0)], sides[i], DEPTHS[i]) for i in (3, 2, 1, 0)
        )
        self.outc = nn.Sequential(
            nn.Conv2d(WIDTHS[0], 4 * WIDTHS[0], 3, padding=1),
            nn.PixelShuffle(2),
            nn.Conv2d(WIDTHS[0], channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(
        self, coarse_t1: list[torch.Tensor], fine_t1: list[torch.Tensor], coarse_t2: list[torch.Tensor]
    ) -> torch.Tensor:
        tokens = self.layer(coarse_t1[4], fine_t1[4], coarse_t2[4]) + fine_t1[4]
        for level, step in zip((3, 2, 1, 0), (self.up1, self.up2, self.up3, self.up4), strict=True):
            tokens = step(coarse_t1[level], fine_t1[level], coarse_t2[level], tokens)
        return self.outc(_to_image(tokens, self.side))


class _Level(nn.Module):
    """One level of the decoder: what the level below gave ``(N, L / 4, C)``, doubled and merged: ``(N, L, C_out)``."""

    def __init__(self, width: int, width_out: int, side: int, depth: int) -> None:
        super().__init__()
        self.side = side
        self.up = nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2))
        self.layer = _Cross(width, side, 2)
        self.proj1 = nn.Linear(3 * width, width_out)
        self.layer2 = _Plain(width_out, side, depth)

    def forward(
        self, coarse_t1: torch.Tensor, fine_t1: torch.Tensor, coarse_t2: torch.Tensor, below: torch.Tensor
    ) -> torch.Tensor:
        above = _to_tokens(self.up(_to_image(below, self.side // 2)))
        moved = self.layer(coarse_t1, fine_t1, coarse_t2) + fine_t1
        return self.layer2(self.proj1(torch.cat((coarse_t2, moved, above), dim=-1)))


class _Cross(nn.Module):
    """The coarse change, ``(N, L, C)``, moved by what the three images say; norms of the images are taken once."""

    def __init__(self, width: int, side: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_CrossBlock(width, cut) for cut in _cuts(side, depth))
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, coarse_t1: torch.Tensor, fine_t1: torch.Tensor, coarse_t2: torch.Tensor) -> torch.Tensor:
        change = coarse_t2 - coarse_t1
        coarse_t1, fine_t1, coarse_t2 = self.norm1(coarse_t1), self.norm2(fine_t1), self.norm3(coarse_t2)
        for block in self.blocks:
            change = block(change, coarse_t1, fine_t1, coarse_t2)
        return change


class _CrossBlock(MaskedBlock):
    """Product attention and a dense part on the change, each after a layer norm and around a shortcut."""

    def __init__(self, width: int, cut: Cut) -> None:
        super().__init__(cut)
        self.norm1 = nn.LayerNorm(width)
        self.attn = _ProductAttention(width, width // HEAD, cut)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(
        self, change: torch.Tensor, coarse_t1: torch.Tensor, fine_t1: torch.Tensor, coarse_t2: torch.Tensor
    ) -> torch.Tensor:
        change = change + self.attn(self.norm1(change), coarse_t1, fine_t1, coarse_t2, self.attn_mask)
        return change + self.mlp(self.norm3(change))


class _ProductAttention(RelativeBias):
    """Coarse t1 asks fine t1 and coarse t2; the two answers are multiplied and weight the change.

    Two things are not as one would write them, and weights are trained with them. The product is divided by its sum
    over the keys where windows are shifted, and by its sum over the *queries* where they are not. And heads come
    before windows, ``(N, heads, windows, tokens, d)``, and are never brought back behind the tokens: that memory is
    read as ``(N, L, C)``, so a token's channels come from several windows.
    """

    def __init__(self, width: int, heads: int, cut: Cut) -> None:
        super().__init__(cut.window, heads)
        self.windows = Windows(cut)
        self.scale = HEAD**-0.5
        self.q, self.k, self.q2, self.k2, self.v, self.proj = (nn.Linear(width, width) for _ in range(6))

    def forward(
        self,
        change: torch.Tensor,
        coarse_t1: torch.Tensor,
        fine_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        bias = self.position_bias()[:, None]
        if mask is not None:
            bias = bias + mask
        asking = self.windows.split(coarse_t1)
        of_fine = self._weights(self.q(asking), self.k(self.windows.split(fine_t1)), bias)
        of_coarse = self._weights(self.q2(asking), self.k2(self.windows.split(coarse_t2)), bias)
        both = renormalised_product(of_fine, of_coarse, over=-2 if mask is None else -1)
        moved = both @ self.windows.heads(self.v(self.windows.split(change)), self.heads, (0, 3, 1, 2, 4))
        return self.windows.join(self.proj(moved.reshape(-1, *change.shape[1:])))

    def _weights(self, query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        queries = self.windows.heads(query, self.heads, (0, 3, 1, 2, 4))
        keys = self.windows.heads(key, self.heads, (0, 3, 1, 4, 2))
        return (queries * self.scale @ keys + bias).softmax(-1)


def renormalised_product(one: torch.Tensor, other: torch.Tensor, over: int) -> torch.Tensor:
    """``(one * other + 1e-6)`` over its sum along an axis, for two softmaxes ``(..., tokens, tokens)``.

    Everything is ``GAIN`` times larger on the way, which cancels and, a power of two, changes no bit in single
    precision.
    """
    product = (one * GAIN) * other + GAIN * 1e-6
    return product / product.sum(over, keepdim=True)


def _cuts(side: int, depth: int) -> list[Cut]:
    return [Cut(side, WINDOW, WINDOW // 2 if i % 2 else 0) for i in range(depth)]


def _to_tokens(image: torch.Tensor) -> torch.Tensor:
    return image.flatten(2).transpose(1, 2)


def _to_image(tokens: torch.Tensor, side: int) -> torch.Tensor:
    return tokens.transpose(1, 2).unflatten(2, (side, side))
