# SPDX-License-Identifier: Apache-2.0
"""What a failure inside of GDAL may be raised as."""

from __future__ import annotations


def failures() -> tuple[type[Exception], ...]:
    """Exceptions of rasterio, which wraps most of GDAL's errors in its own but not all, and of the system."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import CRSError, RasterioError

    return RasterioError, CRSError, CPLE_BaseError, OSError
