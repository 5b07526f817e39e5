# SPDX-License-Identifier: Apache-2.0
"""Areas of interest as windows of the fine grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform, transform_bounds

from fakes import ORIGIN, UTM, grid_transform
from stf_infer.area import area_window
from stf_infer.errors import GridError, UsageError
from stf_infer.grid import Shape, Window
from stf_infer.placement import Grid

GRID = Grid(CRS.from_user_input(UTM), grid_transform(), Shape(60, 50))


def bounds(window: Window, grow: float = 0.0) -> tuple[float, float, float, float]:
    """West, south, east, north of a window, grown by metres."""
    west, north = ORIGIN[0] + 30 * window.x0, ORIGIN[1] - 30 * window.y0
    east, south = ORIGIN[0] + 30 * window.x1, ORIGIN[1] - 30 * window.y1
    return west - grow, south - grow, east + grow, north + grow


@st.composite
def windows(draw: Any) -> Window:
    y0, x0 = draw(st.integers(0, 59)), draw(st.integers(0, 49))
    return Window(y0, draw(st.integers(y0 + 1, 60)), x0, draw(st.integers(x0 + 1, 50)))


def test_no_area_is_everything():
    assert area_window(None, GRID) == Window(0, 60, 0, 50)


@given(windows())
def test_an_area_on_pixel_borders_is_those_pixels(window):
    assert area_window(bounds(window), GRID) == window
    assert area_window(",".join(map(repr, bounds(window))), GRID) == window


@given(windows())
def test_a_pixel_that_is_touched_belongs_to_it(window):
    grown = Window(max(window.y0 - 1, 0), min(window.y1 + 1, 60), max(window.x0 - 1, 0), min(window.x1 + 1, 50))
    assert area_window(bounds(window, 1.0), GRID) == grown
    assert area_window(bounds(window, -1.0), GRID) == window


def test_what_lies_outside_is_cut_off():
    assert area_window((0, 0, 1e7, 1e7), GRID) == Window(0, 60, 0, 50)


def test_a_rotated_grid_takes_the_box_around_it():
    rotated = Grid(GRID.crs, Affine.translation(*ORIGIN) * Affine.rotation(90) * Affine.scale(30, -30), Shape(60, 50))
    corner = rotated.transform * (10, 20)
    other = rotated.transform * (14, 26)
    west, east = sorted((corner[0], other[0]))
    south, north = sorted((corner[1], other[1]))
    assert area_window((west, south, east, north), rotated) == Window(20, 26, 10, 14)


@pytest.mark.parametrize(
    "aoi",
    [
        "1,2,3",
        "a,b,c,d",
        "1,2,3,4,5",
        "area.shp",
        "",
        (1, 2, 3),
        ("x", 1, 2, 3),
        5,
        Path("area.shp"),
        object(),
    ],
)
def test_an_area_that_cannot_be_understood(aoi):
    with pytest.raises(UsageError, match=r"cannot be understood.*west,south,east,north.*GeoJSON"):
        area_window(aoi, GRID)


@pytest.mark.parametrize(
    "aoi", ["10,0,5,20", "0,20,10,5", "1,1,1,2", "nan,0,1,1", "0,0,inf,1", "-inf,0,1,1", (0, float("-inf"), 1, 1)]
)
def test_an_area_without_extent(aoi):
    with pytest.raises(UsageError, match="The area is empty"):
        area_window(aoi, GRID)


def test_an_area_elsewhere_names_both():
    with pytest.raises(GridError, match=r"does not touch fine_t1. Got: 0,0,1,1. Allowed: within 500000,"):
        area_window("0,0,1,1", GRID)


# GeoJSON -------------------------------------------------------------------------------------------------


def lonlat(x: float, y: float) -> list[float]:
    (lon,), (lat,) = transform(UTM, "OGC:CRS84", [x], [y])
    return [lon, lat]


def polygon(window: Window) -> dict[str, Any]:
    west, south, east, north = bounds(window, -10)
    ring = [lonlat(x, y) for x, y in ((west, south), (east, south), (east, north), (west, north), (west, south))]
    return {"type": "Polygon", "coordinates": [ring]}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda g: g,
        lambda g: {"type": "Feature", "geometry": g, "properties": {"coordinates": None}},
        lambda g: {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": g, "properties": {}}]},
        lambda g: {"type": "GeometryCollection", "geometries": [g]},
        lambda g: {"type": "MultiPolygon", "coordinates": [g["coordinates"]]},
        lambda g: {"type": "LineString", "coordinates": [[*p, 300.0] for p in g["coordinates"][0]]},
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".GeoJSON"])
def test_geojson_of_any_kind(tmp_path, wrap, suffix):
    """Longitude and latitude; the box around them in the grid's CRS may be a pixel larger."""
    window = Window(10, 30, 5, 25)
    path = tmp_path / f"area{suffix}"
    path.write_text(json.dumps(wrap(polygon(window))))
    for aoi in (path, str(path)):
        found = area_window(aoi, GRID)
        assert found.y0 in (9, 10)
        assert found.y1 in (30, 31)
        assert found.x0 in (4, 5)
        assert found.x1 in (25, 26)


def test_geojson_on_a_grid_of_degrees(tmp_path):
    box = transform_bounds(UTM, "EPSG:4326", *GRID.bounds)
    degrees = Grid(CRS.from_epsg(4326), Affine(0.0005, 0, box[0], 0, -0.0005, box[3]), Shape(30, 30))
    ring = [[box[0] + 0.001, box[3] - 0.002], [box[0] + 0.003, box[3] - 0.005]]
    path = tmp_path / "area.json"
    path.write_text(json.dumps({"type": "MultiPoint", "coordinates": ring}))
    assert area_window(path, degrees) == Window(4, 10, 2, 6)
    # Without a CRS the numbers are taken for those of the grid.
    assert area_window(path, Grid(None, degrees.transform, degrees.shape)) == Window(4, 10, 2, 6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read.*No such file"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"{}", "holds no geometry"),
        (b'{"type": "Polygon", "coordinates": []}', "holds no geometry"),
        (b"7", "holds no geometry"),
        (b'{"type": "Point", "coordinates": [14.0, 47.8]}', "The area is empty"),
    ],
)
def test_geojson_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "area.geojson"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        area_window(path, GRID)


def test_geojson_that_the_crs_cannot_show(tmp_path):
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps({"type": "MultiPoint", "coordinates": [[500, 95], [900, 99]]}))
    with pytest.raises((GridError, UsageError)):
        area_window(path, GRID)
