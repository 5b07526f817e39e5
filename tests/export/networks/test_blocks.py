# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from stf_export.networks.blocks.conv import PixelDense, TrimmedDeconv3, edge_conv3
from stf_export.networks.blocks.weighting import inverse_weight


def test_edge_conv_repeats_the_border_pixel():
    block = edge_conv3(1, 1)
    with torch.no_grad():
        block[1].weight.fill_(1.0)
        block[1].bias.zero_()
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    # Corner 1 is seen four times, its neighbours twice, the far corner once.
    assert block(image)[0, 0, 0, 0].item() == 4 * 1 + 2 * 2 + 2 * 3 + 1 * 4
    assert list(block.state_dict()) == ["1.weight", "1.bias"]


def test_edge_conv_keeps_a_constant_image_constant():
    block = edge_conv3(2, 3)
    out = block(torch.full((1, 2, 5, 7), 0.3))
    assert out.shape == (1, 3, 5, 7)
    torch.testing.assert_close(out, out[:, :, :1, :1].expand_as(out))


def test_pixel_dense_is_a_dense_layer_on_channels():
    layer = PixelDense(3, 2)
    image = torch.randn(2, 3, 4, 5)
    expected = functional.linear(image.permute(0, 2, 3, 1), layer.weight, layer.bias).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(image), expected)
    assert layer.weight.shape == (2, 3)


def test_trimmed_deconv_puts_the_kernel_where_tensorflow_puts_it():
    layer = TrimmedDeconv3(1, 1)
    kernel = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    with torch.no_grad():
        layer.weight.copy_(kernel)
        layer.bias.zero_()
    image = torch.zeros(1, 1, 2, 2)
    image[0, 0, 0, 0] = 1.0
    out = layer(image)
    assert out.shape == (1, 1, 4, 4)
    torch.testing.assert_close(out[0, 0, :3, :3], kernel[0, 0])
    # The last pixel's kernel runs over the end: what is dropped is the last row and column.
    image = torch.zeros(1, 1, 2, 2)
    image[0, 0, 1, 1] = 1.0
    torch.testing.assert_close(layer(image)[0, 0, 2:, 2:], kernel[0, 0, :2, :2])


@pytest.mark.parametrize("eps", [1e-8, 2.0**-24, 1e-3])
def test_inverse_weight_is_the_reciprocal_formula(eps: float):
    a = torch.tensor([0.5, -0.25, 3.0, 0.0], dtype=torch.float64)
    b = torch.tensor([-0.5, 0.75, 0.0, 2.0], dtype=torch.float64)
    one, three = 1 / (a.abs() + eps), 1 / (b.abs() + eps)
    torch.testing.assert_close(inverse_weight(a, b, eps), one / (one + three))


def test_inverse_weight_prefers_the_date_that_changed_less():
    weight = inverse_weight(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0]), 2.0**-24)
    torch.testing.assert_close(weight, torch.tensor([0.75, 0.25]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_inverse_weight_of_two_dates_without_change_is_a_half(dtype: torch.dtype):
    nothing = torch.zeros(3, dtype=dtype)
    torch.testing.assert_close(inverse_weight(nothing, nothing, 2.0**-24), torch.full_like(nothing, 0.5))
    assert torch.isnan(inverse_weight(nothing.half(), nothing.half(), 1e-8)).all()  # why the eps is not 1e-8
