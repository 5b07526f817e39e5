# SPDX-License-Identifier: Apache-2.0
"""Attention inside windows of a square token grid, plain or shifted, as Swin transformers have it.

Liu, Lin, Cao, Hu, Wei, Zhang, Lin, Guo: Swin Transformer: Hierarchical Vision Transformer using Shifted Windows,
ICCV 2021. Tokens are ``(N, L, C)``, row after row of a grid of ``side * side = L``. The order in which windows see
them is a permutation that depends on nothing but sizes: cutting a shifted grid into windows is one gather, putting it
back is another.

    side 8, window 4, shift 2: four windows, three of which hold pieces that were not neighbours

    A A A A B B B B        x x B B B B y y
    A A A A B B B B   ▶    x x B B B B y y      (rolled by two, so that each window is a square again;
    ...                    ...                   the mask keeps the pieces apart)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

MASKED = -100.0  # what is added where two tokens of a window were not neighbours


class Cut:
    """How a token grid is cut into windows.

    A grid that is not larger than a window is one window of its own size, unshifted.

    Args:
        side: Rows and columns of the grid; a multiple of the window, or smaller than one.
        window: Rows and columns of a window.
        shift: By how many tokens the windows are shifted along both axes.

    Attributes:
        count: Number of windows.
        tokens: Tokens of a window.
    """

    def __init__(self, side: int, window: int, shift: int = 0) -> None:
        if side <= window:
            window, shift = side, 0
        self.side, self.window, self.shift = side, window, shift
        self.count, self.tokens = (side // window) ** 2, window * window

    @property
    def order(self) -> torch.Tensor:
        """Index of the token that each place of each window sees, int64 ``(L,)``."""
        grid = torch.arange(self.side**2).reshape(self.side, self.side)
        return self._windows(grid.roll((-self.shift, -self.shift), (0, 1))).flatten()

    @property
    def mask(self) -> torch.Tensor:
        """0 for two tokens that may see each other and -100 otherwise, ``(count, tokens, tokens)``."""
        place = torch.arange(self.side)
        # Three zones along an axis: what the roll left alone, what shares the last window, what came round.
        zone = (place >= self.side - self.window).int() + (place >= self.side - self.shift).int()
        piece = self._windows(3 * zone[:, None] + zone[None, :])
        return (piece[:, :, None] != piece[:, None, :]).float() * MASKED

    def _windows(self, grid: torch.Tensor) -> torch.Tensor:
        across = self.side // self.window
        cut = grid.reshape(across, self.window, across, self.window).permute(0, 2, 1, 3)
        return cut.reshape(self.count, self.tokens)


class Windows(nn.Module):
    """Puts the tokens of a grid in the order of its windows and back; holds no state.

    Args:
        cut: The windows.
    """

    order: torch.Tensor
    back: torch.Tensor

    def __init__(self, cut: Cut) -> None:
        super().__init__()
        self.count, self.tokens = cut.count, cut.tokens
        self.register_buffer("order", cut.order, persistent=False)
        self.register_buffer("back", cut.order.argsort(), persistent=False)

    def split(self, tokens: torch.Tensor) -> torch.Tensor:
        """``(N, L, C)``, row after row of the grid, to window after window."""
        return tokens.index_select(1, self.order) if self.count > 1 else tokens

    def join(self, tokens: torch.Tensor) -> torch.Tensor:
        """``(N, L, C)``, window after window, to row after row of the grid."""
        return tokens.index_select(1, self.back) if self.count > 1 else tokens

    def heads(self, tokens: torch.Tensor, heads: int, order: tuple[int, ...]) -> torch.Tensor:
        """``(N, L, C)`` in windows as ``(N, windows, tokens, heads, C / heads)``, with its axes in another order."""
        return tokens.reshape(-1, self.count, self.tokens, heads, tokens.shape[-1] // heads).permute(order)


class RelativeBias(nn.Module):
    """Base of attentions with a learnt bias for each offset of two tokens of a window and each head.

    Keys: ``relative_position_bias_table`` ``((2w - 1)^2, heads)``, and ``relative_position_index`` (int64, made from
    the window's size; what a checkpoint says about it is ignored).

    Args:
        window: Rows and columns of a window.
        heads: Attention heads.
    """

    relative_position_index: torch.Tensor
    bias: torch.Tensor

    def __init__(self, window: int, heads: int) -> None:
        super().__init__()
        self.tokens, self.heads = window * window, heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        y, x = y.flatten(), x.flatten()
        index = (y[:, None] - y[None, :] + window - 1) * (2 * window - 1) + x[:, None] - x[None, :] + window - 1
        self.register_buffer("relative_position_index", index)

    def position_bias(self) -> torch.Tensor:
        """Bias ``(heads, tokens, tokens)``: query by key."""
        if "bias" in self._buffers:
            return self.bias
        rows = self.relative_position_bias_table[self.relative_position_index.flatten()]
        return rows.reshape(self.tokens, self.tokens, self.heads).permute(2, 0, 1)

    def fold(self) -> None:
        """Replace the table by the bias that it gives: no lookup is left in the graph."""
        bias = self.position_bias().detach().contiguous()
        del self.relative_position_bias_table, self.relative_position_index
        self.register_buffer("bias", bias)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        keep_own(self, "relative_position_index", state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def keep_own(module: nn.Module, name: str, state: dict[str, Any], prefix: str) -> None:
    """Make a module keep its own value of a buffer that follows from sizes, whatever a state dict says about it."""
    own = module._buffers.get(name)
    if own is not None:
        state[prefix + name] = own


class WindowAttention(RelativeBias):
    """Multi-head self-attention inside windows, ``(N, L, C)`` to ``(N, L, C)``.

    Keys: those of :class:`RelativeBias`, and ``qkv``, ``proj``.

    Args:
        width: C.
        heads: Attention heads.
        cut: The windows.
    """

    def __init__(self, width: int, heads: int, cut: Cut) -> None:
        super().__init__(cut.window, heads)
        self.windows = Windows(cut)
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Attend; ``mask`` is :attr:`Cut.mask` or None."""
        query, key, value = self.qkv(self.windows.split(tokens)).chunk(3, dim=-1)
        queries = self.windows.heads(query, self.heads, (0, 1, 3, 2, 4))
        keys = self.windows.heads(key, self.heads, (0, 1, 3, 4, 2))
        values = self.windows.heads(value, self.heads, (0, 1, 3, 2, 4))
        scores = queries * self.scale @ keys + self.position_bias()
        if mask is not None:
            scores = scores + mask[:, None]
        seen = (scores.softmax(-1) @ values).permute(0, 1, 3, 2, 4)
        return self.windows.join(self.proj(seen.reshape(-1, *tokens.shape[1:])))


class Mlp(nn.Module):
    """Two dense layers around an exact GELU. Keys: ``fc1``, ``fc2``.

    Args:
        width: Channels in and out.
        hidden: Channels between; None: ``width``.
    """

    def __init__(self, width: int, hidden: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden or width)
        self.fc2 = nn.Linear(hidden or width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``(..., C)`` to ``(..., C)``."""
        return self.fc2(nn.functional.gelu(self.fc1(tokens)))


class MaskedBlock(nn.Module):
    """Base of blocks that hold the mask of shifted windows under the key ``attn_mask``.

    The mask follows from sizes, so the block keeps its own, whatever a checkpoint says: weights trained on one tile
    size go into a network for another.

    Args:
        cut: The windows.
    """

    attn_mask: torch.Tensor | None

    def __init__(self, cut: Cut) -> None:
        super().__init__()
        self.register_buffer("attn_mask", cut.mask if cut.shift else None)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        keep_own(self, "attn_mask", state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class SwinBlock(MaskedBlock):
    """Window attention and a dense part, each after a layer norm and around a shortcut; ``(N, L, C)`` kept.

    Keys: ``attn_mask`` (shifted only), ``norm1``, ``attn``, ``norm2``, ``mlp``.

    Args:
        width: C.
        heads: Attention heads.
        cut: The windows.
    """

    def __init__(self, width: int, heads: int, cut: Cut) -> None:
        super().__init__(cut)
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, cut)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Attend and transform."""
        tokens = tokens + self.attn(self.norm1(tokens), self.attn_mask)
        return tokens + self.mlp(self.norm2(tokens))
