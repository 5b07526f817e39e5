# SPDX-License-Identifier: Apache-2.0
"""Pixels without a measurement, of every kind, aligned and through a warp; and damaged files."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling

from fakes import UTM, write_tif
from layer_support import FINE, layer, whole
from stf_infer.errors import BandError, RasterError
from stf_infer.grid import Shape
from stf_infer.placement import Grid, Warped
from stf_infer.raster import Raster
from stf_infer.strip import Strip


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


# Holes ---------------------------------------------------------------------------------------------------


def with_hole(kind: str, path: Path, pixel: float, *, bands: int = 2) -> Path:
    """A constant 7 with one invalid pixel at (2, 3), in the first band only where the kind allows it."""
    side = 40 if pixel < 100 else 6
    array = np.full((bands, side, side), 7, np.float32 if kind == "nan" else np.int16)
    profile: dict[str, Any] = {"pixel": pixel}
    if kind == "nodata":
        array[0, 2, 3] = -99
        profile["nodata"] = -99
    elif kind == "nan":
        array[0, 2, 3] = np.nan
    elif kind == "stated":
        array[0, 2, 3] = -50
    elif kind == "alpha":
        alpha = np.full((1, side, side), 255, np.uint8)
        alpha[0, 2, 3] = 0
        array = np.concatenate([array.astype(np.uint8), alpha])
        array[0, 2, 3] = 200
    else:
        array[0, 2, 3] = 200
    write_tif(path, array, **profile)
    if kind == "mask":
        mask = np.full((side, side), 255, np.uint8)
        mask[2, 3] = 0
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as out:
            out.write_mask(mask)
    if kind == "alpha":
        with rasterio.open(path, "r+") as out:
            out.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * (bands - 1), ColorInterp.alpha]
    return path


HOLES = ["nodata", "nan", "stated", "mask", "alpha"]


@pytest.mark.parametrize("kind", HOLES)
def test_a_hole_is_where_the_raster_says(stack, tmp_path, kind):
    path = with_hole(kind, tmp_path / "a.tif", 30.0)
    fine = Grid(FINE.crs, FINE.transform, Shape(40, 40))
    pixels, valid = whole(layer(Raster(path, nodata=-50 if kind == "stated" else None), stack, fine=fine))
    assert np.argwhere(valid == 0).tolist() == [[2, 3]]
    assert (pixels[:, valid > 0] == 7).all()


@pytest.mark.parametrize("kind", HOLES)
@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average"])
def test_a_hole_does_not_leak_through_a_warp(stack, tmp_path, kind, method):
    """The pixels whose centre lies in it are invalid, and all the others hold the constant."""
    path = with_hole(kind, tmp_path / "a.tif", 480.0)
    opened = layer(Raster(path, nodata=-50 if kind == "stated" else None), stack, resampling=method)
    assert isinstance(opened.placement, Warped)
    pixels, valid = whole(opened)
    expected = np.ones((60, 50), bool)
    expected[32:48, 48:50] = False
    np.testing.assert_array_equal(valid.astype(bool), expected)
    np.testing.assert_allclose(pixels[:, expected], 7, rtol=1e-6)


@pytest.mark.parametrize("kind", HOLES)
def test_an_average_takes_what_is_valid(stack, tmp_path, kind):
    """10 m onto 30 m: a pixel with eight valid ninths is their mean."""
    path = with_hole(kind, tmp_path / "a.tif", 10.0)
    fine = Grid(FINE.crs, FINE.transform, Shape(13, 13))
    opened = layer(Raster(path, nodata=-50 if kind == "stated" else None), stack, fine=fine)
    assert opened.placement.resampling == Resampling.average
    pixels, valid = whole(opened)
    assert valid.all()
    np.testing.assert_allclose(pixels, 7, rtol=1e-6)


def test_a_nodata_value_and_a_mask_both_count(stack, tmp_path):
    path = with_hole("mask", tmp_path / "a.tif", 30.0)
    with rasterio.open(path, "r+") as out:
        pixels = out.read(1)
        pixels[5, 5] = -1
        out.write(pixels, 1)
    fine = Grid(FINE.crs, FINE.transform, Shape(40, 40))
    _, valid = whole(layer(Raster(path, nodata=-1), stack, fine=fine))
    assert np.argwhere(valid == 0).tolist() == [[2, 3], [5, 5]]


def test_a_nodata_value_that_the_pixels_cannot_hold_never_matches(stack):
    array = np.full((2, 60, 50), 255, np.uint8)
    for nodata in (-9999, 1e6, 0.5):
        _, valid = whole(layer(Raster(array, nodata=nodata, transform=FINE.transform, crs=UTM), stack))
        assert valid.all()
        shifted = FINE.transform * Affine.translation(-3.4, 2.6)
        large = np.full((2, 90, 90), 255, np.uint8)
        pixels, valid = whole(layer(Raster(large, nodata=nodata, transform=shifted, crs=UTM), stack))
        assert (pixels[:, valid > 0] == 255).all()
        assert valid[4:].all()


def test_a_marked_alpha_band_may_be_data_where_nothing_is_warped(stack, tmp_path):
    """Four bands of bytes, as rasterio writes them by default: the fourth is called alpha and is not."""
    array = np.full((4, 60, 50), 9, np.uint8)
    array[3, 4, 4] = 0
    path = write_tif(tmp_path / "a.tif", array)
    with rasterio.open(path) as held:
        assert held.colorinterp[3] == ColorInterp.alpha
    pixels, valid = whole(layer(path, stack, 4))
    assert valid.all()
    np.testing.assert_array_equal(pixels, array)
    shifted = write_tif(tmp_path / "b.tif", array, pixel=31.0)
    with pytest.raises(BandError, match=r"marked as alpha.*band 4.*-colorinterp_4 undefined"):
        layer(shifted, stack, 4)


def test_holes_are_filled_in_a_strip_and_remembered(stack, tmp_path):
    path = with_hole("nan", tmp_path / "a.tif", 30.0)
    fine = Grid(FINE.crs, FINE.transform, Shape(40, 40))
    strip = Strip(layer(path, stack, fine=fine))
    strip.move_to(1, 9)
    assert (strip.pixels == 7).all()
    assert np.argwhere(strip.valid == 0).tolist() == [[1, 3]]


def test_rows_without_a_value_take_the_mean_of_the_raster(stack):
    array = np.full((2, 60, 50), np.nan, np.float32)
    array[0, :20], array[1, :20] = 3, 5
    strip = Strip(layer(Raster(array, transform=FINE.transform, crs=UTM), stack))
    strip.move_to(30, 40)
    assert not strip.valid.any()
    assert (strip.pixels[0].max(), strip.pixels[1].min()) == (3, 5)


# Damage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel", [30.0, 31.0])
def test_a_truncated_file_is_named(stack, tmp_path, pixel):
    array = np.random.default_rng(0).random((2, 400, 300)).astype(np.float32)
    layout = {"compress": "deflate", "tiled": True, "blockxsize": 64, "blockysize": 64}
    path = write_tif(tmp_path / "cut.tif", array, pixel=pixel, **layout)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    fine = Grid(FINE.crs, FINE.transform, Shape(400, 300))
    with pytest.raises(RasterError, match=r"fine_t1 is damaged.*cut\.tif|cannot be read.*cut\.tif"):
        whole(layer(path, stack, fine=fine))
