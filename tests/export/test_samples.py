# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from stf_export.samples import noise_tile, scene_tile, usual_range
from stf_infer.grid import Shape
from stf_infer.noise import noise
from stf_infer.spec import Values
from tiny_networks import contract_for

ROLES = {"fine_t1": "fine", "coarse_t1": "coarse", "coarse_t2": "coarse", "coarse_t3": "fine", "fine_t3": "fine"}
UNITS = [
    Values(),
    Values(scale=10_000.0),
    Values(unit="kelvin", scale=0.02, offset=-5),
    Values(unit="1", minimum=0),
    Values(scale=2, offset=-1),
]


@pytest.mark.parametrize("values", UNITS)
@pytest.mark.parametrize("make", [scene_tile, lambda c, t: noise_tile(c, t, np.random.default_rng(0))])
def test_tiles_fill_the_usual_range_in_network_values(make, values):
    contract = contract_for(ROLES, values=values, ratio=4)
    tiles = make(contract, Shape(64, 48))
    low, high = usual_range(values)
    for role, grid in ROLES.items():
        array = tiles[role]
        assert array.dtype == np.float32
        assert array.shape == ((2, 16, 12) if grid == "coarse" else (2, 64, 48))
        physical = (array - values.offset) / values.scale
        assert physical.min() >= low - 1e-3 * (high - low)
        assert physical.max() <= high + 1e-3 * (high - low)
        assert np.ptp(physical) > 0.1 * (high - low)


def test_a_scene_is_the_same_every_time_and_changes_between_dates():
    contract = contract_for(ROLES, ratio=4)
    one, two = scene_tile(contract, Shape(64, 64)), scene_tile(contract, Shape(64, 64))
    assert all(np.array_equal(one[r], two[r]) for r in ROLES)
    assert not np.array_equal(scene_tile(contract, Shape(64, 64), seed=1)["fine_t1"], one["fine_t1"])
    assert np.abs(one["coarse_t1"] - one["coarse_t2"]).max() > 0.01


def test_coarse_is_the_mean_of_fine():
    contract = contract_for(ROLES, ratio=4)
    scene = scene_tile(contract, Shape(64, 64))
    mean = scene["fine_t1"].reshape(2, 16, 4, 16, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(scene["coarse_t1"], mean, atol=2 / 4096)


def test_a_stored_scene_compresses(tmp_path):
    contract = contract_for({"fine_t1": "fine"})
    scene = scene_tile(contract, Shape(256, 256))
    np.savez_compressed(tmp_path / "scene.npz", **scene)
    assert (tmp_path / "scene.npz").stat().st_size < 0.5 * scene["fine_t1"].nbytes


@pytest.mark.parametrize("strength", [1.0, 8.0])
def test_an_input_that_is_noise_is_standard_normal(strength):
    """As the runtime draws it, so that a network is tried on what it will see."""
    contract = contract_for({"fine_t1": "fine", "noise": "noise"}, ratio=4)
    drawn = noise_tile(contract, Shape(64, 96), np.random.default_rng(0), strength=strength)["noise"]
    assert (drawn.dtype, drawn.shape) == (np.float32, (2, 64, 96))
    assert drawn.mean() == pytest.approx(0, abs=0.05 * strength)
    assert drawn.std() == pytest.approx(strength, rel=0.03)
    of_scene = scene_tile(contract, Shape(64, 96), seed=3)["noise"]
    np.testing.assert_allclose(of_scene, noise(3, 0, 0, 0, (2, 64, 96)), atol=2.0**-8)


def test_the_noise_of_a_stored_scene_compresses(tmp_path):
    scene = scene_tile(contract_for({"fine_t1": "fine", "noise": "noise"}), Shape(256, 256))
    np.savez_compressed(tmp_path / "noise.npz", noise=scene["noise"])
    assert (tmp_path / "noise.npz").stat().st_size < 0.5 * scene["noise"].nbytes


def test_noise_differs_in_its_mean_across_the_tile():
    tile = noise_tile(contract_for({"fine_t1": "fine"}), Shape(64, 64), np.random.default_rng(0))["fine_t1"]
    assert tile[:, 48:, 48:].mean() - tile[:, :16, :16].mean() > 0.1
