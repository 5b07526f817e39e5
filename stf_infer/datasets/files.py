# SPDX-License-Identifier: Apache-2.0
"""A procedural scene as GeoTIFFs: what a user would have on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import OutputError
from .scene import Scene

SCALE = 1e-4
NODATA = -9999


def write_scene(scene: Scene, folder: str | Path) -> dict[str, Path]:
    """Write ``fine_t1.tif``, ``coarse_t1.tif``, ``coarse_t2.tif`` and ``fine_t2_truth.tif``.

    Tiled, compressed int16 of reflectance / 0.0001 with the scale in the file, nodata -9999 where a mask is
    False, and band names as descriptions. The coarse files have coarse pixels: bringing them onto the fine
    grid is the runtime's work.

    Args:
        scene: What to write.
        folder: Made if it is missing; files of these names are replaced.

    Returns:
        Path by name: ``fine_t1``, ``coarse_t1``, ``coarse_t2``, ``fine_t2_truth``.

    Raises:
        OutputError: The folder or a file cannot be written.
    """
    folder = Path(folder)
    truth_valid = np.ones(scene.fine_t2.shape[1:], bool)
    rasters = {
        "fine_t1": (scene.fine_t1, scene.fine_t1_valid, scene.fine_transform),
        "coarse_t1": (scene.coarse_t1, scene.coarse_t1_valid, scene.coarse_transform),
        "coarse_t2": (scene.coarse_t2, scene.coarse_t2_valid, scene.coarse_transform),
        "fine_t2_truth": (scene.fine_t2, truth_valid, scene.fine_transform),
    }
    paths = {name: folder / f"{name}.tif" for name in rasters}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (image, valid, transform) in rasters.items():
            _write(paths[name], image, valid, transform, scene)
    except OSError as error:
        raise OutputError("The scene cannot be written", got=f"{folder}: {error.strerror or error}") from error
    return paths


def _write(path: Path, image: np.ndarray, valid: np.ndarray, transform: tuple[float, ...], scene: Scene) -> None:
    from rasterio.io import MemoryFile
    from rasterio.transform import Affine

    stored = np.where(valid, np.rint(image / SCALE).clip(-32768, 32767), NODATA).astype(np.int16)
    profile = {
        "driver": "GTiff",
        "dtype": "int16",
        "count": image.shape[0],
        "height": image.shape[1],
        "width": image.shape[2],
        "crs": scene.crs,
        "transform": Affine(*transform),
        "nodata": NODATA,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "predictor": 2,
    }
    with MemoryFile() as memory:  # the file appears whole, and smaller than the scene in memory
        with memory.open(**profile) as raster:
            raster.write(stored)
            raster.descriptions = scene.bands
            raster.scales = (SCALE,) * raster.count
            raster.offsets = (0.0,) * raster.count
        path.write_bytes(memory.read())
