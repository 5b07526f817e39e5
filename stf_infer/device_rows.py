# SPDX-License-Identifier: Apache-2.0
"""Rows that tiles are added to on a device; what comes down is finalised.

Not run on a GPU; see docs/cuda.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .engines.device_session import DeviceArray, DeviceSession
from .grid import Shape, Tile, Window
from .open_rows import FinishedRows, OpenRows, Result

if TYPE_CHECKING:
    from .seam import SeamMeter


class _Landing:
    """Memory on both sides for finished rows on their way down."""

    def __init__(self, session: DeviceSession, shapes: dict[str, tuple[tuple[int, ...], Any]]) -> None:
        self.there = {name: session.array(*shape) for name, shape in shapes.items()}
        self.here = {name: session.pinned(*shape) for name, shape in shapes.items()}
        self.finalised, self.down = session.event(), session.event()


@dataclass(frozen=True)
class _OnTheWay:
    """Rows that come down into a landing."""

    landing: _Landing
    first: int
    valid: np.ndarray
    windows: list[Window]


class DeviceRows(OpenRows):
    """Sums of weighted tiles on a device, of the area's columns.

    Finished rows are handed out when the next ones are finished: they come down while later tiles are computed.

    Args:
        result: What they are for.
        seam: Told of the finished rows: of what it looks at, and nothing else comes down beside them.
        session: The run on the device.
        kernels: ``stf_infer._cuda``.
        most: Rows that are open at once at most.
    """

    at_once = 1 << 30  # all of them: memory is there for as many rows as can be open

    def __init__(self, result: Result, seam: SeamMeter, session: DeviceSession, kernels: Any, most: int) -> None:
        super().__init__(result, seam)
        self._session, self._kernels = session, kernels
        plan, area, storage, bands = result.plan, result.area, result.storage, self._bands
        width = area.shape.width
        self._weights = [
            session.constant(np.stack([axis.weights(number) for number in range(len(axis))]))
            for axis in (plan.y, plan.x)
        ]
        self._buffers = [session.array((bands, most, width)) for _ in range(2)]
        self._sums = self._buffers[0].shaped(bands, 0, width)
        self._conversion = storage.conversion(result.output.values)
        self._factors = [
            session.constant(np.full(bands, number, np.float32))
            for number in (self._conversion.scale, self._conversion.offset)
        ]
        self._plain = session.constant(np.ones(bands, np.float32)), session.constant(np.zeros(bands, np.float32))
        looked_at = seam.most_pixels(Shape(most, width), area.x0)
        shapes = {
            "stored": ((bands, most, width), storage.dtype),
            "valid": ((most, width), np.uint8),
            "looked_at": ((bands * looked_at,), np.float32),
            "not_finite": ((1,), np.uint64),
        }
        self._landings = [_Landing(session, shapes) for _ in range(2)]
        self._on_the_way: _OnTheWay | None = None

    def _hold(self, new: int) -> None:
        session, work = self._session, self._session.work
        assert self._first is not None
        kept = self.stop - new - self._first
        self._buffers.reverse()
        sums = self._buffers[0].shaped(self._bands, kept + new, self._sums.shape[2])
        for to, before in zip(sums, self._sums, strict=True):
            if kept:
                session.copy(to[:kept], before[len(before) - kept :], work)
            session.clear(to[kept:], work)
        self._sums, self._base = sums, self._first

    def add(self, tile: Tile, values: DeviceArray, sample: int = 0, skipped: int = 0) -> None:
        along_y, along_x = self._weights
        place = tile.read.y0, tile.read.x0 - self._result.area.x0, along_y[tile.iy], along_x[tile.ix]
        session = self._session
        session.launch(self._kernels.blend, values, *place, self._sums, self._base, stream=session.work)

    def finish(self, stop: int) -> list[FinishedRows]:
        begin, valid = self._let_go(stop)
        if not len(valid):
            return []
        # A landing is used again when its rows have been handed out and written.
        self._landings.reverse()
        started = self._send_down(self._landings[0], begin, valid)
        finished = self.rest()
        self._on_the_way = started
        return finished

    def _send_down(self, landing: _Landing, begin: int, valid: np.ndarray) -> _OnTheWay:
        session, work, down = self._session, self._session.work, self._session.down
        bands, rows, width = self._bands, *valid.shape
        skipped = begin - self._base
        there, here = landing.there, landing.here
        stored = there["stored"].shaped(bands, rows, width)
        mask = None
        if not valid.all():
            mask = there["valid"].shaped(rows, width)
            here["valid"].reshape(-1)[: valid.size] = valid.reshape(-1)
            session.upload(mask, here["valid"].reshape(-1)[: valid.size], work)
        session.clear(there["not_finite"], work)
        limits = self._conversion[2:]
        for band in range(bands):
            sums = self._sums[band][skipped : skipped + rows].shaped(1, rows, width)
            factors = [factor[band : band + 1] for factor in self._factors]
            to = stored[band : band + 1], there["not_finite"]
            session.launch(self._kernels.finalise, sums, mask, *factors, *limits, *to, stream=work)
        windows = self._seam.windows(Shape(rows, width), begin, self._result.area.x0)
        looked_at = self._look(windows, skipped, there["looked_at"])
        session.record(landing.finalised, work)
        session.let_wait(down, landing.finalised)
        for name, array in (("stored", stored), ("looked_at", looked_at), ("not_finite", there["not_finite"])):
            pinned = here[name].reshape(-1)[: int(np.prod(array.shape))]
            session.download(pinned, array, down)
        session.record(landing.down, down)
        return _OnTheWay(landing, begin, valid, windows)

    def _look(self, windows: list[Window], skipped: int, room: DeviceArray) -> DeviceArray:
        """Copy windows of the rows behind the first ``skipped`` ones, one behind the other."""
        used, open_ended = 0, (-np.inf, np.inf)
        for at in windows:
            shape = self._bands, at.shape.height, at.shape.width
            to = room[used:].shaped(*shape)
            place = ("edge", skipped + at.y0, at.x0, to, 1)
            strip = self._sums, 0, self._sums.shape[1], *self._plain, *open_ended
            self._session.launch(self._kernels.gather, *strip, *place, stream=self._session.work)
            used += int(np.prod(shape))
        return room[:used]

    def rest(self) -> list[FinishedRows]:
        way, self._on_the_way = self._on_the_way, None
        if way is None:
            return []
        self._session.wait_for(way.landing.down)
        here, shape = way.landing.here, way.valid.shape
        seen, used = {}, 0
        for at in way.windows:
            size = self._bands * at.shape.pixels
            seen[at] = here["looked_at"][used : used + size].reshape(self._bands, at.shape.height, at.shape.width)
            used += size
        self._seam.look(seen.__getitem__, way.valid, way.first, self._result.area.x0)
        stored = here["stored"].reshape(-1)[: self._bands * way.valid.size].reshape(self._bands, *shape)
        return [FinishedRows(way.first, stored, int(np.count_nonzero(way.valid)), int(here["not_finite"][0]))]
