# SPDX-License-Identifier: Apache-2.0
"""The metrics once more, in plain NumPy over whole arrays in float64: what the compiled core is held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Smooth = Callable[[np.ndarray], np.ndarray]


def gaussian_smooth(size: int, sigma: float) -> Smooth:
    """A Gaussian window of ``size`` x ``size`` (odd) that sums to one: ``(H, W)`` to ``(H - size + 1, W - size + 1)``.

    The window is the outer product of w_k = exp(-k^2 / (2 sigma^2)) / sum, k = -r ... r, r = (size - 1) / 2.
    Cost: two passes, each of about 1.5 ``size`` operations per pixel.
    """
    radius = size // 2
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()

    def smooth(field: np.ndarray) -> np.ndarray:
        return _symmetric(_symmetric(field, taps, 0), taps, 1)

    return smooth


def box_smooth(size: int) -> Smooth:
    """A window of ``size`` x ``size`` equal weights: ``(H, W)`` to ``(H - size + 1, W - size + 1)``.

    Sums are built by doubling (8 = 2 x 2 x 2 in three additions), so that a rounding error stays in its
    window, and for a power of two a flat window has exactly its own value as mean. A running sum would carry
    errors along the row.
    """

    def smooth(field: np.ndarray) -> np.ndarray:
        total = _box_sum(_box_sum(field, size, 0), size, 1)
        total *= 1 / size**2
        return total

    return smooth


def all_inside(usable: np.ndarray, size: int) -> np.ndarray:
    """Windows ``(H - size + 1, W - size + 1)`` in which every pixel is usable."""
    out: np.ndarray = _box_sum(_box_sum((~usable).astype(np.int32), size, 0), size, 1) == 0
    return out


def _cut(field: np.ndarray, start: int, length: int, axis: int) -> np.ndarray:
    return field[start : start + length] if axis == 0 else field[:, start : start + length]


def _symmetric(field: np.ndarray, taps: np.ndarray, axis: int) -> np.ndarray:
    """Correlate with symmetric taps along an axis, inside only; each pair of equal taps costs one product."""
    size = len(taps)
    length = field.shape[axis] - size + 1
    out = _cut(field, size // 2, length, axis) * taps[size // 2]
    for k in range(size // 2):
        pair = _cut(field, k, length, axis) + _cut(field, size - 1 - k, length, axis)
        pair *= taps[k]
        out += pair
    return out


def _box_sum(field: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Sum over ``size`` neighbours along an axis, inside only, by the binary digits of ``size``."""
    length = field.shape[axis] - size + 1
    total: np.ndarray | None = None
    power, width, offset = field, 1, 0
    while True:
        if size & width:
            part = _cut(power, offset, length, axis)
            total = part.copy() if total is None else total + part
            offset += width
        if 2 * width > size:
            assert total is not None
            return total
        kept = power.shape[axis] - width
        power = _cut(power, 0, kept, axis) + _cut(power, width, kept, axis)
        width *= 2


@dataclass(frozen=True)
class LocalStatistics:
    """Weighted statistics of every window of one band, population form (weights sum to one, no n - 1).

    Attributes:
        mean_p: Mean of the prediction.
        mean_t: Mean of the truth.
        variances: Variance of the prediction plus variance of the truth.
        covariance: Covariance of prediction and truth.
    """

    mean_p: np.ndarray
    mean_t: np.ndarray
    variances: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, prediction: np.ndarray, truth: np.ndarray, smooth: Smooth, shift: float = 0.0) -> LocalStatistics:
        """Statistics of images ``(H, W)`` from which ``shift`` has been subtracted.

        Variances do not feel the shift but lose fewer digits near zero; the means get it back.
        """
        mean_p, mean_t = smooth(prediction), smooth(truth)
        variances = smooth(prediction * prediction + truth * truth)
        variances -= mean_p * mean_p + mean_t * mean_t
        covariance = smooth(prediction * truth)
        covariance -= mean_p * mean_t
        mean_p += shift
        mean_t += shift
        return cls(mean_p, mean_t, variances, covariance)


