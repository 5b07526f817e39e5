# SPDX-License-Identifier: Apache-2.0
"""Rows of a scene through the compiled core, from top to bottom: one pass gives the partial sums of every figure.

Windows reach over the border of two blocks of rows. Therefore the last rows of a block are kept, and the windows that
begin in them are measured when the next block is there; each window is measured once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import _core
from .checks import stored_mask
from .errors import ErrorHistogram
from .moments import Moments
from .spectral import SpectralAngles
from .windows import WindowedMean

# What the core reads as it is; anything else is converted to float64, some rows at a time.
_READ_AS_IS = {np.dtype(t) for t in ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")}
# Values of one image that are converted or copied at once.
_VALUES_AT_ONCE = 1 << 19


@dataclass(frozen=True)
class Scaling:
    """Value = stored number * scale + offset, band by band: what a raster of integers says about itself.

    Attributes:
        scale: ``(C,)``.
        offset: ``(C,)``.
    """

    scale: Sequence[float] | np.ndarray
    offset: Sequence[float] | np.ndarray

    @classmethod
    def none(cls, bands: int) -> Scaling:
        """Values are what is stored."""
        return cls((1.0,) * bands, (0.0,) * bands)


@dataclass
class Sums:
    """What a pass adds to; None where it is not wanted.

    Attributes:
        moments: Sums of pairs.
        angles: Sums of spectral angles, of two bands or more.
        errors: Histogram of the error.
        windowed: Sums over windows, at most two.
        counts: int64 ``(3,)``: pixels, those that a mask left out, and those that were wanted and not finite in some
            band. Context is not counted.
    """

    moments: Moments | None = None
    angles: SpectralAngles | None = None
    errors: ErrorHistogram | None = None
    windowed: Sequence[WindowedMean] = ()
    counts: np.ndarray = field(default_factory=lambda: np.zeros(3, np.int64))

    @property
    def reach(self) -> int:
        """Rows and columns of the largest window; 1 without windows."""
        return max((index.size for index in self.windowed), default=1)


class Stream:
    """Rows that go in from top to bottom, and the sums that they are added to.

    Args:
        bands: Number of bands C.
        sums: What is wanted.
        context: Rows at the top and columns at the left that belong to another part of the scene: they are seen by
            windows only, and a window is counted here where its last pixel, lower right, is none of them.
        scaling: Of the prediction and of the truth.
        threads: Threads of the core; None: one for each core that this process may use.

    Attributes:
        rows: Rows so far, with those of the context.
    """

    def __init__(
        self,
        bands: int,
        sums: Sums,
        *,
        context: tuple[int, int] = (0, 0),
        scaling: tuple[Scaling, Scaling] | None = None,
        threads: int | None = None,
    ) -> None:
        self.rows = 0
        self._sums, self._context = sums, context
        self._scaling = scaling or (Scaling.none(bands), Scaling.none(bands))
        self._threads = threads or available_cores()
        self._kept: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None

    def update(self, prediction: np.ndarray, truth: np.ndarray, use: np.ndarray | None = None) -> None:
        """Add the rows that follow those of the last call.

        Args:
            prediction: ``(C, R, W)`` of any real dtype and layout; a masked array hides pixels of its own.
            truth: Of the same shape.
            use: bool ``(R, W)``, True where a pixel is used.
        """
        bands, rows, width = prediction.shape
        as_is = _is_read_as_it_is(prediction) and _is_read_as_it_is(truth) and (use is None or _is_plain_mask(use))
        step = rows if as_is else max(_VALUES_AT_ONCE // (bands * width), 16)
        for start in range(0, rows, step):
            part = np.s_[start : start + step]
            p, t, u = prediction[:, part], truth[:, part], None if use is None else use[part]
            shown = stored_mask(p, t)
            if shown is not None:
                u = shown if u is None else u & shown
            self._add(readable(p), readable(t), None if u is None else np.ascontiguousarray(u))

    def _add(self, p: np.ndarray, t: np.ndarray, use: np.ndarray | None) -> None:
        top = max(self._context[0] - self.rows, 0)
        self._measure(p, t, use, first_row=top, start=0, stop=p.shape[1], pixels=True)
        kept_rows = self._sums.reach - 1
        if kept_rows:
            self._seam(p, t, use, kept_rows)
        self.rows += p.shape[1]

    def _seam(self, p: np.ndarray, t: np.ndarray, use: np.ndarray | None, kept_rows: int) -> None:
        """Measure the windows that begin in the rows that were kept, and keep the last rows of this block."""
        if self._kept is not None:
            before_p, before_t, before_use = self._kept
            count = before_p.shape[1]
            head = np.s_[:, :kept_rows]
            both_p = readable(np.concatenate([before_p, p[head]], axis=1))
            both_t = readable(np.concatenate([before_t, t[head]], axis=1))
            both_use = _joined(before_use, count, use, p.shape[1], kept_rows, p.shape[2])
            self.rows -= count
            self._measure(both_p, both_t, both_use, first_row=both_p.shape[1], start=0, stop=count, pixels=False)
            self.rows += count
            if p.shape[1] < kept_rows:
                p, t, use = both_p, both_t, both_use
        tail = np.s_[:, -kept_rows:]
        self._kept = p[tail].copy(), t[tail].copy(), None if use is None else use[-kept_rows:].copy()

    def _measure(
        self,
        p: np.ndarray,
        t: np.ndarray,
        use: np.ndarray | None,
        *,
        first_row: int,
        start: int,
        stop: int,
        pixels: bool,
    ) -> None:
        """One pass of the core. Windows that begin in the rows [start, stop) and end in these rows are measured."""
        sums, bands = self._sums, len(p)
        indices = []
        for index in sums.windowed:
            # Of the windows that begin in kept rows, those that end there too have been measured before.
            seen = 0 if pixels else stop - index.size + 1
            first = max(start, seen, self._context[0] - index.size + 1 - self.rows, 0)
            last = min(stop, p.shape[1] - index.size + 1)
            left, right = max(self._context[1] - index.size + 1, 0), p.shape[2] - index.size + 1
            rows = (first, last) if first < last else (0, 0)
            indices.append(index.wanted(rows, (left, right) if left < right else (0, 0)))
        totals = np.zeros((len(indices), bands))
        windows = np.zeros(len(indices), np.int64)
        angles = sums.angles if pixels and bands > 1 else None
        errors = sums.errors if pixels else None
        (scale_p, offset_p), (scale_t, offset_t) = ((s.scale, s.offset) for s in self._scaling)
        _core.measure(
            p,
            t,
            use,
            scale_p=scale_p,
            offset_p=offset_p,
            scale_t=scale_t,
            offset_t=offset_t,
            first_row=first_row,
            first_column=self._context[1],
            pairs=sums.moments.sums if sums.moments is not None and pixels else None,
            angle_total=None if angles is None else angles.sums,
            angle_counts=None if angles is None else angles.counts,
            counts=sums.counts,
            bins=None if errors is None else (errors.low, errors.high, errors.bins),
            errors=None if errors is None else errors.counts,
            indices=indices,
            window_totals=totals,
            window_counts=windows,
            threads=self._threads,
        )
        for k, index in enumerate(sums.windowed):
            index.total += totals[k]
            index.windows += int(windows[k])


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_read_as_it_is(image: np.ndarray) -> bool:
    if isinstance(image, np.ma.MaskedArray):
        return False
    packed = image.shape[2] == 1 or image.strides[2] == image.itemsize
    return image.dtype in _READ_AS_IS and image.dtype.isnative and image.flags.aligned and packed


def _is_plain_mask(use: np.ndarray) -> bool:
    return use.shape[1] == 1 or use.strides[1] == 1


def readable(image: np.ndarray) -> np.ndarray:
    """The image as the core reads it; a copy only where it has to be one."""
    if _is_read_as_it_is(image):
        return image
    native: np.dtype[Any] = image.dtype.newbyteorder("=")
    out: np.ndarray = np.array(np.asarray(image), native if native in _READ_AS_IS else np.float64, order="C")
    return out


def _joined(
    before: np.ndarray | None, count: int, use: np.ndarray | None, rows: int, most: int, width: int
) -> np.ndarray | None:
    """Masks of the kept rows and of the first rows of a block; None where both use every pixel."""
    if before is None and use is None:
        return None
    upper = np.ones((count, width), bool) if before is None else before
    lower = np.ones((min(rows, most), width), bool) if use is None else use[:most]
    return np.concatenate([upper, lower])
