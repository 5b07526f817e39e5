# SPDX-License-Identifier: Apache-2.0
"""Pictures inside of a page: arrays as data URIs."""

from __future__ import annotations

import base64
import functools

import numpy as np

from ....picture import encoded

# Small pictures lose nothing; in large ones nobody sees the difference, and a page stays one that can be mailed.
_LOSSLESS_PIXELS = 128 * 128
_QUALITY = 90


def data_uri(picture: np.ndarray) -> str:
    """A picture as an address that holds it.

    Args:
        picture: uint8 ``(H, W, 3)``, or ``(H, W, 4)`` with opacity.

    Returns:
        PNG where the picture is small or has an opacity or GDAL has no WebP, else WebP of quality 90.
    """
    small = picture.shape[0] * picture.shape[1] <= _LOSSLESS_PIXELS
    kind = "PNG" if small or picture.shape[2] == 4 or not _has_webp() else "WEBP"
    options = {"QUALITY": _QUALITY} if kind == "WEBP" else {"ZLEVEL": 9}
    text = base64.b64encode(encoded(picture, kind, **options)).decode("ascii")
    return f"data:image/{kind.lower()};base64,{text}"


@functools.cache
def _has_webp() -> bool:
    from rasterio.drivers import raster_driver_extensions

    return "WEBP" in raster_driver_extensions().values()
