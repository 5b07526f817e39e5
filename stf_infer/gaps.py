# SPDX-License-Identifier: Apache-2.0
"""Gaps that reach over the edge of a range of columns: what they are filled with lies beyond it.

An invalid pixel is filled from the nearest valid ones of its whole row, so that the fill does not depend on how a
scene is cut up. Where only a range of columns is read, rows whose first or last pixel is invalid are looked at further
out, a few columns at a time, until a valid pixel is found or the row ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _core
from .layer import Layer

# Columns that are looked at beyond an edge at a time, and rows that are filled at a time.
_STEP = 512
_ROWS = 64


@dataclass
class _Nearest:
    """For each of some rows: the column of the nearest valid pixel beyond an edge, and its values (C, rows).

    Where there is none, the column is that edge's end of the row, and ``found`` is False.
    """

    found: np.ndarray
    column: np.ndarray
    values: np.ndarray


def fill_across_edges(layer: Layer, first: int, left: int, pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Fill the rows whose gaps reach over an edge that is not the end of the row.

    Costs nothing where there are none; else the columns up to the next valid pixel are read once more.

    Args:
        layer: Where the rows come from.
        first: Row of the layer's grid that they begin at.
        left: Column of the layer's grid that they begin at.
        pixels: The range of columns (C, rows, columns), of the layer's type; written to.
        valid: Which of them are valid, (rows, columns).

    Returns:
        What is left to fill, as ``valid`` says it: 1 in all of the rows that were filled.

    Raises:
        RasterError: The file is damaged beyond the edge.
    """
    right = left + valid.shape[1]
    at_left = (valid[:, 0] == 0) & (left > 0)
    at_right = (valid[:, -1] == 0) & (right < layer.grid.shape.width)
    across = np.flatnonzero(at_left | at_right)
    if not len(across):
        return valid
    before = _look(layer, first, np.flatnonzero(at_left), left, -1, len(valid), pixels)
    behind = _look(layer, first, np.flatnonzero(at_right), right, 1, len(valid), pixels)
    for begin in range(0, len(across), _ROWS):
        _fill(layer, across[begin : begin + _ROWS], left, pixels, valid, before, behind)
    rest = valid.copy()
    rest[across] = 1
    return rest


def _look(
    layer: Layer, first: int, rows: np.ndarray, edge: int, direction: int, height: int, like: np.ndarray
) -> _Nearest:
    """Look outwards from an edge for the nearest valid pixel of some rows."""
    end = 0 if direction < 0 else layer.grid.shape.width
    nearest = _Nearest(np.zeros(height, bool), np.full(height, edge), np.zeros((len(like), height), like.dtype))
    while len(rows) and edge != end:
        beyond = max(edge - _STEP, 0) if direction < 0 else min(edge + _STEP, end)
        begin, stop = sorted((edge, beyond))
        top = int(rows[0])
        pixels, valid = layer.read(first + top, first + int(rows[-1]) + 1, (begin, stop))
        outwards = valid[rows - top, ::direction] != 0
        found = outwards.any(axis=1)
        at = outwards.argmax(axis=1)[found]
        columns = at if direction > 0 else stop - begin - 1 - at
        nearest.column[rows[found]] = begin + columns
        nearest.values[:, rows[found]] = pixels[:, rows[found] - top, columns]
        nearest.found[rows[found]] = True
        rows, edge = rows[~found], beyond
    return nearest


def _fill(
    layer: Layer,
    rows: np.ndarray,
    left: int,
    pixels: np.ndarray,
    valid: np.ndarray,
    before: _Nearest,
    behind: _Nearest,
) -> None:
    """Fill some rows together with the valid pixels beyond their edges, each in its own place."""
    width = valid.shape[1]
    begin = int(np.where(before.found[rows], before.column[rows], left).min())
    stop = int(np.where(behind.found[rows], behind.column[rows] + 1, left + width).max())
    here = slice(left - begin, left - begin + width)
    known = np.zeros((len(rows), stop - begin), np.uint8)
    known[:, here] = valid[rows]
    for nearest in (before, behind):
        number = np.flatnonzero(nearest.found[rows])
        known[number, nearest.column[rows[number]] - begin] = 1
    for band, fallback in enumerate(layer.fallback):
        row = np.zeros((1, *known.shape), pixels.dtype)
        row[0, :, here] = pixels[band, rows]
        for nearest in (before, behind):
            number = np.flatnonzero(nearest.found[rows])
            row[0, number, nearest.column[rows[number]] - begin] = nearest.values[band, rows[number]]
        _core.fill_invalid(row, known, np.array([fallback]))
        pixels[band, rows] = row[0, :, here]
