# SPDX-License-Identifier: Apache-2.0
"""The typed face of the core on a CUDA device: the operations of :mod:`stf_infer._core`, with the same arguments.

Built with ``-C cmake.define.STF_CUDA=ON`` where nvcc is. Arrays are anything with ``__cuda_array_interface__`` (PyCUDA,
CuPy, torch) or DLPack, C-contiguous and of exactly the dtype that :mod:`stf_infer._core` states. ``typestr`` has no
letter for bfloat16: "<V2" is taken for it, as ml_dtypes and torch write it, and so is bfloat16 by DLPack. ``stream`` is
the handle of a CUDA stream, 0 the default one; what another stream still writes to an array has to be waited for. Work
is queued and the call returns: arrays must live until the stream has done it, and their device must be the current one.

Mistakes in arguments raise ValueError with the value in the message, on a machine without a device too; then a machine
without one raises RuntimeError with the reason. No call copies between host and device.
"""

from typing import Any

def device_problem() -> str:
    """Why nothing can run on a device here; an empty text where something can."""

def gather(
    strip: Any,
    first_row: int,
    grid_rows: int,
    scale: Any,
    offset: Any,
    low: float,
    high: float,
    border: str,
    y: int,
    x: int,
    tile: Any,
    unit: int = 1,
    stream: int = 0,
) -> None:
    """As :func:`stf_infer._core.gather`."""

def gather_bilinear(
    strip: Any,
    first_row: int,
    grid_rows: int,
    scale: Any,
    offset: Any,
    low: float,
    high: float,
    rows: Any,
    row_weight: Any,
    columns: Any,
    column_weight: Any,
    tile: Any,
    stream: int = 0,
) -> None:
    """As :func:`stf_infer._core.gather_bilinear`; a pixel that needs a row outside of the strip becomes NaN."""

def fill_invalid(strip: Any, valid: Any, fallback: Any, stream: int = 0) -> None:
    """As :func:`stf_infer._core.fill_invalid`."""

def blend(
    tile: Any,
    y: int,
    x: int,
    row_weight: Any,
    column_weight: Any,
    sums: Any,
    first_row: int,
    stream: int = 0,
) -> None:
    """As :func:`stf_infer._core.blend`; a pixel whose row or column has weight 0 is never read."""

def finalise(
    sums: Any,
    valid: Any,
    scale: Any,
    offset: Any,
    low: float,
    high: float,
    nodata: float,
    stored: Any,
    not_finite: Any,
    stream: int = 0,
) -> None:
    """As :func:`stf_infer._core.finalise`, but that the count is added to ``not_finite`` (1,) uint64 on the device."""

def noise(seed: int, step: int, y: int, x: int, tile: Any, stream: int = 0) -> None:
    """As :func:`stf_infer._core.noise`, bit by bit."""

def metrics_scratch(bands: int, rows: int, columns: int) -> int:
    """Float64 numbers of scratch that any of the ``measure_`` functions needs."""

def measure_pairs(
    prediction: Any, truth: Any, mask: Any | None, pairs: Any, counts: Any, scratch: Any, stream: int = 0
) -> None:
    """The ``pairs`` and ``counts`` of :func:`stf_infer._core.measure`, of float32 images without a scale.

    They agree to 1e-12 with the CPU's, not to the last bit: sums are taken in other parts. Those parts and their order
    are fixed, so every device gives the same bits. What the output holds is added to, so that sums of a device and of
    the host merge.

    Args:
        prediction: (C, H, W) float32.
        truth: (C, H, W) float32.
        mask: (H, W) uint8, 0 where a pixel is left out; None: none is.
        pairs: (C, 11) float64, added to.
        counts: (3,) int64, added to: pixels, those masked, those wanted and not finite.
        scratch: (n,) float64 with n of :func:`metrics_scratch` or more.
        stream: Handle of a stream.
    """

def measure_angles(
    prediction: Any, truth: Any, mask: Any | None, angle_total: Any, angle_counts: Any, scratch: Any, stream: int = 0
) -> None:
    """The spectral angles of :func:`stf_infer._core.measure`; arguments that are not told as :func:`measure_pairs`.

    Args:
        prediction: As there.
        truth: As there.
        mask: As there.
        angle_total: (1,) float64, added to: sum of the angles in radians.
        angle_counts: (2,) int64, added to: pixels with an angle, and pixels with a spectrum of zeros.
        scratch: As there.
        stream: As there.
    """

def measure_errors(
    prediction: Any,
    truth: Any,
    mask: Any | None,
    bins: tuple[float, float, int],
    errors: Any,
    scratch: Any,
    stream: int = 0,
) -> None:
    """The histogram of :func:`stf_infer._core.measure`, count by count.

    Args:
        prediction: As :func:`measure_pairs`.
        truth: As there.
        mask: As there.
        bins: Edges and number of the bins.
        errors: (C, bins + 2) int64, added to: errors below, in the bins, above.
        scratch: As there.
        stream: As there.
    """

def measure_windows(
    prediction: Any,
    truth: Any,
    mask: Any | None,
    index: tuple[Any, ...],
    window_totals: Any,
    window_count: Any,
    scratch: Any,
    stream: int = 0,
) -> None:
    """One of the indices of :func:`stf_infer._core.measure`; totals agree to 1e-12.

    Args:
        prediction: As :func:`measure_pairs`.
        truth: As there.
        mask: As there; windows with a pixel that does not count are left out.
        index: As in ``indices`` there; windows of at most 63 x 63. The taps lie on the host.
        window_totals: (C,) float64, added to.
        window_count: (1,) int64, added to: windows of a band.
        scratch: As :func:`measure_pairs`.
        stream: As there.
    """

def starfm_scratch(rows: int, columns: int, radius: int) -> int:
    """Float32 numbers of scratch that :func:`starfm` needs."""

def starfm(
    fine_t1: Any,
    coarse_t1: Any,
    coarse_t2: Any,
    radius: int,
    similar: float,
    fine_coarse: float,
    coarse_coarse: float,
    step: float,
    weight: str,
    out: Any,
    scratch: Any,
    stream: int = 0,
) -> None:
    """As :func:`stf_infer._core.starfm`, in the same order of sums.

    The bits are the CPU's with the weight ``product``. With ``logarithm`` they are as near as the two machines'
    logarithms of a float are.

    Args:
        fine_t1: As there.
        coarse_t1: As there.
        coarse_t2: As there.
        radius: As there.
        similar: As there.
        fine_coarse: As there.
        coarse_coarse: As there.
        step: As there.
        weight: As there.
        out: As there.
        scratch: (n,) float32 with n of :func:`starfm_scratch` or more.
        stream: Handle of a stream.
    """
