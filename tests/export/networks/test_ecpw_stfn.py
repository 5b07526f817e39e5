# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect

import pytest
import torch

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_infer.errors import ExportError

ROLES = ("fine_t1", "coarse_t2")


def images(bands: int, height: int, width: int, batch: int = 1) -> dict[str, torch.Tensor]:
    return {role: torch.rand(batch, bands, height, width) for role in ROLES}


def test_keys_are_the_published_ones():
    published = published_keys("ecpw_stfn")
    network = networks.create("ecpw_stfn")
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == 471_954
    network.load_state_dict({key: torch.zeros(shape) for key, shape in published.items()}, strict=True)


def test_golden():
    golden = read_golden("ecpw_stfn")
    network = load_golden_weights(networks.create("ecpw_stfn"), golden)
    inputs = golden_inputs(golden)
    with torch.no_grad():
        check(golden, network(**inputs))
        check(golden, network(*(inputs[role] for role in ROLES)))


@pytest.mark.parametrize(("bands", "size"), [(1, (16, 22)), (4, (24, 18))])
def test_any_bands_and_even_size(bands: int, size: tuple[int, int]):
    network = networks.create("ecpw_stfn", bands=bands)
    with torch.no_grad():
        out = network(**images(bands, *size, batch=2))
    assert out.shape == (2, bands, *size)
    assert out.isfinite().all()


def test_images_of_a_batch_do_not_mix():
    network = networks.create("ecpw_stfn", bands=2)
    batch = images(2, 16, 16, batch=3)
    with torch.no_grad():
        together = network(**batch)
        for i in range(3):
            alone = network(**{role: image[i : i + 1] for role, image in batch.items()})
            torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("size", [(15, 16), (16, 17)])
def test_refuses_odd_sizes(size: tuple[int, int]):
    with pytest.raises(ExportError, match="multiples of 2"):
        networks.create("ecpw_stfn", bands=1)(**images(1, *size))


def test_contract():
    network = networks.create("ecpw_stfn", bands=4)
    contract = network.contract()
    parameters = inspect.signature(network.forward).parameters
    assert tuple(i.role for i in contract.inputs) == ROLES
    assert tuple(name for name, p in parameters.items() if p.default is p.empty) == ROLES
    assert all((i.grid, i.values.scale, i.values.minimum) == ("fine", 1.0, 0.0) for i in contract.inputs)
    assert contract.tile.mode == "blend"
    again = networks.create(contract.network, bands=network.bands, **contract.options)
    assert again.contract() == contract
    assert network.bands_of(network.state_dict()) == 4
    assert network.bands_of({}) is None


def test_refuses_other_options():
    with pytest.raises(ExportError, match="1 or more"):
        networks.create("ecpw_stfn", ratio=0)
    with pytest.raises(ExportError, match="no option"):
        networks.create("ecpw_stfn", references=2)
