# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from stf_export.networks.blocks.windows import MASKED, Cut, Mlp, RelativeBias, SwinBlock, WindowAttention, Windows

CUTS = [(8, 4, 0), (8, 4, 2), (12, 4, 1), (16, 8, 4), (6, 2, 1)]


@pytest.mark.parametrize(("side", "window", "shift"), CUTS)
def test_windows_are_the_squares_of_the_shifted_grid(side: int, window: int, shift: int):
    order = Cut(side, window, shift).order.reshape(-1, window, window)
    across = side // window
    for i, square in enumerate(order):
        rows = (torch.arange(window) + i // across * window + shift) % side
        columns = (torch.arange(window) + i % across * window + shift) % side
        assert torch.equal(square, rows[:, None] * side + columns[None, :])


@pytest.mark.parametrize(("side", "window", "shift"), CUTS)
def test_join_takes_split_back(side: int, window: int, shift: int):
    windows = Windows(Cut(side, window, shift))
    tokens = torch.rand(2, side * side, 3)
    assert torch.equal(windows.join(windows.split(tokens)), tokens)
    assert not windows.state_dict()


@pytest.mark.parametrize(("side", "window", "shift"), CUTS)
def test_mask_hides_what_the_roll_brought_together(side: int, window: int, shift: int):
    """Two tokens of a window see each other if their distance on the grid is less than a window along both axes."""
    cut = Cut(side, window, shift)
    order = cut.order.reshape(cut.count, cut.tokens)
    y, x = order // side, order % side
    near = ((y[:, :, None] - y[:, None, :]).abs() < window) & ((x[:, :, None] - x[:, None, :]).abs() < window)
    assert torch.equal(cut.mask, (~near).float() * MASKED)


@pytest.mark.parametrize("side", [1, 4, 8])
def test_grid_within_a_window_is_one_unshifted_window(side: int):
    cut = Cut(side, 8, 4)
    assert (cut.window, cut.shift, cut.count, cut.tokens) == (side, 0, 1, side * side)
    tokens = torch.rand(1, side * side, 2)
    assert Windows(cut).split(tokens) is tokens


def test_bias_depends_on_the_offset_alone():
    window, heads = 3, 2
    bias = RelativeBias(window, heads)
    table = torch.arange(25 * heads, dtype=torch.float32).reshape(25, heads)
    with torch.no_grad():
        bias.relative_position_bias_table.copy_(table)
        got = bias.position_bias()
    assert got.shape == (heads, 9, 9)
    for query in range(9):
        for key in range(9):
            dy, dx = query // 3 - key // 3, query % 3 - key % 3
            assert torch.equal(got[:, query, key], table[(dy + 2) * 5 + dx + 2])


def test_folded_bias_is_the_bias():
    bias = RelativeBias(4, 3)
    before = bias.position_bias().detach()
    bias.fold()
    assert torch.equal(bias.position_bias(), before)
    assert list(bias.state_dict()) == ["bias"]
    assert not list(bias.parameters())


@pytest.mark.parametrize("shift", [0, 2])
def test_attention_is_the_textbook_s(shift: int):
    side, window, width, heads = 8, 4, 6, 2
    cut = Cut(side, window, shift)
    attention = WindowAttention(width, heads, cut).double()
    tokens = torch.randn(2, side * side, width, dtype=torch.float64)
    expected = torch.empty_like(tokens)
    with torch.no_grad():
        bias = attention.position_bias()
        for sample in range(2):
            for window_index, places in enumerate(cut.order.reshape(cut.count, -1)):
                query, key, value = attention.qkv(tokens[sample, places]).split(width, dim=-1)
                seen = []
                for head in range(heads):
                    part = slice(3 * head, 3 * head + 3)
                    scores = query[:, part] @ key[:, part].T / 3**0.5 + bias[head] + cut.mask[window_index]
                    seen.append(scores.softmax(-1) @ value[:, part])
                expected[sample, places] = attention.proj(torch.cat(seen, dim=-1))
        torch.testing.assert_close(attention(tokens, cut.mask.double() if shift else None), expected)


def test_block_keeps_its_own_mask_and_index():
    small, large = SwinBlock(4, 1, Cut(8, 4, 2)), SwinBlock(4, 1, Cut(12, 4, 2))
    mask = large.attn_mask.clone()
    large.load_state_dict(small.state_dict(), strict=True)
    assert torch.equal(large.attn_mask, mask)
    assert torch.equal(large.attn.qkv.weight, small.attn.qkv.weight)
    weights = {
        key: tensor for key, tensor in small.state_dict().items() if tensor.ndim < 3 and tensor.is_floating_point()
    }
    assert len(weights) == len(small.state_dict()) - 2
    large.load_state_dict(weights, strict=True)
    spoilt = {**small.state_dict(), "attn_mask": torch.ones(3)}
    large.load_state_dict(spoilt, strict=True)
    assert torch.equal(large.attn_mask, mask)


def test_unshifted_block_has_no_mask():
    assert "attn_mask" not in SwinBlock(4, 1, Cut(8, 4, 0)).state_dict()


def test_mlp_is_two_layers_around_the_exact_gelu():
    mlp = Mlp(3, 5)
    x = torch.randn(2, 4, 3)
    hidden = mlp.fc1(x)
    expected = mlp.fc2(hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5)))
    torch.testing.assert_close(mlp(x), expected)
    assert Mlp(3).fc1.weight.shape == (3, 3)
