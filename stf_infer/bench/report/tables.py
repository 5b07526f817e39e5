# SPDX-License-Identifier: Apache-2.0
"""The tables of a bench, once: terminal, Markdown and HTML only draw them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...metrics.report import HEADINGS, heading
from ...metrics.report import cell as metric_cell
from ..result import Figures, Latency, Quality, Result, Row, Throughput
from .numbers import NOTHING, figure, labels, mebibytes, milliseconds, over_engine

_MOST_NAMES = 4  # of rows that a remark is about


@dataclass(frozen=True)
class Cell:
    """What stands in a table, and whether it is the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Headings, and lines of cells; the first ``names`` columns are no figures."""

    title: str
    headings: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    names: int = 1
    note: str = ""


@dataclass(frozen=True)
class _Line:
    """What a line of a table is about: a row, and one of the scenes it was run on (None: none)."""

    row: Row
    first: bool
    throughput: Throughput | None
    quality: Quality | None

    @property
    def scene(self) -> str:
        found = self.throughput or self.quality
        return found.scene if found else ""


@dataclass(frozen=True)
class _Column:
    heading: str
    value: Callable[[_Line], float | None]
    shown: Callable[[float | None], str] = figure
    less: bool | None = True  # is better; None: there is no better
    of_row: bool = False  # told in the first line of a row only
    engines: bool = False  # whether only engines compete for the best

    def competes(self, line: _Line) -> bool:
        return not self.engines or line.row.kind == "engine"


def lines(result: Result) -> list[_Line]:
    """Every row that could be measured, scene by scene."""
    out = []
    for row in result.rows:
        if row.failure is not None:
            continue
        runs, found = {t.scene: t for t in row.throughput}, {q.scene: q for q in row.quality}
        scenes = [s.name for s in result.scenes if s.name in runs or s.name in found]
        scenes += [name for name in (*runs, *found) if name not in scenes]
        out += [_Line(row, i == 0, runs.get(name), found.get(name)) for i, name in enumerate(dict.fromkeys(scenes))]
        if not scenes:
            out.append(_Line(row, True, None, None))
    return out


def speed(result: Result) -> Table | None:
    """Time, memory and energy; None where nothing was timed."""

    def tile(of: Callable[[Latency], float]) -> Callable[[_Line], float | None]:
        return lambda line: of(line.row.latency) if line.row.latency else None

    def scene(of: Callable[[Throughput], float | None]) -> Callable[[_Line], float | None]:
        return lambda line: of(line.throughput) if line.throughput else None

    columns = (
        _Column("p50 ms/tile", tile(lambda f: f.tile.p50), milliseconds, of_row=True),
        _Column("p99", tile(lambda f: f.tile.p99), milliseconds, of_row=True),
        _Column(
            "device p50", lambda x: x.row.on_device.tile.p50 if x.row.on_device else None, milliseconds, of_row=True
        ),
        _Column("first ms", lambda x: x.row.first_call, milliseconds, of_row=True),
        _Column("load ms", lambda x: x.row.load, milliseconds, of_row=True),
        _Column("Mpx/s", scene(lambda t: t.megapixels_a_second), less=False, engines=True),
        _Column("scenes/h", scene(lambda t: t.scenes_an_hour), less=False, engines=True),
        _Column("end/engine", scene(over_engine), lambda v: figure(v, digits=3)),
        _Column("peak MiB", scene(lambda t: t.peak_memory), mebibytes, engines=True),
        _Column("device MiB", scene(lambda t: t.device_memory), mebibytes),
        _Column("J/Mpx", scene(lambda t: t.energy.joules_a_megapixel), engines=True),
    )
    notes = {"end/engine": "end/engine: wall time of a scene over what the engine alone takes for its tiles."}
    return _table("Speed", result, columns, notes)


def accuracy(result: Result) -> Table | None:
    """Quality of the results; None where nothing was compared."""

    def of(part: str, metric: str) -> Callable[[_Line], float | None]:
        def value(line: _Line) -> float | None:
            figures: Figures | None = getattr(line.quality, part) if line.quality else None
            return figures.pooled.get(metric) if figures else None

        return value

    columns = [
        _Column(heading(m), of("truth", m), metric_format(m), less=HEADINGS[m][1])
        for m in ("rmse", "sam_deg", "ssim", "ergas")
    ]
    columns += [
        _Column("RMSE changed", of("changed", "rmse"), metric_format("rmse")),
        _Column("unchanged", of("unchanged", "rmse"), metric_format("rmse")),
        _Column("RMSE to fp32", of("fp32", "rmse"), metric_format("rmse"), less=None),
        _Column("SAM to fp32", of("fp32", "sam_deg"), metric_format("sam_deg"), less=None),
        _Column("seam", lambda x: x.quality.seam if x.quality else None, lambda v: figure(v, digits=3), less=None),
    ]
    notes = {
        "unchanged": "changed, unchanged: over pixels that changed between the dates, and over the rest.",
        "seam": "seam: 1 is seamless.",
    }
    return _table("Accuracy", result, columns, notes)


def sweep(result: Result) -> Table | None:
    """Latency at other batches and threads; None where there was no sweep."""
    entries: list[tuple[Cell, ...]] = []
    short = labels(result.rows)
    for row in result.rows:
        if not row.sweep or row.failure is not None:
            continue
        measured = [*([row.latency] if row.latency else []), *row.sweep]
        best = min(one.tile.p50 for one in measured)
        for number, one in enumerate(measured):
            entries.append(
                (
                    Cell(short[row.name] if not number else ""),
                    Cell(str(one.batch)),
                    Cell("own choice" if one.threads is None else str(one.threads)),
                    Cell(milliseconds(one.tile.p50), one.tile.p50 == best),
                    Cell(milliseconds(one.tile.p99)),
                    Cell(figure(1 / one.tile.p50 if one.tile.p50 else None)),
                    Cell(str(one.tile.n)),
                )
            )
    if not entries:
        return None
    headings = ("", "batch", "threads", "p50 ms/tile", "p99", "tiles/s", "n")
    return Table("Batches and threads", headings, tuple(entries))


def failures(result: Result) -> list[tuple[str, str]]:
    """Rows that could not be measured, and why."""
    return [(row.name, row.failure) for row in result.rows if row.failure is not None]


def remarks(result: Result) -> list[str]:
    """What a reader has to know, each said once: remarks of scenes, what was not measured and why, notes of rows."""
    said: dict[str, list[str]] = {}
    short = labels(result.rows)

    def say(text: str, who: str) -> None:
        if text and who not in said.setdefault(text, []):
            said[text].append(who)

    for scene in result.scenes:
        say(scene.remark, scene.name)
        if scene.truth is None:
            say("No truth: figures against it were not measured.", scene.name)
    for row in result.rows:
        who = short[row.name]
        for note in row.notes:
            say(note, who)
        say(f"Accuracy budget: {row.budget}" if row.budget else "", who)
        if row.latency and not row.latency.stable:
            say(f"The warm-up did not settle within {row.latency.warm_up} calls.", who)
        for run in row.throughput:
            say(f"Energy: {run.energy.note}", who)
        for quality in row.quality:
            for figures in (quality.truth, quality.fp32, quality.changed, quality.unchanged):
                for note in figures.notes if figures else ():
                    say(note, who)
    groups = {
        "": {short[row.name] for row in result.rows if row.failure is None},
        "engines: ": {short[row.name] for row in result.rows if row.failure is None and row.kind == "engine"},
    }
    return [f"{_who(names, groups)}{text}" for text, names in said.items()]


def away(result: Result) -> list[str]:
    """Engines that were not measured, one line a reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in result.unavailable.items():
        reasons.setdefault(reason, []).append(name)
    return [f"Not measured: {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _who(names: list[str], groups: dict[str, set[str]]) -> str:
    for told, group in groups.items():
        if group and group <= set(names):
            return told
    shown = names if len(names) <= _MOST_NAMES else [*names[: _MOST_NAMES - 1], f"{len(names) - _MOST_NAMES + 1} more"]
    return f"{', '.join(shown)}: "


def _table(title: str, result: Result, columns: Iterable[_Column], notes: Mapping[str, str]) -> Table | None:
    columns = list(columns)
    entries = [line for line in lines(result) if any(column.value(line) is not None for column in columns)]
    values = [(column, [column.value(line) for line in entries]) for column in columns]
    kept = [(column, found) for column, found in values if any(one is not None for one in found)]
    if not kept:
        return None
    named = len(result.scenes) > 1
    short = labels(result.rows)
    drawn = []
    for i, line in enumerate(entries):
        cells = [Cell(short[line.row.name] if line.first else "")]
        cells += [Cell(line.scene)] if named else []
        for column, found in kept:
            told = column.shown(found[i]) if line.first or not column.of_row else ""
            rivals = [
                value
                for value, other in zip(found, entries, strict=True)
                if (column.of_row or other.scene == line.scene) and column.competes(other)
            ]
            best = bool(told) and column.competes(line) and is_best(found[i], rivals, column.less, column.shown)
            cells.append(Cell(told, best))
        drawn.append(tuple(cells))
    headings = ("", *(("scene",) if named else ()), *(column.heading for column, _ in kept))
    return Table(
        title,
        headings,
        tuple(drawn),
        names=1 + named,
        note=" ".join(text for of, text in notes.items() if of in headings),
    )


def metric_format(metric: str) -> Callable[[float | None], str]:
    """How a metric is written, by its name; a dash where it is undefined."""
    return lambda value: NOTHING if value is None else metric_cell(metric, value)


def is_best(
    value: float | None, rivals: Sequence[float | None], less: bool | None, shown: Callable[[float | None], str]
) -> bool:
    """Whether no rival is better, as far as a reader can tell from what is shown."""
    known = [one for one in rivals if one is not None and not math.isnan(one)]
    if less is None or value is None or len(set(map(shown, known))) < 2:
        return False
    return shown(value) == shown(min(known) if less else max(known))
