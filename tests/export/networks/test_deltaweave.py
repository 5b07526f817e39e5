# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from stf_export.networks import about, create

HALO = 40


def trained_looking(bands=4):
    """A network whose last layer is not zero."""
    torch.manual_seed(0)
    network = create("deltaweave", bands=bands)
    torch.nn.init.normal_(network.residual.weight, std=0.3)
    return network


def images(bands=4, height=64, width=64):
    torch.manual_seed(1)
    return {role: torch.rand(2, bands, height, width) for role in ("coarse_t1", "fine_t1", "coarse_t2")}


def test_it_is_small():
    assert sum(p.numel() for p in create("deltaweave").parameters()) <= 150_000
    assert about("deltaweave").family == "cnn"


@torch.no_grad()
def test_untrained_it_adds_the_coarse_change():
    batch = images()
    out = create("deltaweave", bands=4)(**batch)
    torch.testing.assert_close(out, batch["fine_t1"] + batch["coarse_t2"] - batch["coarse_t1"])


@pytest.mark.parametrize("bands", [1, 3, 4, 6])
@torch.no_grad()
def test_bands_are_an_argument(bands):
    network = trained_looking(bands)
    assert network(**images(bands)).shape == (2, bands, 64, 64)
    contract = network.contract()
    assert all(len(i.bands) == bands for i in contract.inputs)
    assert type(network).bands_of(network.state_dict()) == bands
    assert type(network).bands_of({}) is None


def test_contract_states_roles_and_where_coarse_pixels_lie():
    contract = create("deltaweave", bands=("red", "nir"), ratio=8).contract()
    assert contract.ratio == 8
    rules = {i.role: (i.grid, i.from_coarse) for i in contract.inputs}
    assert rules == {
        "coarse_t1": ("fine", "half-pixel"),
        "fine_t1": ("fine", None),
        "coarse_t2": ("fine", "half-pixel"),
    }
    assert contract.output.bands == ("red", "nir")


@torch.no_grad()
def test_a_tile_equals_the_scene_away_from_its_edges():
    network = trained_looking()
    scene = images(height=160, width=176)
    whole = network(**scene)
    for y, x in ((0, 0), (20, 36), (32, 48)):
        tile = network(**{role: image[..., y : y + 128, x : x + 128] for role, image in scene.items()})
        inner = (..., slice(HALO, 128 - HALO), slice(HALO, 128 - HALO))
        there = whole[..., y : y + 128, x : x + 128]
        torch.testing.assert_close(tile[inner], there[inner], rtol=0, atol=1e-5)
        assert (tile - there).abs().max() > 1e-3  # at the edges it is not


@torch.no_grad()
def test_every_input_matters():
    network, batch = trained_looking(), images()
    base = network(**batch)
    for role in batch:
        changed = {**batch, role: batch[role] + 0.1}
        assert (network(**changed) - base).abs().mean() > 1e-3
