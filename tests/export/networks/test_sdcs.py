# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
from typing import get_args

import pytest
import torch

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.blocks.normalisation import adain
from stf_export.networks.blocks.pyramid import Pyramid, ReflectedResidual
from stf_export.networks.others.sdcs import SDCS, FusionInput, _Fusion
from stf_infer.errors import ExportError

ROLES = ("sr_t2", "coarse_t2", "fine_t1")
CIA = {"last_width": 128, "fusion_input": "sr"}


@pytest.fixture(scope="module")
def small() -> SDCS:
    return networks.create("sdcs", bands=3, last_width=32)


def images(bands: int, height: int, width: int, batch: int = 1) -> dict[str, torch.Tensor]:
    return {role: torch.rand(batch, bands, height, width) for role in ROLES}


@pytest.mark.parametrize("fusion_input", get_args(FusionInput))
@pytest.mark.parametrize(
    ("name", "last_width", "count"), [("sdcs_cia", 128, 4_172_886), ("sdcs_lgc_tj_dx_ahb", 256, 7_893_974)]
)
def test_keys_are_the_published_ones(name: str, last_width: int, count: int, fusion_input: str):
    with torch.device("meta"):
        network = networks.create("sdcs", last_width=last_width, fusion_input=fusion_input)
    assert keys_of(network) == published_keys(name)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize(
    ("name", "options"), [("sdcs_cia", CIA), ("sdcs_as_committed", {"last_width": 128}), ("sdcs_lgc", {})]
)
def test_golden(name: str, options: dict):
    golden = read_golden(name)
    network = load_golden_weights(networks.create("sdcs", **options), golden)
    inputs = golden_inputs(golden)
    with torch.no_grad():
        check(golden, network(**inputs))
        if "gate_margin" in golden.meta:
            assert network.gate_margin(**inputs) == pytest.approx(golden.meta["gate_margin"], abs=2e-6)


@pytest.mark.parametrize("fusion_input", get_args(FusionInput))
@pytest.mark.parametrize(("bands", "size"), [(1, (32, 48)), (4, (48, 32))])
def test_other_bands_and_sizes(fusion_input: str, bands: int, size: tuple[int, int]):
    network = networks.create("sdcs", bands=bands, last_width=16, fusion_input=fusion_input)
    with torch.no_grad():
        out = network(**images(bands, *size, batch=2))
    assert out.shape == (2, bands, *size)
    assert out.isfinite().all()
    assert network.bands_of(network.state_dict()) == bands


def test_the_signs_choose_the_table_of_the_docstring():
    """Identity convolutions, and equal statistics all over: AdaIN changes nothing."""
    block = _Fusion(1, "sr").eval()
    with torch.no_grad():
        for conv in (block.conv1, block.conv2):
            conv[0].weight.fill_(1.0)
            conv[0].bias.zero_()
            conv[1].eps = 0.0
    first = torch.tensor([3.0, 3.0, -3.0, -3.0]).reshape(1, 1, 2, 2)
    fine = torch.tensor([3.0, -3.0, 3.0, -3.0]).reshape(1, 1, 2, 2)
    coarse = torch.tensor([3.0, -3.0, -3.0, 3.0]).reshape(1, 1, 2, 2)
    with torch.no_grad():
        got = block(first, coarse, fine).flatten()
    torch.testing.assert_close(got, torch.tensor([3.0 + 3.0, 0.3 + 3.0, -0.3, -0.3 + 3.0]))


def test_eps_on_the_deviation():
    content = torch.zeros(1, 1, 2, 2)
    style = torch.tensor([0.0, 0.0, 0.0, 0.2]).reshape(1, 1, 2, 2)
    content[..., 0, 0] = 0.4
    got = adain(content, style, 0.1, eps_on="deviation")
    # Unbiased deviations: 0.2 and 0.1.
    expected = (content - 0.1) * ((0.1 + 0.1) / (0.2 + 0.1)) + 0.05
    torch.testing.assert_close(got, expected)
    assert not torch.allclose(got, adain(content, style, 0.1))


def test_pyramid_halves_from_level_to_level():
    pyramid = Pyramid(2, (4, 6, 8)).eval()
    with torch.no_grad():
        shapes = [tuple(level.shape) for level in pyramid(torch.rand(1, 2, 16, 8))]
    assert shapes == [(1, 4, 16, 8), (1, 6, 8, 4), (1, 8, 4, 2)]


def test_dropout_moves_the_second_convolution_only():
    plain, dropped = ReflectedResidual(2).eval(), ReflectedResidual(2, dropout=True).eval()
    state = plain.state_dict()
    assert list(state) == ["residual.1.weight", "residual.1.bias", "residual.4.weight", "residual.4.bias"]
    dropped.load_state_dict({key.replace(".4.", ".5."): tensor for key, tensor in state.items()}, strict=True)
    image = torch.rand(1, 2, 3, 4)
    with torch.no_grad():
        torch.testing.assert_close(dropped(image), plain(image), rtol=0, atol=0)


def test_contract(small: SDCS):
    contract = small.contract()
    assert tuple(inspect.signature(small.forward).parameters) == ROLES
    assert tuple(i.role for i in contract.inputs) == ROLES
    assert contract.tile.mode == "blend"
    again = networks.create(contract.network, bands=small.bands, **contract.options)
    assert again.contract() == contract
    assert small.bands_of({}) is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"fusion_input": "csbs"}, "mean, sr"),
        ({"last_width": 0}, "128, 256"),
        ({"ratio": 0}, "1 or more"),
        ({"variant": "cia"}, "no option"),
    ],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("sdcs", **options)


@pytest.mark.parametrize("size", [(40, 32), (32, 16)])
def test_refuses_sizes_that_the_levels_do_not_divide(small: SDCS, size: tuple[int, int]):
    with pytest.raises(ExportError, match="multiples of 16, at least 32"):
        small(**images(3, *size))
