# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch

from stf_export.networks.blocks.attention import ChannelGate, SpatialGate
from stf_export.networks.blocks.haar import SIGNS, haar_join, haar_split


def test_haar_of_one_cell_is_the_table_of_signs():
    cell = torch.tensor([[[[1.0, 20.0], [300.0, 4000.0]]]])
    bands = haar_split(cell)
    for band, signs in zip(bands, SIGNS, strict=True):
        assert band.shape == (1, 1, 1, 1)
        assert band.item() == sum(s * v for s, v in zip(signs, cell.flatten().tolist(), strict=True)) / 2


def test_haar_keeps_the_energy_and_goes_back():
    image = torch.randn(2, 3, 6, 10, dtype=torch.float64)
    bands = haar_split(image)
    torch.testing.assert_close(sum(band.square().sum() for band in bands), image.square().sum())
    torch.testing.assert_close(haar_join(*bands), image)


def test_haar_names_the_direction_of_the_step():
    rows = torch.tensor([0.0, 1.0] * 3)[:, None].expand(6, 6)[None, None]
    low, horizontal, vertical, diagonal = haar_split(rows)
    assert (horizontal == -1).all()
    assert (low == 1).all()
    assert not vertical.any()
    assert not diagonal.any()


def test_channel_gate_of_a_constant_image_weighs_mean_and_peak_alike():
    gate = ChannelGate(4, reduction=2)
    image = torch.rand(1, 4, 1, 1).expand(1, 4, 3, 5)
    with torch.no_grad():
        weight = torch.sigmoid(2 * gate.fc2(torch.relu(gate.fc1(image[:, :, :1, :1]))))
        torch.testing.assert_close(gate(image), image * weight)
    assert {k: tuple(v.shape) for k, v in gate.state_dict().items()} == {
        "fc1.weight": (2, 4, 1, 1),
        "fc2.weight": (4, 2, 1, 1),
    }


def test_channel_gate_sees_the_peak():
    gate = ChannelGate(2, reduction=1)
    image = torch.zeros(1, 2, 4, 4)
    image[0, :, 1, 2] = 1.0
    with torch.no_grad():
        gate.fc1.weight.copy_(torch.eye(2)[:, :, None, None])
        gate.fc2.weight.copy_(torch.eye(2)[:, :, None, None])
        seen = gate(image)[0, :, 1, 2]
    torch.testing.assert_close(seen, torch.sigmoid(torch.full((2,), 1.0 + 1 / 16)))


def test_spatial_gate_sees_mean_and_peak_over_the_channels():
    gate = SpatialGate(3)
    image = torch.zeros(1, 4, 5, 5)
    image[0, 0, 2, 2] = 1.0
    with torch.no_grad():
        gate.conv1.weight.zero_()
        gate.conv1.weight[0, :, 1, 1] = torch.tensor([8.0, 1.0])
        out = gate(image)
    torch.testing.assert_close(out[0, 0, 2, 2], torch.sigmoid(torch.tensor(8.0 / 4 + 1.0)))
    assert list(gate.state_dict()) == ["conv1.weight"]
