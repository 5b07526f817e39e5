# SPDX-License-Identifier: Apache-2.0
"""What a page shows of rasters: reduced images, maps of the error, densities of prediction over truth.

Rasters are read in strips of rows, once each (the truth once more for every prediction), so memory depends on their
width and on the side of the pictures. Where an image is larger than its picture, a pixel of the picture is the mean of
``factor`` x ``factor`` pixels; errors are taken before that mean, and densities from all pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....metrics.rasters import SceneRows, bind_bands, require_same_grid
from ....raster import Raster

# Bins of a density, in either direction.
BINS = 64
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True)
class Reduced:
    """An image ``(C, h, w)`` of means, NaN where nothing is valid, with the names of its bands."""

    image: np.ndarray
    bands: tuple[str, ...]
    factor: int


@dataclass(frozen=True)
class Density:
    """Prediction over truth, in one band.

    Attributes:
        band: Its name.
        counts: ``(BINS, BINS)``: predicted value up the rows, true value along the columns, both from ``low``.
        low: Where both axes begin; likewise ``high``, where they end.
        slope: Of the least-squares line of prediction over truth; likewise ``intercept``; NaN for a constant truth.
        correlation: Pearson's; NaN where one is constant.
        pixels: All of them; those outside of the axes are counted here only.
    """

    band: str
    counts: np.ndarray
    low: float
    high: float
    slope: float
    intercept: float
    correlation: float
    pixels: int


@dataclass(frozen=True)
class Against:
    """A prediction beside its truth: mean absolute error over bands ``(h, w)``, and a density a band."""

    error: np.ndarray
    densities: tuple[Density, ...]


def reduced(raster: Raster, side: int, bands: Sequence[str] = ()) -> Reduced:
    """A raster with at most ``side`` rows and columns.

    Args:
        raster: What to read.
        side: Rows and columns at most.
        bands: Names of bands that are wanted, where the raster has them all; else all bands are taken.

    Raises:
        RasterError: It is missing or cannot be read.
    """
    with ExitStack() as stack:
        rows = SceneRows.open("raster", raster, stack)
        names = rows.names or tuple(f"band_{i + 1}" for i in range(len(rows.numbers)))
        if bands and set(bands) <= set(names):
            rows.numbers = [rows.numbers[names.index(band)] for band in bands]
            names = tuple(bands)
        elif len(bands) == len(names):
            names = tuple(bands)
        factor = max(1, math.ceil(max(rows.shape.height, rows.shape.width) / side))
        strips = [_block_means(values, factor) for values in _strips(rows, factor)]
    return Reduced(np.concatenate(strips, axis=1), names, factor)


def like(raster: Raster, grid: Raster, side: int, bands: Sequence[str] = ()) -> Reduced:
    """A raster of another grid as it lies on that of ``grid``, by nearest neighbour, at most ``side`` rows and columns.

    Raises:
        RasterError: One of them is missing or cannot be read.
    """
    from rasterio.vrt import WarpedVRT

    with ExitStack() as stack:
        rows = SceneRows.open("raster", raster, stack)
        target = stack.enter_context(grid.open())
        source = rows.dataset
        if (source.height, source.width) == (target.height, target.width):
            return reduced(raster, side, bands)
        factor = max(1, math.ceil(max(target.height, target.width) / side))
        height, width = (-(-n // factor) for n in (target.height, target.width))
        if source.crs and target.crs:
            place = {"crs": target.crs, "transform": target.transform * target.transform.scale(factor)}
            rows.dataset = stack.enter_context(WarpedVRT(source, **place, height=height, width=width))
            image = _values(rows, 0, height)
        else:  # a whole part of the other's grid
            image = _values(rows, 0, source.height)
            image = image[:, np.arange(height) * source.height // height][
                :, :, np.arange(width) * source.width // width
            ]
        names = rows.names or tuple(bands)
    return Reduced(image, names, factor)


def against(
    prediction: Raster, truth: Raster, side: int, limits: tuple[np.ndarray, np.ndarray], mask: Raster | None = None
) -> Against:
    """A prediction beside its truth, pixel by pixel.

    Args:
        prediction: What to judge.
        truth: On the same grid.
        side: Rows and columns of the map at most.
        limits: Lowest and highest value of the axes, of each band of the prediction.
        mask: One band on the same grid; pixels count where it is not 0.

    Raises:
        RasterError: One is missing or cannot be read.
        BandError: Their bands do not match.
        GridError: They lie on different grids.
    """
    with ExitStack() as stack:
        rows = SceneRows.open("prediction", prediction, stack)
        wanted = SceneRows.open("truth", truth, stack)
        require_same_grid(wanted, rows)
        bands = bind_bands(rows, [wanted])
        factor = max(1, math.ceil(max(rows.shape.height, rows.shape.width) / side))
        sums = [_Sums(low, high) for low, high in zip(*limits, strict=True)]
        strips = []
        counted = None if mask is None else SceneRows.open("mask", mask, stack).only_first_band()
        strip = 0
        for one, other in zip(_strips(rows, factor), _strips(wanted, factor), strict=True):
            seen = np.isfinite(one).all(axis=0) & np.isfinite(other).all(axis=0)
            if counted is not None:
                seen &= counted.read(strip, strip + one.shape[1])[0][0] != 0
            strip += one.shape[1]
            away = np.where(seen, np.abs(one - other).mean(axis=0), np.nan)
            strips.append(_block_means(away[None], factor)[0])
            for band, total in enumerate(sums):
                total.add(other[band][seen].astype(np.float64), one[band][seen].astype(np.float64))
    densities = tuple(total.density(band) for total, band in zip(sums, bands, strict=True))
    return Against(np.concatenate(strips), densities)


class _Sums:
    """Adds up pairs of values: their histogram, and what a line needs."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = float(low), float(high)
        self._counts = np.zeros((BINS, BINS), np.int64)
        self._n, self._mean = 0, np.zeros(2)
        self._spread = np.zeros((2, 2))  # sums of products around the means

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        if not x.size:
            return
        axes = [(self._low, self._high)] * 2
        self._counts += np.histogram2d(y, x, BINS, axes)[0].astype(np.int64)
        both = np.stack([x, y])
        mean, n = both.mean(axis=1), x.size
        centred = both - mean[:, None]
        away, total = mean - self._mean, self._n + n
        self._spread += centred @ centred.T + np.outer(away, away) * self._n * n / total
        self._mean, self._n = self._mean + away * n / total, total

    def density(self, band: str) -> Density:
        (xx, xy), (_, yy) = self._spread
        slope = xy / xx if xx > 0 else math.nan
        return Density(
            band,
            self._counts,
            self._low,
            self._high,
            slope=slope,
            intercept=self._mean[1] - slope * self._mean[0],
            correlation=xy / math.sqrt(xx * yy) if xx > 0 and yy > 0 else math.nan,
            pixels=self._n,
        )


