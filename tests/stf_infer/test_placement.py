# SPDX-License-Identifier: Apache-2.0
"""Whether a raster can be brought onto the grid of fine_t1 at all, and how."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform

from fakes import ORIGIN, UTM, grid_transform
from stf_infer.errors import GridError
from stf_infer.grid import Shape
from stf_infer.placement import Aligned, Grid, Warped, pixel_size_in, place
from stf_infer.raster import Raster
from stf_infer.spec import InputSpec, Values

FINE = Grid(CRS.from_user_input(UTM), grid_transform(), Shape(64, 48))


def placed(at: Affine | None, crs: Any, shape: tuple[int, int], *, fine: Grid = FINE, **given: Any) -> Any:
    role, ratio, any_ratio = given.get("role", "coarse_t1"), given.get("ratio", 16), given.get("any_ratio", False)
    grid = given.get("grid", "coarse" if role.startswith("coarse") else "fine")
    spec = InputSpec(role=role, tensor="x", bands=("a",), grid=grid, values=Values(unit="1"))
    target = fine.coarser(ratio) if grid == "coarse" else fine
    raster = Raster(np.zeros((1, *shape), np.float32), transform=at, crs=crs)
    with raster.open() as dataset:
        return place(dataset, target, spec, fine, ratio, any_ratio=any_ratio, label="here.tif")


def coarse_at(pixel: float, shift: float = 0.0) -> Affine:
    return Affine(pixel, 0, ORIGIN[0] + shift, 0, -pixel, ORIGIN[1] - shift)


# Grids ---------------------------------------------------------------------------------------------------


def test_the_coarse_working_grid_covers_the_scene():
    assert FINE.coarser(16) == Grid(FINE.crs, grid_transform(480), Shape(4, 3))
    assert Grid(FINE.crs, FINE.transform, Shape(65, 49)).coarser(16).shape == Shape(5, 4)
    assert FINE.coarser(1) == FINE


def test_a_part_of_a_grid_begins_where_its_window_does():
    part = FINE.part(3, 5, Shape(2, 4))
    assert part.transform * (0, 0) == (ORIGIN[0] + 150, ORIGIN[1] - 90)
    assert part.bounds == (ORIGIN[0] + 150, ORIGIN[1] - 150, ORIGIN[0] + 270, ORIGIN[1] - 90)


def test_the_size_of_a_pixel_in_pixels_of_another_grid():
    other = Grid(FINE.crs, coarse_at(463.3), Shape(5, 5))
    assert pixel_size_in(other, FINE) == pytest.approx(463.3 / 30)
    (x,), (y,) = transform(UTM, "EPSG:4326", [ORIGIN[0]], [ORIGIN[1]])
    degrees = Grid(CRS.from_epsg(4326), Affine(0.01, 0, x, 0, -0.01, y), Shape(5, 5))
    # A hundredth of a degree at 47.85 degrees north: 1112 m to the north, 748 m to the east.
    assert pixel_size_in(degrees, FINE) == pytest.approx(np.sqrt(1112 * 748) / 30, rel=0.01)


# Aligned or warped ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dy", [-3, 0, 2])
@pytest.mark.parametrize("dx", [-2, 0, 1])
def test_whole_pixels_of_offset_are_aligned(dy, dx):
    at = grid_transform(480) * Affine.translation(-dx, -dy)
    assert placed(at, UTM, (9, 9)) == Aligned(dy, dx)


@pytest.mark.parametrize(
    "at",
    [
        coarse_at(480, 3),
        coarse_at(481),
        grid_transform(480) * Affine.rotation(1),
        Affine(480, 0, ORIGIN[0], 0, 480, ORIGIN[1] - 4 * 480),
    ],
)
def test_anything_else_is_warped(at):
    assert isinstance(placed(at, UTM, (4, 3)), Warped)


def test_the_same_crs_in_other_words_is_the_same():
    wkt = CRS.from_epsg(32633).to_wkt(version="WKT1_ESRI")
    assert placed(grid_transform(480), wkt, (4, 3)) == Aligned(0, 0)


def test_without_any_crs_equal_transforms_are_enough():
    bare = Grid(None, FINE.transform, FINE.shape)
    assert placed(grid_transform(480), None, (4, 3), fine=bare) == Aligned(0, 0)


def test_a_raster_of_the_same_shape_may_lack_its_crs():
    assert placed(grid_transform(480), None, (4, 3)) == Aligned(0, 0)
    with pytest.raises(GridError, match=r"coarse_t1 lies on another grid.*here\.tif has no CRS.*-a_srs"):
        placed(grid_transform(480), None, (5, 3))


def test_a_warp_needs_a_crs_on_both_sides():
    with pytest.raises(GridError, match=r"without a CRS it cannot be warped. Got: here\.tif has no CRS.*gdal_edit"):
        placed(coarse_at(480, 7), None, (5, 5))
    with pytest.raises(GridError, match=r"Got: fine_t1 has no CRS"):
        placed(coarse_at(480, 7), UTM, (5, 5), fine=Grid(None, FINE.transform, FINE.shape))


# No overlap ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "crs"),
    [
        (grid_transform(480) * Affine.translation(3, 0), UTM),  # aligned, and begins where the scene ends
        (grid_transform(480) * Affine.translation(-9, 0), UTM),
        (grid_transform(480) * Affine.translation(0, 4), UTM),
        (coarse_at(480, 50_000), UTM),
        (Affine(0.005, 0, -70, 0, -0.005, 10), "EPSG:4326"),
        (grid_transform(480), "EPSG:32619"),
    ],
)
def test_rasters_that_do_not_overlap_show_where_both_lie(at, crs):
    with pytest.raises(GridError, match=r"coarse_t1 does not overlap fine_t1. Got: here\.tif: .*within 500000, "):
        placed(at, crs, (9, 9))


def test_a_crs_that_cannot_show_the_scene():
    """The scene lies on the other side of the earth for an orthographic projection."""
    away = "+proj=ortho +lat_0=-48 +lon_0=-165 +datum=WGS84"
    with pytest.raises(GridError, match="coarse_t1"):
        placed(Affine(480, 0, 0, 0, -480, 0), away, (9, 9))


def test_a_crs_without_a_place_on_earth():
    with pytest.raises(GridError, match="cannot be brought into the CRS of fine_t1"):
        placed(coarse_at(480, 7), 'LOCAL_CS["somewhere",UNIT["metre",1]]', (5, 5))


# The ratio -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel", [463.3, 480.0001, 400, 600, 30.0, 29.0, 38.0, 10.0])
def test_pixels_of_about_the_ratio_or_of_the_fine_grid_are_taken(pixel):
    placed(coarse_at(pixel, 7), UTM, (200, 200))


@pytest.mark.parametrize("pixel", [60, 240, 300, 700, 1000])
def test_other_pixels_are_refused_by_their_size(pixel):
    with pytest.raises(
        GridError,
        match=rf"pixel size of coarse_t1.*a pixel is {pixel / 30:.3g} fine pixels wide.*about 16.*--any-ratio",
    ):
        placed(coarse_at(pixel, 7), UTM, (200, 200))
    assert isinstance(placed(coarse_at(pixel, 7), UTM, (200, 200), any_ratio=True), Warped)


def test_the_ratio_is_of_no_concern_to_other_roles():
    assert isinstance(placed(coarse_at(100, 7), UTM, (90, 90), role="elevation"), Warped)
