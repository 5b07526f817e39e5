# SPDX-License-Identifier: Apache-2.0
"""One raster as the user states it: a file or an array, and how its numbers are to be read."""

from __future__ import annotations

import os
import re
import warnings
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import arrays, gdal, restated
from .errors import BandError, RasterError, ScaleError
from .grid import Shape

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.io import DatasetReader

    from .spec import RasterSpec

# What GDAL opens that is no path: URLs, /vsi file systems, and DRIVER:file:part of a container.
_CONNECTION = re.compile(r"/vsi|[A-Za-z][A-Za-z0-9_+.-]+:")
# Names that only count the bands: Band 1, band_2, 3.
_COUNTED = re.compile(r"(band)?[ _-]?\d+")


@dataclass(frozen=True)
class Raster:
    """A raster, and what the user states about it; everything left None is taken from the raster itself.

    A pixel is valid where no band is nodata or NaN and where the mask or alpha band, if the raster has one, says so.

    Attributes:
        data: Path of a raster file (or what GDAL takes for one: a URL, a subdataset), an array ``(C, H, W)`` or
            ``(H, W)``, masked or not, or an xarray DataArray.
        bands: Which bands are used, in the network's order: names (band descriptions) or numbers from 1.
        scale: ``physical = stored * scale + offset``, for all bands.
        offset: See ``scale``; 0 where only a scale is given.
        nodata: Stored value that means "no measurement"; NaN always does.
        crs: Coordinate reference system of an array, or of a file in place of its own.
        transform: Affine transform of an array, or of a file in place of its own.
        names: Band names of an array, or of a file in place of its own; then no band of the file is an alpha band.
    """

    data: Any
    bands: tuple[str | int, ...] | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    crs: Any = None
    transform: Affine | None = None
    names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, value: Any) -> Raster:
        """A Raster from whatever a caller may pass: a Raster, a path, an array or a DataArray."""
        return value if isinstance(value, Raster) else cls(value)

    @property
    def label(self) -> str:
        """How messages name the raster."""
        shape = " x ".join(map(str, np.shape(self.data))) if self.is_array else ""
        return f"an array of {shape}" if self.is_array else os.fspath(self.data)

    @property
    def is_array(self) -> bool:
        """Whether the pixels are in memory."""
        return not isinstance(self.data, (str, os.PathLike))

    @property
    def file(self) -> Path | None:
        """The local file that holds the pixels, if it is one."""
        if self.is_array:
            return None
        path = Path(self.data)
        return path if path.exists() else None

    @property
    def has_georeference(self) -> bool:
        """Whether an array says where it lies."""
        return self.transform is not None or arrays.is_dataarray(self.data)

    def identity(self, *, hash_pixels: bool) -> list[str]:
        """What tells this raster from another: the file's name, size and time, or the array's pixels; what is stated.

        Args:
            hash_pixels: Read an array through, at about 1 GB/s. Without that an array equals no hashed one.
        """
        known: list[Any]
        if not self.is_array:
            stat = self.file.stat() if self.file else None
            known = [self.label, stat and stat.st_size, stat and stat.st_mtime_ns]
        elif hash_pixels:
            data = np.ma.filled(self.data) if np.ma.isMaskedArray(self.data) else self.data
            pixels = np.ascontiguousarray(data)
            known = [pixels.dtype, pixels.shape, zlib.crc32(pixels.view(np.uint8).data)]
        else:
            known = ["array"]
        stated = [self.bands, self.scale, self.offset, self.nodata, self.crs, self.transform, self.names]
        return [str(value) for value in (*known, *stated)]

    def open(self) -> AbstractContextManager[DatasetReader]:
        """The raster as an open dataset for windowed reading, to be used in a ``with`` statement.

        Raises:
            RasterError: The file is missing or cannot be read as a raster; the array has no usable shape.
            BandError: There are not as many names as bands.
        """
        if self.is_array:
            return arrays.opened(self)
        dataset = _open_file(os.fspath(self.data))
        stated = (self.names, self.crs, self.transform)
        return dataset if all(one is None for one in stated) else restated.opened(dataset, self)


