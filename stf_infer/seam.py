# SPDX-License-Identifier: Apache-2.0
"""The seam figure: how much steeper the result is across tile borders than elsewhere."""

from __future__ import annotations

import numpy as np

from .grid import TilePlan


class SeamMeter:
    """Compares mean absolute gradients across the cuts between cores with those half-way between cuts.

    A ratio of 1 says that the borders cannot be told from the rest; a visible seam raises it. Rows are fed from top to
    bottom, in any blocks.

    Args:
        plan: The tile plan.
    """

    def __init__(self, plan: TilePlan) -> None:
        self._columns = _cuts(plan.x.cores)
        self._rows = dict.fromkeys(_cuts(plan.y.cores), True)
        self._rows.update(dict.fromkeys(_middles(plan.y.cores), False))
        self._middle_columns = _middles(plan.x.cores)
        self._sums = {True: [0.0, 0], False: [0.0, 0]}
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def feed(self, rows: np.ndarray, valid: np.ndarray, first: int, left: int = 0) -> None:
        """Take network values (C, n, W) and valid (n, W) that begin at scene row ``first`` and column ``left``."""
        for scene_columns, at_cut in ((self._columns, True), (self._middle_columns, False)):
            columns = scene_columns - left
            columns = columns[(columns > 0) & (columns < valid.shape[1])]
            both = (valid[:, columns] & valid[:, columns - 1]).astype(bool)
            self._add(rows[:, :, columns] - rows[:, :, columns - 1], both, at_cut)
        for offset in range(rows.shape[1]):
            at_cut_row = self._rows.get(first + offset)
            above = (rows[:, offset - 1], valid[offset - 1]) if offset else self._last
            if at_cut_row is not None and above is not None:
                both = (valid[offset] & above[1]).astype(bool)
                self._add(rows[:, offset] - above[0], both, at_cut_row)
        self._last = (rows[:, -1].copy(), valid[-1].copy())

    def _add(self, difference: np.ndarray, usable: np.ndarray, at_cut: bool) -> None:
        steps = np.abs(difference[:, usable])
        self._sums[at_cut][0] += float(steps.sum(dtype=np.float64))
        self._sums[at_cut][1] += steps.size

    @property
    def ratio(self) -> float | None:
        """Mean gradient across cuts over mean gradient between them; None where there is no cut or no gradient."""
        (cut, cuts), (middle, middles) = self._sums[True], self._sums[False]
        if not cuts or not middles or middle == 0:
            return None
        return (cut / cuts) / (middle / middles)


def _cuts(cores: tuple[tuple[int, int], ...]) -> np.ndarray:
    """First pixels of all cores but the first."""
    return np.array([start for start, stop in cores[1:] if stop > start and start > 0], np.intp)


def _middles(cores: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Pixels half-way between cuts, as far from them as can be."""
    return np.array([(a + b) // 2 for a, b in cores if b - a > 2], np.intp)
