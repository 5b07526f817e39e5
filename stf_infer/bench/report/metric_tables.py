# SPDX-License-Identifier: Apache-2.0
"""Tables of metrics against the truth: all of them, band by band, and means over the scenes of a dataset."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ...metrics.report import HEADINGS, heading
from ..result import Figures, Result, Row
from .numbers import labels
from .tables import Cell, Table, is_best, metric_format

# Of names that mean the same one is shown: AAD is MAE, CC is PCC, and an angle is told in degrees.
_SHOWN = tuple(metric for metric in HEADINGS if metric not in ("aad", "cc", "sam_rad"))


def all_metrics(result: Result, scene: str) -> Table | None:
    """Every pooled metric against the truth of one scene; None where there is no truth."""
    found = _found(result, scene)
    columns = [_Column(heading(m), m, [figures.pooled.get(m) for _, figures in found]) for m in _shown(found)]
    return _drawn("All metrics against the truth", result, [row.name for row, _ in found], columns)


def per_band(result: Result, scene: str, metric: str = "rmse") -> Table | None:
    """One metric band by band against the truth of one scene; None where there is no truth."""
    found = _found(result, scene)
    bands = list(dict.fromkeys(band for _, figures in found for band in figures.per_band))
    columns = [_Column(band, metric, [f.per_band.get(band, {}).get(metric) for _, f in found]) for band in bands]
    return _drawn(f"{heading(metric)} of each band", result, [row.name for row, _ in found], columns)


def over_scenes(result: Result) -> Table | None:
    """Means of the scenes' pooled metrics, as papers state them for a dataset; None with fewer than two scenes.

    Only rows of the largest number of scenes compete, for the others leave out what may be hard.
    """
    found: dict[str, list[Figures]] = {}
    for scene in result.scenes:
        for row, figures in _found(result, scene.name):
            found.setdefault(row.name, []).append(figures)
    most = max(map(len, found.values()), default=0)
    if most < 2:
        return None
    columns = []
    for metric in _shown([(None, one) for every in found.values() for one in every]):
        means = [_mean([one.pooled.get(metric) for one in every]) for every in found.values()]
        columns.append(_Column(heading(metric), metric, means))
    counts = {name: len(every) for name, every in found.items()}
    return _drawn(f"Accuracy, means of {most} scenes", result, list(found), columns, counts)


@dataclass(frozen=True)
class _Column:
    heading: str
    metric: str
    values: list[float | None]


def _found(result: Result, scene: str) -> list[tuple[Row, Figures]]:
    """Rows that were measured against the truth of a scene."""
    return [
        (row, q.truth)
        for row in result.rows
        for q in row.quality
        if q.scene == scene and q.truth and row.failure is None
    ]


def _shown(found: Sequence[tuple[object, Figures]]) -> list[str]:
    return [metric for metric in _SHOWN if any(metric in figures.pooled for _, figures in found)]


def _mean(values: Sequence[float | None]) -> float | None:
    """Their mean; None where one is undefined: a mean of the others would be of other scenes."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _drawn(
    title: str,
    result: Result,
    names: Sequence[str],
    columns: Sequence[_Column],
    counts: dict[str, int] | None = None,
) -> Table | None:
    """A line a row; with the number of scenes behind its name where that is given."""
    if not names or not columns:
        return None
    short = labels(result.rows)
    most = max(counts.values()) if counts else 0
    competes = [not counts or counts[name] == most for name in names]
    lines = []
    for i, name in enumerate(names):
        cells = [Cell(short[name]), *([Cell(str(counts[name]))] if counts else [])]
        for column in columns:
            shown = metric_format(column.metric)
            rivals = [value for value, one in zip(column.values, competes, strict=True) if one]
            best = competes[i] and is_best(column.values[i], rivals, HEADINGS[column.metric][1], shown)
            cells.append(Cell(shown(column.values[i]), best))
        lines.append(tuple(cells))
    headings = ("", *(("scenes",) if counts else ()), *(column.heading for column in columns))
    return Table(title, headings, tuple(lines))
