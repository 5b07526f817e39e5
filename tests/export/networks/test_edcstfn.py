# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import inspect
from typing import get_args

import pytest
import torch
from torch.nn import functional

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.cnn.edcstfn import EDCSTFN, CoarseGrid, References
from stf_infer.errors import ExportError

FOUR = ("blue", "green", "red", "nir")
ROLES = {
    1: ("coarse_t1", "fine_t1", "coarse_t2"),
    2: ("coarse_t1", "fine_t1", "coarse_t3", "fine_t3", "coarse_t2"),
}


def images(network: EDCSTFN, height: int, width: int, batch: int = 1) -> dict[str, torch.Tensor]:
    ratio = network.ratio if network.coarse_grid == "native" else 1
    count = len(network.bands)
    sizes = {role: ratio if role.startswith("coarse") else 1 for role in network.roles}
    return {role: torch.rand(batch, count, height // r, width // r) for role, r in sizes.items()}


@pytest.mark.parametrize("references", get_args(References))
@pytest.mark.parametrize(("name", "bands"), [("edcstfn", 4), ("edcstfn_6band", 6)])
def test_keys_are_the_published_ones(name: str, bands: int, references: int):
    published = published_keys(name)
    network = networks.create("edcstfn", bands=bands, references=references)
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == {4: 281_764, 6: 284_134}[bands]
    network.load_state_dict({key: torch.zeros(shape) for key, shape in published.items()}, strict=True)


@pytest.mark.parametrize(
    ("name", "bands", "references", "coarse_grid"),
    [
        ("edcstfn_1ref", 4, 1, "native"),
        ("edcstfn_2ref", 4, 2, "native"),
        ("edcstfn_1ref_finegrid", 6, 1, "fine"),
        ("edcstfn_2ref_finegrid", 6, 2, "fine"),
    ],
)
def test_golden(name: str, bands: int, references: int, coarse_grid: str):
    golden = read_golden(name)
    network = networks.create("edcstfn", bands=bands, references=references, coarse_grid=coarse_grid)
    load_golden_weights(network, golden)
    inputs = golden_inputs(golden)
    with torch.no_grad():
        check(golden, network(**inputs))
        check(golden, network(*(inputs[role] for role in network.roles)))


@pytest.mark.parametrize("references", get_args(References))
@pytest.mark.parametrize("coarse_grid", get_args(CoarseGrid))
@pytest.mark.parametrize(("bands", "ratio", "size"), [(1, 16, (32, 48)), (3, 8, (24, 40)), (6, 10, (20, 30))])
def test_any_bands_ratio_and_size(references: int, coarse_grid: str, bands: int, ratio: int, size: tuple[int, int]):
    network = networks.create("edcstfn", bands=bands, references=references, coarse_grid=coarse_grid, ratio=ratio)
    assert network(**images(network, *size, batch=2)).shape == (2, bands, *size)


@pytest.mark.parametrize("references", get_args(References))
def test_forward_takes_the_roles_in_the_order_of_the_contract(references: int):
    network = EDCSTFN(FOUR, references=references)
    assert tuple(inspect.signature(network.forward).parameters) == ROLES[references]
    assert tuple(i.role for i in network.contract().inputs) == ROLES[references]


@pytest.mark.parametrize("references", get_args(References))
def test_forward_leaves_its_inputs_alone_and_repeats(references: int):
    network = networks.create("edcstfn", references=references)
    inputs = images(network, 32, 32)
    before = {role: image.clone() for role, image in inputs.items()}
    with torch.no_grad():
        torch.testing.assert_close(network(**inputs), network(**inputs), rtol=0, atol=0)
    for role, image in inputs.items():
        assert torch.equal(image, before[role])


def test_two_equal_references_give_what_one_gives():
    one = networks.create("edcstfn", coarse_grid="fine")
    two = networks.create("edcstfn", coarse_grid="fine", references=2)
    two.load_state_dict(one.state_dict())
    x = images(one, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(two(**x, coarse_t3=x["coarse_t1"], fine_t3=x["fine_t1"]), one(**x))


@pytest.mark.parametrize("references", get_args(References))
def test_export_form_is_the_network_after_its_upsampling(references: int):
    network = networks.create("edcstfn", references=references)
    exported = network.for_export()
    inputs = images(network, 48, 32)
    fine = {
        role: functional.interpolate(image, (48, 32), mode="bilinear", align_corners=True)
        if role.startswith("coarse")
        else image
        for role, image in inputs.items()
    }
    with torch.no_grad():
        torch.testing.assert_close(exported(**fine), network(**inputs), rtol=0, atol=0)
    assert network.coarse_grid == "native"
    assert exported.decoder is network.decoder


@pytest.mark.parametrize("references", get_args(References))
@pytest.mark.parametrize("coarse_grid", get_args(CoarseGrid))
def test_contract(references: int, coarse_grid: str):
    network = EDCSTFN(FOUR, references=references, coarse_grid=coarse_grid)
    contract = network.contract()
    for spec in contract.inputs:
        aligned = coarse_grid == "native" and spec.role.startswith("coarse")
        assert (spec.tensor, spec.bands, spec.grid) == (spec.role, FOUR, "fine")
        assert spec.from_coarse == ("align-corners" if aligned else None)
        assert (spec.resampling, spec.values.unit, spec.values.scale) == ("auto", "reflectance", 1.0)
        assert (spec.values.minimum, spec.values.maximum) == (None, None)
    assert (contract.output.tensor, contract.output.bands) == ("fine_t2", FOUR)
    assert "10.3390/rs11242898" in contract.source
    again = networks.create(contract.network, bands=FOUR, **contract.options)
    assert again.contract() == contract


def test_copies_keep_the_number_of_references():
    network = EDCSTFN(FOUR, references=2)
    assert copy.deepcopy(network).contract() == network.contract()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"references": 3}, "1, 2"),
        ({"references": "2"}, "1, 2"),
        ({"coarse_grid": "middle"}, "native, fine"),
        ({"ratio": 0}, "1 or more"),
        ({"bands": ()}, "at least one band"),
        ({"bands": ("red", "red")}, "no name twice"),
    ],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("edcstfn", **options)


def test_bands_of():
    for bands in (1, 4, 6):
        assert EDCSTFN.bands_of(networks.create("edcstfn", bands=bands).state_dict()) == bands
    assert EDCSTFN.bands_of({}) is None
