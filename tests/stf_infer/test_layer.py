# SPDX-License-Identifier: Apache-2.0
"""A raster on the grid of its input: offsets, warps, and independence of how it is read."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform

from fakes import ORIGIN, UTM, grid_transform, smooth_field, write_tif
from layer_support import FINE, layer, whole
from stf_infer.errors import RasterError
from stf_infer.grid import Shape
from stf_infer.placement import Aligned, Grid, Warped
from stf_infer.raster import Raster
from stf_infer.strip import Strip

SINUSOIDAL = CRS.from_proj4("+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs")


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


# The raster's pixels are the grid's pixels ---------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dy=st.integers(-9, 9),
    dx=st.integers(-9, 9),
    size=st.tuples(st.integers(4, 22), st.integers(4, 22)),
    rows=st.tuples(st.integers(0, 11), st.integers(1, 12)),
)
def test_an_aligned_raster_is_read_with_its_offset(dy, dx, size, rows):
    """Whatever part of the grid it covers; what it does not cover is invalid."""
    fine = Grid(FINE.crs, FINE.transform, Shape(12, 13))
    array = np.arange(2 * size[0] * size[1], dtype=np.int32).reshape(2, *size) + 1
    at = FINE.transform * Affine.translation(dx, dy)
    first, stop = rows[0], min(rows[0] + rows[1], 12)
    expected = np.zeros((2, 12, 13), np.int32)
    y0, y1, x0, x1 = max(dy, 0), min(dy + size[0], 12), max(dx, 0), min(dx + size[1], 13)
    with ExitStack() as stack:
        if y0 >= y1 or x0 >= x1:
            return
        expected[:, y0:y1, x0:x1] = array[:, y0 - dy : y1 - dy, x0 - dx : x1 - dx]
        opened = layer(Raster(array, transform=at, crs=UTM), stack, fine=fine)
        assert opened.placement == Aligned(-dy, -dx)
        pixels, valid = opened.read(first, stop)
    np.testing.assert_array_equal(valid, (expected[0] > 0)[first:stop])
    np.testing.assert_array_equal(pixels * valid, expected[:, first:stop])


def test_the_chosen_bands_come_in_their_order(stack, tmp_path):
    array = np.arange(3 * 60 * 50, dtype=np.int16).reshape(3, 60, 50)
    path = write_tif(tmp_path / "a.tif", array)
    pixels, _ = whole(layer(Raster(path, bands=(3, 1)), stack))
    np.testing.assert_array_equal(pixels, array[[2, 0]])


def test_rounding_in_a_transform_is_forgiven(stack):
    """A thousandth of a pixel over the whole grid is the same grid; a hundredth is not."""
    array = smooth_field(2, 60, 50)
    near = FINE.transform * Affine.translation(5e-4, -5e-4)
    far = FINE.transform * Affine.translation(0.01, 0)
    assert layer(Raster(array, transform=near, crs=UTM), stack).placement == Aligned(0, 0)
    assert isinstance(layer(Raster(array, transform=far, crs=UTM), stack).placement, Warped)


@pytest.mark.parametrize(("held", "read"), [("int64", "float64"), ("uint64", "float64"), ("uint16", "uint16")])
def test_types_that_the_core_does_not_read_are_converted(stack, tmp_path, held, read):
    array = (np.arange(2 * 60 * 50).reshape(2, 60, 50) + 5).astype(held)
    opened = layer(write_tif(tmp_path / "a.tif", array), stack)
    pixels, _ = whole(opened)
    assert opened.dtype == pixels.dtype == read
    np.testing.assert_array_equal(pixels, array)


def test_bands_of_different_types_are_read_as_one(stack, tmp_path):
    import rasterio.shutil

    small, large = np.full((1, 60, 50), 200, np.uint8), np.full((1, 60, 50), -3, np.int16)
    for name, array in (("small", small), ("large", large)):
        write_tif(tmp_path / f"{name}.tif", array)
        rasterio.shutil.copy(tmp_path / f"{name}.tif", tmp_path / f"{name}.vrt", driver="VRT")
    text = (tmp_path / "small.vrt").read_text()
    band = (tmp_path / "large.vrt").read_text().split("<VRTRasterBand")[1].split("</VRTDataset>")[0]
    mixed = tmp_path / "mixed.vrt"
    second = "<VRTRasterBand" + band.replace('band="1"', 'band="2"')
    mixed.write_text(text.replace("</VRTDataset>", f"{second}</VRTDataset>"))
    with rasterio.open(mixed) as dataset:
        assert dataset.dtypes == ("uint8", "int16")
    opened = layer(mixed, stack)
    pixels, _ = whole(opened)
    assert opened.dtype == np.int16
    assert (pixels[0].min(), pixels[1].max()) == (200, -3)


def test_complex_numbers_are_refused(stack, tmp_path):
    path = write_tif(tmp_path / "a.tif", np.zeros((2, 60, 50), np.complex64))
    with pytest.raises(RasterError, match=r"complex.*a\.tif"):
        layer(path, stack)


# Warps ---------------------------------------------------------------------------------------------------


def test_a_finer_raster_is_averaged(stack):
    """10 m onto 30 m from the same corner: means of 3 x 3."""
    array = np.random.default_rng(0).random((2, 180, 150)).astype(np.float32)
    opened = layer(Raster(array, transform=grid_transform(10.0), crs=UTM), stack)
    assert opened.placement == Warped(Resampling.average, pytest.approx(1 / 3))
    pixels, valid = whole(opened)
    assert valid.all()
    np.testing.assert_allclose(pixels, array.reshape(2, 60, 3, 50, 3).mean((2, 4)), rtol=1e-5)


def test_a_coarser_raster_is_interpolated_bilinearly(stack):
    """480 m onto 30 m: np.interp between the centres, in the interior."""
    array = np.random.default_rng(0).random((2, 8, 9)).astype(np.float32)
    corner = Affine(480, 0, ORIGIN[0] - 1000, 0, -480, ORIGIN[1] + 900)
    opened = layer(Raster(array, transform=corner, crs=UTM), stack)
    assert opened.placement == Warped(Resampling.bilinear, pytest.approx(16))
    pixels, valid = whole(opened)
    assert valid.all()
    x = ((np.arange(50) + 0.5) * 30 + 1000) / 480 - 0.5
    y = ((np.arange(60) + 0.5) * 30 + 900) / 480 - 0.5
    rows = np.apply_along_axis(lambda v: np.interp(y, np.arange(8), v), 1, array.astype(float))
    expected = np.apply_along_axis(lambda v: np.interp(x, np.arange(9), v), 2, rows)
    np.testing.assert_allclose(pixels, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("pixel", "read_on", "method"),
    [
        (30.5, "fine", "bilinear"),
        (25.0, "fine", "bilinear"),
        (19.0, "fine", "average"),
        (480.0, "fine", "bilinear"),
        (30.0, "coarse", "average"),
        (300.0, "coarse", "average"),
        (350.0, "coarse", "bilinear"),
        (500.0, "coarse", "bilinear"),
    ],
)
def test_auto_averages_where_pixels_become_much_fewer(stack, pixel, read_on, method):
    side = max(int(1800 / pixel), 2)
    array = smooth_field(2, side, side)
    corner = Affine(pixel, 0, ORIGIN[0] - 7, 0, -pixel, ORIGIN[1] + 7)
    opened = layer(Raster(array, transform=corner, crs=UTM), stack, role="coarse_t1", grid=read_on)
    assert opened.placement.resampling.name == method


def elsewhere(crs: Any, pixel: float, height: int, width: int, centre: tuple[float, float] = (750, 900)) -> Affine:
    """A north-up grid of another CRS around a point of the fine grid (metres from its corner)."""
    (x,), (y,) = transform(UTM, crs, [ORIGIN[0] + centre[0]], [ORIGIN[1] - centre[1]])
    return Affine(pixel, 0, x - pixel * width / 2, 0, -pixel, y + pixel * height / 2)


@pytest.mark.parametrize("method", ["auto", "nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize(
    ("crs", "pixel", "side"), [("EPSG:3035", 30, 90), ("EPSG:4326", 0.0003, 110), (SINUSOIDAL, 463.3127, 12)]
)
def test_a_warp_is_that_of_the_whole_raster(stack, crs, pixel, side, method):
    """Read in blocks, against one reprojection of everything."""
    array = smooth_field(2, side, side)
    at = elsewhere(crs, pixel, side, side)
    opened = layer(Raster(array, transform=at, crs=crs), stack, resampling=method)
    parts = [opened.read(first, min(first + 7, 60)) for first in range(0, 60, 7)]
    pixels = np.concatenate([p for p, _ in parts], axis=1)
    valid = np.concatenate([v for _, v in parts]).astype(bool)
    expected = np.full((2, 60, 50), np.nan, np.float32)
    reproject(
        array,
        expected,
        src_transform=at,
        src_crs=crs,
        dst_transform=FINE.transform,
        dst_crs=UTM,
        resampling=opened.placement.resampling,
        src_nodata=np.nan,
        dst_nodata=np.nan,
        tolerance=0.001,
        XSCALE=opened.placement.scale,
        YSCALE=opened.placement.scale,
    )
    assert valid.all()
    step = 0.3 if method == "nearest" else 1e-3  # a position on the edge of a pixel may fall either way
    assert np.mean(np.abs(pixels - expected) > 1e-3) < 0.01
    np.testing.assert_allclose(pixels, expected, atol=step)


@pytest.mark.parametrize(("crs", "pixel"), [("EPSG:3035", 30.0), (SINUSOIDAL, 463.3127)])
def test_a_warp_finds_the_right_place(stack, crs, pixel):
    """The raster holds its own ground position: after the warp, each pixel knows where it is."""
    side = 90 if pixel < 100 else 12
    at = elsewhere(crs, pixel, side, side)
    rows, columns = np.mgrid[0:side, 0:side]
    x, y = at * (columns + 0.5, rows + 0.5)
    east, north = transform(crs, UTM, x.ravel(), y.ravel())
    array = np.stack([np.subtract(east, ORIGIN[0]), np.subtract(ORIGIN[1], north)]).reshape(2, side, side)
    pixels, valid = whole(layer(Raster(array, transform=at, crs=crs), stack, resampling="bilinear"))
    assert valid.all()
    truth = np.stack(np.meshgrid((np.arange(50) + 0.5) * 30, (np.arange(60) + 0.5) * 30))
    np.testing.assert_allclose(pixels, truth, atol=0.5)  # metres


def test_a_raster_that_covers_a_part_leaves_the_rest_invalid(stack):
    array = np.ones((2, 10, 10), np.float32)
    corner = Affine(100, 0, ORIGIN[0] + 300, 0, -100, ORIGIN[1] - 600)
    pixels, valid = whole(layer(Raster(array, transform=corner, crs=UTM), stack))
    expected = np.zeros((60, 50), bool)
    expected[20:54, 10:44] = True
    # Half a pixel at either border, where the centre decides.
    np.testing.assert_array_equal(valid[:53, :43], expected[:53, :43])
    assert (pixels[:, valid > 0] == 1).all()


@pytest.mark.parametrize("turn", [0.0, 25.0, 90.0])
def test_a_grid_may_be_rotated(stack, turn):
    """fine_t1 on a rotated grid: a north-up raster of its own ground position is found again."""
    rotated = Grid(FINE.crs, Affine.translation(*ORIGIN) * Affine.rotation(turn) * Affine.scale(30, -30), Shape(20, 30))
    side = 120
    at = Affine(30, 0, ORIGIN[0] - 60 * 30, 0, -30, ORIGIN[1] + 60 * 30)
    rows, columns = np.mgrid[0:side, 0:side]
    x, y = at * (columns + 0.5, rows + 0.5)
    array = np.stack([x - ORIGIN[0], y - ORIGIN[1]])
    opened = layer(Raster(array, transform=at, crs=UTM), stack, fine=rotated, resampling="bilinear")
    pixels, valid = whole(opened)
    rows, columns = np.mgrid[0:20, 0:30]
    x, y = rotated.transform * (columns + 0.5, rows + 0.5)
    assert valid.all()
    np.testing.assert_allclose(pixels, np.stack([x - ORIGIN[0], y - ORIGIN[1]]), atol=0.05)


def test_a_raster_that_runs_south_up_is_turned(stack):
    array = smooth_field(2, 60, 50)
    south = Affine(30, 0, ORIGIN[0], 0, 30, ORIGIN[1] - 60 * 30)
    pixels, valid = whole(layer(Raster(array[:, ::-1], transform=south, crs=UTM), stack))
    assert valid.all()
    np.testing.assert_allclose(pixels, array, atol=1e-5)


# Reading does not depend on how it is done ---------------------------------------------------------------


@pytest.fixture(scope="module")
def warped_files(tmp_path_factory) -> dict[str, Path]:
    """Rasters whose warps GDAL would do differently in different windows: with holes, near the fine pixel size."""
    folder = tmp_path_factory.mktemp("warped")
    rng = np.random.default_rng(5)
    files = {}
    for name, crs, pixel, side in [
        ("turned", "EPSG:3035", 30.0, 100),
        ("finer", UTM, 22.0, 120),
        ("coarser", SINUSOIDAL, 463.3127, 12),
    ]:
        array = rng.random((2, side, side)).astype(np.float32)
        array[0, rng.random((side, side)) < 0.1] = np.nan
        files[name] = write_tif(folder / f"{name}.tif", array, crs=crs, transform=elsewhere(crs, pixel, side, side))
    return files


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["turned", "finer", "coarser"]),
    method=st.sampled_from(["auto", "bilinear", "cubic", "average"]),
    windows=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 60)), min_size=1, max_size=5),
)
def test_the_same_rows_give_the_same_numbers(warped_files, name, method, windows):
    with ExitStack() as stack:
        truth, truth_valid = whole(layer(warped_files[name], stack, resampling=method))
    with ExitStack() as stack:
        opened = layer(warped_files[name], stack, resampling=method)
        for first, count in windows:
            stop = min(first + count, 60)
            pixels, valid = opened.read(first, stop)
            np.testing.assert_array_equal(pixels, truth[:, first:stop])
            np.testing.assert_array_equal(valid, truth_valid[first:stop])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 60)), min_size=1, max_size=8))
def test_a_strip_holds_what_a_fresh_read_gives(warped_files, moves):
    """Forwards, backwards, overlapping or not."""
    with ExitStack() as stack:
        strip = Strip(layer(warped_files["finer"], stack))
        for first, count in moves:
            stop = min(first + count, 60)
            strip.move_to(first, stop)
            fresh = Strip(layer(warped_files["finer"], stack))
            fresh.move_to(first, stop)
            assert strip.first <= first
            assert strip.first + len(strip.valid) >= stop
            held, known = (slice(first - one.first, stop - one.first) for one in (strip, fresh))
            np.testing.assert_array_equal(strip.pixels[:, held], fresh.pixels[:, known])
            np.testing.assert_array_equal(strip.valid[held], fresh.valid[known])
            assert np.isfinite(strip.pixels).all()


def test_a_large_warp_is_the_same_in_any_rows(stack, tmp_path):
    """Larger than GDAL's blocks and than what it warps at once, and through a projection."""
    array = np.random.default_rng(0).random((1, 60, 120)).astype(np.float32)
    at = elsewhere(SINUSOIDAL, 463.3127, 60, 120, centre=(20_000, 4_000))
    path = write_tif(tmp_path / "wide.tif", array, crs=SINUSOIDAL, transform=at)
    fine = Grid(FINE.crs, grid_transform(10), Shape(800, 4000))
    truth, valid = whole(layer(path, stack, 1, fine=fine))
    assert valid.mean() > 0.5
    opened = layer(path, stack, 1, fine=fine)
    for first, stop in ((700, 800), (0, 1), (7, 31), (200, 600), (511, 513)):
        np.testing.assert_array_equal(opened.read(first, stop)[0], truth[:, first:stop])
