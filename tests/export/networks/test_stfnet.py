# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect

import pytest
import torch

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_infer.errors import ExportError
from stf_infer.scene_scalars import RULES, switched_absolute_change

ROLES = ("coarse_t1", "coarse_t2", "coarse_t3", "fine_t1", "fine_t3")


def images(bands: int, height: int, width: int, batch: int = 1) -> dict[str, torch.Tensor]:
    return {role: torch.rand(batch, bands, height, width) * 2 - 1 for role in ROLES}


def test_keys_are_the_published_ones():
    published = published_keys("stfnet_thirdparty")
    network = networks.create("stfnet")
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == 92_716
    network.load_state_dict({key: torch.zeros(shape) for key, shape in published.items()}, strict=True)


def test_golden():
    golden = read_golden("stfnet")
    network = load_golden_weights(networks.create("stfnet"), golden)
    inputs = golden_inputs(golden)
    with torch.no_grad():
        for got in (network(**inputs), network(*(inputs[role] for role in ROLES))):
            check(golden, got["d12"], "output_0")
            check(golden, got["d23"], "output_1")
            check(golden, got["temporal_weight"], "output_weight")
            check(golden, got["fine_t2"])
        check(golden, network.for_export()(**inputs, temporal_weight=got["temporal_weight"]))


@pytest.mark.parametrize(("bands", "size"), [(1, (20, 33)), (4, (17, 24))])
def test_any_bands_and_size(bands: int, size: tuple[int, int]):
    network = networks.create("stfnet", bands=bands)
    with torch.no_grad():
        out = network(**images(bands, *size, batch=2))
    assert out["temporal_weight"].shape == (2, bands, 1, 1)
    for name in ("fine_t2", "d12", "d23"):
        assert out[name].shape == (2, bands, *size)


def test_every_image_of_a_batch_is_a_scene_of_its_own():
    network = networks.create("stfnet", bands=2)
    batch = images(2, 16, 16, batch=3)
    with torch.no_grad():
        together = network(**batch)
        for i in range(3):
            alone = network(**{role: image[i : i + 1] for role, image in batch.items()})
            torch.testing.assert_close(together["fine_t2"][i : i + 1], alone["fine_t2"])


def test_the_weight_chooses_between_the_dates():
    network = networks.create("stfnet", bands=2)
    exported = network.for_export()
    inputs = images(2, 16, 16)
    with torch.no_grad():
        parts = network(**inputs)
        one = exported(**inputs, temporal_weight=torch.ones(1, 2, 1, 1))
        three = exported(**inputs, temporal_weight=torch.zeros(1, 2, 1, 1))
    torch.testing.assert_close(one, inputs["fine_t1"] + parts["d12"])
    torch.testing.assert_close(three, inputs["fine_t3"] - parts["d23"])


def test_a_tile_of_the_export_form_does_not_depend_on_the_tile():
    """The reach is 8 pixels and nothing in it averages over the tile."""
    exported = networks.create("stfnet", bands=2).for_export()
    inputs = images(2, 48, 48)
    weight = torch.rand(1, 2, 1, 1)
    with torch.no_grad():
        whole = exported(**inputs, temporal_weight=weight)
        tile = exported(**{role: image[..., 8:40, 4:36] for role, image in inputs.items()}, temporal_weight=weight)
    torch.testing.assert_close(tile[..., 8:-8, 8:-8], whole[..., 16:32, 12:28])


def test_contract_and_scene_scalar():
    network = networks.create("stfnet", bands=4)
    contract = network.contract()
    *images_, scalar = contract.inputs
    assert tuple(i.role for i in images_) == ROLES
    assert {(i.values.scale, i.values.offset) for i in images_} == {(2.0, -1.0)}
    assert (scalar.grid, scalar.bands) == ("scene", network.bands)
    assert RULES[scalar.statistic.rule] is switched_absolute_change
    assert scalar.statistic.of == ("coarse_t1", "coarse_t2", "coarse_t3")
    assert "10.1109/TGRS.2019.2907310" in contract.source
    again = networks.create(contract.network, bands=network.bands, **contract.options)
    assert again.contract() == contract
    assert tuple(inspect.signature(network.for_export().forward).parameters) == (*ROLES, scalar.role)
    assert network.bands_of(network.state_dict()) == 4
    assert network.bands_of({}) is None


def test_refuses_other_options():
    with pytest.raises(ExportError, match="1 or more"):
        networks.create("stfnet", ratio=0)
    with pytest.raises(ExportError, match="no option"):
        networks.create("stfnet", references=1)