def ssim_map(p: np.ndarray, t: np.ndarray, smooth: Smooth, data_range: float) -> np.ndarray:
    """SSIM of every window of one band ``(H, W)``."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    local = LocalStatistics.of(p - np.median(t), t - np.median(t), smooth, np.median(t))
    upper = (2 * local.mean_p * local.mean_t + c1) * (2 * local.covariance + c2)
    return upper / ((local.mean_p**2 + local.mean_t**2 + c1) * (local.variances + c2))


def uqi_map(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    """UQI of every window of 8 x 8 of one band ``(H, W)``."""
    local = LocalStatistics.of(p - np.median(t), t - np.median(t), box_smooth(8), np.median(t))
    structure = _ratio_or_one(2 * local.covariance, local.variances)
    return np.clip(structure, -1, 1) * _ratio_or_one(2 * local.mean_p * local.mean_t, local.mean_p**2 + local.mean_t**2)


def _ratio_or_one(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.ones_like(denominator)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def spectral_angles(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Angles in radians between spectra ``(C, N)``; NaN where one is zero."""
    with np.errstate(invalid="ignore", divide="ignore"):
        u, v = p / np.linalg.norm(p, axis=0), t / np.linalg.norm(t, axis=0)
    return 2 * np.arctan2(np.linalg.norm(u - v, axis=0), np.linalg.norm(u + v, axis=0))


def figures(
    prediction: np.ndarray,
    truth: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    data_range: float = 1.0,
    ratio: float = 16.0,
    smooth: Smooth | None = None,
    size: int = 11,
) -> dict[str, np.ndarray]:
    """Every figure of ``(C, H, W)``: name to the values of the bands, and the pooled one behind them.

    ``sam_rad`` and ``ergas`` have the pooled one only. Images are those that have a window of each index.
    """
    p, t = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    usable = np.isfinite(p).all(axis=0) & np.isfinite(t).all(axis=0)
    if mask is not None:
        usable &= mask.astype(bool)
    a, b = p[:, usable], t[:, usable]
    da, db = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    squared, total = ((a - b) ** 2).mean(axis=1), (db**2).mean(axis=1)
    mse = np.append(squared, squared.mean())
    span = np.append(b.max(axis=1) - b.min(axis=1), b.max() - b.min())
    out = {
        "mse": mse,
        "rmse": np.sqrt(mse),
        "nrmse": np.sqrt(mse) / span,
        "psnr": 10 * np.log10(data_range**2 / mse),
        "mae": np.append(abs(a - b).mean(axis=1), abs(a - b).mean()),
        "bias": np.append((a - b).mean(axis=1), (a - b).mean()),
        "r2": 1 - np.append(squared, squared.sum()) / np.append(total, total.sum()),
        "ergas": 100 / ratio * np.sqrt((squared / b.mean(axis=1) ** 2).mean(keepdims=True)),
    }
    cc = (da * db).sum(axis=1) / np.sqrt((da**2).sum(axis=1) * (db**2).sum(axis=1))
    out["cc"] = np.append(cc, cc.mean())
    out["aad"], out["pcc"] = out["mae"], out["cc"]
    if len(p) > 1:
        out["sam_rad"] = np.nanmean(spectral_angles(a, b), keepdims=True)
    p, t = np.where(usable, p, 0.0), np.where(usable, t, 0.0)
    smooth = smooth or gaussian_smooth(11, 1.5)
    for name, index, side in (
        ("ssim", lambda x, y: ssim_map(x, y, smooth, data_range), size),
        ("uqi", uqi_map, 8),
    ):
        inside = all_inside(usable, side)
        mean = np.array([index(x, y)[inside].mean() for x, y in zip(p, t, strict=True)])
        out[name] = np.append(mean, mean.mean())
    return out
