# SPDX-License-Identifier: Apache-2.0
"""The typed face of the compiled core. Arrays must be C-contiguous and of exactly the stated dtype.

Every call on arrays releases the GIL. Wrong shapes, sizes and read-only outputs raise ValueError with the value in the
message; a wrong dtype or layout raises TypeError, which names a tile's dtype beside those that are wanted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

def gather(
    strip: NDArray[Any],
    first_row: int,
    grid_rows: int,
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    low: float,
    high: float,
    border: str,
    y: int,
    x: int,
    tile: NDArray[Any],
    unit: int = 1,
) -> None:
    """Write the tile at (y, x) of a grid: ``clamp(strip * scale + offset, low, high)``.

    All arithmetic is in float32. A tile of float16 or bfloat16 gets the same values, rounded once: to nearest, half to
    even. What is beyond the type's range becomes infinite (float16: sizes from 65520 on, bfloat16: from 3.3962e38 on),
    what is at most half of its smallest number becomes 0 (float16: 2**-25), and NaN stays NaN.

    Args:
        strip: (C, rows, W) numbers of any raster type: all columns, grid rows from ``first_row``.
        first_row: Grid row of the strip's first row.
        grid_rows: Rows of the grid, where the border begins.
        scale: (C,) factor of each channel.
        offset: (C,) summand of each channel.
        low: Lower limit of the result.
        high: Upper limit of the result.
        border: What lies past the grid ``a b c d``: ``reflect`` (``c b | a b c d | c b``), ``edge``
            (``a a | a b c d | d d``), ``zero``, or ``mirror`` (``b a | a b c d | d c``), which keeps fine and coarse
            grids of one scene on top of each other.
        y: Grid row of the tile's first pixel; may lie past the border.
        x: Grid column of the tile's first pixel; may lie past the border.
        tile: (C, h, w) output of float32, float16, or bfloat16, which is a dtype of NumPy where ml_dtypes is imported;
            the core itself does without that package.
        unit: For ``mirror``: pixels that a coarse one covers; the far mirror stands at the end of the last coarse
            pixel.
    """

def gather_bilinear(
    strip: NDArray[Any],
    first_row: int,
    grid_rows: int,
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    low: float,
    high: float,
    rows: NDArray[np.int64],
    row_weight: NDArray[np.float32],
    columns: NDArray[np.int64],
    column_weight: NDArray[np.float32],
    tile: NDArray[Any],
) -> None:
    """Write a tile interpolated bilinearly from a coarser grid, after scaling and clamping.

    In float32; a tile of another type is rounded once, after it was interpolated.

    Args:
        strip: As for :func:`gather`, on the coarse grid.
        first_row: As for :func:`gather`.
        grid_rows: As for :func:`gather`.
        scale: As for :func:`gather`.
        offset: As for :func:`gather`.
        low: As for :func:`gather`.
        high: As for :func:`gather`.
        rows: (h,) upper coarse row of each tile row; the lower one is the next.
        row_weight: (h,) weight of the lower row.
        columns: (w,) left coarse column of each tile column.
        column_weight: (w,) weight of the right column.
        tile: As for :func:`gather`.
    """

def fill_invalid(strip: NDArray[Any], valid: NDArray[np.uint8], fallback: NDArray[np.float64]) -> None:
    """Replace invalid pixels in place, row by row.

    Between two valid pixels of a row the values run linearly; beyond the outermost one its value is repeated; a row
    without any takes ``fallback``. Whole rows decide, so the result does not depend on tiling.

    Args:
        strip: (C, rows, W) numbers of any raster type, changed in place.
        valid: (rows, W), 0 where invalid.
        fallback: (C,) values for rows without a valid pixel.
    """

def blend(
    tile: NDArray[np.float32],
    y: int,
    x: int,
    row_weight: NDArray[np.float32],
    column_weight: NDArray[np.float32],
    sums: NDArray[np.float32],
    first_row: int,
) -> None:
    """Add a weighted tile to rows of the scene: ``sums += row_weight x column_weight x tile``.

    Args:
        tile: (C, h, w) network values.
        y: Scene row of the tile's first pixel.
        x: Scene column of the tile's first pixel.
        row_weight: (h,) weights; pixels of weight 0 are not read.
        column_weight: (w,) weights.
        sums: (C, rows, W), changed in place; what lies outside of it is left out.
        first_row: Scene row of the first row of ``sums``.
    """

def finalise(
    sums: NDArray[np.float32],
    valid: NDArray[np.uint8] | None,
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    low: float,
    high: float,
    nodata: float,
    stored: NDArray[Any],
) -> int:
    """Turn blended values into stored ones: ``round(clamp(sums * scale + offset, low, high))``.

    Integers saturate at their type's range and never take the nodata value by accident.

    Args:
        sums: (C, rows, W) network values.
        valid: (rows, W), 0 where the result is nodata; None: valid everywhere. Sums that are not finite become
            nodata too.
        scale: (C,) factor of each channel.
        offset: (C,) summand of each channel.
        low: Lower limit, in stored numbers.
        high: Upper limit, in stored numbers.
        nodata: The stored nodata value.
        stored: (C, rows, W) uint8, uint16, int16 or float32 output.

    Returns:
        How many values of valid pixels were not finite, over all channels.
    """

def philox4x32(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Four random words of Philox 4x32-10, for a counter of four words and a key of two."""

