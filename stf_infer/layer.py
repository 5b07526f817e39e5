# SPDX-License-Identifier: Apache-2.0
"""One raster seen on the grid that the network wants: rows of stored numbers, and which of them are valid."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from . import _core
from .errors import RasterError
from .placement import Aligned, Grid, Warped, place
from .raster import Raster, check_plausible, chosen_bands, scaling_of

if TYPE_CHECKING:
    from contextlib import ExitStack

    from .spec import InputSpec

# Where the fill value and the plausibility of a raster are sampled: a lattice of windows of its own pixels.
_SAMPLE_WINDOWS = 4
_SAMPLE_SIDE = 64


class Layer:
    """An open raster, read row block by row block on the grid of its input.

    ``valid`` is 1 where every band has a measurement: not nodata, not masked out, not NaN, inside of the raster.
    Reading is deterministic: the same rows give the same numbers whatever was read before.
    """

    def __init__(
        self, raster: Raster, spec: InputSpec, fine: Grid, ratio: int, stack: ExitStack, *, any_ratio: bool = False
    ) -> None:
        self.spec = spec
        self.label = raster.label
        self.grid = fine.coarser(ratio) if spec.read_grid == "coarse" else fine
        self._dataset = stack.enter_context(raster.open())
        self._numbers = chosen_bands(raster, self._dataset, spec)
        self.scaling = scaling_of(raster, self._dataset, self._numbers, spec)
        self._nodata = self._stated_nodata(raster)
        self.placement = place(self._dataset, self.grid, spec, fine, ratio, any_ratio=any_ratio, label=raster.label)
        if isinstance(self.placement, Warped):
            self._open_warp(self.placement, stack)
            self.dtype = np.dtype(np.float32)
        else:
            self._source, self._has_alpha = self._dataset, False
            self.dtype = np.dtype(self._dataset.dtypes[self._numbers[0] - 1])
        self._has_mask = not self._has_alpha and self._nodata is None and self._masks_pixels()
        self.fallback = self._sample()

    def _stated_nodata(self, raster: Raster) -> float | None:
        return raster.nodata if raster.nodata is not None else self._dataset.nodata

    def _masks_pixels(self) -> bool:
        """Whether the file carries a mask or alpha band that says which pixels are valid."""
        from rasterio.enums import MaskFlags

        flags = self._dataset.mask_flag_enums[self._numbers[0] - 1]
        return MaskFlags.per_dataset in flags or MaskFlags.alpha in flags

    def _open_warp(self, warp: Warped, stack: ExitStack) -> None:
        from rasterio.vrt import WarpedVRT

        nodata = self._nodata
        floats = np.dtype(self._dataset.dtypes[0]).kind == "f"
        if nodata is None and floats and not self._masks_pixels():
            nodata = float("nan")
        # Without a nodata value only an alpha band tells pixels that the raster does not cover.
        self._has_alpha = nodata is None
        self._source = stack.enter_context(
            WarpedVRT(
                self._dataset,
                crs=self.grid.crs,
                transform=self.grid.transform,
                height=self.grid.shape.height,
                width=self.grid.shape.width,
                resampling=warp.resampling,
                src_nodata=nodata,
                nodata=nodata,
                add_alpha=self._has_alpha and not self._alpha_band(),
                dtype="float32",
                tolerance=0,  # an approximated transform would depend on the window that is read
                warp_mem_limit=64,
            )
        )
        self._nodata = nodata

    def _alpha_band(self) -> bool:
        from rasterio.enums import ColorInterp

        return ColorInterp.alpha in self._dataset.colorinterp

    def read(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``[first, stop)`` of the grid: stored numbers (C, rows, W) and valid (rows, W) uint8.

        Raises:
            RasterError: The file is damaged there.
        """
        if isinstance(self.placement, Aligned):
            return self._read_aligned(first, stop, self.placement)
        return self._read(first, stop, 0, self.grid.shape.width)

    def _read_aligned(self, first: int, stop: int, at: Aligned) -> tuple[np.ndarray, np.ndarray]:
        height, width = self._dataset.height, self._dataset.width
        columns = self.grid.shape.width
        y0, y1 = np.clip([first + at.dy, stop + at.dy], 0, height)
        x0, x1 = np.clip([at.dx, at.dx + columns], 0, width)
        if (y1 - y0, x1 - x0) == (stop - first, columns):
            return self._read(y0, y1, x0, x1)
        strip = np.zeros((len(self._numbers), stop - first, columns), self.dtype)
        valid = np.zeros((stop - first, columns), np.uint8)
        if y1 > y0 and x1 > x0:
            rows = slice(y0 - first - at.dy, y1 - first - at.dy)
            cols = slice(x0 - at.dx, x1 - at.dx)
            strip[:, rows, cols], valid[rows, cols] = self._read(y0, y1, x0, x1)
        return strip, valid

    def _read(self, y0: int, y1: int, x0: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        window = Window(int(x0), int(y0), int(x1 - x0), int(y1 - y0))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pixels = self._source.read(self._numbers, window=window)
                mask = None
                if self._has_alpha:
                    mask = self._source.read(self._source.count, window=window)
                elif self._has_mask:
                    mask = self._source.read_masks(self._numbers[0], window=window)
        except RasterioError as error:
            raise RasterError(
                f"{self.spec.role} is damaged: rows {y0} to {y1} cannot be read",
                got=f"{self.label}: {error}",
                fix="Get the file again",
            ) from error
        return pixels, self._valid(pixels, mask)

    def _valid(self, pixels: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        valid = np.ones(pixels.shape[1:], bool) if mask is None else mask > 0
        for band in pixels:
            if band.dtype.kind == "f":
                valid &= np.isfinite(band)
            if self._nodata is not None and not np.isnan(self._nodata):
                valid &= band != _as_stored(self._nodata, band.dtype)
        return valid.view(np.uint8)

    def _sample(self) -> np.ndarray:
        """Mean stored value of each band over a lattice of windows, and a check that the numbers are plausible.

        The lattice is in the raster's own pixels, so that the fill value does not depend on the tile plan.
        """
        from rasterio.windows import Window

        height, width = self._dataset.height, self._dataset.width
        rows = _spread(height)
        found: list[np.ndarray] = []
        for y in rows:
            for x in _spread(width):
                side_y, side_x = min(_SAMPLE_SIDE, height - y), min(_SAMPLE_SIDE, width - x)
                found.append(self._sample_window(Window(x, y, side_x, side_y)))
        values = np.concatenate(found, axis=1)
        if values.size == 0:
            return np.zeros(len(self._numbers))
        physical = values * self.scaling.scale[:, None] + self.scaling.offset[:, None]
        check_plausible(physical, self.spec, self.label, self.scaling)
        return values.mean(axis=1)

    def _sample_window(self, window: object) -> np.ndarray:
        """Valid stored values of a window of the raster's own pixels, (C, N) float64."""
        from rasterio.errors import RasterioError

        try:
            pixels = self._dataset.read(self._numbers, window=window)
            mask = self._dataset.read_masks(self._numbers[0], window=window) if self._masks_pixels() else None
        except RasterioError as error:
            raise RasterError(
                f"{self.spec.role} is damaged", got=f"{self.label}: {error}", fix="Get the file again"
            ) from error
        valid = self._valid(pixels, mask).astype(bool)
        return pixels[:, valid].astype(np.float64)


def _spread(length: int) -> list[int]:
    """First pixels of a few windows spread evenly over an axis."""
    last = max(length - _SAMPLE_SIDE, 0)
    return sorted({round(i * last / (_SAMPLE_WINDOWS - 1)) for i in range(_SAMPLE_WINDOWS)})


def _as_stored(nodata: float, dtype: np.dtype) -> np.generic | float:
    """The nodata value as the pixels hold it; a value that the type cannot hold never matches."""
    if dtype.kind == "f":
        return dtype.type(nodata)
    limits = np.iinfo(dtype)
    return dtype.type(nodata) if limits.min <= nodata <= limits.max and nodata == int(nodata) else float("nan")


class Strip:
    """A sliding window of rows of a layer; rows that the next window shares are kept, not read again.

    Invalid pixels are filled along their row (:func:`stf_infer._core.fill_invalid`), so that they do not poison
    their neighbours inside of the network; ``valid`` remembers them.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.first = 0
        self.pixels: np.ndarray = np.empty((0, 0, 0), layer.dtype)
        self.valid: np.ndarray = np.empty((0, 0), np.uint8)

    def move_to(self, first: int, stop: int) -> None:
        """Hold the rows ``[first, stop)`` of the layer's grid."""
        held_stop = self.first + self.valid.shape[0]
        if self.valid.size and self.first <= first < held_stop <= stop:
            kept = slice(first - self.first, None)
            new = [self._read(held_stop, stop)] if stop > held_stop else []
            self.pixels = np.concatenate([self.pixels[:, kept], *(n[0] for n in new)], axis=1)
            self.valid = np.concatenate([self.valid[kept], *(n[1] for n in new)])
        else:
            self.pixels, self.valid = self._read(first, stop)
        self.first = first

    def _read(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, valid = self.layer.read(first, stop)
        if not valid.all():
            _core.fill_invalid(pixels, valid, self.layer.fallback)
        return pixels, valid
