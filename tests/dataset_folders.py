# SPDX-License-Identifier: Apache-2.0
"""Miniature folders in the shape of the benchmark datasets, as they are handed around.

The fine image of a day is that of the first one plus what the coarse image, repeated to fine pixels, has changed: so a
network that adds the coarse change predicts the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from fakes import grid_transform, smooth_field, write_tif
from stf_infer.datasets import LAYOUTS

SHAPE = (24, 32)
DAYS = (date(2001, 10, 7), date(2001, 10, 16), date(2001, 11, 1))
_BLOCK = 4
_DTYPES = {1e-4: np.int16, 1 / 255: np.uint8, 1.0: np.float32}

# How the files of a day are called in each copy that is known: fine and coarse, without suffix.
Names = Callable[[date], tuple[str, str]]


def _of_year(day: date) -> str:
    return f"{day.year}{day.timetuple().tm_yday:03d}"


def _anew(day: date) -> tuple[str, str]:
    return f"L_{day}", f"M_{day}"


def _folders(day: date) -> tuple[str, str]:
    name = f"{day.year}_{day.timetuple().tm_yday:03d}_{day:%d%b}".lower()
    return f"L{name}", f"M{name}"


def _loose(day: date) -> tuple[str, str]:
    return tuple(f"{kind}_{day.year}-{day.month}-{day.day}" for kind in "LM")


def _of_sentinel(day: date) -> tuple[str, str]:
    return f"S2_{day:%Y%m%d}", f"S3_{day:%Y%m%d}"


NAMES: dict[str, tuple[Names, ...]] = {
    "CIA": (
        # The coarse image is of the local day, which is the next one.
        lambda day: (
            f"L71093084_084{day:%Y%m%d}_HRF_modtran_surf_ref_agd66",
            f"MOD09GA_A{_of_year(day + timedelta(days=1))}.sur_refl",
        ),
        lambda day: (f"L72093084_084{day:%Y%m%d}_HRF_modtran_surf_ref_agd66", f"MOD09GA_A{_of_year(day)}_sur_refl"),
        lambda day: (f"L71093084_084{day:%Y%m%d}", f"MOD09GA_A{_of_year(day)}.sur_refl.int"),
        _anew,
        _folders,
    ),
    "LGC": (
        lambda day: (f"{day:%Y%m%d}_TM", f"MOD09GA_A{_of_year(day)}.sur_refl"),
        lambda day: (f"{day:%Y%m%d}_TM", f"MOD_{day:%Y%m%d}"),
        _anew,
        _folders,
    ),
    "AHB": (_loose, _anew),
    "Tianjin": (_loose, _anew),
    "Daxing": (_loose, _anew),
    "Wuhan": (lambda day: (f"G_{day:%Y%m%d}", f"L_{day:%Y%m%d}"),),
    "Butte": (lambda day: (_of_sentinel(day)[0], _of_sentinel(day)[1] + "_real"), _of_sentinel),
    "Imperial": (lambda day: (_of_sentinel(day)[0], _of_sentinel(day)[1] + "_real"), _of_sentinel),
}

# Where the files of a day lie: folders of the fine and of the coarse image, given the day before and after, too.
PLACES: dict[str, Callable[[date], tuple[str, str]]] = {
    "one folder": lambda day: ("", ""),
    "a folder a sensor": lambda day: ("Landsat", "MODIS"),
    "a folder a sensor and date": lambda day: (f"Landsat/{day:%Y_%j_%d%b}", f"MODIS/{day:%Y_%j_%d%b}"),
    "a folder a date": lambda day: (f"{day:%Y_%j_%b%d}", f"{day:%Y_%j_%b%d}"),
}

VARIANTS = [(name, number) for name, variants in NAMES.items() for number in range(len(variants))]


def images(name: str, days: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stored pixels of fine and coarse images on fine pixels, day by day."""
    layout = LAYOUTS[name]
    count, dtype = len(layout.bands), _DTYPES[layout.scale]
    whole = (lambda image: image) if dtype is np.float32 else np.round
    base = whole(smooth_field(count, *SHAPE) / layout.scale)
    blocks = tuple(side // _BLOCK for side in SHAPE)
    out = []
    for number in range(days):
        coarse = whole(smooth_field(count, *blocks, seed=1 + number) / layout.scale / 2)
        coarse = coarse.repeat(_BLOCK, 1).repeat(_BLOCK, 2)
        out.append(((base + coarse).astype(dtype), coarse.astype(dtype)))
    return out


def make_folder(
    root: Path,
    name: str,
    variant: int = 0,
    *,
    days: Sequence[date] = DAYS,
    place: str = "a folder a sensor",
    write: Callable[..., Any] = write_tif,
    suffixes: tuple[str, str] = (".tif", ".tif"),
    **profile: Any,
) -> Path:
    """Write a dataset; ``write(path, image, **profile)`` writes one file."""
    for day, both in zip(days, images(name, len(days)), strict=True):
        for folder, stem, image, suffix in zip(
            PLACES[place](day), NAMES[name][variant](day), both, suffixes, strict=True
        ):
            path = root / folder / f"{stem}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, image, pixel=LAYOUTS[name].pixel, **profile)
    return root


def write_envi(path: Path, image: np.ndarray, *, pixel: float, header: bool = True, interleave: str = "bil") -> Path:
    """Raw pixels, with the header that GDAL needs or without."""
    profile = {"count": len(image), "height": image.shape[1], "width": image.shape[2], "dtype": image.dtype}
    with rasterio.open(
        path, "w", "ENVI", interleave=interleave, crs="EPSG:32655", transform=grid_transform(pixel), **profile
    ) as out:
        out.write(image)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)
    if not header:
        path.with_suffix(".hdr").unlink()
    return path