def normals(
    word_1: NDArray[np.uint32], word_2: NDArray[np.uint32], out: NDArray[np.float32], kernel: str | None = None
) -> None:
    """Write the standard normal numbers that pairs of random words make, as :mod:`stf_infer.noise` says.

    Args:
        word_1: (n,) words that say how far from 0.
        word_2: (n,) words that say in which direction.
        out: (n,) output.
        kernel: One of :func:`metrics_kernels`; None: the fastest. All give the same bits.
    """

def noise(seed: int, step: int, y: int, x: int, tile: NDArray[np.float32], kernel: str | None = None) -> None:
    """Write standard normal noise for the pixels of a tile: a pure function of place, see :mod:`stf_infer.noise`.

    Args:
        seed: 64 bits: the key, lower half first.
        step: 32 bits: the counter's last word.
        y: Scene row of the tile's first pixel; any 64-bit number, of which the counter holds the lower 32 bits.
        x: Scene column of the tile's first pixel; likewise.
        tile: (C, h, w) output; the counter is (channel, row, column, step).
        kernel: One of :func:`metrics_kernels`; None: the fastest. All give the same bits.
    """

def measure(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    mask: NDArray[Any] | None = None,
    *,
    scale_p: Sequence[float] | NDArray[np.float64],
    offset_p: Sequence[float] | NDArray[np.float64],
    scale_t: Sequence[float] | NDArray[np.float64],
    offset_t: Sequence[float] | NDArray[np.float64],
    first_row: int = 0,
    first_column: int = 0,
    pairs: NDArray[np.float64] | None = None,
    angle_total: NDArray[np.float64] | None = None,
    angle_counts: NDArray[np.int64] | None = None,
    counts: NDArray[np.int64] | None = None,
    bins: tuple[float, float, int] | None = None,
    errors: NDArray[np.int64] | None = None,
    indices: Sequence[tuple[Any, ...]] = (),
    window_totals: NDArray[np.float64] | None = None,
    window_counts: NDArray[np.int64] | None = None,
    map: NDArray[np.float32] | None = None,
    threads: int = 1,
    kernel: str | None = None,
) -> None:
    """Add the partial sums of every wanted figure of two images, in one pass over them.

    A pixel counts where the mask is not 0 and every band of both images is finite. Sums are in float64 and do not
    depend on ``threads``. What the output arrays hold is added to; an output that is None is not wanted.

    Args:
        prediction: (C, H, W) of 8 to 32-bit integers, float32 or float64. Pixels of a row are adjacent; rows and bands
            may lie anywhere, aligned, in native byte order. May be read-only.
        truth: (C, H, W), likewise; its dtype may be another.
        mask: (H, W) bool or uint8, pixels of a row adjacent.
        scale_p: (C,): value = number * scale + offset, of the prediction.
        offset_p: (C,).
        scale_t: (C,), of the truth.
        offset_t: (C,).
        first_row: Rows above it are seen by windows only.
        first_column: Columns left of it are seen by windows only.
        pairs: (C, 11): the sums that :class:`stf_infer.metrics.Moments` names.
        angle_total: (1,): sum of spectral angles, in radians.
        angle_counts: (2,): pixels with an angle, and pixels with a spectrum of zeros.
        counts: (3,): pixels, those masked, those wanted and not finite.
        bins: Edges and number of the bins of the error.
        errors: (C, bins + 2): counts below, in the bins, above.
        indices: At most two of ``(kind, taps, uniform, c1, c2, rows, columns)``: ``ssim`` or ``uqi``, weights along one
            axis, whether they are equal, constants, and the range of rows and columns in which windows begin.
        window_totals: (indices, C): sum of each index over its windows.
        window_counts: (indices,): windows of each index, per band.
        map: (C, rows, columns): values of the one index, written where a window counts.
        threads: Threads to work on.
        kernel: One of :func:`metrics_kernels`; None: the fastest.
    """

def merge_pairs(into: NDArray[np.float64], other: NDArray[np.float64]) -> None:
    """Add the pixels of (C, 11) sums of pairs to others, in place."""

def metrics_kernels() -> list[str]:
    """Instruction sets of the inner loops of :func:`measure` that run on this machine, the fastest first."""

def read_words(words: NDArray[np.uint64], threads: int) -> int:
    """Sum of words, on several threads: what any pass over them costs at least. For benchmarks."""

def starfm(
    fine_t1: NDArray[np.float32],
    coarse_t1: NDArray[np.float32],
    coarse_t2: NDArray[np.float32],
    radius: int,
    similar: float,
    fine_coarse: float,
    coarse_coarse: float,
    step: float,
    weight: str,
    out: NDArray[np.float32],
    threads: int = 1,
) -> None:
    """STARFM of one band; see :mod:`stf_infer.baselines.starfm`.

    Args:
        fine_t1: (H, W), finite.
        coarse_t1: (H, W), on the fine grid.
        coarse_t2: (H, W), on the fine grid.
        radius: The window has ``2 radius + 1`` rows and columns.
        similar: Largest difference of ``fine_t1`` to the pixel that is predicted.
        fine_coarse: Allowance for ``|fine_t1 - coarse_t1|``.
        coarse_coarse: Allowance for ``|coarse_t1 - coarse_t2|``.
        step: Smallest difference that counts.
        weight: ``logarithm`` or ``product``.
        out: (H, W) output.
        threads: CPU threads.
    """