def _open_file(name: str) -> DatasetReader:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    if not Path(name).exists() and not _CONNECTION.match(name):
        raise RasterError("A raster is missing", got=name, fix="Check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(name)
    except gdal.failures() as error:
        raise RasterError("A raster cannot be read", got=f"{name}: {error}", fix="Check the file") from error
    if dataset.count == 0:
        parts = dataset.subdatasets
        dataset.close()
        raise RasterError(
            "A raster holds no band of its own",
            got=name,
            allowed=", ".join(parts) or None,
            fix="Name one of its subdatasets" if parts else "Check the file",
        )
    return dataset


def chosen_bands(raster: Raster, dataset: DatasetReader, spec: RasterSpec) -> list[int]:
    """Numbers (from 1) of the raster's bands that make up an input, in the network's order.

    Stated bands win. Else band descriptions are matched by name where every band has one that is more than a number.
    Else the raster must hold exactly as many bands as the network wants (alpha bands aside), and they are taken in
    order.

    Raises:
        BandError: The count or the names do not match; the message shows both sides.
    """
    flag = f"State them: --bands {spec.role}=N,N,... (numbers from 1, or band names)"
    if raster.bands is not None:
        return _stated_bands(raster, dataset, spec, _band_names(dataset))
    numbers = _candidates(dataset, len(spec.bands))
    names = [_band_names(dataset)[n - 1] for n in numbers]
    wanted = [b.lower() for b in spec.bands]
    if all(names) and len(set(names)) == len(names):
        missing = [b for b in wanted if b not in names]
        if not missing:
            return [numbers[names.index(b)] for b in wanted]
        if not all(_COUNTED.fullmatch(name) for name in names):
            raise BandError(
                f"The band names of {spec.role} do not match the network's: {', '.join(missing)} not found",
                got=f"{raster.label}: {', '.join(names)}",
                allowed=", ".join(spec.bands),
                fix=flag,
            )
    if len(numbers) != len(wanted):
        raise BandError(
            f"The number of bands of {spec.role} does not match the network's",
            got=f"{raster.label}: {len(numbers)}",
            allowed=f"{len(wanted)} ({', '.join(spec.bands)})",
            fix=flag,
        )
    return numbers


def _band_names(dataset: DatasetReader) -> list[str]:
    return [name.strip().lower() if name else "" for name in dataset.descriptions]


def _candidates(dataset: DatasetReader, wanted: int) -> list[int]:
    """Bands that can hold data: all of them where their number fits, else all but alpha bands.

    GDAL marks the fourth band of a file of bytes as alpha unless it is told otherwise, so the mark alone proves little.
    """
    every = list(range(1, dataset.count + 1))
    return every if dataset.count == wanted else [n for n in every if n not in alpha_bands(dataset)]


def alpha_bands(dataset: DatasetReader) -> list[int]:
    """Numbers (from 1) of the bands that are marked as alpha."""
    from rasterio.enums import ColorInterp

    return [n for n, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha]


def _stated_bands(raster: Raster, dataset: DatasetReader, spec: RasterSpec, names: Sequence[str]) -> list[int]:
    assert raster.bands is not None
    numbers = []
    for band in raster.bands:
        if isinstance(band, str) and not band.isdigit():
            if band.lower() not in names:
                raise BandError(
                    f"{spec.role} has no band of that name",
                    got=band,
                    allowed=", ".join(n for n in names if n) or "numbers from 1 (the raster names no bands)",
                )
            numbers.append(list(names).index(band.lower()) + 1)
        else:
            numbers.append(int(band))
    outside = [n for n in numbers if not 1 <= n <= dataset.count]
    if outside:
        raise BandError(f"{spec.role} has no such band", got=outside, allowed=f"1 to {dataset.count}")
    if len(numbers) != len(spec.bands):
        raise BandError(
            f"{spec.role} needs another number of bands",
            got=f"{len(numbers)} ({', '.join(map(str, raster.bands))})",
            allowed=f"{len(spec.bands)} ({', '.join(spec.bands)})",
        )
    return numbers


@dataclass(frozen=True)
class Scaling:
    """``physical = stored * scale + offset`` for each chosen band; ``stated`` says whether anyone said so."""

    scale: np.ndarray
    offset: np.ndarray
    stated: bool


def scaling_of(raster: Raster, dataset: DatasetReader, numbers: Sequence[int], spec: RasterSpec) -> Scaling:
    """How the stored numbers of a raster become the unit of the contract.

    Raises:
        ScaleError: An integer raster without a scale where the network wants a physical unit: never guessed.
    """
    if raster.scale is not None or raster.offset is not None:
        scale, offset = raster.scale if raster.scale is not None else 1.0, raster.offset or 0.0
        if not np.isfinite([scale, offset]).all() or scale == 0:
            raise ScaleError(f"The scale of {spec.role} cannot be used", got=f"{scale}, offset {offset}")
        return Scaling(np.full(len(numbers), scale), np.full(len(numbers), offset), stated=True)
    scales = np.array([dataset.scales[n - 1] for n in numbers], float)
    offsets = np.array([dataset.offsets[n - 1] for n in numbers], float)
    stated = bool((scales != 1).any() or (offsets != 0).any())
    if not np.isfinite([scales, offsets]).all() or (scales == 0).any():
        raise ScaleError(
            f"The file of {spec.role} states a scale that cannot be used",
            got=f"{raster.label}: scale {scales.tolist()}, offset {offsets.tolist()}",
            fix=f"State it: --scale {spec.role}=X",
        )
    types = [dataset.dtypes[n - 1] for n in numbers]
    integer = any(np.dtype(t).kind in "ui" for t in types)
    if integer and not stated and spec.values.unit != "1":
        raise ScaleError(
            f"{spec.role} holds integers and no scale, and the network wants {spec.values.unit}",
            got=f"{raster.label}: {', '.join(sorted(set(types)))}",
            fix=f"State it: --scale {spec.role}=0.0001 (whatever turns the stored numbers into "
            f"{spec.values.unit}; --offset {spec.role}=... if there is one)",
        )
    return Scaling(scales, offsets, stated)


def check_plausible(values: np.ndarray, spec: RasterSpec, label: str, scaling: Scaling) -> None:
    """Refuse numbers that cannot be of the contract's unit, unless the user has stated their scale.

    Args:
        values: A sample of physical values, ``(C, N)``.
        spec: The input.
        label: How the message names the raster.
        scaling: What was used to make them physical.

    Raises:
        ScaleError: More than half of the sample lies outside of what the unit allows.
    """
    if spec.values.plausible is None or scaling.stated or values.size == 0:
        return
    low, high = spec.values.plausible
    outside = np.mean((values < low) | (values > high))
    if outside > 0.5:
        raise ScaleError(
            f"{spec.role} does not hold {spec.values.unit}: {outside:.0%} of its values lie outside",
            got=f"{label}: median {np.median(values):.6g}",
            allowed=f"{low} to {high}",
            fix=f"State the scale: --scale {spec.role}=0.0001, or whatever turns the stored numbers into "
            f"{spec.values.unit}",
        )


def shape_of(dataset: DatasetReader) -> Shape:
    """Rows and columns of an open raster."""
    return Shape(dataset.height, dataset.width)


def as_stored(nodata: float, dtype: np.dtype) -> np.generic | float:
    """The nodata value as the pixels hold it; a value that the type cannot hold never matches."""
    if dtype.kind == "f":
        return dtype.type(nodata)
    limits = np.iinfo(dtype)
    return dtype.type(nodata) if limits.min <= nodata <= limits.max and nodata == int(nodata) else float("nan")
