# SPDX-License-Identifier: Apache-2.0
"""A function as the network of a small fusion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fakes import (
    ORIGIN,
    UTM,
    block_mean,
    grid_transform,
    make_model,
    make_spec,
)
from stf_infer.raster import Raster

GEO = {"transform": grid_transform(), "crs": UTM}
Function = Callable[..., np.ndarray]


def inputs(height: int, width: int, ratio: int = 4, seed: int = 0) -> dict[str, Any]:
    """Rough fields, so that a pixel that comes from the wrong place shows."""
    rng = np.random.default_rng(seed)
    fine = rng.uniform(0, 1, (2, height, width)).astype(np.float32)
    coarse = block_mean(fine, ratio)
    return {"fine_t1": Raster(fine, **GEO), "coarse_t1": coarse, "coarse_t2": coarse + 0.1 * rng.random(coarse.shape)}


def fuse(function: Function, rasters: dict[str, Any], tile: int = 32, **given: Any) -> Any:
    call = {k: given.pop(k) for k in ("aoi", "tile_batch", "progress") if k in given}
    model = make_model(make_spec(tile, **given), function)
    result = model.fuse(**call, **rasters)
    result.batches = model.engine.batch_sizes
    return result


def only_fine(function: Function) -> Function:
    return lambda fine_t1, **_: function(fine_t1)


def aoi(y0: int, y1: int, x0: int, x1: int) -> tuple[float, float, float, float]:
    return ORIGIN[0] + 30 * x0, ORIGIN[1] - 30 * y1, ORIGIN[0] + 30 * x1, ORIGIN[1] - 30 * y0
