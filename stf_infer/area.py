# SPDX-License-Identifier: Apache-2.0
"""An area of interest as a window of the fine grid."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from . import gdal
from .errors import GridError, UsageError
from .grid import Window
from .placement import Grid


def area_window(aoi: Any, grid: Grid) -> Window:
    """The pixels of the grid that an area touches.

    Args:
        aoi: None (all of it), (west, south, east, north) in the grid's CRS, the same as text ``w,s,e,n``, or the path
            of a GeoJSON file (longitude and latitude, of which the bounding box is taken).
        grid: The fine grid.

    Raises:
        UsageError: The area cannot be understood.
        GridError: It does not touch the grid.
    """
    if aoi is None:
        return Window(0, grid.shape.height, 0, grid.shape.width)
    west, south, east, north = _bounds_of(aoi, grid)
    if not (west < east and south < north and math.isfinite(east - west + north - south)):
        raise UsageError(
            "The area is empty", got=f"{west},{south},{east},{north}", allowed="west < east, south < north"
        )
    inverse = ~grid.transform
    corners = [inverse * corner for corner in ((west, south), (west, north), (east, south), (east, north))]
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    # Round-off must not add a pixel to an area that was stated on pixel borders.
    window = Window(
        max(math.floor(min(ys) + 1e-6), 0),
        min(math.ceil(max(ys) - 1e-6), grid.shape.height),
        max(math.floor(min(xs) + 1e-6), 0),
        min(math.ceil(max(xs) - 1e-6), grid.shape.width),
    )
    if window.y0 >= window.y1 or window.x0 >= window.x1:
        raise GridError(
            "The area does not touch fine_t1",
            got=f"{west:.6g},{south:.6g},{east:.6g},{north:.6g}",
            allowed=f"within {','.join(f'{v:.6g}' for v in grid.bounds)} (west,south,east,north)",
        )
    return window


def _bounds_of(aoi: Any, grid: Grid) -> tuple[float, float, float, float]:
    if isinstance(aoi, (str, Path)) and Path(aoi).suffix.lower() in (".json", ".geojson"):
        return _geojson_bounds(Path(aoi), grid)
    try:
        parts = aoi.split(",") if isinstance(aoi, str) else aoi
        west, south, east, north = (float(p) for p in parts)
    except (TypeError, ValueError) as error:
        raise UsageError(
            "The area cannot be understood",
            got=aoi,
            allowed="west,south,east,north in the CRS of fine_t1, or a GeoJSON file",
        ) from error
    return west, south, east, north


def _geojson_bounds(path: Path, grid: Grid) -> tuple[float, float, float, float]:
    from rasterio.warp import transform_bounds

    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError("The GeoJSON file cannot be read", got=f"{path}: {error}") from error
    points = list(_points(data))
    if not points:
        raise UsageError("The GeoJSON file holds no geometry", got=path)
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    box = min(xs), min(ys), max(xs), max(ys)
    if grid.crs is None:
        return box
    try:
        bounds: tuple[float, float, float, float] = transform_bounds("OGC:CRS84", grid.crs, *box)
    except gdal.failures() as error:
        raise GridError("The area cannot be brought into the CRS of fine_t1", got=f"{path}: {error}") from error
    return bounds


def _points(data: Any) -> list[tuple[float, float]]:
    """All positions of a GeoJSON object, whatever its type."""
    if isinstance(data, dict):
        inner = [data.get(key) for key in ("features", "geometry", "geometries", "coordinates")]
        return [p for part in inner if part for p in _points(part)]
    if isinstance(data, list):
        if len(data) >= 2 and all(isinstance(v, (int, float)) for v in data):
            return [(float(data[0]), float(data[1]))]
        return [p for part in data for p in _points(part)]
    return []
