# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect

import pytest
import torch
from torch.nn import functional

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.cnn.mustfn import MUSTFN
from stf_infer.errors import ExportError

ROLES = ("fine_t1", "fine_t3", "coarse_t1", "coarse_t2", "coarse_t3")


@pytest.fixture(scope="module")
def network() -> MUSTFN:
    return networks.create("mustfn")


def images(bands: int, coarse_bands: int, height: int, width: int, batch: int = 1) -> dict[str, torch.Tensor]:
    counts = {role: bands if role.startswith("fine") else coarse_bands for role in ROLES}
    return {role: torch.rand(batch, count, height, width) for role, count in counts.items()}


def test_keys_are_the_published_ones(network: MUSTFN):
    published = published_keys("mustfn")
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == 8_660_730


def test_golden(network: MUSTFN):
    golden = read_golden("mustfn")
    load_golden_weights(network, golden)
    inputs = golden_inputs(golden)
    with torch.no_grad():
        got = network(**inputs)
    check(golden, got)
    for name, crop in golden.meta["extra_arrays"].items():
        rows, columns = slice(*crop["rows"]), slice(*crop["columns"])
        check(golden, got[..., rows, columns], name)


def test_the_export_form_stacks_the_dates_in_the_order_of_time(network: MUSTFN):
    inputs = images(6, 7, 16, 32, batch=2)
    with torch.no_grad():
        expected = network(
            fine_pair=torch.cat((inputs["fine_t1"], inputs["fine_t3"]), 1),
            coarse_triple=torch.cat((inputs["coarse_t1"], inputs["coarse_t2"], inputs["coarse_t3"]), 1),
        )
        torch.testing.assert_close(network.for_export()(**inputs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("folded", [False, True])
def test_pooling_equals_its_definition(network: MUSTFN, folded: bool):
    """Pool to 1/2, 1/4, 1/8, convolve, interpolate, stack, convolve: in that order, as published."""
    pool = network.pool
    norm = pool.conv1.bn
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    form = network.for_export().network.pool if folded else pool
    assert (form is pool) != folded
    features = torch.rand(1, 132, 16, 24)
    with torch.no_grad():
        parts = [
            functional.interpolate(
                conv(functional.adaptive_avg_pool2d(features, (16 // n, 24 // n))),
                (32, 48),
                mode="bilinear",
                align_corners=True,
            )
            for n, conv in ((2, pool.conv2), (4, pool.conv3), (8, pool.conv4))
        ]
        torch.testing.assert_close(form(features, (32, 48)), pool.conv1(torch.cat(parts, 1)))


@pytest.mark.parametrize(("bands", "coarse_bands", "size"), [(4, 7, (32, 16)), (1, 2, (16, 16))])
def test_other_bands_and_sizes(bands: int, coarse_bands: int, size: tuple[int, int]):
    network = networks.create("mustfn", bands=bands, coarse_bands=coarse_bands)
    with torch.no_grad():
        out = network.for_export()(**images(bands, coarse_bands, *size, batch=2))
    assert out.shape == (2, bands, *size)
    assert out.isfinite().all()
    assert network.bands_of(network.state_dict()) == bands


def test_contract(network: MUSTFN):
    contract = network.contract()
    assert tuple(i.role for i in contract.inputs) == ROLES
    assert tuple(inspect.signature(network.for_export().forward).parameters) == ROLES
    assert {i.role: len(i.bands) for i in contract.inputs} == {r: 6 if r.startswith("fine") else 7 for r in ROLES}
    assert (contract.tile.size, contract.tile.mode) == (256, "blend")
    with torch.device("meta"):
        again = networks.create(contract.network, bands=network.bands, **contract.options)
        named = networks.create("mustfn", coarse_bands=("red", "nir"), tile=64).contract()
    assert again.contract() == contract
    assert named.tile.size == 64
    assert named.inputs[-1].bands == ("red", "nir")
    assert network.bands_of({}) is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tile": 100}, "multiple of 16"),
        ({"tile": 0}, "multiple of 16"),
        ({"ratio": 0}, "1 or more"),
        ({"coarse_bands": 0}, "at least one coarse band"),
        ({"references": 2}, "no option"),
    ],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("mustfn", **options)


def test_refuses_sizes_that_cannot_be_pooled(network: MUSTFN):
    with pytest.raises(ExportError, match="multiples of 16"):
        network.for_export()(**images(6, 7, 24, 32))
