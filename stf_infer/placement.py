# SPDX-License-Identifier: Apache-2.0
"""Where a raster lies on the target grid, and how it gets there: read as it is, or warped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import gdal
from .errors import GridError
from .grid import Shape, ceil_to

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.crs import CRS
    from rasterio.enums import Resampling
    from rasterio.io import DatasetReader

    from .spec import RasterSpec

# Two grids are the same when their pixels lie within this fraction of a pixel.
_ALIGNED = 1e-3
# A raster counts as being of a pixel size when it is within this factor of it.
_SIMILAR = 1.3


@dataclass(frozen=True)
class Grid:
    """A raster grid: reference system (None if unknown), affine transform, rows and columns."""

    crs: CRS | None
    transform: Affine
    shape: Shape

    @classmethod
    def of(cls, dataset: DatasetReader) -> Grid:
        """The grid of an open raster."""
        return cls(dataset.crs or None, dataset.transform, Shape(dataset.height, dataset.width))

    def coarser(self, ratio: int) -> Grid:
        """The coarse working grid: same origin, pixels ``ratio`` times as large, covering the whole scene."""
        from affine import Affine

        shape = Shape(ceil_to(self.shape.height, ratio) // ratio, ceil_to(self.shape.width, ratio) // ratio)
        return Grid(self.crs, self.transform * Affine.scale(ratio), shape)

    def part(self, y: int, x: int, shape: Shape) -> Grid:
        """The grid of a window that begins at pixel (y, x)."""
        from affine import Affine

        return Grid(self.crs, self.transform * Affine.translation(x, y), shape)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in the units of the CRS."""
        return _bounds(self.transform, self.shape)


@dataclass(frozen=True)
class Aligned:
    """The raster's pixels are the grid's pixels: grid pixel (y, x) is raster pixel (y + dy, x + dx)."""

    dy: int
    dx: int


@dataclass(frozen=True)
class Warped:
    """The raster is read through a warp onto the grid.

    ``scale`` is the side of a pixel of the raster in pixels of the grid.
    """

    resampling: Resampling
    scale: float


def place(
    dataset: DatasetReader, grid: Grid, spec: RasterSpec, fine: Grid, ratio: int, *, any_ratio: bool, label: str
) -> Aligned | Warped:
    """How a raster gets onto the grid that an input is read on.

    Args:
        dataset: The open raster.
        grid: The grid to read on: fine, or coarse working grid.
        spec: The input.
        fine: The fine grid.
        ratio: The contract's ratio.
        any_ratio: Accept a coarse raster whose pixel size does not fit the contract's ratio.
        label: How messages name the raster.

    Raises:
        GridError: No overlap; no CRS where a warp is needed; a pixel size that does not fit the contract.
    """
    source = Grid.of(dataset)
    aligned = _aligned(source, grid)
    if aligned is not None:
        _check_overlap_aligned(source, grid, aligned, spec, label)
        return aligned
    if source.crs is None or grid.crs is None:
        which = label if source.crs is None else "fine_t1"
        points = source.crs is None and bool(dataset.gcps[0])
        raise GridError(
            f"{spec.role} lies on another grid than fine_t1, and without a CRS it cannot be warped",
            got=f"{which} has {'ground control points only' if points else 'no CRS'}",
            fix="Turn them into a grid first: gdalwarp FILE NEW_FILE"
            if points
            else "Assign one: gdal_edit.py -a_srs EPSG:... FILE (or Raster(..., crs=...) in Python)",
        )
    _check_overlap(source, grid, spec, label)
    size = pixel_size_in(source, fine)
    if not math.isfinite(size):  # the centre of the grid cannot be shown in the CRS of the raster
        _no_overlap(source.bounds, grid, spec, label)
    if spec.role.startswith("coarse"):
        _check_ratio(size, ratio, spec, any_ratio, label)
    grid_size = ratio if spec.read_grid == "coarse" else 1
    return Warped(_resampling(spec.resampling, size, grid_size), size / grid_size)


def _resampling(wanted: str, source_size: float, grid_size: float) -> Resampling:
    from rasterio.enums import Resampling

    if wanted != "auto":
        return Resampling[wanted]
    return Resampling.average if source_size * 1.5 < grid_size else Resampling.bilinear


