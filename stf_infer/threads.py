# SPDX-License-Identifier: Apache-2.0
"""How many threads decode and encode beside the engine: as few as keep up with it, found by a short measurement.

A core that GDAL decodes on is lost to the engine. So reader and writer get one thread more only where one cannot give
tiles as fast as the engine takes them. No number of threads changes a pixel.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .engines.base import Engine
from .engines.machine import cores
from .grid import Window
from .layout import BLOCK, FileOptions
from .raster import Raster
from .scene import Scene
from .storage import Storage

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window as RasterWindow

# A scene of fewer tiles is not measured: the call of the engine would not be paid back.
_FEWEST_TILES = 200
_CALLS_PAID_BACK = 100
# Where nothing is measured.
_USUAL = 2
# A stage keeps up where its work takes this share of the engine's time.
_SHARE = 0.8


@dataclass(frozen=True)
class ThreadSplit:
    """Threads of a run.

    Attributes:
        reading: Threads that GDAL decodes and warps with.
        writing: Threads that GDAL encodes with.
        why: Where the numbers come from: ``stated``, what was measured, or why nothing was.
    """

    reading: int
    writing: int
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def stated(threads: int) -> ThreadSplit:
    """What a user asks for."""
    return ThreadSplit(threads, threads, "stated")


def usual(why: str) -> ThreadSplit:
    """What is taken where nothing is measured."""
    threads = min(_USUAL, cores())
    return ThreadSplit(threads, threads, why)


def measured(scene: Scene, area: Window, engine: Engine, tile_batch: int, options: FileOptions | None) -> ThreadSplit:
    """The fewest threads with which reader and writer keep up with an engine on a scene.

    Costs two calls of the engine, a block of each raster that is a file, and a block of the result in memory: less than
    a hundredth of the run, since smaller scenes are not measured.

    Args:
        scene: The open rasters.
        area: What of it will be written.
        engine: The open engine.
        tile_batch: Tiles in a call.
        options: How the result's file is laid out; None where it is an array.
    """
    if cores() == 1:
        return usual("one core")
    share = area.shape.pixels / scene.shape.pixels
    tiles = len(scene.plan()) * share
    if tiles < max(_FEWEST_TILES, _CALLS_PAID_BACK * tile_batch):
        return usual(f"{tiles:.0f} tiles are too few to measure")
    files = [raster for raster in scene.rasters.values() if not raster.is_array]
    decode = sum(_decoding(raster) for raster in files) * share / tiles
    encode = 0.0 if options is None else _encoding(scene, options) * share / tiles
    compute = _computing(engine, tile_batch)
    reading, writing = (fewest(work, compute, cores()) for work in (decode, encode))
    told = f"a tile takes {decode * 1e3:.3g} ms to decode and {encode * 1e3:.3g} ms to encode on one thread"
    return ThreadSplit(reading, writing, f"{told}, {compute * 1e3:.3g} ms in the engine")


def fewest(work: float, limit: float, most: int) -> int:
    """The fewest threads, up to ``most``, with which ``work`` seconds of one fit into four fifths of ``limit``."""
    return next((threads for threads in range(1, most) if work / threads <= _SHARE * limit), most)


def _computing(engine: Engine, tile_batch: int) -> float:
    """Seconds of a tile in the engine, after a call that is not counted."""
    batch = {t.name: np.zeros((tile_batch, *t.shape), t.dtype) for t in engine.spec.tensors}
    engine.trial(batch)
    began = time.perf_counter()
    engine.trial(batch)
    return (time.perf_counter() - began) / tile_batch


def _decoding(raster: Raster) -> float:
    """Seconds that one thread needs for all pixels of a file."""
    import rasterio

    with rasterio.Env(GDAL_NUM_THREADS="1"), raster.open() as dataset:
        window = _middle(dataset)
        began = time.perf_counter()
        dataset.read(window=window)
        spent = time.perf_counter() - began
        return spent * dataset.height * dataset.width / (window.height * window.width)


def _encoding(scene: Scene, options: FileOptions) -> float:
    """Seconds that one thread needs for the whole result: pixels of fine_t1 are taken to be as hard to compress."""
    import rasterio
    from rasterio.io import MemoryFile

    if options.compress == "none":
        return 0.0
    output = scene.spec.output
    storage = Storage.choose(output, "auto", scene.fine_profile)
    with rasterio.Env(GDAL_NUM_THREADS="1"), scene.rasters["fine_t1"].open() as dataset:
        pixels = dataset.read(1, window=_middle(dataset)).astype(storage.dtype)
        shape = {"count": 1, "height": pixels.shape[0], "width": pixels.shape[1], "dtype": storage.dtype}
        creation = replace(options, threads=1).creation(storage)
        with MemoryFile(ext=".tif") as memory:
            began = time.perf_counter()
            with memory.open(driver="GTiff", transform=dataset.transform, **shape, **creation) as out:
                out.write(pixels, 1)
            spent = time.perf_counter() - began
        return spent * len(output.bands) * scene.shape.pixels / pixels.size


def _middle(dataset: DatasetReader) -> RasterWindow:
    """A window of one block or more in the middle of a raster, beginning with a block."""
    from rasterio.windows import Window

    rows, columns = (min(max(side, 1), BLOCK) for side in dataset.block_shapes[0])
    y, x = dataset.height // 2 // rows * rows, dataset.width // 2 // columns * columns
    return Window(x, y, min(BLOCK, dataset.width - x), min(BLOCK, dataset.height - y))
