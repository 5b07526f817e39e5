# SPDX-License-Identifier: Apache-2.0
"""Tuning the time steps of a bundle, against a denoiser whose samples are known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from fakes import read_tif, write_tif
from step_bundle import Gaussian, T, every, make_step_bundle
from stf_export.samplers import Sampler
from stf_export.steps import tune
from stf_export.steps.resampled import loop_of, through
from stf_infer.errors import NodataError, UsageError
from stf_infer.model import Model, open
from stf_infer.noise import noise


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_time_steps_that_are_found_are_close_to_the_best_there_are(model, rasters, steps):
    toy, mean = Gaussian(), np.sqrt(np.mean(read_tif(rasters["fine_t1"]) ** 2))
    found = tune(model, rasters, steps, tiles=2)
    lists = [tuple(reversed(chosen)) for chosen in combinations(range(T), steps)]
    best = min(toy.error(one, mean) for one in lists)
    assert toy.error(found.sampler.timesteps, mean) <= best + 0.02 * toy.error(found.spaced, mean)
    assert found.error == pytest.approx(toy.error(found.sampler.timesteps, mean), rel=0.1)
    assert found.spaced_error == pytest.approx(toy.error(found.spaced, mean), rel=0.1)
    assert (found.tiles, found.train_steps, found.sampler.spacing) == (2, T, "tuned")
    assert len(found.sampler.timesteps) == steps


def test_the_error_is_that_of_the_sample_in_physical_units(model, rasters):
    found = tune(model, rasters, 2, tiles=100)
    results = []
    for sampler in (found.sampler, through(found.sampler, every())):
        loop_of(model).sampler = sampler
        results.append(model.fuse(**rasters).array)
    difference = np.sqrt(np.mean((results[0] - results[1]) ** 2))
    assert found.error == pytest.approx(difference, rel=0.05)  # tiles overlap, so some pixels count twice


def test_as_many_steps_as_there_are_lose_nothing(model, rasters):
    found = tune(model, rasters, T, tiles=1)
    assert found.sampler.timesteps == found.spaced == every()
    assert found.error == found.spaced_error == 0


def test_the_search_starts_from_the_rule_that_is_named(model, rasters):
    found = tune(model, rasters, 2, tiles=1, spacing="linspace")
    assert found.spaced == (15, 0)
    assert found.error <= found.spaced_error


def test_the_seed_is_the_noise_of_the_tiles(model, rasters):
    first, other, again = (tune(model, rasters, 1, tiles=1, seed=seed).spaced_error for seed in (0, 5, 0))
    assert first == again != other
    shares = [np.sqrt(np.mean(noise(seed, 0, 0, 0, (2, 32, 32)) ** 2)) for seed in (0, 5)]
    assert first / other == pytest.approx(shares[0] / shares[1], rel=0.05)


def test_calibration_looks_at_valid_ground(model, rasters, tmp_path):
    fine = read_tif(rasters["fine_t1"])
    fine[:, :40] = np.nan
    holed = write_tif(tmp_path / "holed.tif", fine, names=("red", "nir"))
    assert tune(model, {**rasters, "fine_t1": holed}, 1, tiles=2).tiles == 2
    fine[:] = np.nan
    empty = write_tif(tmp_path / "empty.tif", fine, names=("red", "nir"))
    with pytest.raises(NodataError):
        tune(model, {**rasters, "fine_t1": empty}, 1)


def test_dpm_can_be_tuned(tmp_path, rasters):
    bundle = make_step_bundle(tmp_path / "toy.stf", Sampler(name="dpm", steps=4))
    with open(bundle, engine="onnxruntime-cpu") as model:
        assert isinstance(model, Model)
        found = tune(model, rasters, 3, tiles=1)
    assert found.sampler.name == "dpm"
    assert found.error <= found.spaced_error


@pytest.mark.parametrize(
    "sampler", [Sampler(steps=4, eta=0.5), Sampler(name="ddpm", steps=4)], ids=["ddim with eta", "ddpm"]
)
def test_a_sampler_that_draws_cannot_be_tuned(tmp_path, rasters, sampler):
    bundle = make_step_bundle(tmp_path / "toy.stf", sampler)
    with open(bundle, engine="onnxruntime-cpu") as model, pytest.raises(UsageError, match="ddim with eta 0, or dpm"):
        tune(model, rasters, 2)


@pytest.mark.parametrize("steps", [0, 17, -1])
def test_steps_that_there_are_not(model, rasters, steps):
    with pytest.raises(UsageError, match="1 to 16"):
        tune(model, rasters, steps)


def test_no_tile(model, rasters):
    with pytest.raises(UsageError, match="1 or more"):
        tune(model, rasters, 2, tiles=0)
