# SPDX-License-Identifier: Apache-2.0
"""The steps of a run on the device of its engine: from the upload of raw rows to the download of finished ones.

The pixels are those of :class:`stf_infer.tiles.Tiles`, bit by bit. Not run on a GPU; see docs/cuda.md.
"""

from __future__ import annotations

import importlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from .device_rows import DeviceRows
from .device_scene import DeviceReader
from .engines.base import Engine
from .engines.device_session import DeviceArray, DeviceSession
from .errors import UsageError
from .grid import Tile
from .noise import TileNoise
from .open_rows import OpenRows, Result
from .scene import Scene, TileReader, gather_with
from .seam import SeamMeter
from .storage import check_choice
from .tiles import QUEUED, Tiles

if TYPE_CHECKING:
    from .spec import InputSpec

_log = logging.getLogger(__name__)

TilesOn = Literal["auto", "device", "host"]

# Batches in the device's queue at most: the host does not run ahead of it for ever.
_AHEAD = 4


class Where(NamedTuple):
    """Where the tiles of a run live.

    Attributes:
        kernels: ``stf_infer._cuda`` where they live on the engine's device, else None.
        told: What a result says of it; empty where the engine knows no device.
    """

    kernels: Any
    told: str


def where_tiles_live(engine: Engine, samples: int, wanted: TilesOn) -> Where:
    """Choose where tiles live: on the engine's device if all that it takes is there, or on the host.

    Args:
        engine: The open engine.
        samples: Samples of an ensemble.
        wanted: ``auto``, ``host``, or ``device``, which is an error where it is not possible.

    Raises:
        UsageError: An unknown choice, or tiles cannot live on the device; the message says why.
    """
    check_choice("tiles_on", wanted, TilesOn)
    if wanted == "host":
        return Where(None, "host, as stated" if engine.holds_tiles else "")
    kernels, problem = _kernels(engine, samples)
    if not problem:
        return Where(kernels, "device")
    if wanted == "device":
        raise UsageError("Tiles cannot stay on the device", got=problem, fix="See docs/cuda.md, or say --tiles-on auto")
    if not engine.holds_tiles:
        return Where(None, "")
    _log.info("tiles live on the host: %s", problem)
    return Where(None, f"host: {problem}")


def _kernels(engine: Engine, samples: int) -> tuple[Any, str]:
    """``stf_infer._cuda``, and why it cannot be used, or an empty text."""
    if not engine.holds_tiles:
        return None, f"the engine {engine.name} takes tiles from the host's memory"
    if samples > 1:
        return None, "mean and deviation of several samples are computed on the host"
    try:
        kernels = importlib.import_module("stf_infer._cuda")
    except ImportError as error:
        return None, f"stf_infer._cuda is not built here ({error})"
    return kernels, kernels.device_problem()


@contextmanager
def tiles_of(scene: Scene, engine: Engine, where: Where, tile_batch: int, columns: tuple[int, int]) -> Iterator[Tiles]:
    """The steps of a run on tiles in a range of fine columns, for as long as it takes."""
    if where.kernels is None:
        yield Tiles(scene, engine, columns)
        return
    with engine.device() as session:
        yield DeviceTiles(scene, engine, session, where.kernels, tile_batch, columns)


