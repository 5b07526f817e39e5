# SPDX-License-Identifier: Apache-2.0
"""Tiles are what a run sees; what cannot serve is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

import sample_support
import stf_infer
from fakes import block_mean, make_spec, smooth_field, with_level, write_tif
from handmade_bundle import make_bundle
from stf_infer.accuracy import cut, procedural_tiles, store_tiles, tiles, tiles_of
from stf_infer.bundle import Bundle
from stf_infer.errors import BandError, DimError, NodataError, SampleError, ScaleError, UsageError
from stf_infer.spec import Values


def rasters(side=96, ratio=4, change=None):
    fine = smooth_field(2, side, side)
    t1 = block_mean(fine, ratio)
    t2 = t1 + (0.01 if change is None else change)
    return {"fine_t1": fine, "coarse_t1": t1, "coarse_t2": t2.astype(np.float32)}


@pytest.mark.parametrize("halo", [0, 4])
def test_tiles_are_those_of_a_run(halo):
    spec, given = make_spec(32, halo=halo), rasters()
    found = cut(spec, given, count=4)
    assert (len(found), found.source) == (4, "real")
    assert found.inputs["coarse_t1"].shape == (4, 2, 8, 8)
    assert found.labels == ("fine_t1=array", "coarse_t1=array", "coarse_t2=array")
    for number, (y, x) in enumerate(found.origins):
        assert y % 4 == x % 4 == 0
        for role, divisor in (("fine_t1", 1), ("coarse_t1", 4), ("coarse_t2", 4)):
            a, b, side = y // divisor, x // divisor, 32 // divisor
            right = given[role][:, a : a + side, b : b + side]
            step = np.ptp(given[role]) / 2**12
            np.testing.assert_allclose(found.inputs[role][number], right, atol=step / 2 * 1.01)


def test_they_lie_over_the_scene_and_where_something_changed():
    change = np.zeros((2, 48, 48), np.float32)
    change[:, 41:44, 41:44] = 0.2  # in the last tile of 6 x 6
    found = cut(make_spec(32), rasters(192, change=change), count=4)
    assert (160, 160) in found.origins
    places = np.array(found.origins)
    apart = np.abs(places[:, None] - places[None]).max(-1)
    assert apart[~np.eye(4, dtype=bool)].min() >= 64


def test_a_seed_gives_the_same_tiles_and_another_one_others():
    spec, given = make_spec(32), rasters(256)
    assert cut(spec, given, count=3, seed=1).origins == cut(spec, given, count=3, seed=1).origins
    assert len({cut(spec, given, count=3, seed=seed).origins for seed in range(8)}) > 1


def test_valid_tiles_are_preferred():
    given = rasters(128)
    given["fine_t1"][:, :64, :] = np.nan
    found = cut(make_spec(32), given, count=8)
    assert len(found) == 8
    assert min(y for y, _ in found.origins) == 64
    assert np.isfinite(found.inputs["fine_t1"]).all()


def test_a_scene_with_few_whole_tiles_serves_with_those_that_are_half_valid():
    given = rasters(64)
    given["fine_t1"][:, ::8, ::8] = np.nan
    assert len(cut(make_spec(32), given)) == 4


@pytest.mark.parametrize("role", ["fine_t1", "coarse_t2"])
@pytest.mark.parametrize("as_nodata", [False, True])
def test_a_scene_without_data_is_refused(role, as_nodata):
    given = rasters(64)
    given[role] = given[role] * 0 - 9 if as_nodata else given[role] * np.nan
    if as_nodata:
        given[role] = stf_infer.Raster(given[role], nodata=-9)
    with pytest.raises(NodataError, match=r"No tile of the scene is valid.*Got: the best one: 0%; .*Check nodata"):
        cut(make_spec(32), given)


def test_tiles_that_nearly_cover_each_other_are_not_taken_both():
    """The last tile of a scene is shifted back."""
    found = cut(make_spec(32), rasters(72))  # origins 0, 32, 40 along each axis
    places = np.array(found.origins)
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    assert 4 <= len(found) < 8
    assert apart[~np.eye(len(found), dtype=bool)].min() > 8


def test_a_scene_smaller_than_a_tile_gives_one():
    found = cut(make_spec(64), rasters(32))
    assert found.origins == ((0, 0),)


def test_wrong_rasters_are_refused_as_a_run_refuses_them(tmp_path):
    spec = make_spec(32)
    with pytest.raises(UsageError, match=r"takes other inputs.*Give --coarse-t2"):
        cut(spec, {k: v for k, v in rasters().items() if k != "coarse_t2"})
    with pytest.raises(BandError, match="number of bands of fine_t1"):
        cut(spec, {**rasters(), "fine_t1": smooth_field(3, 96, 96)})
    with pytest.raises(ScaleError, match="--scale"):
        cut(spec, {**rasters(), "fine_t1": (rasters()["fine_t1"] * 1e4).astype(np.int16)})
    with pytest.raises(UsageError, match=r"number of tiles cannot be used. Got: 0"):
        cut(spec, rasters(), count=0)


def test_tiles_of_files_are_stored_with_the_names_of_the_files(tmp_path):
    folder, paths = make_bundle(tmp_path / "net.stf"), {}
    for role, array in rasters().items():
        pixel = 30.0 if role == "fine_t1" else 120.0
        paths[role] = write_tif(tmp_path / f"{role}_x.tif", array, pixel=pixel)
    found = stf_infer.cut_tiles(folder, count=2, **paths)
    assert found.labels == ("fine_t1=fine_t1_x.tif", "coarse_t1=coarse_t1_x.tif", "coarse_t2=coarse_t2_x.tif")
    again = tiles_of(Bundle.open(folder))
    assert (again.labels, again.origins, again.source) == (found.labels, found.origins, "real")
    np.testing.assert_array_equal(again.inputs["fine_t1"], found.inputs["fine_t1"])


def test_the_first_tile_is_taken_out_of_real_images(tmp_path):
    """Landsat 7 over Pennsylvania: what is stored is the scene's own numbers, to 12 bits."""
    import rasterio

    from shared_scenes import real_scene

    spec = make_spec(32, bands=("red", "nir"), ratio=4, halo=2)
    scene = real_scene(spec, tmp_path)
    found = cut(spec, scene.rasters, count=2)
    assert len(found) == 2
    raster = scene.rasters["fine_t1"]
    with rasterio.open(raster.data) as source:
        stored = source.read(list(raster.bands)).astype(np.float32)
    (y, x) = found.origins[0]
    right = stored[:, y : y + 32, x : x + 32] * raster.scale
    assert np.abs(found.inputs["fine_t1"][0] - right).max() <= np.ptp(found.inputs["fine_t1"]) / 2**12


