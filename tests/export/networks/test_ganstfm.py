# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import inspect
from typing import get_args

import pytest
import torch

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.gan.ganstfm import GANSTFM, Variant
from stf_infer.errors import ExportError

ROLES = {"authors": ("coarse_t2", "fine_t1"), "survey": ("coarse_t1", "fine_t1")}


@pytest.mark.parametrize("variant", get_args(Variant))
def test_keys_are_the_published_ones(variant: str):
    published = published_keys("ganstfm_generator_SFFusion")
    network = networks.create("ganstfm", variant=variant)
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == 578_130
    network.load_state_dict({key: torch.zeros(shape) for key, shape in published.items()}, strict=True)


@pytest.mark.parametrize("variant", get_args(Variant))
def test_golden(variant: str):
    """The layers are the same; what differs is which coarse image they are given."""
    golden = read_golden("ganstfm_generator")
    network = load_golden_weights(networks.create("ganstfm", variant=variant), golden)
    coarse, fine = golden_inputs(golden).values()
    with torch.no_grad():
        check(golden, network(**dict(zip(ROLES[variant], (coarse, fine), strict=True))))
        check(golden, network(coarse, fine))
        if variant == "authors":
            check(golden, network(**golden_inputs(golden)))


def test_the_fine_reference_has_two_names_and_is_given_once():
    network = networks.create("ganstfm", bands=1)
    coarse, fine = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    for given in ({}, {"fine_t1": fine, "fine_ref": fine}):
        with pytest.raises(ExportError, match="one fine reference"):
            network(coarse_t2=coarse, **given)


@pytest.mark.parametrize("variant", get_args(Variant))
@pytest.mark.parametrize(("bands", "size"), [(1, (16, 24)), (4, (5, 7)), (20, (8, 8))])
def test_any_bands_and_size(variant: str, bands: int, size: tuple[int, int]):
    network = networks.create("ganstfm", bands=bands, variant=variant)
    with torch.no_grad():
        out = network(torch.rand(2, bands, *size), torch.rand(2, bands, *size))
    assert out.shape == (2, bands, *size)
    assert out.isfinite().all()


def test_samples_of_a_batch_do_not_mix():
    network = networks.create("ganstfm", bands=2)
    coarse, fine = torch.rand(3, 2, 12, 10), torch.rand(3, 2, 12, 10)
    with torch.no_grad():
        together = network(coarse, fine)
        for i in range(3):
            torch.testing.assert_close(together[i : i + 1], network(coarse[i : i + 1], fine[i : i + 1]))


def test_statistics_are_those_of_the_tile():
    """Why tiles are blended: a change in one corner moves the opposite one."""
    network = networks.create("ganstfm", bands=1)
    coarse, fine = torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        before = network(coarse, fine)
        fine[:, :, :4, :4] += 5
        assert (network(coarse, fine) - before)[:, :, 40:, 40:].abs().max() > 1e-5


@pytest.mark.parametrize("variant", get_args(Variant))
def test_contract(variant: str):
    bands = ("green", "red", "nir")
    network = GANSTFM(bands, variant=variant)
    contract = network.contract()
    by_position = [
        p.name for p in inspect.signature(network.forward).parameters.values() if p.kind is not p.KEYWORD_ONLY
    ]
    assert tuple(by_position) == ROLES[variant]
    assert tuple(i.role for i in contract.inputs) == ROLES[variant]
    for spec in contract.inputs:
        assert (spec.tensor, spec.bands, spec.grid) == (spec.role, bands, "fine")
        assert (spec.values.unit, spec.values.scale, spec.values.minimum) == ("reflectance", 1.0, 0.0)
    assert (contract.output.tensor, contract.output.bands) == ("fine_t2", bands)
    assert (contract.tile.mode, contract.tile.size) == ("blend", None)
    assert "Reference-Insensitive" in contract.source
    assert networks.create(contract.network, bands=bands, **contract.options).contract() == contract


def test_copies_keep_the_variant():
    network = GANSTFM(("a",), variant="survey")
    assert copy.deepcopy(network).contract() == network.contract()
    assert type(copy.copy(network)) is type(network)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"variant": "libstf"}, "authors, survey"), ({"bands": ()}, "at least one band"), ({"tile": 64}, "variant")],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("ganstfm", **options)


def test_bands_of():
    for bands in (1, 6):
        assert GANSTFM.bands_of(networks.create("ganstfm", bands=bands).state_dict()) == bands
    assert GANSTFM.bands_of({}) is None
