# SPDX-License-Identifier: Apache-2.0
"""What a run does with tiles, between rows that have been read and rows that are written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from .engines.base import Engine
from .grid import Tile
from .noise import TileNoise
from .open_rows import OpenRows, Result
from .scene import Scene, TileReader, gather_with
from .seam import SeamMeter

# Batches, and outputs, that may wait between two threads. Each thread has one more at hand.
QUEUED = 2


class Tiles:
    """The steps of a run, with all of its arrays in the host's memory.

    A batch is a mapping from tensors to arrays ``(N, C, h, w)``. Batches are filled, run and blended in one order, each
    step by one thread. :class:`stf_infer.device_tiles.DeviceTiles` takes the same steps on a device.

    Args:
        scene: The open rasters.
        engine: The open engine.
        columns: The range of fine columns that tiles are cut from, past the border too.
    """

    def __init__(self, scene: Scene, engine: Engine, columns: tuple[int, int]) -> None:
        self.scene, self.engine, self._columns = scene, engine, columns
        self._seconds = 0.0

    @property
    def engine_seconds(self) -> float:
        """Time inside of the engine so far."""
        return self._seconds

    @cached_property
    def _host_readers(self) -> dict[str, TileReader]:
        return self.scene.readers_of(self._columns)

    @property
    def readers(self) -> Mapping[str, TileReader]:
        """What reads the rows of each raster that is an input, and knows which pixels are valid."""
        return self._host_readers

    def empty_batch(self, tiles: int) -> dict[str, Any]:
        """Arrays for the inputs of so many tiles; numbers of the scene are in them already."""
        return self.scene.empty_batch(tiles)

    def gather(self, tile: Tile, batch: Mapping[str, Any], number: int) -> int:
        """Write a tile's rasters in network values into a batch, as tile ``number``; how many bytes that were."""
        return gather_with(self.readers, self.scene.spec, tile, batch, number)

    def with_noise(self, batch: Mapping[str, Any], noise: TileNoise) -> dict[str, Any]:
        """The batch with the noise that the network takes as inputs."""
        drawn = {spec.tensor: noise.draw(spec.draw, len(spec.bands)) for spec in self.scene.spec.noises}
        return {**batch, **drawn}

    @property
    def ahead(self) -> int:
        """Batches that may be given to the network while another one is computed."""
        return self.engine.ahead

    def infer(self, batch: Mapping[str, Any], noise: TileNoise) -> Callable[[], Any]:
        """Give a batch to the network; what comes back waits for its output, ``(N, C, H, W)``.

        Raises:
            EngineError: It fails, here or when the output is waited for.
        """
        began = time.perf_counter()
        outputs = self.engine.start(batch, noise)
        self._seconds += time.perf_counter() - began

        def output() -> Any:
            began = time.perf_counter()
            values = outputs()[self.scene.spec.output.tensor]
            self._seconds += time.perf_counter() - began
            return values

        return output

    def recycle(self, output: Any) -> None:
        """Told of every output, once it has been added to the rows and is not needed any more."""

    def open_rows(self, result: Result, seam: SeamMeter) -> OpenRows:
        """Where outputs are blended into rows of the result."""
        return OpenRows(result, seam)
