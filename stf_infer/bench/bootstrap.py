# SPDX-License-Identifier: Apache-2.0
"""How sure a ratio of two medians is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.95
_RESAMPLES = 2000
_SEED = 20211


def ratio_of_medians(
    after: Sequence[float], before: Sequence[float], *, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """An interval for median(after) / median(before), of two series of positive measurements in their order.

    Method: circular block bootstrap (Politis and Romano 1992, in LePage and Billard, Exploring the Limits of Bootstrap,
    263-270), percentile interval. Both series are resampled independently, in blocks of n^(1/3) neighbours: single
    calls are no independent draws, for a clock that falls or a neighbour that wakes up slows the next calls as well,
    and resampling them one by one would make the interval too narrow. The random numbers are seeded: equal input,
    equal interval.

    What it cannot know is how much whole runs differ from one another (memory layout, other machines' load): that has
    to be covered by the tolerance.

    Args:
        after: Measurements of the later run; likewise ``before``.
        confidence: Share of intervals that are to hold the true ratio.

    Returns:
        Low and high end, or None where a series has fewer than two measurements or a median is not positive. With two
        or three measurements the interval is as wide as their ranges allow.
    """
    series = [np.asarray(one, float) for one in (after, before)]
    if any(len(one) < 2 or not np.isfinite(one).all() or np.median(one) <= 0 for one in series):
        return None
    rng = np.random.default_rng(_SEED)
    upper, lower = (_medians(one, rng) for one in series)
    tail = (1 - confidence) / 2
    low, high = np.quantile(upper / np.maximum(lower, np.finfo(float).tiny), (tail, 1 - tail))
    return float(low), float(high)


def _medians(series: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Medians of the resampled series, ``(_RESAMPLES,)``."""
    n = len(series)
    block = max(1, round(n ** (1 / 3)))
    starts = rng.integers(0, n, (_RESAMPLES, -(-n // block), 1))
    drawn = series[(starts + np.arange(block)) % n].reshape(_RESAMPLES, -1)[:, :n]
    medians: np.ndarray = np.median(drawn, axis=1)
    return medians
