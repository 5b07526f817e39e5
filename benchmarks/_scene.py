# SPDX-License-Identifier: Apache-2.0
"""Scenes for benchmarks: procedural pixels repeated by mirroring to any size, written row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from stf_infer.datasets import procedural_scene

RATIO = 16
_CELL = 512


def write_big_scene(
    folder: Path, side: int, *, compress: str | None = None, bands: tuple[str, ...] = ("blue", "green", "red", "nir")
) -> dict[str, Path]:
    """Write fine_t1, coarse_t1 and coarse_t2 of a square scene; memory does not grow with ``side``.

    A cell of procedural landscape is repeated with every second copy mirrored, so that its borders fit.

    Args:
        folder: Where the files go.
        side: Rows and columns of the fine raster.
        compress: GDAL compression, or None.
        bands: Band names.

    Returns:
        Role to path; int16, reflectance x 10000, with the scale in the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cell = procedural_scene(11, _CELL, _CELL, ratio=RATIO, bands=bands)
    coarse_side = -(-side // RATIO)
    return {
        "fine_t1": _write(folder / "fine_t1.tif", cell.fine_t1, side, 30.0, compress, bands),
        "coarse_t1": _write(folder / "coarse_t1.tif", cell.coarse_t1, coarse_side, 480.0, compress, bands),
        "coarse_t2": _write(folder / "coarse_t2.tif", cell.coarse_t2, coarse_side, 480.0, compress, bands),
    }


def kept_scene(folder: Path, side: int, compress: str) -> dict[str, Path]:
    """The scene of that size, written where it is not there yet."""
    place = folder / f"scene-{side}-{compress}"
    roles = {role: place / f"{role}.tif" for role in ("fine_t1", "coarse_t1", "coarse_t2")}
    if all(path.is_file() for path in roles.values()):
        return roles
    return write_big_scene(place, side, compress=None if compress == "none" else compress)


def write_mirrored(folder: Path, side: int, sources: list[Path]) -> dict[str, Path]:
    """A square scene of real pixels: each source is one band, mirrored to ``side``; coarse rasters by averaging.

    Args:
        folder: Where the files go.
        side: Rows and columns of the fine raster.
        sources: Single-band rasters of one shape, whole numbers of reflectance x 10000.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cell = np.concatenate([rasterio.open(path).read() for path in sources]).astype(np.float32) / 10000
    square = min(cell.shape[1:]) // RATIO * RATIO
    cell = cell[:, :square, :square]
    coarse = cell.reshape(len(cell), square // RATIO, RATIO, square // RATIO, RATIO).mean((2, 4))
    bands = tuple(f"band_{i + 1}" for i in range(len(cell))) if len(cell) != 4 else ("blue", "green", "red", "nir")
    coarse_side = -(-side // RATIO)
    return {
        "fine_t1": _write(folder / "fine_t1.tif", cell, side, 30.0, None, bands),
        "coarse_t1": _write(folder / "coarse_t1.tif", coarse, coarse_side, 480.0, None, bands),
        "coarse_t2": _write(folder / "coarse_t2.tif", coarse * 1.1, coarse_side, 480.0, None, bands),
    }


def _write(path: Path, cell: np.ndarray, side: int, pixel: float, compress: str | None, bands: tuple[str, ...]) -> Path:
    stored = np.round(np.nan_to_num(cell) * 10000).astype(np.int16)
    mirrored = np.concatenate([stored, stored[:, :, ::-1]], axis=2)
    band_of_rows = np.tile(mirrored, (1, 1, -(-side // mirrored.shape[2])))[:, :, :side]
    rows = stored.shape[1]
    options = {"compress": compress, "predictor": 2, "zstd_level": 1} if compress == "zstd" else {"compress": compress}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(bands),
        height=side,
        width=side,
        dtype="int16",
        crs="EPSG:32633",
        transform=Affine(pixel, 0, 300_000, 0, -pixel, 5_800_000),
        nodata=-32768,
        tiled=True,
        blockxsize=512,
        blockysize=512,
        bigtiff="if_safer",
        **{k: v for k, v in options.items() if v is not None},
    ) as out:
        out.descriptions = bands
        out.scales = (1e-4,) * len(bands)
        for number, first in enumerate(range(0, side, rows)):
            block = band_of_rows if number % 2 == 0 else band_of_rows[:, ::-1]
            count = min(rows, side - first)
            out.write(block[:, :count], window=rasterio.windows.Window(0, first, side, count))
    return path
