# SPDX-License-Identifier: Apache-2.0
"""Layers on a small fine grid, for tests of how rasters are read."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from rasterio.crs import CRS

from fakes import UTM, grid_transform
from stf_infer.grid import Shape
from stf_infer.layer import Layer
from stf_infer.placement import Grid
from stf_infer.raster import Raster
from stf_infer.spec import InputSpec, Values

FINE = Grid(CRS.from_user_input(UTM), grid_transform(), Shape(60, 50))


def layer(raster: Any, stack: ExitStack, bands: int = 2, *, fine: Grid = FINE, ratio: int = 16, **given: Any) -> Layer:
    """An open layer without a unit; ``given`` goes into its input's spec."""
    names = tuple(f"band_{i + 1}" for i in range(bands))
    spec = InputSpec(**{"role": "fine_t1", "tensor": "x", "bands": names, "values": Values(unit="1"), **given})
    return Layer(Raster.of(raster), spec, fine, ratio, stack, any_ratio=True)


def whole(opened: Layer) -> tuple[np.ndarray, np.ndarray]:
    """All rows of a layer, in the layout that the compiled core wants."""
    pixels, valid = opened.read(0, opened.grid.shape.height)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert valid.dtype == np.uint8
    return pixels, valid
