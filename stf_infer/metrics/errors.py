# SPDX-License-Identifier: Apache-2.0
"""The histogram of the error, as counts in stated bins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import MetricError

_MOST_BINS = 1 << 20
# Rows of a table for a person, apart from what lies below and above.
_MOST_ROWS = 20


class ErrorHistogram:
    """Counts of the error d = p - t in bins of equal width, per band.

    Bin k, from 0 on, holds the errors with floor((d - low) / width) = k, width = (high - low) / bins; the last one
    holds ``high`` too. Errors below and above are counted apart, so that nothing is lost.

    Args:
        bands: Number of bands C.
        low: Lower edge of the first bin, in units of the data.
        high: Upper edge of the last bin.
        bins: Number of bins.

    Attributes:
        counts: int64 ``(C, bins + 2)``: below, the bins, above.

    Raises:
        MetricError: The edges are not finite numbers in order, or there is no bin.
    """

    def __init__(self, bands: int, low: float, high: float, bins: int) -> None:
        self.low, self.high, self.bins = low, high, bins
        self.counts = np.zeros((bands, bins + 2), np.int64)

    @classmethod
    def of(cls, bands: int, stated: Sequence[float]) -> ErrorHistogram:
        """An empty histogram from ``(low, high, bins)``.

        Raises:
            MetricError: It is no such triple.
        """
        try:
            low, high, bins = (float(value) for value in stated)
        except (TypeError, ValueError):
            low = high = bins = math.nan
        whole = math.isfinite(bins) and bins == int(bins) and 1 <= bins <= _MOST_BINS
        if not (math.isfinite(low) and math.isfinite(high) and low < high and whole):
            raise MetricError(
                "These are no bins for the error",
                got=repr(stated),
                allowed=f"(low, high, bins) with low below high and 1 to {_MOST_BINS} bins",
                fix="Pass error_bins=(-0.1, 0.1, 100), in units of the data",
            )
        return cls(bands, low, high, int(bins))

    @property
    def edges(self) -> np.ndarray:
        """Edges of the bins, ``(bins + 1,)``."""
        return np.linspace(self.low, self.high, self.bins + 1)

    @property
    def inside(self) -> np.ndarray:
        """Counts in the bins, ``(C, bins)``."""
        return self.counts[:, 1:-1]

    @property
    def below(self) -> np.ndarray:
        """Errors below ``low``, ``(C,)``."""
        return self.counts[:, 0]

    @property
    def above(self) -> np.ndarray:
        """Errors above ``high``, ``(C,)``."""
        return self.counts[:, -1]

    def merge(self, other: ErrorHistogram) -> ErrorHistogram:
        """Add the counts of another histogram with the same bins to this one; returns self.

        Raises:
            MetricError: Bands or bins differ.
        """
        mine, theirs = ((h.low, h.high, h.bins, len(h.counts)) for h in (self, other))
        if mine != theirs:
            raise MetricError("Histograms of other bins cannot be merged", got=theirs, allowed=mine)
        self.counts += other.counts
        return self

    def rows(self) -> Iterator[tuple[str, np.ndarray]]:
        """For a person: a range of errors, and the share (0 to 1) of each band's errors in it, ``(C,)``.

        Several bins make a row where there are more than a table should have. NaN where nothing was counted.
        """
        with np.errstate(invalid="ignore"):
            shares = self.counts / self.counts.sum(axis=1, keepdims=True)
        step = -(-self.bins // _MOST_ROWS)
        yield f"below {self.low:.4g}", shares[:, 0]
        for first in range(0, self.bins, step):
            last = min(first + step, self.bins)
            yield (
                f"{self.edges[first]:.4g} to {self.edges[last]:.4g}",
                shares[:, 1 + first : 1 + last].sum(axis=1),
            )
        yield f"above {self.high:.4g}", shares[:, -1]

    def as_dict(self, bands: Sequence[str]) -> dict[str, Any]:
        """Everything as plain values; pooled counts are sums over the bands."""
        rows = {name: row.tolist() for name, row in zip(bands, self.counts, strict=True)}
        rows["pooled"] = self.counts.sum(axis=0).tolist()
        return {
            "low": self.low,
            "high": self.high,
            "bins": self.bins,
            "below": {name: row[0] for name, row in rows.items()},
            "counts": {name: row[1:-1] for name, row in rows.items()},
            "above": {name: row[-1] for name, row in rows.items()},
        }
