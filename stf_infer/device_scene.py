# SPDX-License-Identifier: Apache-2.0
"""The rows of a scene on a device: raw numbers go up once, and tiles are cut out of them there.

Not run on a GPU; see docs/cuda.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .engines.device_session import DeviceArray, DeviceSession
from .grid import TileAxis, TilePlan, Window
from .layer import Layer
from .scene import TileReader
from .strip import Strip

if TYPE_CHECKING:
    from .spec import ModelSpec


class DeviceStrip(Strip):
    """A sliding window of rows on a device; rows that the next window shares are copied there, not sent again.

    Two buffers take turns. The rows of one come up, and are filled, while tiles are still cut out of the other.

    Args:
        layer: The raster.
        session: The run on the device.
        kernels: ``stf_infer._cuda``.
        rows: The most that are held at once.
        columns: The range of columns that is held.
    """

    def __init__(self, layer: Layer, session: DeviceSession, kernels: Any, rows: int, columns: tuple[int, int]) -> None:
        super().__init__(layer, columns)
        self._session, self._kernels = session, kernels
        self._shape = len(layer.spec.bands), rows, self.width
        self._buffers = [session.array(self._shape, layer.dtype) for _ in range(2)]
        self._left = [session.event() for _ in range(2)]  # behind the last tile that was cut out of a buffer
        self._staged = session.pinned((int(np.prod(self._shape)),), layer.dtype)
        self._mask = session.array(self._shape[1:], np.uint8)
        self._staged_mask = session.pinned(self._shape[1:], np.uint8)
        self._fallback = session.constant(np.asarray(layer.fallback, np.float64))
        self._there = session.event()
        self._turn = 0

    def _make_room(self, kept: int, rows: int) -> np.ndarray:
        session, before = self._session, self.pixels
        session.record(self._left[self._turn], session.work)
        self._turn = 1 - self._turn
        session.let_wait(session.up, self._left[self._turn])
        bands, _, width = self._shape
        self.pixels = self._buffers[self._turn].shaped(bands, rows, width)
        if kept:
            for to, band in zip(self.pixels, before, strict=True):
                session.copy(to[:kept], band[len(band) - kept :], session.up)
        session.wait_for(self._there)  # what was staged last has gone up
        return self._staged[: bands * (rows - kept) * width].reshape(bands, rows - kept, width)

    def _take_in(self, kept: int, read: np.ndarray, valid: np.ndarray) -> None:
        session, up = self._session, self._session.up
        mask = None if valid.all() else self._masked(valid)
        for number, (to, band) in enumerate(zip(self.pixels, read, strict=True)):
            session.upload(to[kept:], band, up)
            if mask is not None:
                new = to[kept:].shaped(1, *band.shape)
                session.launch(self._kernels.fill_invalid, new, mask, self._fallback[number : number + 1], stream=up)
        session.record(self._there, up)
        session.let_wait(session.work, self._there)

    def _masked(self, valid: np.ndarray) -> DeviceArray:
        """The valid pixels, on their way up."""
        mask, staged = self._mask[: len(valid)], self._staged_mask[: len(valid)]
        staged[...] = valid
        self._session.upload(mask, staged, self._session.up)
        return mask


class DeviceReader(TileReader):
    """Cuts normalised tiles out of one layer on a device.

    Args:
        layer: The raster.
        spec: The contract.
        plan: The tile plan.
        session: The run on the device.
        kernels: ``stf_infer._cuda``.
        columns: The range of fine columns that tiles are cut from.
    """

    def __init__(
        self,
        layer: Layer,
        spec: ModelSpec,
        plan: TilePlan,
        session: DeviceSession,
        kernels: Any,
        columns: tuple[int, int],
    ) -> None:
        super().__init__(layer, spec, plan.scene, columns)
        self._session, self._kernels = session, kernels
        needed = [self.needed((origin, origin + plan.y.size)) for origin in plan.y.origins]
        most = max(layer.whole_blocks(stop) - first for first, stop in needed)
        held = self.strip.left, self.strip.left + self.strip.width
        self.strip = DeviceStrip(layer, session, kernels, most, held)
        self._factors = session.constant(self._scale), session.constant(self._offset)
        self._origin = plan[0, 0].read
        if self.input.from_coarse:
            self._along_y = self._constant_positions(plan.y, layer.grid.shape.height, 0)
            self._along_x = self._constant_positions(plan.x, layer.grid.shape.width, self.strip.left)

    def _constant_positions(self, axis: TileAxis, coarse: int, held: int) -> tuple[DeviceArray, DeviceArray]:
        """Where all pixels of an axis that tiles read lie between coarse ones, counted from the first that is held."""
        first, weight = self.positions(axis.origins[0], axis.origins[-1] + axis.size, axis.length, coarse)
        return self._session.constant(first - held), self._session.constant(weight)

    def gather(self, window: Window, out: DeviceArray) -> None:  # type: ignore[override]  # of a device
        strip, session = self.strip, self._session
        common = (strip.pixels, strip.first, self.layer.grid.shape.height, *self._factors, self._low, self._high)
        if self.input.from_coarse:
            rows = slice(window.y0 - self._origin.y0, window.y1 - self._origin.y0)
            columns = slice(window.x0 - self._origin.x0, window.x1 - self._origin.x0)
            places = [*(part[rows] for part in self._along_y), *(part[columns] for part in self._along_x)]
            session.launch(self._kernels.gather_bilinear, *common, *places, out, stream=session.work)
        else:
            d = self._divisor
            place = ("mirror", window.y0 // d, window.x0 // d - strip.left, out, self._unit)
            session.launch(self._kernels.gather, *common, *place, stream=session.work)
