# SPDX-License-Identifier: Apache-2.0
"""One raster as the user states it: a file or an array, and how its numbers are to be read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BandError, RasterError, ScaleError
from .grid import Shape

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader

    from .spec import InputSpec


@dataclass(frozen=True)
class Raster:
    """A raster, and what the user states about it; everything left None is taken from the raster itself.

    Attributes:
        data: Path of a raster file, an array ``(C, H, W)`` or ``(H, W)``, or an xarray DataArray of such a shape.
        bands: Which bands are used, in the network's order: names (band descriptions) or numbers from 1.
        scale: ``physical = stored * scale + offset``, for all bands.
        offset: See ``scale``; 0 where only a scale is given.
        nodata: Stored value that means "no measurement"; NaN always does.
        crs: Coordinate reference system of an array.
        transform: Affine transform of an array.
        names: Band names of an array.
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
        return str(self.data) if isinstance(self.data, (str, Path)) else f"an array of {self._array_shape()}"

    @property
    def is_array(self) -> bool:
        """Whether the pixels are in memory."""
        return not isinstance(self.data, (str, Path))

    @property
    def has_georeference(self) -> bool:
        """Whether an array says where it lies."""
        return self.transform is not None or _is_dataarray(self.data)

    def _array_shape(self) -> str:
        return " x ".join(map(str, np.shape(self.data)))

    def open(self) -> DatasetReader:
        """Open the raster for windowed reading.

        Raises:
            RasterError: The file is missing or cannot be read as a raster; the array has no usable shape.
        """
        return _open_array(self) if self.is_array else _open_file(Path(self.data))


def _is_dataarray(data: Any) -> bool:
    return type(data).__name__ == "DataArray" and hasattr(data, "dims")


def _open_file(path: Path) -> DatasetReader:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    if "://" not in str(path) and not str(path).startswith("/vsi") and not path.exists():
        raise RasterError("A raster is missing", got=path, fix="Check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(path)
    except RasterioIOError as error:
        raise RasterError("A raster cannot be read", got=f"{path}: {error}", fix="Check the file") from error
    if dataset.count == 0:
        dataset.close()
        raise RasterError("A raster holds no band", got=path, fix="Name one of its subdatasets")
    return dataset


def _open_array(raster: Raster) -> DatasetReader:
    import rasterio
    from affine import identity
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    if _is_dataarray(raster.data):
        raster = _from_dataarray(raster)
    array = np.asarray(raster.data)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape:
        raise RasterError("An array is no raster", got=f"shape {array.shape}", allowed="(C, H, W) or (H, W)")
    if array.dtype.kind not in "uif":
        raise RasterError("An array is no raster", got=f"dtype {array.dtype}", allowed="integers or floats")
    if array.dtype in (np.float16, np.int64, np.uint64):
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    profile = {"driver": "GTiff", "count": array.shape[0], "height": array.shape[1], "width": array.shape[2]}
    memory = MemoryFile()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(
            **profile,
            dtype=array.dtype,
            crs=None if raster.crs is None else rasterio.crs.CRS.from_user_input(raster.crs),
            transform=raster.transform or identity,
            nodata=raster.nodata,
            tiled=True,
            blockxsize=256,
            blockysize=256,
            BIGTIFF="IF_SAFER",
        ) as out:
            out.write(array)
            if raster.names:
                out.descriptions = raster.names
        dataset = memory.open()
    return dataset


def _from_dataarray(raster: Raster) -> Raster:
    """The DataArray's pixels, and what its ``rio`` accessor knows where rioxarray is installed."""
    try:
        import rioxarray  # noqa: F401
    except ImportError as error:
        from .errors import MissingExtraError

        raise MissingExtraError(
            "A DataArray is read through rioxarray, which is not installed",
            fix="pip install 'stf-infer[xarray]'",
        ) from error
    data = raster.data
    names = None
    if "band" in data.dims and data["band"].dtype.kind in "UO":
        names = tuple(str(b) for b in data["band"].values)
    nodata = data.rio.nodata if raster.nodata is None else raster.nodata
    return replace(
        raster,
        data=np.asarray(data.values),
        crs=raster.crs or data.rio.crs,
        transform=raster.transform or data.rio.transform(),
        nodata=nodata,
        names=raster.names or names,
    )


def chosen_bands(raster: Raster, dataset: DatasetReader, spec: InputSpec) -> list[int]:
    """Numbers (from 1) of the raster's bands that make up an input, in the network's order.

    Stated bands win. Else band descriptions are matched by name where every band has one. Else the raster must hold
    exactly as many bands as the network wants, and they are taken in order.

    Raises:
        BandError: The count or the names do not match; the message shows both sides.
    """
    flag = f"State them: --bands {spec.role}=N,N,... (numbers from 1, or band names)"
    names = [d.strip().lower() if d else "" for d in dataset.descriptions]
    if raster.names:
        names = [n.strip().lower() for n in raster.names]
    wanted = [b.lower() for b in spec.bands]
    if raster.bands is not None:
        return _stated_bands(raster, dataset, spec, names)
    if all(names) and len(set(names)) == len(names):
        missing = [b for b in wanted if b not in names]
        if not missing:
            return [names.index(b) + 1 for b in wanted]
        raise BandError(
            f"The band names of {spec.role} do not match the network's: {', '.join(missing)} not found",
            got=f"{raster.label}: {', '.join(names)}",
            allowed=", ".join(spec.bands),
            fix=flag,
        )
    if dataset.count != len(wanted):
        raise BandError(
            f"The number of bands of {spec.role} does not match the network's",
            got=f"{raster.label}: {dataset.count}",
            allowed=f"{len(wanted)} ({', '.join(spec.bands)})",
            fix=flag,
        )
    return list(range(1, dataset.count + 1))


def _stated_bands(raster: Raster, dataset: DatasetReader, spec: InputSpec, names: Sequence[str]) -> list[int]:
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


def scaling_of(raster: Raster, dataset: DatasetReader, numbers: Sequence[int], spec: InputSpec) -> Scaling:
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
    integer = np.dtype(dataset.dtypes[numbers[0] - 1]).kind in "ui"
    if integer and not stated and spec.values.unit != "1":
        raise ScaleError(
            f"{spec.role} holds integers and no scale, and the network wants {spec.values.unit}",
            got=f"{raster.label}: {dataset.dtypes[0]}",
            fix=f"State it: --scale {spec.role}=0.0001 (whatever turns the stored numbers into "
            f"{spec.values.unit}; --offset {spec.role}=... if there is one)",
        )
    return Scaling(scales, offsets, stated)


def check_plausible(values: np.ndarray, spec: InputSpec, label: str, scaling: Scaling) -> None:
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


def crs_of(raster: Raster, dataset: DatasetReader) -> CRS | None:
    """The raster's reference system, or None."""
    return dataset.crs if dataset.crs else None