class DeviceTiles(Tiles):
    """The steps of a run, queued on a device.

    Nothing waits for the device but the reader for room to read into, the engine's thread for a batch of a while ago,
    and the writer for the rows before the last. Memory of inputs and outputs is used again by later batches: they come
    behind in the same stream.

    Args:
        scene: The open rasters.
        engine: The open engine.
        session: The run on its device.
        kernels: ``stf_infer._cuda``.
        tile_batch: Tiles in a batch at most.
        columns: The range of fine columns that tiles are cut from.
    """

    def __init__(
        self,
        scene: Scene,
        engine: Engine,
        session: DeviceSession,
        kernels: Any,
        tile_batch: int,
        columns: tuple[int, int],
    ) -> None:
        super().__init__(scene, engine, columns)
        self._session, self._kernels, self._plan = session, kernels, scene.plan()
        self._tile_batch, self._batch = tile_batch, max(tile_batch, engine.fixed_batch or 1)
        self._scalars: dict[str, DeviceArray] = {}
        for spec in scene.spec.scalars:
            tiles = np.broadcast_to(scene.scalars[spec.role], (self._batch, *scene.spec.tensor_shape(spec)))
            self._scalars[spec.tensor] = session.constant(np.ascontiguousarray(tiles, np.float32))
        self._readers = {
            role: DeviceReader(layer, scene.spec, self._plan, session, kernels, columns)
            for role, layer in scene.layers.items()
            if role in scene.spec.roles
        }
        # One that waits in each place of a queue, and one at hand on either side of it.
        alive = range(QUEUED + 2)
        self._free_batches = deque({spec.tensor: self._input(spec) for spec in scene.spec.inputs} for _ in alive)
        self._free_outputs = deque(session.array((self._batch, *scene.spec.output_shape)) for _ in alive)
        self._timed: deque[tuple[Any, Any]] = deque()

    @property
    def readers(self) -> Mapping[str, TileReader]:
        return self._readers

    @property
    def engine_seconds(self) -> float:
        """Time of the engine on the device so far; waits until it has done what is queued."""
        self._count_time(0)
        return self._seconds

    def empty_batch(self, tiles: int) -> dict[str, DeviceArray]:
        assert tiles <= self._batch
        return self._free_batches.popleft()

    def _input(self, spec: InputSpec) -> DeviceArray:
        if spec.grid == "scene":
            return self._scalars[spec.tensor]
        # Zeros: a fixed batch that is not full is computed all the same.
        return self._session.zeros((self._batch, *self.scene.spec.tensor_shape(spec)))

    def gather(self, tile: Tile, batch: Mapping[str, Any], number: int) -> int:
        return gather_with(self._readers, self.scene.spec, tile, batch, number)

    def with_noise(self, batch: Mapping[str, Any], noise: TileNoise) -> dict[str, Any]:
        session = self._session
        for spec in self.scene.spec.noises:
            for at, tile in zip(noise.windows, batch[spec.tensor], strict=True):
                place = noise.seed, spec.draw, at.y0, at.x0
                session.launch(self._kernels.noise, *place, tile, stream=session.work)
        return dict(batch)

    @property
    def ahead(self) -> int:
        return 0  # what is queued on the device is not waited for anyway

    def infer(self, batch: Mapping[str, DeviceArray], noise: TileNoise) -> Callable[[], DeviceArray]:
        session, spec = self._session, self.scene.spec
        tiles = len(noise.windows)
        self.engine.check_batch(tiles)
        output = self._free_outputs.popleft()
        began, ended = self._marks()
        session.record(began, session.work)
        session.infer({**batch, spec.output.tensor: output}, tiles)
        session.record(ended, session.work)
        self._timed.append((began, ended))
        # From here on the stream keeps later batches from the memory of this one until it has been computed.
        self._free_batches.append({name: array.shaped(self._batch, *array.shape[1:]) for name, array in batch.items()})
        return lambda: output[:tiles]

    def recycle(self, output: DeviceArray) -> None:
        self._free_outputs.append(output.shaped(self._batch, *output.shape[1:]))

    def open_rows(self, result: Result, seam: SeamMeter) -> OpenRows:
        columns = len(self._plan.x.touching(result.area.x0, result.area.x1))
        most = self._plan.most_open_rows(self._tile_batch, columns)
        rows = DeviceRows(result, seam, self._session, self._kernels, most)
        self._session.check_memory()
        return rows

    def _marks(self) -> tuple[Any, Any]:
        """Two events to take the engine's time with; those of a batch of a while ago, which is waited for."""
        if len(self._timed) < _AHEAD:
            return self._session.event(), self._session.event()
        return self._count_time(_AHEAD - 1)

    def _count_time(self, left: int) -> tuple[Any, Any]:
        """Add up the time of all batches but the last ones; gives the events of the last one that was added."""
        marks = None, None
        while len(self._timed) > left:
            marks = self._timed.popleft()
            self._session.wait_for(marks[1])
            self._seconds += self._session.seconds_between(*marks)
        return marks
