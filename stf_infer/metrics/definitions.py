# SPDX-License-Identifier: Apache-2.0
"""The pixelwise figures, each as a function of :class:`Moments`: equation, source, and what "pooled" means.

Notation: p prediction, t truth, d = p - t; b a band, C bands, n pixels that count (the same in every band), L
the data range. Every function returns ``(per_band, pooled)``: an array ``(C,)`` and a number. NaN means
undefined.

"Review" is Sun, Cui, Liu and Yan, the literature review of deep learning for remote sensing spatiotemporal
fusion, section 2.4: the form in which the field quotes these figures.
"""

from __future__ import annotations

import numpy as np

from .moments import Moments

Figures = tuple[np.ndarray, float]

# A band mean below this share of the band's root mean square is rounding: the mean is zero.
_ZERO_MEAN = 1e-12


def mse(moments: Moments) -> Figures:
    """Mean squared error, in squared units.

    Per band: MSE_b = sum d^2 / n. Pooled: over all bands' values, sum_b sum d^2 / (C n).
    Source: review, Table 6.
    """
    per_band = moments.squared_error / moments.count
    return per_band, float(per_band.mean())


def rmse(moments: Moments) -> Figures:
    """Root mean squared error, in units of the data.

    Per band: RMSE_b = sqrt(MSE_b). Pooled: sqrt(pooled MSE), which is not the mean of the bands' RMSE.
    Source: review, equation 16.
    """
    per_band, pooled = mse(moments)
    return np.sqrt(per_band), float(np.sqrt(pooled))


def mae(moments: Moments) -> Figures:
    """Mean absolute error, in units of the data.

    Per band: MAE_b = sum |d| / n. Pooled: over all bands' values.
    Source: review, equation 18.
    """
    per_band = moments.absolute_error / moments.count
    return per_band, float(per_band.mean())


def aad(moments: Moments) -> Figures:
    """Average absolute difference: the name that many papers of the field give to :func:`mae`, in units of the data.

    Per band: AAD_b = sum |d| / n. Pooled: over all bands' values. Where a paper means the absolute value of the mean
    difference, take that of :func:`bias`.
    Source: Zhu, Chen, Gao, Chen and Masek (2010), Remote Sens. Environ. 114:2610-2623 (there beside the average
    difference, which is the bias); review, Table 6, describes MAE by these words.
    """
    return mae(moments)


def bias(moments: Moments) -> Figures:
    """Mean error, in units of the data; above zero where the prediction is too high.

    Per band: sum d / n. Pooled: over all bands' values, so that errors of opposite sign cancel across bands.
    Source: Wald (2002), Data Fusion, Presses des Mines: difference of the means, here prediction minus truth.
    """
    per_band = moments.error / moments.count
    return per_band, float(per_band.mean())


def nrmse(moments: Moments) -> Figures:
    """RMSE over the range of the truth, without unit.

    Per band: RMSE_b / (max t - min t) over the pixels that count. Pooled: pooled RMSE over the range of all
    bands' values. NaN where the truth is constant. The range is that of the data, not the stated data range:
    with the latter, NRMSE would say nothing that PSNR does not say.
    Source: review, Table 6.
    """
    per_band, pooled = rmse(moments)
    span = moments.maximum_truth - moments.minimum_truth
    whole = float(moments.maximum_truth.max() - moments.minimum_truth.min())
    return divide(per_band, span), pooled / whole if whole > 0 else float("nan")


def psnr(moments: Moments, data_range: float) -> Figures:
    """Peak signal-to-noise ratio, in dB.

    Per band: 10 log10(L^2 / MSE_b). Pooled: from the pooled MSE, which is not the mean of the bands' PSNR.
    inf where prediction and truth are identical.
    Source: review, equation 17.
    """
    per_band, pooled = mse(moments)
    with np.errstate(divide="ignore"):
        decibel = 20 * np.log10(data_range) - 10 * np.log10(np.append(per_band, pooled))
    return decibel[:-1], float(decibel[-1])


def cc(moments: Moments) -> Figures:
    """Pearson's correlation coefficient, in [-1, 1].

    Per band: CC_b = sum (p - mean p)(t - mean t) / sqrt(sum (p - mean p)^2 sum (t - mean t)^2). Pooled: mean
    over the bands where it is defined; correlating all bands' values at once would mostly measure that bands
    differ in brightness. NaN where either image is constant in the band. Source: Pearson (1895), Proc. R.
    Soc. Lond. 58:240-242; review, Table 6 (there PCC; a report
    holds it under both names).
    """
    spread = np.sqrt(moments.deviation_prediction) * np.sqrt(moments.deviation_truth)
    per_band = np.clip(divide(moments.codeviation, spread), -1, 1)
    return per_band, mean_of_defined(per_band)


def r2(moments: Moments) -> Figures:
    """Coefficient of determination: the share of the truth's variance that the prediction explains; at most 1.

    Per band: R2_b = 1 - SSE_b / SST_b with SSE_b = sum d^2 and SST_b = sum (t - mean t)^2. Pooled:
    1 - sum_b SSE_b / sum_b SST_b, each band about its own mean. NaN where the truth is constant.

    This is not CC^2: a biased or badly scaled prediction keeps its CC and loses R2, and R2 is below zero
    where the mean of the truth would have been the better prediction.
    Source: Nash and Sutcliffe (1970), J. Hydrol. 10(3):282-290 (there called efficiency); review, Table 6.
    """
    error, total = moments.squared_error, moments.deviation_truth
    whole = float(total.sum())
    pooled = 1 - float(error.sum()) / whole if whole > 0 else float("nan")
    return 1 - divide(error, total), pooled


def has_zero_mean(moments: Moments) -> np.ndarray:
    """Bands ``(C,)`` whose truth has a mean of zero, up to rounding: ERGAS has no meaning there."""
    mean = moments.mean_truth
    power = np.sqrt(moments.deviation_truth / moments.count + mean**2)
    out: np.ndarray = np.abs(mean) <= _ZERO_MEAN * power
    return out


def ergas(moments: Moments, ratio: float) -> float:
    """Relative dimensionless global error in synthesis (ERGAS), in percent; of all bands together.

    ERGAS = 100 / ratio * sqrt(1/C sum_b (RMSE_b / mean t_b)^2), with ratio = coarse pixel size / fine pixel
    size = l / h. Bands whose truth has a mean of zero are left out of the average (and of C); NaN if none is
    left.

    The sources write 100 h/l: multiplying by the ratio instead of dividing is the usual mistake. Figures
    compare only at the same ratio; libraries default to 4, the ratio of pan-sharpening. Source: Wald (2002),
    Data Fusion, Presses des Mines; Wald (2000), Quality of high resolution synthesised images, Fusion of
    Earth Data, 99-103; review, equation 21.
    """
    relative = divide(rmse(moments)[0], np.where(has_zero_mean(moments), 0.0, moments.mean_truth))
    return 100 / ratio * float(np.sqrt(mean_of_defined(relative**2)))


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise quotient, NaN where the denominator is zero."""
    out = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


def mean_of_defined(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if none is left."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
