# SPDX-License-Identifier: Apache-2.0
"""Structural similarity as a picture: where a prediction differs from the truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from ..errors import MetricError
from .checks import as_data_range, as_pair, as_threads, as_use, stored_mask
from .ssim import Window, WindowName, ssim
from .stream import Scaling, available_cores, readable


def ssim_map(
    prediction: Any,
    truth: Any,
    mask: Any = None,
    *,
    data_range: float,
    window: WindowName = "gaussian",
    window_size: int | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """SSIM of every window, for pictures; :func:`evaluate` needs no map and holds none.

    The formula is that of :func:`stf_infer.metrics.ssim.ssim`; the mean of a band's map, without NaN, is its SSIM.

    Args:
        prediction: ``(C, H, W)``, or ``(H, W)`` for one band; any integer or float dtype.
        truth: Of the same shape, in the same unit.
        mask: ``(H, W)``, True (or not 0) where a pixel is used; None uses all.
        data_range: Span of possible values in units of the data: 1.0 for reflectance.
        window: ``gaussian`` (11 x 11, sigma 1.5) or ``uniform`` (7 x 7).
        window_size: Another size of the window, odd.
        threads: Threads to work on; None: one for each core that this process may use.

    Returns:
        float32 ``(C, H - size + 1, W - size + 1)``, at most 1: the pixel (y, x) is of the window whose centre is the
        pixel (y + size // 2, x + size // 2) of the images. NaN where a window holds an excluded pixel.

    Raises:
        MetricError: The arrays or settings cannot be used, or the window is larger than the image.

    Cost:
        As SSIM alone; memory for the map, and for copies of images whose dtype or layout the core does not read.
    """
    p, t = as_pair(prediction, truth)
    bands, height, width = p.shape
    shape = Window.of(window, window_size)
    rows, columns = height - shape.size + 1, width - shape.size + 1
    if min(rows, columns) < 1:
        raise MetricError(
            "The SSIM window is larger than the image",
            got=f"{height} x {width} pixels for a window of {shape.size} x {shape.size}",
            fix="Pass a smaller odd window_size",
        )
    index = ssim(bands, shape, as_data_range(data_range))
    use, shown = as_use(mask, (height, width)), stored_mask(p, t)
    if shown is not None:
        use = shown if use is None else use & shown
    out = np.full((bands, rows, columns), np.nan, np.float32)
    none = Scaling.none(bands)
    _core.measure(
        readable(p),
        readable(t),
        None if use is None else np.ascontiguousarray(use),
        scale_p=none.scale,
        offset_p=none.offset,
        scale_t=none.scale,
        offset_t=none.offset,
        first_row=height,
        indices=[index.wanted((0, rows), (0, columns))],
        window_totals=np.zeros((1, bands)),
        window_counts=np.zeros(1, np.int64),
        map=out,
        threads=as_threads(threads) or available_cores(),
    )
    return out
