# SPDX-License-Identifier: Apache-2.0
"""The truth that results are measured against: on the grid of fine_t1, and the part of it that lies under a result."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from stf_infer.metrics.rasters import SceneRows, require_same_grid
from stf_infer.raster import Raster


def require_grid_of(fine_t1: Any, truth: Raster) -> None:
    """Refuse a truth that does not lie on the grid of fine_t1.

    Raises:
        GridError: Rows and columns, transform or reference system differ.
        RasterError: One of them cannot be read.
    """
    with ExitStack() as stack:
        require_same_grid(SceneRows.open("fine_t1", fine_t1, stack), SceneRows.open("truth", truth, stack))


def cut_to(result: Path, truth: Raster, copy: Path) -> Raster:
    """The part of the truth that lies under a result: the truth itself, or a copy of a window of it.

    Args:
        result: A file that was fused.
        truth: On the grid of which the result is the whole or a part.
        copy: Where a part is written to.
    """
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(result) as under, truth.open() as dataset:
        if under.shape == dataset.shape:
            return truth
        at = ~dataset.transform * under.transform
        window = Window(round(at.c), round(at.f), under.width, under.height)
        shape = {"height": under.height, "width": under.width, "transform": under.transform}
        with rasterio.open(copy, "w", **{**dataset.profile, **shape, "driver": "GTiff"}) as part:
            part.write(dataset.read(window=window))
            part.write_mask(dataset.dataset_mask(window=window))
            part.scales, part.offsets, part.units = dataset.scales, dataset.offsets, dataset.units
            part.descriptions = dataset.descriptions
    return replace(truth, data=copy)
