# SPDX-License-Identifier: Apache-2.0
"""What arrays and settings are accepted, and which pixels count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import MetricError


def as_image(image: Any, label: str) -> np.ndarray:
    """An array as ``(C, H, W)``, without copying: a plane becomes one band.

    Raises:
        MetricError: The array is no image of real numbers, or has no pixel.
    """
    array = np.asanyarray(image)
    if array.dtype.kind not in "iuf":
        raise MetricError(
            f"The {label} does not hold real numbers",
            got=f"dtype {array.dtype}",
            allowed="integers or floats",
        )
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3:
        raise MetricError(
            f"The {label} is no image",
            got=f"shape {array.shape}",
            allowed="(C, H, W), or (H, W) for one band",
        )
    if 0 in array.shape:
        raise MetricError(f"The {label} has no pixel", got=f"shape {array.shape}")
    return array


def as_pair(prediction: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth as ``(C, H, W)`` of one shape.

    Raises:
        MetricError: One of them is no image, or their shapes differ.
    """
    p, t = as_image(prediction, "prediction"), as_image(truth, "truth")
    if p.shape != t.shape:
        raise MetricError(
            "Prediction and truth differ in shape",
            got=f"{p.shape} against {t.shape}",
            fix="Both are (C, H, W) on one grid, with the same bands in the same order",
        )
    return p, t


def as_use(mask: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """A mask as bool ``(H, W)``, True where a pixel is used; integers count as used where they are not 0.

    Raises:
        MetricError: The mask has another shape, or holds neither truth values nor integers.
    """
    if mask is None:
        return None
    array = np.asarray(mask)
    if array.shape != tuple(shape):
        raise MetricError(
            "The mask does not fit the images", got=f"shape {array.shape}", allowed=f"(H, W) = {tuple(shape)}"
        )
    if array.dtype.kind not in "biu":
        raise MetricError(
            "The mask does not say which pixels to use",
            got=f"dtype {array.dtype}",
            allowed="bool, or integers that are 0 where a pixel is left out",
        )
    return array.astype(bool, copy=False)


def stored_mask(*images: np.ndarray) -> np.ndarray | None:
    """Pixels ``(H, W)`` that no NumPy masked array among the images hides in any band; None if none hides one."""
    masked = [image for image in images if isinstance(image, np.ma.MaskedArray) and image.mask is not np.ma.nomask]
    if not masked:
        return None
    hidden = np.zeros(masked[0].shape[1:], bool)
    for image in masked:
        hidden |= np.ma.getmaskarray(image).any(axis=0)
    return ~hidden


def positive(value: Any, label: str, *, fix: str) -> float:
    """A finite number above zero.

    Raises:
        MetricError: It is missing, no number, not finite, or not above zero.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise MetricError(f"The {label} cannot be used", got=repr(value), allowed="a finite number above 0", fix=fix)
    return number


def as_data_range(value: Any) -> float:
    """The span of values that the data may take, for PSNR and SSIM: 1.0 for reflectance.

    Raises:
        MetricError: It is missing, not finite, or not above zero.
    """
    return positive(
        value, "data range", fix="Pass data_range: the span of possible values, 1.0 for reflectance in 0 to 1"
    )


def as_ratio(value: Any) -> float:
    """Coarse pixel size over fine pixel size, for ERGAS: at least 1.

    Raises:
        MetricError: It is missing, not finite, or below 1.
    """
    ratio = positive(
        value,
        "ratio",
        fix="Pass ratio: coarse pixel size over fine pixel size, such as 16 for MODIS and Landsat",
    )
    if ratio < 1:
        raise MetricError(
            "The ratio is upside down: a coarse pixel is not smaller than a fine one",
            got=ratio,
            allowed="coarse pixel size over fine pixel size, at least 1",
            fix=f"Did you mean {1 / ratio:g}?",
        )
    return ratio


def as_threads(value: Any) -> int | None:
    """A number of threads, or None for one a core.

    Raises:
        MetricError: It is no whole number above zero.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise MetricError("The number of threads cannot be used", got=repr(value), allowed="1 or more, or None")
    return int(value)


def as_context(value: Any) -> tuple[int, int]:
    """Rows and columns of context.

    Raises:
        MetricError: It is no pair of whole numbers that are not below zero.
    """
    try:
        rows, columns = value
        whole = int(rows) == rows >= 0 and int(columns) == columns >= 0
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise MetricError("The context cannot be used", got=repr(value), allowed="(rows, columns), each 0 or more")
    return int(rows), int(columns)


def as_band_names(bands: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Names of the bands: those given, or ``band_1`` and so on.

    Raises:
        MetricError: Their number is not the number of bands, or two are the same.
    """
    if bands is None:
        return tuple(f"band_{i + 1}" for i in range(count))
    if isinstance(bands, str):
        bands = (bands,)
    names = tuple(str(b) for b in bands)
    if len(names) != count:
        raise MetricError(
            "The band names do not fit the images",
            got=f"{len(names)} ({', '.join(names)})",
            allowed=f"{count} names",
        )
    if len(set(names)) != len(names):
        raise MetricError("A band name occurs twice", got=", ".join(names), allowed="different names")
    return names
