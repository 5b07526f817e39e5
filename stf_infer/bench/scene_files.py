# SPDX-License-Identifier: Apache-2.0
"""The rasters of a bench's scenes as files: what is made is written once, what is stated can be stated again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import gdal
from ..errors import OutputError, RasterError
from ..grid import Shape
from ..placement import Grid
from ..raster import Raster
from ..sampling import mirrored
from .result import SceneFacts

TRUTH = "truth"
_ROWS = 256


def rasters_of(facts: SceneFacts, folder: Path) -> dict[str, Raster]:
    """The rasters of a scene by role, and its truth as ``truth``, with everything that was stated about them.

    Args:
        facts: The scene.
        folder: Of the JSON file.
    """
    from affine import Affine

    paths = facts.inputs | ({} if facts.truth is None else {TRUTH: facts.truth})
    as_stated = {"bands": tuple, "names": tuple, "transform": lambda six: Affine(*six)}
    found = {}
    for role, path in paths.items():
        stated = facts.stated.get(role, {})
        kept = {name: as_stated[name](value) if name in as_stated else value for name, value in stated.items()}
        found[role] = Raster(within(folder, path), **kept)
    return found


def within(folder: Path, path: str) -> str:
    """A path of a result, which may be relative to the folder of the result; what is no path is left alone."""
    inside = folder / path
    return str(inside) if inside.exists() else path


def told(path: str | Path, folder: Path) -> str:
    """A path as a result keeps it: relative to the folder of the result inside of it, else absolute."""
    place = Path(path)
    if not place.exists():  # a URL, or a part of a container
        return str(path)
    place, root = place.resolve(), folder.resolve()
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)


def stated_of(raster: Raster) -> dict[str, Any]:
    """What was stated about a raster, as plain values."""
    from ..arrays import crs_of

    crs = crs_of(raster.crs)
    stated = {
        "bands": raster.bands and list(raster.bands),
        "scale": raster.scale,
        "offset": raster.offset,
        "nodata": raster.nodata,
        "names": raster.names and list(raster.names),
        "crs": crs and crs.to_wkt(),
        "transform": raster.transform and list(raster.transform)[:6],
    }
    return {name: value for name, value in stated.items() if value is not None}


def as_file(raster: Raster, path: Path) -> Raster:
    """An array with all that is stated about it as a file; a file as it is.

    Raises:
        RasterError: An array does not say where it lies.
        OutputError: The file cannot be written.
    """
    if not raster.is_array:
        return raster
    if not raster.has_georeference:
        raise RasterError(
            "An array of a scene does not say where it lies",
            got=raster.label,
            fix="Raster(array, transform=..., crs=...), or a file",
        )
    with raster.open() as source:
        profile = {**source.profile, "compress": "deflate", "driver": "GTiff"}
        with new_file(path, profile) as out:
            out.write(source.read())
            out.descriptions = source.descriptions
            out.scales = source.scales if raster.scale is None else (raster.scale,) * source.count
            out.offsets = source.offsets if raster.offset is None else (raster.offset,) * source.count
            if any("per_dataset" in flag.name for flag in source.mask_flag_enums[0]):
                out.write_mask(source.dataset_mask())
    return Raster(path, bands=raster.bands)


@contextmanager
def new_file(path: Path, profile: Mapping[str, Any]) -> Iterator[Any]:
    """An open GeoTIFF that takes its name when everything is in it; nothing is left behind after an error.

    Raises:
        OutputError: It cannot be written.
    """
    import rasterio

    beside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_CACHEMAX=64), rasterio.open(beside, "w", **profile) as out:
            yield out
        beside.replace(path)
    except gdal.failures() as error:
        raise OutputError("A file of a bench cannot be written", got=f"{path}: {error}") from error
    finally:
        beside.unlink(missing_ok=True)


def raster_profile(grid: Grid, count: int, dtype: str, nodata: float | None = None) -> dict[str, Any]:
    """What a GeoTIFF on a grid is made with: tiles, deflate."""
    return {
        "driver": "GTiff",
        "count": count,
        "height": grid.shape.height,
        "width": grid.shape.width,
        "dtype": dtype,
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "zlevel": 1,
        "BIGTIFF": "IF_SAFER",
    }


def mirror_file(source: Path, path: Path, shape: Shape) -> Path:
    """A file of another size: the pixels of a small one, mirrored at its borders, or cut.

    Memory is that of the small one and some rows of the other.

    Raises:
        OutputError: The file cannot be written.
    """
    import rasterio

    with rasterio.open(source) as small:
        pixels = small.read()
        profile = raster_profile(replace(Grid.of(small), shape=shape), small.count, small.dtypes[0], small.nodata)
        columns = mirrored(np.arange(shape.width), small.width)
        with new_file(path, profile) as out:
            for first in range(0, shape.height, _ROWS):
                rows = np.arange(first, min(first + _ROWS, shape.height))
                block = pixels[:, mirrored(rows, small.height)][:, :, columns]
                out.write(block, window=((first, int(rows[-1]) + 1), (0, shape.width)))
            out.descriptions, out.scales, out.offsets = small.descriptions, small.scales, small.offsets
    return path
