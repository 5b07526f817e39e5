# SPDX-License-Identifier: Apache-2.0
"""The seam figure: how much steeper the result is across tile borders than elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .grid import Shape, TilePlan, Window

# Axes of network values (C, H, W).
_ROWS, _COLUMNS = 1, 2


class SeamMeter:
    """Compares mean absolute gradients across the cuts between cores with those half-way between cuts.

    A ratio of 1 says that the borders cannot be told from the rest; a visible seam raises it. Rows are fed from top to
    bottom, in any blocks; a wide scene panel after panel, where steps from one panel to the next are left out.

    Args:
        plan: The tile plan.
    """

    def __init__(self, plan: TilePlan) -> None:
        self._rows, self._columns = _places(plan.y.cores), _places(plan.x.cores)
        self._sums = {True: [0.0, 0], False: [0.0, 0]}
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def begin(self) -> None:
        """Rows begin anew: what comes next does not follow what was fed before."""
        self._last = None

    def feed(self, rows: np.ndarray, valid: np.ndarray, first: int, left: int = 0) -> None:
        """Take network values (C, n, W) and valid (n, W) that begin at scene row ``first`` and column ``left``."""
        self.look(lambda at: rows[:, at.y0 : at.y1, at.x0 : at.x1], valid, first, left)

    def look(self, at: Callable[[Window], np.ndarray], valid: np.ndarray, first: int, left: int = 0) -> None:
        """Take a block of rows as :meth:`feed` does, of which nothing but its :meth:`windows` can be looked at.

        Args:
            at: The network values of a window of the block, (C, h, w).
            valid: Valid pixels of all of the block, (n, W).
            first: Scene row that it begins at.
            left: Scene column that it begins at.
        """
        top, bottom = _outer_rows(Shape(*valid.shape))
        if self._last is not None and first in self._rows:
            self._add(at(top)[:, 0] - self._last[0], valid[0] & self._last[1], self._rows[first])
        for window, axis, at_cut in self._steps(Shape(*valid.shape), first, left):
            before, here = np.split(at(window), 2, axis)
            usable = valid[window.y0 : window.y1, window.x0 : window.x1].min(axis - 1)
            self._add((here - before).squeeze(axis), usable, at_cut)
        self._last = at(bottom)[:, 0].copy(), valid[-1].copy()

    def windows(self, shape: Shape, first: int, left: int = 0) -> list[Window]:
        """What :meth:`look` looks at in a block of rows: two rows or columns a place, and the block's outer rows.

        Args:
            shape: Rows and columns of the block.
            first: Scene row that it begins at.
            left: Scene column that it begins at.
        """
        return [*(window for window, _, _ in self._steps(shape, first, left)), *_outer_rows(shape)]

    def most_pixels(self, shape: Shape, left: int = 0) -> int:
        """Pixels that the :meth:`windows` of any block of this shape, or lower, have at most."""
        columns = sum(0 < column - left < shape.width for column in self._columns)
        rows = max((sum(first <= row < first + shape.height for row in self._rows) for first in self._rows), default=0)
        return 2 * columns * shape.height + 2 * (rows + 1) * shape.width

    def _steps(self, shape: Shape, first: int, left: int) -> Iterator[tuple[Window, int, bool]]:
        """The two columns or rows on either side of a place, along which axis they lie, whether it is a cut."""
        for column, at_cut in self._columns.items():
            if 0 < column - left < shape.width:
                yield Window(0, shape.height, column - left - 1, column - left + 1), _COLUMNS, at_cut
        for row, at_cut in self._rows.items():
            if 0 < row - first < shape.height:
                yield Window(row - first - 1, row - first + 1, 0, shape.width), _ROWS, at_cut

    def _add(self, difference: np.ndarray, usable: np.ndarray, at_cut: bool) -> None:
        steps = np.abs(difference[:, usable.astype(bool)])
        self._sums[at_cut][0] += float(steps.sum(dtype=np.float64))
        self._sums[at_cut][1] += steps.size

    @property
    def ratio(self) -> float | None:
        """Mean gradient across cuts over mean gradient between them; None where there is no cut or no gradient."""
        (cut, cuts), (middle, middles) = self._sums[True], self._sums[False]
        if not cuts or not middles or middle == 0:
            return None
        return (cut / cuts) / (middle / middles)


def _outer_rows(shape: Shape) -> tuple[Window, Window]:
    """The first row of a block and its last."""
    return Window(0, 1, 0, shape.width), Window(shape.height - 1, shape.height, 0, shape.width)


def _places(cores: tuple[tuple[int, int], ...]) -> dict[int, bool]:
    """Pixels whose step from the one before counts, and whether that is a cut or half-way between two."""
    cuts = dict.fromkeys((start for start, stop in cores[1:] if stop > start and start > 0), True)
    return {**cuts, **dict.fromkeys(((a + b) // 2 for a, b in cores if b - a > 2), False)}