def _aligned(source: Grid, grid: Grid) -> Aligned | None:
    """The offset between two grids whose pixels coincide, or None."""
    if source.crs != grid.crs and not (source.crs is None or grid.crs is None):
        return None
    if (source.crs is None) != (grid.crs is None) and source.shape != grid.shape:
        return None
    relative = ~source.transform * grid.transform  # grid pixel -> source pixel
    # Over the whole grid the pixels may drift apart by no more than the tolerance.
    side = max(grid.shape.height, grid.shape.width)
    drift = max(abs(relative.a - 1), abs(relative.e - 1), abs(relative.b), abs(relative.d)) * side
    dx, dy = round(relative.c), round(relative.f)
    if drift > _ALIGNED or abs(relative.c - dx) > _ALIGNED or abs(relative.f - dy) > _ALIGNED:
        return None
    return Aligned(dy, dx)


def _check_overlap_aligned(source: Grid, grid: Grid, at: Aligned, spec: RasterSpec, label: str) -> None:
    shares_rows = at.dy < source.shape.height and at.dy + grid.shape.height > 0
    shares_columns = at.dx < source.shape.width and at.dx + grid.shape.width > 0
    if not (shares_rows and shares_columns):
        _no_overlap(source.bounds, grid, spec, label)


def _check_overlap(source: Grid, grid: Grid, spec: RasterSpec, label: str) -> None:
    from rasterio.warp import transform_bounds

    try:
        bounds = transform_bounds(source.crs, grid.crs, *source.bounds, densify_pts=21)
    except gdal.failures() as error:
        raise GridError(f"{spec.role} cannot be brought into the CRS of fine_t1", got=f"{label}: {error}") from error
    if not all(map(math.isfinite, bounds)):
        return  # the extent reaches past what the projection can show; the mask will tell
    west, south, east, north = grid.bounds
    if bounds[0] >= east or bounds[2] <= west or bounds[1] >= north or bounds[3] <= south:
        _no_overlap(bounds, grid, spec, label)


def _no_overlap(bounds: tuple[float, ...], grid: Grid, spec: RasterSpec, label: str) -> None:
    def text(box: tuple[float, ...]) -> str:
        return ", ".join(f"{v:.6g}" for v in box)

    raise GridError(
        f"{spec.role} does not overlap fine_t1",
        got=f"{label}: {text(bounds)}",
        allowed=f"something within {text(grid.bounds)} (west, south, east, north in the CRS of fine_t1)",
        fix="Check that the rasters show the same place",
    )


def _check_ratio(size: float, ratio: int, spec: RasterSpec, any_ratio: bool, label: str) -> None:
    """A coarse raster comes in coarse pixels of the contract's size, or already resampled to fine pixels."""
    near_ratio = ratio / _SIMILAR <= size <= ratio * _SIMILAR
    near_fine = size <= _SIMILAR
    if not (near_ratio or near_fine or any_ratio):
        raise GridError(
            f"The pixel size of {spec.role} does not fit the ratio of the contract",
            got=f"{label}: a pixel is {size:.3g} fine pixels wide",
            allowed=f"about {ratio} (native), or 1 (resampled to the fine grid)",
            fix="Use a bundle of that ratio, or say --any-ratio to resample all the same",
        )


def pixel_size_in(source: Grid, grid: Grid) -> float:
    """Side of a pixel of ``source`` in pixels of ``grid``, at the centre of the grid (square root of the area)."""
    from rasterio.warp import transform

    pixel = abs(source.transform.determinant)
    if source.crs is not None and source.crs != grid.crs:
        centre = grid.transform * (grid.shape.width / 2, grid.shape.height / 2)
        (x,), (y,) = transform(grid.crs, source.crs, [centre[0]], [centre[1]])
        column, row = ~source.transform * (x, y)
        corners = [source.transform * (column + dx, row + dy) for dx, dy in ((0, 0), (1, 0), (0, 1))]
        xs, ys = transform(source.crs, grid.crs, [c[0] for c in corners], [c[1] for c in corners])
        pixel = abs((xs[1] - xs[0]) * (ys[2] - ys[0]) - (xs[2] - xs[0]) * (ys[1] - ys[0]))
    return math.sqrt(pixel / abs(grid.transform.determinant))


def _bounds(transform: Any, shape: Shape) -> tuple[float, float, float, float]:
    corners = [transform * (x, y) for x in (0, shape.width) for y in (0, shape.height)]
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    return min(xs), min(ys), max(xs), max(ys)