def test_large_tiles_are_fewer(monkeypatch):
    numbers = 2 * 32 * 32 + 2 * 2 * 8 * 8
    monkeypatch.setattr(tiles, "MOST_NUMBERS", 3 * numbers)
    assert len(cut(make_spec(32), rasters(), count=8)) == 3
    monkeypatch.setattr(tiles, "MOST_NUMBERS", numbers - 1)
    assert len(cut(make_spec(32), rasters(), count=8)) == 1


# Samples -------------------------------------------------------------------------------------------------------


def test_samples_are_complete_ones_of_the_arrays():
    spec = sample_support.make_spec(values=stf_infer.SampleValues(scale=2.0))
    history = sample_support.histories(6)
    history[2, 1, 0] = np.nan
    bias = np.arange(6, dtype=np.float32)
    found = cut(spec, {"history": history, "bias": bias}, count=5)
    kept = found.inputs["bias"].astype(int)
    assert sorted(kept) == [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(found.inputs["history"], 2 * history[kept])
    assert (found.source, found.origins, found.labels) == ("real", (), ("history=array", "bias=array"))
    assert len(cut(spec, {"history": history, "bias": bias}, count=2)) == 2


def test_arrays_without_a_complete_sample_or_of_another_shape_are_refused():
    spec, bias = sample_support.make_spec(), np.zeros(2, np.float32)
    with pytest.raises(SampleError, match="No sample is complete"):
        cut(spec, {"history": sample_support.histories(2) * np.nan, "bias": bias})
    with pytest.raises(DimError):
        cut(spec, {"history": np.zeros((2, 7, 2), np.float32), "bias": bias})


def test_samples_can_be_stored(tmp_path):
    bundle = Bundle.open(make_bundle(tmp_path / "net.stf"))
    spec = bundle.spec = sample_support.make_spec()
    given = procedural_tiles(spec)
    store_tiles(bundle, given)
    bundle.spec = spec
    np.testing.assert_array_equal(tiles_of(bundle).inputs["history"], given.inputs["history"])


# Procedural ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"bands": ("B2", "sur_refl_b01", "swir1")},
        {"coarse_grid": "fine", "ratio": 1},
        {"coarse_grid": "fine", "from_coarse": "align-corners", "halo": 2},
        {"coarse_grid": "fine", "halo": 4, "predicts": "core"},
        {"coarse_grid": "fine", "halo": 14},
        {"coarse_grid": "fine", "tile": 16, "stride": 16, "halo": 5, "predicts": "core", "mode": "blend"},
        {"mode": "blend", "overlap": 8},
        {"ratio": 20, "tile": 40},
        {"roles": ("coarse_t1", "fine_t1", "coarse_t2", "coarse_t3", "fine_t3")},
        {"values": Values(unit="kelvin")},
        {"values": Values(unit="", scale=2.0, minimum=-4, maximum=9)},
        {"draws": (0, 2)},
    ],
)
def test_every_contract_gets_procedural_tiles(more):
    spec = make_spec(more.pop("tile", 32), **more)
    found = procedural_tiles(spec)
    found.check(spec)
    assert (len(found), found.source, found.labels) == (4, "procedural", ("seed 0",))
    for role, array in found.inputs.items():
        values = spec.input(role).values
        physical = (array - values.offset) / values.scale
        assert all(np.ptp(band) > 0 for band in array[0])
        if values.unit in ("kelvin", "reflectance"):
            assert values.plausible[0] < physical.min() <= physical.max() < values.plausible[1]
    if "fine_t3" in spec.roles:
        assert not np.array_equal(found.inputs["fine_t3"], found.inputs["fine_t1"])


def test_numbers_of_the_scene_are_computed_too():
    spec = make_spec(32)
    spec = with_level(spec)
    found = procedural_tiles(spec)
    assert found.inputs["level"].shape == (4, 2, 1, 1)
    assert 0 < found.inputs["level"].min() < 1
    assert "fine_t3" not in found.inputs


def test_another_seed_is_another_scene():
    spec = make_spec(32)
    one, two, other = (procedural_tiles(spec, seed=seed).inputs["fine_t1"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
