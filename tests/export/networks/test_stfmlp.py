# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect

import pytest
import torch

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.others.stfmlp import StfMLP
from stf_infer.errors import ExportError
from stf_infer.scene_scalars import RULES, switched_mean_change

ROLES = ("coarse_t1", "coarse_t2", "coarse_t3", "fine_t1", "fine_t3")


@pytest.fixture(scope="module")
def network() -> StfMLP:
    return networks.create("stfmlp")


@pytest.fixture(scope="module")
def small() -> StfMLP:
    return networks.create("stfmlp", bands=3, tile=12)


def images(bands: int, side: int, batch: int = 1) -> dict[str, torch.Tensor]:
    return {role: torch.rand(batch, bands, side, side) for role in ROLES}


def test_keys_are_the_published_ones(network: StfMLP):
    published = published_keys("stfmlp")
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == 22_087_956


def test_golden(network: StfMLP):
    golden = read_golden("stfmlp")
    load_golden_weights(network, golden)
    inputs = golden_inputs(golden)
    names = {
        "output": "fine_t2",
        "output_0": "d12",
        "output_1": "d23",
        "output_2": "d13_n1",
        "output_3": "d13_n2",
        "output_alpha": "alpha",
    }
    with torch.no_grad():
        got = network(**inputs)
        for name, own in names.items():
            check(golden, got[own], name)
        check(golden, network.for_export()(**inputs, alpha=got["alpha"]))


@pytest.mark.parametrize(("bands", "tile"), [(1, 4), (4, 16)])
def test_other_bands_and_tiles(bands: int, tile: int):
    network = networks.create("stfmlp", bands=bands, tile=tile)
    with torch.no_grad():
        out = network(**images(bands, tile, batch=2))
    assert out["alpha"].shape == (2, 1, 1, 1)
    for name in ("fine_t2", "d12", "d23", "d13_n1", "d13_n2"):
        assert out[name].shape == (2, bands, tile, tile)
        assert out[name].isfinite().all()
    assert network.bands_of(network.state_dict()) == bands


def test_a_step_is_a_perceptron_on_transposed_tokens(small: StfMLP):
    step = small.n1.transition1
    tokens = torch.rand(2, 144, 5)
    with torch.no_grad():
        torch.testing.assert_close(step(tokens), step.proj(tokens.transpose(1, 2)).transpose(1, 2))


def test_alpha_chooses_between_the_dates(small: StfMLP):
    exported = small.for_export()
    inputs = images(3, 12, batch=2)
    alpha = torch.tensor([1.0, 0.0])[:, None, None, None]
    with torch.no_grad():
        parts = small(**inputs)
        got = exported(**inputs, alpha=alpha)
    torch.testing.assert_close(got[0], (inputs["fine_t1"] + parts["d12"])[0])
    torch.testing.assert_close(got[1], (inputs["fine_t3"] - parts["d23"])[1])


def test_refuses_another_tile_than_that_of_the_weights(small: StfMLP):
    with pytest.raises(ExportError, match="12 x 12"):
        small(**images(3, 16))


def test_contract_and_scene_scalar(small: StfMLP):
    contract = small.contract()
    *images_, scalar = contract.inputs
    assert tuple(i.role for i in images_) == ROLES
    assert {(i.values.scale, i.values.offset) for i in images_} == {(1.0, 0.0)}
    assert (scalar.grid, scalar.bands) == ("scene", ("all",))
    assert RULES[scalar.statistic.rule] is switched_mean_change
    assert scalar.statistic.of == ("coarse_t1", "coarse_t2", "coarse_t3")
    assert (contract.tile.size, contract.tile.mode) == (12, "blend")
    again = networks.create(contract.network, bands=small.bands, **contract.options)
    assert again.contract() == contract
    assert tuple(inspect.signature(small.for_export().forward).parameters) == (*ROLES, scalar.role)
    assert small.bands_of({}) is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tile": 42}, "multiple of 4"),
        ({"tile": 0}, "multiple of 4"),
        ({"ratio": 0}, "1 or more"),
        ({"dim": 60}, "no option"),
    ],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("stfmlp", **options)
