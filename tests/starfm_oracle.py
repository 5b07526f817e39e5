# SPDX-License-Identifier: Apache-2.0
"""STARFM as it is written down: pixel after pixel, in NumPy."""

from __future__ import annotations

import numpy as np

from stf_infer.baselines.starfm import Starfm


def starfm_band(
    fine: np.ndarray, before: np.ndarray, after: np.ndarray, settings: Starfm, deviation: float, margin: int = 0
) -> np.ndarray:
    """One band: float32 ``(H, W)`` from three of them, without a margin. Single precision decides who takes part."""
    height, width = fine.shape
    radius, half = settings.window // 2, settings.window / 2
    spectral, temporal, moved = np.abs(fine - before), np.abs(before - after), fine + (after - before)
    cost = _counts(spectral, settings) * _counts(temporal, settings)
    similar = np.float32(2 * deviation / settings.classes)
    allowance = np.float32(settings.fine_coarse), np.float32(settings.coarse_coarse)
    rows, columns = np.mgrid[:height, :width]
    out = np.empty_like(fine)
    for y in range(margin, height - margin):
        for x in range(margin, width - margin):
            window = np.s_[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
            takes_part = (
                (np.abs(fine[window] - fine[y, x]) <= similar)
                & (spectral[window] <= spectral[y, x] + allowance[0])
                & (temporal[window] <= temporal[y, x] + allowance[1])
            )
            distance = 1 + np.hypot(rows[window] - y, columns[window] - x) / half
            weight = takes_part / (cost[window] * distance)
            out[y, x] = (weight * moved[window]).sum() / weight.sum()
    return out[margin : height - margin, margin : width - margin]


def _counts(difference: np.ndarray, settings: Starfm) -> np.ndarray:
    steps = np.maximum(difference.astype(np.float64) / settings.step, 1)
    return np.log(steps + 1) if settings.weight == "logarithm" else steps


def images(shape: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    """fine_t1, coarse_t1 and coarse_t2 with land-like values."""
    rng = np.random.default_rng(seed)
    fine = rng.choice([0.05, 0.1, 0.3], shape) + rng.normal(0, 0.01, shape)
    before = fine + rng.normal(0, 0.02, shape)
    after = before + rng.normal(0, 0.03, shape)
    return [image.astype(np.float32) for image in (fine, before, after)]
