# SPDX-License-Identifier: Apache-2.0
"""Ensembles: mean and deviation of exactly the images that each seed gives alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fakes import ORIGIN, UTM, block_mean, grid_transform, make_model, make_spec, read_tif, write_tif
from stf_infer.ensemble import Ensemble, mean_and_deviation
from stf_infer.errors import EngineError, UsageError
from stf_infer.layout import BLOCK
from stf_infer.model import Model
from stf_infer.raster import Raster
from stf_infer.spec import Values

# Which samples --------------------------------------------------------------------------------------------


def test_each_sample_has_the_next_seed():
    noisy = make_spec(draws=(0,))
    assert Ensemble.of(noisy, None).seeds == (0,)
    assert Ensemble.of(noisy, 5, 3).seeds == (5, 6, 7)
    assert Ensemble.of(noisy, 2**64 - 1, np.int64(2)).seeds == (2**64 - 1, 0)


def test_a_network_without_noise_has_one_result():
    quiet = make_spec()
    assert Ensemble.of(quiet, None, 1) == Ensemble(0, 1)
    for seed, samples, got in [(0, 1, "seed 0"), (None, 2, "2 samples"), (-1, 9, "seed -1, 9 samples")]:
        with pytest.raises(UsageError, match=f"fake takes no noise: its result is always the same. Got: {got}. Leave"):
            Ensemble.of(quiet, seed, samples)


@pytest.mark.parametrize("samples", [0, -3, 1.5, "2", True])
def test_samples_are_counted(samples):
    with pytest.raises(UsageError, match=r"number of samples cannot be used.*Allowed: 1, or 2 or more"):
        Ensemble.of(make_spec(draws=(0,)), 0, samples)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_has_64_bits(seed):
    with pytest.raises(UsageError, match="The seed cannot be used"):
        Ensemble.of(make_spec(draws=(0,)), seed, 2)


# Mean and deviation ---------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(2, 9), st.integers(1, 4)), elements=st.floats(-1e3, 1e3, width=32)))
def test_mean_and_deviation_are_numpy_s(samples):
    mean, deviation = mean_and_deviation(iter(samples))
    assert mean.dtype == deviation.dtype == np.float32
    wide = samples.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(axis=0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(deviation, wide.std(axis=0, ddof=1), rtol=1e-6, atol=1e-9)


def test_a_small_deviation_of_large_numbers_is_not_lost():
    samples = np.float32(300) + np.float32(2**-12) * np.arange(5, dtype=np.float32)[:, None]
    np.testing.assert_allclose(mean_and_deviation(samples)[1], 2**-12 * np.sqrt(2.5), rtol=1e-6)


def test_what_one_sample_lacks_is_lacking():
    mean, deviation = mean_and_deviation(np.array([[1, np.nan], [3, 3]], np.float32))
    np.testing.assert_array_equal(mean, [2, np.nan])
    np.testing.assert_array_equal(deviation, np.array([np.sqrt(2), np.nan], np.float32))


# Runs -----------------------------------------------------------------------------------------------------

# Clipped at both ends by some samples: the deviation is that of what is written.
VALUES = Values(scale=2.0, offset=-1.0, minimum=0.0, maximum=0.8)
RULES = [{"halo": 4}, {"mode": "blend", "overlap": 12}]


def inputs(height: int = 61, width: int = 83) -> dict[str, Any]:
    fine = np.random.default_rng(0).uniform(0, 1, (2, height, width)).astype(np.float32)
    coarse = block_mean(fine, 4)
    return {"fine_t1": Raster(fine, transform=grid_transform(), crs=UTM), "coarse_t1": coarse, "coarse_t2": coarse}


def network(fine_t1: np.ndarray, noise_0: np.ndarray, noise_1: np.ndarray, **_: np.ndarray) -> np.ndarray:
    """Noise that grows from band to band, and a constant of each tile, so that neighbouring tiles disagree."""
    spread = 0.2 * np.arange(1, 3)[:, None, None]
    return fine_t1 + spread * (noise_0 + noise_1) + 0.3 * noise_0.mean(axis=(1, 2, 3), keepdims=True)


def noisy_model(tile: int = 32, function: Any = network, **rule: Any) -> Model:
    return make_model(make_spec(tile, draws=(0, 1), **{"values": VALUES, "stride": 4, **rule}), function)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("samples", [2, 5])
def test_mean_and_deviation_of_the_images_that_each_seed_gives_alone(rule, samples):
    """Of blended images where tiles are blended: that is not the blend of deviations."""
    model, rasters = noisy_model(**rule), inputs()
    alone = np.stack([model.fuse(seed=seed, **rasters).array for seed in range(3, 3 + samples)]).astype(np.float64)
    assert (alone == np.float32(0.8)).any(0).mean() > 0.05
    result = model.fuse(seed=3, samples=samples, tile_batch=3, **rasters)
    assert result.bands == ("red", "nir", "red_std", "nir_std")
    np.testing.assert_allclose(result.array[:2], alone.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.array[2:], alone.std(0, ddof=1), atol=1e-6)
    single = model.fuse(seed=3, **rasters)
    assert (result.tiles, result.pixels, result.valid_fraction) == (single.tiles, single.pixels, 1)
    assert single.bands == ("red", "nir")


def test_one_sample_is_the_sample():
    model, rasters = noisy_model(), inputs()
    assert model.fuse(seed=3, samples=1, **rasters).array.tobytes() == model.fuse(seed=3, **rasters).array.tobytes()
    assert "samples" not in model.fuse(seed=3, samples=1, **rasters).provenance


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("batch", [1, 4, 50])
def test_the_batch_does_not_change_an_ensemble(rule, batch):
    model, rasters = noisy_model(**rule), inputs()
    one = model.fuse(samples=3, **rasters)
    assert model.fuse(samples=3, tile_batch=batch, **rasters).array.tobytes() == one.array.tobytes()
    assert sum(model.engine.batch_sizes) == 6 * one.tiles


@pytest.mark.parametrize("rule", RULES)
def test_an_area_of_an_ensemble_is_the_crop_of_the_whole(rule):
    model, rasters = noisy_model(**rule), inputs()
    box = (ORIGIN[0] + 30 * 21, ORIGIN[1] - 30 * 55, ORIGIN[0] + 30 * 70, ORIGIN[1] - 30 * 9)
    whole, part = model.fuse(samples=3, **rasters), model.fuse(samples=3, aoi=box, **rasters)
    np.testing.assert_array_equal(part.array, whole.array[:, 9:55, 21:70])


def test_nodata_is_that_of_the_inputs_and_of_any_sample():
    rasters = inputs()
    rasters["fine_t1"].data[:, 10:30, 20:60] = np.nan
    calls: list[int] = []

    def odd(**tensors: np.ndarray) -> np.ndarray:
        calls.append(1)
        out = network(**tensors)
        if len(calls) == 2:
            out[:, 0, 1, 2], out[:, 1, 3, 3] = np.inf, np.nan
        return out

    result = noisy_model(64, odd).fuse(samples=3, **rasters)
    expected = np.isnan(rasters["fine_t1"].data)
    expected[0, 1, 2] = expected[1, 3, 3] = True
    np.testing.assert_array_equal(np.isnan(result.array), np.concatenate([expected, expected]))
    assert result.not_finite == 2
    assert result.valid_fraction == pytest.approx(1 - 20 * 40 / (61 * 83))


def test_the_seam_figure_is_that_of_the_mean():
    """Tiles that differ by constants which cancel between the samples leave no seam in the mean."""
    counter = iter(range(1000))

    def stepped(fine_t1: np.ndarray, **_: np.ndarray) -> np.ndarray:
        number = next(counter)
        return fine_t1 * 0.01 + (1 if number % 2 else -1) * (number // 2)

    rule = {"coarse_grid": "fine", "values": Values(unit="1"), "stride": 1}
    rasters = inputs(96, 96)
    assert noisy_model(16, stepped, **rule).fuse(samples=2, **rasters).seam_ratio == pytest.approx(1, abs=0.3)
    assert noisy_model(16, stepped, **rule).fuse(**rasters).seam_ratio > 50


# Files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    fine = np.random.default_rng(0).uniform(0, 1, (2, BLOCK + 200, 90)).astype(np.float32)
    fine[:, 100:140, 20:60] = np.nan
    coarse = block_mean(fine, 4)
    return {
        "fine_t1": write_tif(tmp_path / "fine_t1.tif", fine),
        "coarse_t1": write_tif(tmp_path / "coarse_t1.tif", coarse, pixel=120),
        "coarse_t2": write_tif(tmp_path / "coarse_t2.tif", coarse, pixel=120),
    }


@pytest.mark.parametrize("format", ["gtiff", "cog"])
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_a_file_holds_both_with_their_scales(tmp_path, files, format, dtype):
    model = noisy_model(64, mode="blend", overlap=16)
    array = model.fuse(samples=3, seed=1, **files).array
    result = model.fuse(tmp_path / "out.tif", samples=3, seed=1, format=format, dtype=dtype, **files)
    assert result.bands == ("red", "nir", "red_std", "nir_std")
    with rasterio.open(tmp_path / "out.tif") as made:
        assert made.descriptions == result.bands
        assert made.units == ("reflectance",) * 4
        assert made.dtypes == (dtype,) * 4
        tags = made.tags()
        assert (tags["STF_SEED"], tags["STF_SAMPLES"]) == ("1", "3")
        held = made.read(masked=True).astype(np.float64)
        physical = held * np.array(made.scales)[:, None, None] + np.array(made.offsets)[:, None, None]
    if dtype == "float32":
        np.testing.assert_array_equal(held.filled(np.nan), array)
    else:
        np.testing.assert_array_equal(held.mask, np.isnan(array))
        np.testing.assert_allclose(physical.filled(0), np.nan_to_num(array), atol=0.51e-4)


def test_a_deviation_has_no_offset(tmp_path):
    """Kelvin, stored from 150 K on."""
    spec = make_spec(32, draws=(0, 1), values=Values(unit="kelvin"))
    output = spec.output.model_copy(update={"storage_scale": 0.01, "storage_offset": 150.0})
    model = make_model(spec.model_copy(update={"output": output}), network)
    kelvin = {role: (r.data if role == "fine_t1" else r) * 30 + 280 for role, r in inputs().items()}
    kelvin["fine_t1"] = Raster(kelvin["fine_t1"], transform=grid_transform(), crs=UTM)
    array = model.fuse(samples=4, **kelvin).array
    model.fuse(tmp_path / "out.tif", samples=4, dtype="int16", **kelvin)
    with rasterio.open(tmp_path / "out.tif") as made:
        assert made.scales == (0.01,) * 4
        assert made.offsets == (150.0, 150.0, 0.0, 0.0)
        stored = made.read()
    np.testing.assert_allclose(stored[:2] * 0.01 + 150, array[:2], atol=0.0051)
    np.testing.assert_allclose(stored[2:] * 0.01, array[2:], atol=0.0051)
    assert array[2:].min() > 0


@pytest.mark.parametrize("other", [{"samples": 4}, {"samples": 1}, {"seed": 9}])
def test_an_interrupted_ensemble_goes_on(tmp_path, files, monkeypatch, other):
    monkeypatch.setattr("stf_infer.output._CHECKPOINT_EVERY", 0.0)
    out = tmp_path / "out.tif"

    def run(stop_at: int | None = None, **changed: Any) -> int:
        calls: list[int] = []

        def function(**tensors: np.ndarray) -> np.ndarray:
            calls.append(1)
            if len(calls) == stop_at:
                raise EngineError("interrupted")
            return network(**tensors)

        noisy_model(64, function, mode="blend", overlap=8).fuse(
            out, resume=True, **{"seed": 6, "samples": 3, **changed}, **files
        )
        return len(calls)

    def interrupt() -> None:
        with pytest.raises(EngineError, match="interrupted"):
            run(stop_at=70)

    everything = run()
    straight = read_tif(out).tobytes()
    out.unlink()
    interrupt()
    assert run() < everything
    assert read_tif(out).tobytes() == straight
    out.unlink()
    everything = run(**other)
    out.unlink()
    interrupt()
    assert run(**other) == everything
