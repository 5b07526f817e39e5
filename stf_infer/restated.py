# SPDX-License-Identifier: Apache-2.0
"""A file whose band names, CRS or transform the user states: the same pixels, seen through a description of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from .arrays import crs_of
from .errors import BandError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

    from .raster import Raster


@contextmanager
def opened(dataset: DatasetReader, raster: Raster) -> Iterator[DatasetReader]:
    """The file of a raster as a dataset that has what is stated; the given dataset is closed.

    No pixel is copied or read: a VRT of GDAL in memory holds the statements and refers to the file.

    Raises:
        BandError: There are not as many names as bands.
        RasterError: The CRS cannot be understood.
    """
    import rasterio
    import rasterio.shutil
    from rasterio.enums import ColorInterp
    from rasterio.errors import NotGeoreferencedWarning

    crs = crs_of(raster.crs)
    name = f"/vsimem/{uuid4().hex}.vrt"
    with dataset:
        if raster.names is not None and len(raster.names) != dataset.count:
            raise BandError(
                "A file has another number of bands than of names",
                got=f"{raster.label}: {dataset.count}",
                allowed=f"{len(raster.names)} ({', '.join(raster.names)})",
            )
        rasterio.shutil.copy(dataset, name, driver="VRT")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            out = rasterio.open(name, "r+")
        with out:
            if raster.names is not None:
                out.descriptions = raster.names
                # GDAL takes the fourth band of bytes for an alpha band, which would then be a mask.
                out.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (out.count - 1)
            if crs is not None:
                out.crs = crs
            if raster.transform is not None:
                out.transform = raster.transform
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            view = rasterio.open(name)
        with view:
            yield view
    finally:
        rasterio.shutil.delete(name, driver="VRT")
