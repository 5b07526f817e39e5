# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import rasterio

from fakes import UTM, grid_transform, smooth_field, write_tif
from stf_infer.baselines import BASELINES, BaselineModel, Starfm, add_coarse_change, fuse_baseline, interpolate_coarse
from stf_infer.baselines import starfm as starfm_of_images
from stf_infer.errors import RasterError, StfError, UsageError
from stf_infer.grid import Shape
from stf_infer.raster import Raster

RATIO = 4


def rasters(height=84, width=96, seed=0):
    rng = np.random.default_rng(seed)
    fine = (rng.choice([0.05, 0.1, 0.3], (2, height, width)) + rng.normal(0, 0.01, (2, height, width))).astype("f4")
    before = fine.reshape(2, height // RATIO, RATIO, width // RATIO, RATIO).mean((2, 4)).astype("f4")
    after = (before + rng.normal(0, 0.03, before.shape)).astype("f4")
    return {"fine_t1": fine, "coarse_t1": before, "coarse_t2": after}


def on_grid(given):
    return {**given, "fine_t1": Raster(given["fine_t1"], transform=grid_transform(), crs=UTM, names=("red", "nir"))}


def expected(name, given, settings):
    fine = given["fine_t1"]
    if name == "copy":
        return fine
    if name == "change":
        return add_coarse_change(fine, given["coarse_t1"], given["coarse_t2"], RATIO)
    up = [interpolate_coarse(given[role], RATIO) for role in ("coarse_t1", "coarse_t2")]
    return starfm_of_images(fine, *up, settings)


@pytest.mark.parametrize("name", BASELINES)
def test_a_scene_is_the_formula(name):
    given, settings = rasters(), Starfm(window=9)
    result = fuse_baseline(name, ratio=RATIO, settings=settings, **on_grid(given))
    # Small differences of images count by their logarithm, which makes something of how they were rounded.
    np.testing.assert_allclose(result.array, expected(name, given, settings), atol=1e-5)
    assert result.bands == ("red", "nir")
    assert result.provenance["network"] == name


@pytest.mark.parametrize("tile", [24, 40])
def test_tiles_do_not_change_a_bit(tile):
    given, settings = rasters(), Starfm(window=9)
    shape = Shape(*given["fine_t1"].shape[1:])
    whole, tiled = (
        BaselineModel("starfm", ("red", "nir"), shape, ratio=RATIO, settings=settings, tile=side).fuse(**on_grid(given))
        for side in (200, tile)
    )
    assert (whole.tiles, tiled.tiles > 4) == (1, True)
    assert np.array_equal(tiled.array, whole.array)


def test_a_hole_becomes_nodata_and_nothing_else():
    given = rasters()
    given["fine_t1"][:, 10:14, 20:30] = np.nan
    result = fuse_baseline("starfm", ratio=RATIO, settings=Starfm(window=9), **on_grid(given))
    assert np.isnan(result.array[:, 10:14, 20:30]).all()
    assert np.isnan(result.array).sum() == 2 * 4 * 10


@pytest.mark.parametrize(
    ("names", "bands", "expected"),
    [
        (("red", "nir"), None, ("red", "nir")),
        (("red", "nir"), (2,), ("nir",)),
        (("red", "nir"), ("nir", 1), ("nir", "red")),
        (None, (2,), ("band_1",)),
        (("red", "red"), None, ("band_1", "band_2")),
    ],
)
def test_bands_that_are_chosen_keep_their_names(tmp_path, names, bands, expected):
    path = write_tif(tmp_path / "fine.tif", smooth_field(2, 16, 16), names=names)
    assert fuse_baseline("copy", fine_t1=Raster(path, bands=bands)).bands == expected


def test_a_file_has_the_grid_and_the_names_of_the_fine_one(tmp_path):
    given = on_grid(rasters())
    result = fuse_baseline("starfm", tmp_path / "out.tif", ratio=RATIO, settings=Starfm(window=9), **given)
    with rasterio.open(result.path) as made:
        assert made.transform == grid_transform()
        assert made.descriptions == ("red", "nir")
        assert made.tags()["STF_NETWORK"] == "starfm"


def test_settings_are_part_of_what_a_result_says_made_it():
    said = [
        fuse_baseline("starfm", ratio=RATIO, settings=Starfm(window=window), **on_grid(rasters())).provenance
        for window in (3, 5)
    ]
    assert said[0]["bundle_sha256"] != said[1]["bundle_sha256"]


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("magic", {}, UsageError, "copy, change, starfm"),
        ("copy", {"unit": "furlongs"}, UsageError, "reflectance, kelvin, 1"),
        ("starfm", {"fine_t1": None}, UsageError, "fine_t1 is missing"),
        ("starfm", {"coarse_t2": None}, UsageError, "coarse_t2"),
        ("change", {"fine_t1": "nowhere.tif"}, RasterError, "nowhere.tif"),
        ("change", {"coarse_t1": np.zeros((1, 21, 24), np.float32)}, StfError, "band"),
    ],
)
def test_what_cannot_be_used(name, change, error, message):
    with pytest.raises(error, match=message):
        fuse_baseline(name, ratio=RATIO, **{**on_grid(rasters()), **change})
