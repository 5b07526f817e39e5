# SPDX-License-Identifier: Apache-2.0
"""How many tiles OpenVINO is given at once on a CPU: measured while an engine is built.

There are two ways to give it more than one. Streams compute different tiles side by side, each on some of the cores:
no core waits for another within a layer. Tiles of a batch go through a layer together
(:mod:`~stf_infer.engines.growing`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .growing import better, grown

Compile = Callable[[int], bytes]  # a number of tiles to the blob that takes them
Config = Callable[[int], Mapping[str, Any]]  # a number of streams to what OpenVINO is told


@dataclass
class Setting:
    """One way to give tiles, open.

    Attributes:
        tiles: Tiles of a batch.
        streams: Batches at once.
        blob: The compiled model.
        model: The same, open.
    """

    tiles: int
    streams: int
    blob: bytes
    model: Any
    _requests: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._requests = [self.model.create_infer_request() for _ in range(self.streams)]
        self._feed = {p.any_name: np.full(tuple(p.shape), 0.1, p.element_type.to_dtype()) for p in self.model.inputs}

    @property
    def at_once(self) -> int:
        """Tiles of a call."""
        return self.tiles * self.streams

    def call(self) -> None:
        """A batch on every stream."""
        for request in self._requests:
            request.start_async(self._feed, share_inputs=True)
        for request in self._requests:
            request.wait()


def fastest(
    core: Any, device: str, compile_for: Compile, config: Config, cores: int, tiles: int, grow: bool, say: Callable
) -> Setting:
    """The fastest number of streams, and then of tiles in a batch.

    Args:
        core: OpenVINO's.
        device: Its name of the device.
        compile_for: Gives the compiled model for a number of tiles.
        config: What to tell it.
        cores: Processors that may be used.
        tiles: Tiles of a batch to begin with.
        grow: Whether there may be more.
        say: Called with a line at every step.
    """

    def made(tiles: int, streams: int, blob: bytes) -> Setting:
        say(f"measuring {tiles * streams} tile{'s' * (tiles * streams > 1)} at once")
        return Setting(tiles, streams, blob, core.import_model(io.BytesIO(blob), device, config(streams)))

    best = made(tiles, 1, compile_for(tiles))
    best.call()
    for streams in stream_counts(cores)[1:]:
        best = better(best, made(tiles, streams, best.blob))
    if not grow:
        return best
    return grown(best, lambda tiles: made(tiles, best.streams, compile_for(tiles)))


def stream_counts(available: int) -> list[int]:
    """Numbers of streams worth trying on so many cores: 1, and then by doubling as long as a stream has two cores.

    Every core a stream is the last one, where there are few.
    """
    counts = [1]
    while counts[-1] * 4 <= available:
        counts.append(counts[-1] * 2)
    return [*counts, available] if 1 < available <= 8 and available not in counts else counts
