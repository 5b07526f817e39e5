# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import inspect
from typing import get_args

import pytest
import torch

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.cnn.stf_egfa import References, gradient_magnitude
from stf_infer.errors import ExportError

ROLES = {
    1: ("coarse_t1", "fine_t1", "coarse_t2"),
    2: ("coarse_t1", "fine_t1", "coarse_t3", "fine_t3", "coarse_t2"),
}


def images(references: int, bands: int, height: int, width: int, batch: int = 1) -> dict[str, torch.Tensor]:
    return {role: torch.rand(batch, bands, height, width) for role in ROLES[references]}


@pytest.mark.parametrize("references", get_args(References))
def test_keys_are_the_published_ones(references: int):
    published = published_keys("stf_egfa")
    network = networks.create("stf_egfa", references=references)
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == 342_101
    network.load_state_dict({key: torch.zeros(shape) for key, shape in published.items()}, strict=True)


def test_saved_gradient_kernels_are_ignored():
    network = networks.create("stf_egfa")
    state = {**network.state_dict(), "ed.spatial.kernel": torch.zeros(2, 1, 3, 3)}
    network.load_state_dict(state, strict=True)
    assert "ed.spatial.kernel" in state
    with pytest.raises(RuntimeError, match=r"ed\.other"):
        network.load_state_dict({**state, "ed.other": torch.zeros(1)}, strict=True)


@pytest.mark.parametrize("references", get_args(References))
def test_golden(references: int):
    golden = read_golden(f"stf_egfa_{references}ref")
    network = load_golden_weights(networks.create("stf_egfa", references=references), golden)
    inputs = golden_inputs(golden)
    with torch.no_grad():
        check(golden, network(**inputs))
        check(golden, network(*(inputs[role] for role in ROLES[references])))


@pytest.mark.parametrize("references", get_args(References))
@pytest.mark.parametrize(("bands", "size"), [(1, (16, 21)), (6, (24, 16))])
def test_any_bands_and_size(references: int, bands: int, size: tuple[int, int]):
    network = networks.create("stf_egfa", bands=bands, references=references)
    with torch.no_grad():
        out = network(**images(references, bands, *size, batch=2))
    assert out.shape == (2, bands, *size)
    assert out.isfinite().all()


def test_two_equal_references_give_what_one_gives():
    one, two = networks.create("stf_egfa"), networks.create("stf_egfa", references=2)
    two.load_state_dict(one.state_dict())
    x = images(1, 4, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(two(**x, coarse_t3=x["coarse_t1"], fine_t3=x["fine_t1"]), one(**x))


def test_gradient_of_a_plane():
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    magnitude = gradient_magnitude((0.03 * rows - 0.04 * columns)[None, None])
    inner = magnitude[..., 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.05))
    # At the border one of the two neighbours is the pixel itself.
    torch.testing.assert_close(magnitude[0, 0, 3, 0].item(), (0.03**2 + 0.02**2) ** 0.5)


def test_small_gradients_survive_half_precision():
    step = torch.tensor([[0.0, 2.0**-13] * 4])[None, None].expand(1, 1, 3, 8)
    assert torch.equal(gradient_magnitude(step.half()).float(), gradient_magnitude(step))
    step = (torch.arange(8.0) * 2.0**-13).expand(1, 1, 3, 8)
    assert gradient_magnitude(step.half())[0, 0, 1, 4].item() == 2.0**-13


@pytest.mark.parametrize("references", get_args(References))
def test_the_export_form_gives_the_same(references: int):
    network = networks.create("stf_egfa", references=references)
    inputs = images(references, 4, 12, 10)
    before = keys_of(network)
    exported = network.for_export()
    with torch.no_grad():
        torch.testing.assert_close(exported(**inputs), network(**inputs))
    assert exported.decoder is network.decoder
    assert exported.calayer.ca[0].weight.shape == (16, 128, 1, 1)
    assert keys_of(network) == before


@pytest.mark.parametrize("references", get_args(References))
def test_contract(references: int):
    network = networks.create("stf_egfa", references=references)
    contract = network.contract()
    assert tuple(inspect.signature(network.forward).parameters) == ROLES[references]
    assert tuple(i.role for i in contract.inputs) == ROLES[references]
    assert all((i.grid, i.from_coarse) == ("fine", None) for i in contract.inputs)
    assert contract.tile.mode == "blend"
    again = networks.create(contract.network, bands=network.bands, **contract.options)
    assert again.contract() == contract
    assert copy.deepcopy(network).contract() == contract
    assert network.bands_of(network.state_dict()) == 4
    assert network.bands_of({}) is None


@pytest.mark.parametrize(
    ("options", "named"),
    [({"references": 3}, "1, 2"), ({"ratio": 0}, "1 or more"), ({"coarse_grid": "fine"}, "no option")],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("stf_egfa", **options)
