# SPDX-License-Identifier: Apache-2.0
"""How large the numbers may be that an 8-bit tensor holds: one threshold a tensor, symmetric about 0.

- ``minmax``: the largest number seen. Nothing is cut off.
- ``percentile``: what 99.99 % of the numbers stay below. Bright pixels are cut off for finer steps.
- ``entropy``: the threshold that loses least information, as the Kullback-Leibler divergence between the histogram and
  what 128 levels make of it (Migacz, 8-bit inference with TensorRT, GTC 2017).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np

from stf_infer.accuracy import Tiles
from stf_infer.accuracy.tiles import Spec
from stf_infer.errors import UsageError

from .scan import Range, histograms
from .typed import Source

Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[str, ...] = get_args(Method)

PERCENTILE = 99.99
_LEVELS = 128  # of absolute values: a sign and 7 bits


def thresholds(
    source: Source, spec: Spec, tiles: Tiles, ranges: dict[str, Range], names: Iterable[str], method: str
) -> dict[str, float]:
    """The largest absolute value that each of these tensors shall hold.

    Args:
        source: The network in float32.
        spec: Its contract.
        tiles: What to run.
        ranges: What a scan found on these tiles.
        names: The tensors.
        method: One of :data:`METHODS`.

    Raises:
        UsageError: There is no such method.
    """
    if method not in METHODS:
        raise UsageError("There is no such calibration", got=method, allowed=", ".join(METHODS))
    largest = {name: ranges[name].largest for name in names}
    if method == "minmax":
        return largest
    find = by_percentile if method == "percentile" else by_entropy
    counted = histograms(source, spec, tiles, ranges, largest)
    return {name: find(counted[name]) * largest[name] for name in largest}


def by_percentile(histogram: np.ndarray, percentile: float = PERCENTILE) -> float:
    """The threshold as a part of the histogram's range, 0 to 1."""
    total = histogram.sum()
    if total == 0:
        return 1.0
    bins = int(np.searchsorted(np.cumsum(histogram), total * percentile / 100)) + 1
    return min(bins, len(histogram)) / len(histogram)


def by_entropy(histogram: np.ndarray) -> float:
    """The threshold as a part of the histogram's range, 0 to 1.

    The first bin is left out: exact zeros, of which a rectified tensor has many, are held by any threshold.
    """
    counts = histogram.astype(np.float64)
    counts[0] = 0
    if counts.sum() == 0:
        return 1.0
    tried = range(_LEVELS, len(counts) + 1, max(1, (len(counts) - _LEVELS) // 256))
    best = min(tried, key=lambda bins: _divergence(counts, bins))
    return best / len(counts)


def _divergence(counts: np.ndarray, bins: int) -> float:
    """Information lost if what lies beyond so many bins is cut off, and the rest is held by 128 levels."""
    kept = counts[:bins]
    true = kept.copy()
    true[-1] += counts[bins:].sum()
    occupied = kept > 0
    level = np.arange(bins) * _LEVELS // bins
    sums = np.bincount(level, kept, _LEVELS)
    holders = np.bincount(level, occupied, _LEVELS)
    held = np.where(occupied, (sums / np.maximum(holders, 1))[level], 0.0)
    # A bin that only what was cut off falls into is given a little, for its logarithm.
    p, q = true / true.sum(), np.maximum(held / max(held.sum(), 1e-30), 1e-12)
    there = p > 0
    return float(np.sum(p[there] * np.log(p[there] / q[there])))