def _strips(rows: SceneRows, factor: int) -> Iterator[np.ndarray]:
    """Physical values ``(C, R, W)`` from top to bottom; R is a multiple of the factor but at the end."""
    height, width = rows.shape.height, rows.shape.width
    step = factor * max(1, _STRIP_PIXELS // (width * factor))
    for start in range(0, height, step):
        yield _values(rows, start, min(height, start + step))


def _values(rows: SceneRows, start: int, stop: int) -> np.ndarray:
    stored, valid = rows.read(start, stop)
    scale, offset = (one[:, None, None].astype(np.float32) for one in rows.scaling)
    return np.where(valid, stored.astype(np.float32) * scale + offset, np.float32(np.nan))


def _block_means(values: np.ndarray, factor: int) -> np.ndarray:
    """Means of ``factor`` x ``factor`` pixels, of what is finite in them; the last blocks may be smaller."""
    if factor == 1:
        return values
    finite = np.isfinite(values)
    sums, counts = (_block_sums(one, factor) for one in (np.where(finite, values, 0), finite))
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means.astype(np.float32)


def _block_sums(values: np.ndarray, factor: int) -> np.ndarray:
    sums: Any = values.astype(np.float64)
    for axis in (1, 2):
        sums = np.add.reduceat(sums, np.arange(0, sums.shape[axis], factor), axis=axis)
    return np.asarray(sums)
