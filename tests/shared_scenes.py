# SPDX-License-Identifier: Apache-2.0
"""Real images as rasters by role, in the files in which a user would have them.

*Kranj*, Landsat 8 and MODIS of three days in 2020, 45 x 44 pixels: gaps of clouds in the fine images, coarse images of
another sensor, resampled to the fine grid. For networks whose tiles are small.

*Landsat 7*, Pennsylvania, July and November 2002: cut to what a network's tiles need, saturated clouds as nodata,
coarse images as block means. No image of t2 lies between the two dates; t2 is their mean.

Both have the six bands of :data:`BANDS`; a panchromatic band is the mean of three of Landsat 7. Digital numbers of
Landsat 7 stand in for reflectance, as a share of 255.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from stf_infer.grid import Shape, TilePlan, ceil_to
from stf_infer.raster import Raster
from stf_infer.spec import ModelSpec
from support import shared_path

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
_PAN = ("green", "red", "nir")

SERIES_BANDS = tuple(f"{date}_{band}" for date in ("t1", "t2", "t3") for band in BANDS)

KRANJ = Shape(44, 45)
_KRANJ_DAYS = {"t1": ("068", "191-28"), "t2": ("077", "190-28"), "t3": ("093", "190-28")}

_LANDSAT_7 = {"t1": "etm_20020720_b123457.tif", "t3": "etm_20021125_b123457.tif"}
_LANDSAT_7_SIDE = 300
_CLOUDY_ROW = 80  # where the first image has clouds
_SATURATED = 255


@dataclass(frozen=True)
class RealScene:
    """Rasters of a network.

    Attributes:
        name: What the scene is called in the table.
        rasters: One for each role.
        valid: Fine pixels ``(H, W)`` at which every input of the network is valid, counted without the runtime.
    """

    name: str
    rasters: dict[str, Raster]
    valid: np.ndarray


def side_of_several_tiles(spec: ModelSpec, unit: int) -> int:
    """Pixels that two tiles cover, and a little more, in whole units."""
    axis = TilePlan.for_scene(spec.tile, Shape(1, 1)).y
    return ceil_to(axis.size - 2 * axis.margin + axis.step + 5, unit)


def real_scene(spec: ModelSpec, folder: Path) -> RealScene:
    """A real scene of several tiles for a network, with the bands that it wants; skips without the shared data."""
    on_fine = all(raster.grid == "fine" and not raster.from_coarse for raster in spec.rasters)
    dated = all(raster.role in _roles(_KRANJ_DAYS) for raster in spec.rasters)
    banded = all(set(raster.bands) <= set(BANDS) for raster in spec.rasters)
    if on_fine and dated and banded and len(TilePlan.for_scene(spec.tile, KRANJ)) >= 4:
        return _kranj(spec)
    return _landsat_7(spec, folder)


def _roles(dates: dict) -> set[str]:
    return {f"{kind}_{date}" for kind in ("fine", "coarse") for date in dates}


def _numbers(bands: tuple[str, ...], stored: tuple[str, ...] = BANDS) -> tuple[int, ...]:
    return tuple(stored.index(band) + 1 for band in bands)


def _kranj(spec: ModelSpec) -> RealScene:
    rasters, valid = {}, np.ones((KRANJ.height, KRANJ.width), bool)
    for one in spec.rasters:
        kind, _, date = one.role.partition("_")
        day, path_row = _KRANJ_DAYS[date]
        name = f"landsat_unfilled/2020{day}_{path_row}_kranj.tif"
        if kind == "coarse":
            name = f"modis_filled/2020{day}_18-04_kranj.tif"
        file = shared_path("data", "kranj_landsat_modis_2020", name)
        rasters[one.role] = Raster(file, bands=_numbers(one.bands), scale=1e-4 if kind == "fine" else None)
        if one.role in spec.roles:
            with rasterio.open(file) as source:
                valid &= (source.read(rasters[one.role].bands) > -1e30).all(axis=0)
    return RealScene("Kranj", rasters, valid)


def _landsat_7(spec: ModelSpec, folder: Path) -> RealScene:
    side = min(side_of_several_tiles(spec, spec.ratio), _LANDSAT_7_SIDE // spec.ratio * spec.ratio)
    top = min(_CLOUDY_ROW, _LANDSAT_7_SIDE - side)
    images, transform = {}, Affine.identity()
    for date, name in _LANDSAT_7.items():
        with rasterio.open(shared_path("data", "landsat7_p15r32_2002", name)) as source:
            images[date] = source.read(window=rasterio.windows.Window(0, top, side, side))
            transform = source.transform * Affine.translation(0, top)
    stored = {date: np.where(image == _SATURATED, np.nan, image).astype(np.float32) for date, image in images.items()}
    stored["t2"] = (stored["t1"] + stored["t3"]) / 2
    # A series is the three dates as one raster, its bands named t1_blue and so on.
    stored["series"] = np.concatenate([stored[date] for date in ("t1", "t2", "t3")])
    rasters, valid = {}, np.ones((side, side), bool)
    for one in spec.rasters:
        coarse = one.role.startswith("coarse") or one.grid == "coarse"
        image, grid = stored[one.role.rpartition("_")[2]], transform
        names = SERIES_BANDS if one.role == "series" else BANDS
        if "pan" in one.bands:
            image = np.concatenate([image, image[[BANDS.index(band) for band in _PAN]].mean(axis=0, keepdims=True)])
            names = (*BANDS, "pan")
        numbers = _numbers(one.bands, names)
        if coarse:
            image, grid = _block_means(image, spec.ratio), transform * Affine.scale(spec.ratio)
        file = _write(folder / f"{one.role}.tif", image, grid)
        rasters[one.role] = Raster(file, bands=numbers, scale=1 / _SATURATED)
        if one.role in spec.roles:
            seen = np.isfinite(image[[n - 1 for n in numbers]]).all(axis=0)
            valid &= seen.repeat(spec.ratio, 0).repeat(spec.ratio, 1)[:side, :side] if coarse else seen
    return RealScene("Landsat 7", rasters, valid)


def _block_means(image: np.ndarray, ratio: int) -> np.ndarray:
    """Means of the valid pixels of each coarse pixel; NaN where less than half of them are."""
    bands, height, width = image.shape
    blocks = image.reshape(bands, height // ratio, ratio, width // ratio, ratio)
    counted = np.isfinite(blocks).mean(axis=(2, 4))
    sums = np.nan_to_num(blocks).mean(axis=(2, 4))
    return np.where(counted >= 0.5, sums / np.maximum(counted, 0.5), np.nan).astype(np.float32)


def _write(path: Path, image: np.ndarray, transform: Affine) -> Path:
    """A file as a user would have it: bytes with 255 as nodata, or floats with NaN."""
    whole = all(np.array_equal(values, np.round(values)) for values in _finite(image))
    nodata = _SATURATED if whole else np.nan
    profile = {"count": len(image), "height": image.shape[1], "width": image.shape[2], "nodata": nodata}
    dtype = "uint8" if whole else "float32"
    with rasterio.open(path, "w", "GTiff", crs="EPSG:32618", transform=transform, dtype=dtype, **profile) as out:
        out.write(np.where(np.isfinite(image), image, nodata).astype(dtype))
    return path


def _finite(image: np.ndarray) -> Iterator[np.ndarray]:
    return (band[np.isfinite(band)] for band in image)
