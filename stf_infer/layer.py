# SPDX-License-Identifier: Apache-2.0
"""One raster seen on the grid that the network wants: rows of stored numbers, and which of them are valid."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from . import gdal
from .errors import BandError, GridError, RasterError
from .grid import ceil_to
from .placement import Aligned, Grid, Warped, place
from .raster import Raster, alpha_bands, as_stored, check_plausible, chosen_bands, scaling_of

if TYPE_CHECKING:
    from contextlib import ExitStack

    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT
    from rasterio.windows import Window

    from .spec import RasterSpec

# Where the fill value and the plausibility of a raster are sampled: a lattice of windows of its own pixels.
_SAMPLE_WINDOWS = 4
_SAMPLE_SIDE = 64
# Rows and columns that are warped at once. GDAL is slow at fewer; memory, and what a panel reads beyond its edge, grow
# with more.
_WARP_ROWS, _WARP_COLUMNS = 256, 1024
# Blocks of a file with more rows than this are read in parts.
_TALLEST_BLOCK = 1024


class Layer:
    """An open raster, read row block by row block on the grid of its input.

    ``valid`` is 1 where every band has a measurement: not nodata, not masked out, not NaN, inside of the raster.
    Through a warp the source pixel at the centre of the grid pixel decides (with ``average``: any source pixel in it).
    Reading is deterministic: the same rows give the same numbers whatever was read before.
    """

    def __init__(
        self, raster: Raster, spec: RasterSpec, fine: Grid, ratio: int, stack: ExitStack, *, any_ratio: bool = False
    ) -> None:
        self.spec = spec
        self.label = raster.label
        self.grid = fine.coarser(ratio) if spec.read_grid == "coarse" else fine
        self._dataset = stack.enter_context(raster.open())
        self._numbers = chosen_bands(raster, self._dataset, spec)
        self.scaling = scaling_of(raster, self._dataset, self._numbers, spec)
        self._nodata = raster.nodata if raster.nodata is not None else self._dataset.nodatavals[self._numbers[0] - 1]
        self._native = _pixel_type([self._dataset.dtypes[n - 1] for n in self._numbers], spec, raster.label)
        self._find_mask()
        self.placement = place(self._dataset, self.grid, spec, fine, ratio, any_ratio=any_ratio, label=raster.label)
        self._warped: tuple[WarpedVRT, ...] = ()
        if isinstance(self.placement, Warped):
            self._warped = self._open_warp(self.placement, stack)
        self.dtype = np.dtype(np.float32) if self._warped else self._native
        self.fallback = self._sample()

    def _find_mask(self) -> None:
        """What else says which pixels are valid: a mask band, an alpha band that is no data itself."""
        from rasterio.enums import MaskFlags

        flags = self._dataset.mask_flag_enums[self._numbers[0] - 1]
        self._has_mask = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        alpha = [n for n in alpha_bands(self._dataset) if n not in self._numbers]
        self._alpha = alpha[0] if alpha else None

    def _open_warp(self, warp: Warped, stack: ExitStack) -> tuple[WarpedVRT, ...]:
        """The raster warped to the grid, and, where it can have holes, the same by nearest neighbour to find them."""
        from rasterio.enums import Resampling

        as_data = sorted(set(alpha_bands(self._dataset)) & set(self._numbers))
        if as_data:
            raise BandError(
                f"A band of {self.spec.role} is marked as alpha: a warp would take it for a mask and not for data",
                got=f"{self.label}: band {as_data[0]}",
                fix=f"Unmark it: gdal_edit.py -colorinterp_{as_data[0]} undefined FILE",
            )
        floats = self._native.kind == "f"
        nodata = float("nan") if self._nodata is None and floats else self._nodata
        smooth = warp.resampling not in (Resampling.nearest, Resampling.average)
        holes = nodata is not None or self._has_mask or self._alpha is not None
        methods = [warp.resampling, *([Resampling.nearest] if smooth and holes else [])]
        return tuple(stack.enter_context(self._warp(method, warp.scale, nodata)) for method in methods)

    def _warp(self, method: Resampling, scale: float, nodata: float | None) -> WarpedVRT:
        from rasterio.vrt import WarpedVRT

        try:
            return WarpedVRT(
                self._dataset,
                crs=self.grid.crs,
                transform=self.grid.transform,
                height=self.grid.shape.height,
                width=self.grid.shape.width,
                resampling=method,
                src_nodata=nodata,
                nodata=float("nan"),
                dtype="float32",
                warp_mem_limit=64,
                tolerance=1e-3,  # source pixels
                XSCALE=scale,  # or GDAL would choose the kernel window by window
                YSCALE=scale,
                UNIFIED_SRC_NODATA="NO",  # or a pixel counts as valid unless it is nodata in every band
            )
        except gdal.failures() as error:
            raise GridError(
                f"{self.spec.role} cannot be warped onto the grid of fine_t1", got=f"{self.label}: {error}"
            ) from error

    def read(self, first: int, stop: int, columns: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``[first, stop)`` of the grid, all columns or those of a range.

        Returns:
            Stored numbers (C, rows, columns) and valid (rows, columns) uint8.

        Raises:
            RasterError: The file is damaged there.
        """
        left, right = columns or (0, self.grid.shape.width)
        shape = stop - first, right - left
        pixels, valid = np.empty((len(self._numbers), *shape), self.dtype), np.empty(shape, np.uint8)
        self.read_into(first, left, pixels, valid)
        return pixels, valid

    def read_into(self, first: int, left: int, pixels: np.ndarray, valid: np.ndarray) -> None:
        """As :meth:`read`, into arrays whose bands may lie apart: as many rows and columns as these have.

        Raises:
            RasterError: The file is damaged there.
        """
        if isinstance(self.placement, Aligned):
            self._read_aligned(first, left, self.placement, pixels, valid)
        else:
            self._read_warped(first, left, pixels, valid)

    def whole_blocks(self, stop: int) -> int:
        """The row at which to end a read that has to reach ``stop``, so that no block is read twice.

        That is the end of a row of the file's blocks, or of what is warped at once. Blocks that are taller than
        :data:`_TALLEST_BLOCK` rows are not waited for: whole images in one block would have to be held.
        """
        if isinstance(self.placement, Aligned):
            rows, offset = self._block_rows, self.placement.dy
        else:
            rows, offset = _WARP_ROWS, 0
        return min(ceil_to(stop + offset, rows) - offset, self.grid.shape.height)

    @property
    def surplus_rows(self) -> int:
        """Rows that :meth:`whole_blocks` adds at most."""
        return (self._block_rows if isinstance(self.placement, Aligned) else _WARP_ROWS) - 1

    @cached_property
    def _block_rows(self) -> int:
        rows = max(self._dataset.block_shapes[n - 1][0] for n in self._numbers)
        return rows if rows <= _TALLEST_BLOCK else 1

    @property
    def block_columns(self) -> int:
        """How wide a block of the file is on the grid, about: what is decoded for a single column of it."""
        widest = max(self._dataset.block_shapes[n - 1][1] for n in self._numbers)
        return -(-widest * self.grid.shape.width // self._dataset.width)

    def _read_aligned(self, first: int, left: int, at: Aligned, pixels: np.ndarray, valid: np.ndarray) -> None:
        rows, columns = valid.shape
        top, side = first + at.dy, left + at.dx
        y0, y1 = np.clip([top, top + rows], 0, self._dataset.height)
        x0, x1 = np.clip([side, side + columns], 0, self._dataset.width)
        if (y1 - y0, x1 - x0) != (rows, columns):
            pixels[:], valid[:] = 0, 0
        if y1 > y0 and x1 > x0:
            inside = slice(y0 - top, y1 - top), slice(x0 - side, x1 - side)
            self._read_native(y0, y1, x0, x1, pixels[(slice(None), *inside)], valid[inside])

    def _read_native(self, y0: int, y1: int, x0: int, x1: int, pixels: np.ndarray, valid: np.ndarray) -> None:
        """A window of the raster's own pixels, and which of them are valid."""
        self._read_pixels(self._dataset, y0, y1, x0, x1, pixels)
        valid[:] = 1
        with self._naming_damage(y0, y1):
            if self._has_mask:
                valid &= self._dataset.read_masks(self._numbers[0], window=_window(y0, y1, x0, x1)) > 0
            if self._alpha is not None:
                valid &= self._dataset.read(self._alpha, window=_window(y0, y1, x0, x1)) > 0
        for band in pixels:
            if band.dtype.kind == "f":
                valid &= np.isfinite(band)
            if self._nodata is not None and not np.isnan(self._nodata):
                valid &= band != as_stored(self._nodata, band.dtype)

    def _read_warped(self, first: int, left: int, pixels: np.ndarray, valid: np.ndarray) -> None:
        """A window of the grid, put together from blocks that are always the same.

        What a warp gives depends, a little, on the window that it is asked for.
        """
        rows, columns = valid.shape
        for y0, y1 in _steps(first, first + rows, _WARP_ROWS, self.grid.shape.height):
            for x0, x1 in _steps(left, left + columns, _WARP_COLUMNS, self.grid.shape.width):
                y, x = slice(max(y0, first), min(y1, first + rows)), slice(max(x0, left), min(x1, left + columns))
                there = slice(y.start - y0, y.stop - y0), slice(x.start - x0, x.stop - x0)
                here = slice(y.start - first, y.stop - first), slice(x.start - left, x.stop - left)
                block, sound = self._warped_block(y0, y1, x0, x1)
                pixels[(slice(None), *here)], valid[here] = block[(slice(None), *there)], sound[there]

    def _warped_block(self, y0: int, y1: int, x0: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        block = np.empty((len(self._numbers), y1 - y0, x1 - x0), np.float32)
        sound = np.ones(block.shape[1:], bool)
        for source in reversed(self._warped):  # the numbers of the first one are those that stay
            self._read_pixels(source, y0, y1, x0, x1, block)
            for band in block:
                sound &= np.isfinite(band)
        return block, sound

    def _read_pixels(self, source: Any, y0: int, y1: int, x0: int, x1: int, out: np.ndarray) -> None:
        """The chosen bands of a window into ``out``, (C, rows, columns)."""
        window = _window(y0, y1, x0, x1)
        with self._naming_damage(y0, y1):
            if len({source.dtypes[n - 1] for n in self._numbers}) == 1:
                source.read(self._numbers, window=window, out=out)
            else:
                for number, band in zip(self._numbers, out, strict=True):
                    source.read(number, window=window, out=band)

    @contextmanager
    def _naming_damage(self, y0: int, y1: int) -> Iterator[None]:
        """Turn GDAL's errors into one that names the role, the file and the rows."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except gdal.failures() as error:
            raise RasterError(
                f"{self.spec.role} is damaged: rows {y0} to {y1} cannot be read",
                got=f"{self.label}: {error}",
                fix="Get the file again",
            ) from error

    def _sample(self) -> np.ndarray:
        """Mean stored value of each band over a lattice of windows, and a check that the numbers are plausible.

        The lattice is in the raster's own pixels, so that the fill value does not depend on the tile plan.
        """
        height, width = self._dataset.height, self._dataset.width
        rows = _spread(height)
        found: list[np.ndarray] = []
        for y in rows:
            for x in _spread(width):
                side_y, side_x = min(_SAMPLE_SIDE, height - y), min(_SAMPLE_SIDE, width - x)
                pixels = np.empty((len(self._numbers), side_y, side_x), self._native)
                valid = np.empty((side_y, side_x), np.uint8)
                self._read_native(y, y + side_y, x, x + side_x, pixels, valid)
                found.append(pixels[:, valid.astype(bool)].astype(np.float64))
        values = np.concatenate(found, axis=1)
        if values.size == 0:
            return np.zeros(len(self._numbers))
        physical = values * self.scaling.scale[:, None] + self.scaling.offset[:, None]
        check_plausible(physical, self.spec, self.label, self.scaling)
        return values.mean(axis=1)


def _steps(start: int, stop: int, step: int, length: int) -> Iterator[tuple[int, int]]:
    """The ranges of ``step`` positions, counted from 0 and ending with ``length``, that ``[start, stop)`` touches."""
    for begin in range(start // step * step, stop, step):
        yield begin, min(begin + step, length)


def _window(y0: int, y1: int, x0: int, x1: int) -> Window:
    from rasterio.windows import Window

    return Window(int(x0), int(y0), int(x1 - x0), int(y1 - y0))


def _pixel_type(types: Sequence[str], spec: RasterSpec, label: str) -> np.dtype:
    """The type that holds the numbers of all chosen bands and that the compiled core reads.

    Raises:
        RasterError: They are complex.
    """
    if any(t.startswith("complex") for t in types):
        raise RasterError(f"{spec.role} holds complex numbers", got=label, allowed="integers or floats")
    dtype = np.result_type(*types)
    if dtype in (np.int64, np.uint64):
        return np.dtype(np.float64)
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _spread(length: int) -> list[int]:
    """First pixels of a few windows spread evenly over an axis."""
    last = max(length - _SAMPLE_SIDE, 0)
    return sorted({round(i * last / (_SAMPLE_WINDOWS - 1)) for i in range(_SAMPLE_WINDOWS)})
