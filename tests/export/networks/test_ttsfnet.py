# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from stf_export import networks
from stf_export.networks.blocks.attention import ChannelGate
from stf_export.networks.transformer.ttsfnet import SURFACE, TTSFNet, _EncoderBlock, _Gate, _sinusoids
from stf_infer.errors import ExportError


@pytest.fixture(scope="module")
def network() -> TTSFNet:
    torch.manual_seed(0)
    return networks.create("ttsfnet")


def inputs(batch: int = 1, months: int = 12, side: int = 20, channels: int = 8) -> dict[str, torch.Tensor]:
    return {"sequence": torch.randn(batch, months, channels), "patch": torch.randn(batch, side, side, channels)}


def test_size_is_that_of_the_notebooks(network: TTSFNet):
    """Weights and running statistics as Keras counts them: one bias of an LSTM, not two."""
    statistics = sum(t.numel() for key, t in network.named_buffers() if "running" in key)
    second_bias = sum(p.numel() for key, p in network.named_parameters() if "bias_hh" in key)
    assert sum(p.numel() for p in network.parameters()) + statistics - second_bias == 135_183
    assert sum(p.numel() for p in network.temporal.parameters()) - second_bias == 68_592


@pytest.mark.parametrize(
    ("options", "months", "side", "channels"),
    [
        ({}, 12, 20, 8),
        ({"months": 6, "depths": 5}, 6, 11, 8),
        ({"bands": 5, "months": 1, "depths": 1}, 1, 10, 5),
    ],
)
def test_any_months_depths_channels_and_patches(options: dict, months: int, side: int, channels: int):
    other = networks.create("ttsfnet", **options)
    with torch.no_grad():
        out = other(**inputs(3, months, side, channels))
    assert out.shape == (3, options.get("depths", 33))
    assert out.isfinite().all()


def test_samples_of_a_batch_do_not_mix(network: TTSFNet):
    x = inputs(batch=3)
    with torch.no_grad():
        together = network(**x)
        for i in range(3):
            torch.testing.assert_close(together[i : i + 1], network(**{k: v[i : i + 1] for k, v in x.items()}))


def test_every_month_and_cell_matters(network: TTSFNet):
    x = inputs()
    x["sequence"].requires_grad_()
    x["patch"].requires_grad_()
    network(**x).square().sum().backward()
    assert (x["sequence"].grad.abs().sum(-1) > 0).all()
    assert (x["patch"].grad.abs().sum(-1) > 0).float().mean() > 0.9  # a maximum hides a cell


def test_encoder_block_is_the_textbook_s():
    block = _EncoderBlock()
    oracle = nn.TransformerEncoderLayer(32, 8, 64, dropout=0.0, layer_norm_eps=1e-3, batch_first=True)
    with torch.no_grad():
        oracle.self_attn.in_proj_weight.copy_(torch.cat((block.query.weight, block.key.weight, block.value.weight)))
        oracle.self_attn.in_proj_bias.zero_()
        oracle.self_attn.out_proj.weight.copy_(block.joined.weight)
        oracle.self_attn.out_proj.bias.zero_()
        for mine, its in (("dense1", "linear1"), ("dense2", "linear2"), ("norm1", "norm1"), ("norm2", "norm2")):
            getattr(oracle, its).load_state_dict(getattr(block, mine).state_dict())
        tokens = torch.randn(2, 12, 32)
        torch.testing.assert_close(block(tokens), oracle(tokens), rtol=1e-4, atol=1e-5)


def test_convolutions_see_no_later_month(network: TTSFNet):
    seen = []
    handle = network.temporal.lstm.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    x = inputs()
    with torch.no_grad():
        network(**x)
        x["sequence"][:, 7] += 1
        network(**x)
    handle.remove()
    changed = (seen[0] != seen[1]).any(dim=-1)[0]
    assert changed.tolist() == [month in (7, 8, 9, 11) for month in range(12)]  # 3 taps of 1 and of 2 months


def test_position_is_the_fixed_sinusoid():
    position = _sinusoids(12, 32)
    assert position.shape == (12, 32)
    for step, column in ((0, 0), (0, 1), (5, 8), (11, 31)):
        angle = step / 10000 ** ((column - column % 2) / 32)
        expected = math.cos(angle) if column % 2 else math.sin(angle)
        assert position[step, column].item() == pytest.approx(expected, abs=1e-5)


def test_gate_adds_a_share_of_the_features():
    gate = _Gate(4)
    for parameter in gate.parameters():
        nn.init.zeros_(parameter)
    features = torch.randn(2, 4)
    torch.testing.assert_close(gate(features), features * 1.25)


def test_channel_gate_with_biases():
    gate = ChannelGate(4, reduction=2, bias=True)
    image = torch.rand(2, 4, 3, 5)
    dense = [(layer.weight[:, :, 0, 0], layer.bias) for layer in (gate.fc1, gate.fc2)]
    excited = [
        functional.linear(functional.relu(functional.linear(pooled, *dense[0])), *dense[1])
        for pooled in (image.mean((2, 3)), image.amax((2, 3)))
    ]
    expected = image * torch.sigmoid(sum(excited))[:, :, None, None]
    torch.testing.assert_close(gate(image), expected)


def test_the_channels_are_those_of_the_surface(network: TTSFNet):
    assert network.bands == SURFACE == network.contract().inputs[1].dims[2].labels


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"months": 0}, "months"),
        ({"depths": -1}, "depths"),
        ({"patch": 9}, "10 or more"),
        ({"bands": ()}, "at least one"),
    ],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("ttsfnet", **options)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"sequence": torch.zeros(1, 11, 8)}, r"\(N, 12, 8\)"),
        ({"sequence": torch.zeros(1, 12, 7)}, r"\(N, 12, 8\)"),
        ({"patch": torch.zeros(1, 8, 20, 20)}, "20 x 20"),
        ({"patch": torch.zeros(1, 9, 20, 8)}, "at least 10"),
        ({"patch": torch.zeros(20, 20, 8)}, "20 x 20"),
    ],
)
def test_refuses_other_shapes(network: TTSFNet, wrong: dict, named: str):
    with pytest.raises(ExportError, match=named):
        network(**{**inputs(), **wrong})
