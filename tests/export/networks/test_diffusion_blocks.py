# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from stf_export.networks.blocks.guided import PixelAttention, PointConv, attend
from stf_export.networks.blocks.standardised import StandardisedConv2d, folded
from stf_export.networks.blocks.timestep import Order, Sinusoid


@pytest.mark.parametrize("order", get_args(Order))
@pytest.mark.parametrize("closed", [False, True])
def test_waves_of_a_time(order: str, closed: bool):
    t = torch.tensor([0, 1, 999])
    waves = Sinusoid(8, order=order, closed=closed)(t).double().numpy()
    frequencies = 10000.0 ** -(np.arange(4) / (3 if closed else 4))
    angle = np.array([0, 1, 999])[:, None] * frequencies
    halves = [np.sin(angle), np.cos(angle)]
    np.testing.assert_allclose(waves, np.hstack(halves if order == "sin-cos" else halves[::-1]), atol=1e-4)


def test_folding_keeps_the_function_and_everything_else():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6)
    network = nn.Sequential(
        StandardisedConv2d(4, 6, 3, stride=2, padding=1, bias=False),
        norm,
        nn.Sequential(StandardisedConv2d(6, 4, 3, padding=2, dilation=2, groups=2)),
    ).eval()
    plain = folded(network)
    image = torch.rand(2, 4, 9, 8)
    with torch.no_grad():
        torch.testing.assert_close(plain(image), network(image), rtol=0, atol=1e-5)
    assert [type(m) for m in plain.modules() if isinstance(m, nn.Conv2d)] == [nn.Conv2d, nn.Conv2d]
    assert plain[1].weight is norm.weight
    assert plain[1].running_mean is norm.running_mean
    assert isinstance(network[0], StandardisedConv2d)


def test_attention_of_equal_keys_is_the_mean():
    value = torch.rand(1, 3, 4, 5)
    answer = attend(torch.rand(1, 2, 4, 5), torch.ones(1, 2, 4, 5), value)
    torch.testing.assert_close(answer, value.mean(dim=(2, 3), keepdim=True).expand_as(value))


def test_attention_finds_the_pixel_whose_key_is_meant():
    keys = 40 * torch.eye(6).reshape(1, 6, 2, 3)
    value = torch.rand(1, 1, 2, 3)
    meant = torch.randperm(6)
    query = 40 * torch.eye(6)[:, meant].reshape(1, 6, 2, 3)
    torch.testing.assert_close(attend(query, keys, value).flatten(), value.flatten()[meant])


def test_attention_is_scaled_by_the_root_of_the_channels():
    torch.manual_seed(1)
    query, key, value = torch.randn(3, 1, 16, 2, 2)
    products = (query[0].flatten(1).T @ key[0].flatten(1)) / math.sqrt(16)
    wanted = value[0].flatten(1) @ products.softmax(-1).T
    torch.testing.assert_close(attend(query, key, value)[0].flatten(1), wanted)


def test_point_convolution_is_the_one_over_a_list():
    conv = PointConv(3, 5)
    image = torch.rand(2, 3, 4, 6)
    torch.testing.assert_close(conv(image).flatten(2), nn.functional.conv1d(image.flatten(2), conv.weight, conv.bias))


def test_pixel_attention_keeps_the_shape():
    assert PixelAttention(32)(torch.rand(2, 32, 3, 5)).shape == (2, 32, 3, 5)
