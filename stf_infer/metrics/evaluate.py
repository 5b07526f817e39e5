# SPDX-License-Identifier: Apache-2.0
"""Measure a prediction against the truth: whole arrays, or a scene that streams by in blocks of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import MetricError
from . import definitions
from .checks import (
    as_band_names,
    as_context,
    as_data_range,
    as_pair,
    as_ratio,
    as_threads,
    as_use,
)
from .errors import ErrorHistogram
from .moments import Moments
from .report import Counts, MetricReport, Settings
from .spectral import SpectralAngles
from .ssim import K1, K2, SIGMA, UQI_SIZE, Window, WindowName, ssim, uqi
from .stream import Scaling, Stream, Sums


def evaluate(
    prediction: Any,
    truth: Any,
    mask: Any = None,
    *,
    data_range: float,
    ratio: float,
    bands: Sequence[str] | None = None,
    window: WindowName | None = "gaussian",
    window_size: int | None = None,
    error_bins: Sequence[float] | None = None,
    threads: int | None = None,
) -> MetricReport:
    """Measure a prediction against the truth.

    A pixel counts where the mask wants it and every band of both images is finite, so that all figures are of
    the same pixels. NumPy masked arrays bring their own mask; it acts together with ``mask``. Arithmetic is
    in float64.

    Definitions, equations and sources: :mod:`stf_infer.metrics.definitions`, :mod:`stf_infer.metrics.ssim`
    and :class:`stf_infer.metrics.SpectralAngles`. Pooled figures come from all bands' values (RMSE, MAE, MSE,
    bias, NRMSE, PSNR), from sums over bands (R2), or are the mean over the bands where they are defined (CC,
    SSIM, UQI).

    Args:
        prediction: ``(C, H, W)``, or ``(H, W)`` for one band; any integer or float dtype.
        truth: Of the same shape, in the same unit.
        mask: ``(H, W)``, True (or not 0) where a pixel is used; None uses all.
        data_range: Span of possible values in units of the data, for PSNR and SSIM: 1.0 for reflectance.
        ratio: Coarse pixel size over fine pixel size, for ERGAS: 16 for MODIS and Landsat.
        bands: Names of the bands; ``band_1`` and so on where None.
        window: SSIM window: ``gaussian`` (11 x 11, sigma 1.5), ``uniform`` (7 x 7), or None for no SSIM and no UQI.
        window_size: Another size of the SSIM window, odd.
        error_bins: ``(low, high, bins)`` of a histogram of prediction - truth; None for none.
        threads: Threads to work on; None: one for each core that this process may use. Their number does not change a
            figure.

    Returns:
        Figures per band and pooled, counts, settings, and notes on what is undefined. An undefined figure is
        NaN.

    Raises:
        MetricError: The arrays or settings cannot be used, or no pixel is left. The message names the value.

    Cost:
        One pass over the images on all cores. Memory beyond the inputs: a few MB a thread, whatever the size.
    """
    p, t = as_pair(prediction, truth)
    use = as_use(mask, p.shape[1:])
    evaluation = Evaluation(
        len(p) if bands is None else as_band_names(bands, len(p)),
        p.shape[2],
        data_range=data_range,
        ratio=ratio,
        window=window,
        window_size=window_size,
        error_bins=error_bins,
        threads=threads,
    )
    evaluation.check_height(p.shape[1])
    evaluation.update(p, t, use)
    return evaluation.report()


class Evaluation:
    """A measurement in progress: rows of a scene go in from top to bottom, a report comes out.

    The figures do not depend on how the rows are cut into blocks, up to rounding. Memory depends on the width
    of the scene and on the blocks that are passed, not on the height of the scene.

    Args:
        bands: Names of the bands, or how many.
        width: Columns of the scene.
        data_range: Span of possible values, see :func:`evaluate`.
        ratio: Coarse pixel size over fine pixel size, see :func:`evaluate`.
        window: SSIM window, or None for no SSIM and no UQI.
        window_size: Another size of the SSIM window, odd.
        error_bins: ``(low, high, bins)`` of a histogram of the error, or None.
        context: Rows at the top and columns at the left that belong to another part of the scene, see :meth:`merge`.
        scaling: How stored numbers become values, of the prediction and of the truth; None: they are values.
        threads: Threads to work on, see :func:`evaluate`.

    Attributes:
        moments: The partial sums of the pixelwise figures so far.
        angles: The partial sums of the spectral angle so far.
        errors: The histogram of the error so far, or None.

    Raises:
        MetricError: A setting cannot be used.
    """

    def __init__(
        self,
        bands: Sequence[str] | int,
        width: int,
        *,
        data_range: float,
        ratio: float,
        window: WindowName | None = "gaussian",
        window_size: int | None = None,
        error_bins: Sequence[float] | None = None,
        context: tuple[int, int] = (0, 0),
        scaling: tuple[Scaling, Scaling] | None = None,
        threads: int | None = None,
    ) -> None:
        self.data_range, self.ratio = as_data_range(data_range), as_ratio(ratio)
        self.bands = as_band_names(None, bands) if isinstance(bands, int) else as_band_names(bands, len(bands))
        self.width = width
        count = len(self.bands)
        self.window = None if window is None else Window.of(window, window_size)
        self.moments, self.angles = Moments(count), SpectralAngles()
        self._ssim = None if self.window is None else ssim(count, self.window, self.data_range)
        self._uqi = None if self.window is None else uqi(count)
        self.errors = None if error_bins is None else ErrorHistogram.of(count, error_bins)
        windowed = [index for index in (self._ssim, self._uqi) if index is not None]
        self._sums = Sums(self.moments, self.angles, self.errors, windowed)
        self._stream = Stream(
            count, self._sums, context=as_context(context), scaling=scaling, threads=as_threads(threads)
        )
        self._tallest_merged = 0
        self._require_window(width, "columns")

    def check_height(self, height: int) -> None:
        """Refuse a scene that is too low for the window, before anything is computed.

        Raises:
            MetricError: Fewer rows than the window has.
        """
        self._require_window(height, "rows")

    def _require_window(self, length: int, what: str) -> None:
        if self.window is not None and length < self.window.size:
            raise MetricError(
                "The SSIM window is larger than the image",
                got=f"{length} {what} for a window of {self.window.size} x {self.window.size}",
                fix="Pass a smaller odd window_size, or window=None for no SSIM",
            )

    def update(self, prediction: Any, truth: Any, mask: Any = None) -> None:
        """Add the rows that follow those of the last call.

        Args:
            prediction: ``(C, R, W)``, or ``(R, W)`` for one band.
            truth: Of the same shape.
            mask: ``(R, W)``, True where a pixel is used.

        Raises:
            MetricError: The arrays do not fit each other, or the bands or columns of this measurement.
        """
        p, t = as_pair(prediction, truth)
        if (len(p), p.shape[2]) != (len(self.bands), self.width):
            raise MetricError(
                "A block of rows does not fit the measurement",
                got=f"shape {p.shape}",
                allowed=f"({len(self.bands)}, rows, {self.width})",
            )
        self._stream.update(p, t, as_use(mask, p.shape[1:]))

    def merge(self, other: Evaluation) -> Evaluation:
        """Add what another part of the scene gave to this one; returns self.

        Parts may be measured in any order, by any process or machine (evaluations can be pickled). Every pixel
        belongs to one part. So does every window: to the part that holds its last pixel, lower right. A part that
        is not at the top or left of the scene therefore gets the rows above it and the columns left of it too, at
        least one less than the largest window has (10 for the defaults), and says so with ``context=(rows, columns)``:
        context is seen by windows and counted nowhere else. Then the merged figures are those of the whole scene,
        to rounding. Without context the windows that cross the border of two parts are left out.

        Raises:
            MetricError: Bands or settings differ.
        """
        mine, theirs = ((e.bands, e._settings(), e.errors is None) for e in (self, other))
        if mine != theirs:
            raise MetricError(
                "Evaluations with other bands or settings cannot be merged", got=_shown(theirs), allowed=_shown(mine)
            )
        self.moments.merge(other.moments)
        self.angles.merge(other.angles)
        if self.errors is not None and other.errors is not None:
            self.errors.merge(other.errors)
        for windowed, others in ((self._ssim, other._ssim), (self._uqi, other._uqi)):
            if windowed is not None and others is not None:
                windowed.merge(others)
        self._sums.counts += other._sums.counts
        self._tallest_merged = max(self._tallest_merged, other._stream.rows, other._tallest_merged)
        return self

    def report(self) -> MetricReport:
        """The figures of all rows so far.

        Raises:
            MetricError: No pixel was valid, the scene is lower than the window, or values are too large to
            square.
        """
        self._require_pixels()
        self.check_height(max(self._stream.rows, self._tallest_merged))
        m = self.moments
        figures = {
            "rmse": definitions.rmse(m),
            "mae": definitions.mae(m),
            "bias": definitions.bias(m),
            "aad": definitions.aad(m),
            "mse": definitions.mse(m),
            "nrmse": definitions.nrmse(m),
            "cc": definitions.cc(m),
            "pcc": definitions.cc(m),
            "r2": definitions.r2(m),
            "psnr": definitions.psnr(m, self.data_range),
        }
        for name, windowed in (("ssim", self._ssim), ("uqi", self._uqi)):
            if windowed is not None:
                figures[name] = windowed.mean, definitions.mean_of_defined(windowed.mean)
        pooled = {name: value for name, (_, value) in figures.items()}
        pooled["sam_deg"], pooled["sam_rad"] = self.angles.degrees, self.angles.radians
        pooled["ergas"] = definitions.ergas(m, self.ratio)
        return MetricReport(
            bands=self.bands,
            per_band={
                band: {name: float(values[b]) for name, (values, _) in figures.items()}
                for b, band in enumerate(self.bands)
            },
            pooled=pooled,
            counts=self._counts(),
            settings=self._settings(),
            notes=tuple(self._notes()),
            errors=self.errors,
        )

    def _require_pixels(self) -> None:
        if self.moments.count == 0:
            raise MetricError(
                "No pixel is left to measure",
                got="{} pixels: {} masked, {} not finite in some band".format(*self._sums.counts),
                fix="Check the mask (True means use) and nodata",
            )
        if not np.isfinite([self.moments.squared_error, self.moments.deviation_truth]).all():
            largest = float(max(abs(self.moments.minimum_truth.min()), abs(self.moments.maximum_truth.max())))
            raise MetricError(
                "Values are too large to square",
                got=f"truth up to {largest:g}, mean error {self.moments.error / self.moments.count}",
                fix="Mask the pixels that hold a nodata value",
            )

    def _counts(self) -> Counts:
        pixels, masked, not_finite = self._sums.counts.tolist()
        return Counts(
            pixels=pixels,
            valid=self.moments.count,
            masked=masked,
            not_finite=not_finite,
            zero_vectors=self.angles.zero_vectors,
            ssim_windows=0 if self._ssim is None else self._ssim.windows,
            uqi_windows=0 if self._uqi is None else self._uqi.windows,
        )

    def _settings(self) -> Settings:
        window = self.window
        return Settings(
            data_range=self.data_range,
            ratio=self.ratio,
            ssim_window="none" if window is None else window.name,
            ssim_size=0 if window is None else window.size,
            ssim_sigma=SIGMA if window is not None and window.name == "gaussian" else 0.0,
            ssim_k1=K1,
            ssim_k2=K2,
            ssim_border="valid",
            ssim_covariance="population",
            uqi_size=UQI_SIZE,
        )

    def _notes(self) -> list[str]:
        m = self.moments
        constant = m.deviation_truth == 0
        cases = [
            (constant, "the truth is constant in {}: R2, CC and NRMSE are undefined there"),
            (
                ~constant & (m.deviation_prediction == 0),
                "the prediction is constant in {}: CC is undefined there",
            ),
            (m.squared_error == 0, "prediction and truth are identical in {}: PSNR is infinite there"),
            (definitions.has_zero_mean(m), "the truth has a mean of zero in {}: left out of ERGAS"),
        ]
        notes = [text.format(self._named(where)) for where, text in cases if where.any()]
        if m.bands == 1:
            notes.append("SAM is undefined: one band has no spectral direction")
        elif self.angles.pixels == 0:
            notes.append("SAM is undefined: every spectrum is zero in one of the images")
        elif self.angles.zero_vectors:
            notes.append(f"SAM leaves out {self.angles.zero_vectors} pixels whose spectrum is zero")
        for name, windowed in (("SSIM", self._ssim), ("UQI", self._uqi)):
            if windowed is not None and windowed.windows == 0:
                size = windowed.size
                notes.append(f"{name} is undefined: no window of {size} x {size} is free of excluded pixels")
        return notes

    def _named(self, where: np.ndarray) -> str:
        return ", ".join(band for band, here in zip(self.bands, where, strict=True) if here)


def _shown(settings: tuple[tuple[str, ...], Settings, bool]) -> str:
    bands, values, _ = settings
    return f"{', '.join(bands)}; {values}"
