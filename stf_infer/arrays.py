# SPDX-License-Identifier: Apache-2.0
"""Arrays as rasters: pixels in memory behind the same face as a file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BandError, MissingExtraError, RasterError

if TYPE_CHECKING:
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader

    from .raster import Raster

# GDAL has no such pixel type, or the compiled core does not read it.
_HELD_AS = {"float16": np.float32, "int64": np.float64, "uint64": np.float64}


def is_dataarray(data: Any) -> bool:
    """Whether this is an xarray DataArray, without importing xarray."""
    return type(data).__name__ == "DataArray" and hasattr(data, "dims")


@contextmanager
def opened(raster: Raster) -> Iterator[DatasetReader]:
    """The array of a raster as an open dataset; its memory is freed at the end.

    Costs one copy of the pixels. A masked array keeps its mask.

    Raises:
        RasterError: The array has no usable shape, type or CRS.
        BandError: There are not as many names as bands.
        MissingExtraError: A DataArray is given and rioxarray is not installed.
    """
    import rasterio
    from affine import identity
    from rasterio.dtypes import in_dtype_range
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    scales: tuple[float, float] | None = None
    if is_dataarray(raster.data):
        raster, scales = _from_dataarray(raster)
    array, valid = _pixels(raster.data)
    if raster.names is not None and len(raster.names) != array.shape[0]:
        raise BandError("An array has another number of names than of bands", got=raster.names, allowed=array.shape[0])
    nodata = raster.nodata
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": array.shape[0],
        "height": array.shape[1],
        "width": array.shape[2],
        "dtype": array.dtype,
        "crs": crs_of(raster.crs),
        "transform": raster.transform or identity,
        "nodata": nodata if nodata is not None and in_dtype_range(nodata, array.dtype) else None,
        "photometric": "MINISBLACK",  # or GDAL takes the fourth band of bytes for an alpha band
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "BIGTIFF": "IF_SAFER",
    }
    with MemoryFile() as memory:
        with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with memory.open(**profile) as out:
                out.write(array)
                if valid is not None:
                    out.write_mask(valid)
                if raster.names:
                    out.descriptions = raster.names
                if scales is not None:
                    out.scales, out.offsets = ([v] * array.shape[0] for v in scales)
            dataset = memory.open()
        with dataset:
            yield dataset


def _pixels(data: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels (C, H, W) of a type that a raster can have, and (H, W) True where valid for a masked array."""
    array = np.ma.getdata(data) if np.ma.isMaskedArray(data) else np.asarray(data)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape:
        raise RasterError("An array is no raster", got=f"shape {array.shape}", allowed="(C, H, W) or (H, W)")
    if array.dtype.kind not in "uif":
        raise RasterError("An array is no raster", got=f"dtype {array.dtype}", allowed="integers or floats")
    valid: np.ndarray | None = None
    if np.ma.isMaskedArray(data):
        valid = np.asarray(~np.ma.getmaskarray(data).reshape(array.shape).any(axis=0))
    kept = _HELD_AS.get(array.dtype.name, array.dtype.newbyteorder("="))
    return array.astype(kept, copy=False), valid


def crs_of(crs: Any) -> CRS | None:
    """What a user states as a CRS, understood.

    Raises:
        RasterError: It cannot be understood.
    """
    import rasterio
    from rasterio.errors import CRSError

    try:
        return None if crs is None else rasterio.crs.CRS.from_user_input(crs)
    except (CRSError, ValueError) as error:
        raise RasterError("A stated CRS cannot be understood", got=f"{crs!r}: {error}") from error


def _from_dataarray(raster: Raster) -> tuple[Raster, tuple[float, float] | None]:
    """The DataArray's pixels and what its ``rio`` accessor knows, and its scale and offset where it has them."""
    try:
        import rioxarray
    except ImportError as error:
        raise MissingExtraError(
            "A DataArray is read through rioxarray, which is not installed",
            fix="pip install 'stf-infer[xarray]'",
        ) from error
    data = raster.data
    try:
        y_dim, x_dim = data.rio.y_dim, data.rio.x_dim
        data = data.transpose(..., y_dim, x_dim)
        transform = raster.transform or data.rio.transform()
    except rioxarray.exceptions.RioXarrayError as error:
        raise RasterError("A DataArray does not say where it lies", got=f"dims {data.dims}: {error}") from error
    names = raster.names
    if names is None and data.ndim == 3:
        names = _band_names(data)
    scales = float(data.attrs.get("scale_factor", 1.0)), float(data.attrs.get("add_offset", 0.0))
    found = replace(
        raster,
        data=data.values,
        crs=raster.crs or data.rio.crs,
        transform=transform,
        nodata=data.rio.nodata if raster.nodata is None else raster.nodata,
        names=names,
    )
    return found, None if scales == (1.0, 0.0) else scales


def _band_names(data: Any) -> tuple[str, ...] | None:
    """Names from a coordinate of text along the bands, or from ``long_name`` as rioxarray writes it."""
    along = data.dims[0]
    if along in data.coords and data[along].dtype.kind in "UO":
        return tuple(str(b) for b in data[along].values)
    names = data.attrs.get("long_name")
    if isinstance(names, (tuple, list)) and len(names) == data.shape[0]:
        return tuple(str(n) for n in names)
    return None
