# SPDX-License-Identifier: Apache-2.0
"""What a run would cost, before it is run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .engines.base import Engine
from .engines.machine import peak_memory
from .grid import Window
from .layout import BLOCK
from .open_rows import OpenRows
from .panels import Panel, panels_of
from .scene import Scene

# Batches that can be alive at once beside those that the engine is given ahead: two queued, one in each stage.
_BATCHES_ALIVE = 5


@dataclass(frozen=True)
class RunEstimate:
    """A run that has not been made.

    Attributes:
        scene: Rows and columns of the scene.
        area: Rows and columns that would be written.
        tile: Rows and columns of a tile.
        tiles: Tiles of the scene.
        samples: How often each of them is run.
        mode: ``exact`` or ``blend``.
        halo: Fine pixels of context around a core.
        stride: Tile origins are multiples of it.
        overlap_cost: Pixels computed over pixels of the scene.
        panels: Panels of columns that the area would be gone through in.
        peak_bytes: Expected peak memory of the process: one measured engine call, and the pipeline's buffers.
        grids: Role: how its raster reaches the grid (``aligned`` or ``warped, RESAMPLING``).
    """

    scene: tuple[int, int]
    area: tuple[int, int]
    tile: tuple[int, int]
    tiles: int
    samples: int
    mode: str
    halo: int
    stride: int
    overlap_cost: float
    panels: int
    peak_bytes: int
    grids: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values."""
        return asdict(self)


def estimate_run(
    scene: Scene, engine: Engine, area: Window, tile_batch: int, cache: int, samples: int = 1
) -> RunEstimate:
    """Plan a run and measure one engine call.

    Args:
        scene: The open rasters.
        engine: The open engine.
        area: Window that would be written.
        tile_batch: Tiles in one engine call.
        cache: Bytes of GDAL's block cache.
        samples: Samples of an ensemble.
    """
    plan, spec = scene.plan(), scene.spec
    panels = panels_of(scene, area)
    alive = tile_batch * (_BATCHES_ALIVE + engine.ahead)
    buffers = max(_buffers(scene, panel, alive, cache, samples) for panel in panels)
    return RunEstimate(
        scene=(scene.shape.height, scene.shape.width),
        area=(area.shape.height, area.shape.width),
        tile=(plan.tile.height, plan.tile.width),
        tiles=len(plan),
        samples=samples,
        mode=spec.tile.mode,
        halo=spec.tile.halo,
        stride=spec.tile.stride,
        overlap_cost=plan.overlap_cost,
        panels=len(panels),
        peak_bytes=_memory_after_one_call(engine, tile_batch) + buffers,
        grids={role: _placement_text(layer.placement) for role, layer in scene.layers.items()},
    )


def _placement_text(placement: Any) -> str:
    resampling = getattr(placement, "resampling", None)
    return "aligned" if resampling is None else f"warped, {resampling.name}"


def _memory_after_one_call(engine: Engine, tile_batch: int) -> int:
    """Peak memory of this process after the engine has run one batch."""
    engine.trial({t.name: np.zeros((tile_batch, *t.shape), t.dtype) for t in engine.spec.tensors})
    return peak_memory()


def _buffers(scene: Scene, panel: Window, tiles: int, cache: int, samples: int) -> int:
    """Bytes of strips, batches, open rows, the writer's block row and GDAL's cache."""
    spec, plan, width = scene.spec, scene.plan(), panel.shape.width
    rows = plan.tile.height
    start, stop = Panel.of(plan, panel).within(scene.shape)
    strips = 0
    for reader in scene.readers.values():
        layer = reader.layer
        divisor = spec.ratio if layer.spec.read_grid == "coarse" else 1
        # Whole rows of the file's blocks are held.
        held = rows // divisor + layer.surplus_rows
        strips += held * ((stop - start) // divisor) * (len(layer.spec.bands) * layer.dtype.itemsize + 1)
    bands = len(spec.output.bands)
    tensors = sum(int(np.prod(spec.tensor_shape(i))) for i in spec.inputs) + int(np.prod(spec.output_shape))
    batches = tiles * tensors * 4
    # Rows of sums, those that are kept when others come, and a few rows that are being finished.
    open_rows = samples * bands * (2 * rows + 3 * OpenRows.at_once) * width * 4
    stored = bands if samples == 1 else 2 * bands
    block_row = 2 * stored * BLOCK * width * 4
    raw = sum(len(r.bands) for r in spec.rasters) * width * scene.shape.height * 2
    return strips + batches + open_rows + block_row + min(cache, raw)
