# SPDX-License-Identifier: Apache-2.0
"""Tables, notes and facts of a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ....metrics.report import HEADINGS
from ...result import Result, Row, Throughput
from .. import facts, metric_tables, numbers, tables
from ..tables import Cell, Table
from .choice import by_scene, one_of, select
from .elements import Html, tag
from .pictures import ScenePictures
from .plot import mark

_PER_BAND = ("rmse", "mae", "bias", "pcc", "r2", "psnr", "ssim", "uqi")


def section(title: str, *inside: Html | None, lead: str = "") -> Html | None:
    """A section under its title, or nothing where it would be empty."""
    kept = [one for one in inside if one]
    if not kept:
        return None
    return tag("section", tag("h2", title), tag("p", lead, class_="lead") if lead else None, kept)


def folded(title: str, *inside: Html | None, opened: bool = False) -> Html | None:
    """Something behind its title, or nothing where it would be empty."""
    kept = [one for one in inside if one]
    return tag("details", tag("summary", title), kept, open=opened) if kept else None


def table(result: Result, drawn: Table | None, *, titled: bool = True) -> Html | None:
    """A table, with the mark that a row has in all drawings before its name."""
    if drawn is None:
        return None
    numbered = {name: k for k, name in enumerate(numbers.labels(result.rows).values())}
    head = [
        tag("th", text, scope="col", class_=None if k >= drawn.names else "name")
        for k, text in enumerate(drawn.headings)
    ]
    body, of = [], None
    for line in drawn.lines:
        of = numbered.get(line[0].text, of)  # further lines of a row do not repeat its name
        body.append(tag("tr", [_cell(cell, k, drawn.names, numbered) for k, cell in enumerate(line)], data_of=of))
    title = tag("caption", drawn.title) if titled else None
    grid = tag("table", title, tag("thead", tag("tr", head)), tag("tbody", body))
    note = tag("p", drawn.note, class_="lead") if drawn.note else None
    return tag("div", tag("div", grid, class_="scroll", tabindex=0), note)


def _cell(cell: Cell, column: int, names: int, numbered: dict[str, int]) -> Html:
    if column >= names:
        return tag("td", tag("b", cell.text) if cell.best else cell.text)
    if column == 0 and cell.text in numbered:
        sign = tag("svg", mark(8, 8, numbered[cell.text]), viewBox="0 0 16 16", width=14, height=14, aria_hidden="true")
        return tag("th", tag("span", sign, tag("span", cell.text), class_="row"), scope="row")
    return tag("th", cell.text, scope="row")


def of_bands(result: Result) -> Html | None:
    """Every metric, pooled and band by band, scene by scene."""

    def every(scene: str) -> Html | None:
        return table(result, metric_tables.all_metrics(result, scene))

    def banded(metric: str) -> Html | None:
        return by_scene(result, lambda scene: table(result, metric_tables.per_band(result, scene, metric)))

    pooled, bands = by_scene(result, every), one_of("figure", ((metric, banded(metric)) for metric in _PER_BAND))
    if not bands:
        return section("All metrics", pooled)
    choice = select("figure", "Of each band:", [(metric, HEADINGS[metric][0]) for metric in _PER_BAND])
    return section(
        "All metrics, and band by band", pooled, tag("div", choice, class_="needs-script", hidden=True), bands
    )


def stages(run: Throughput) -> Html:
    """What the threads did, all in all."""
    wall = sorted(run.seconds)[len(run.seconds) // 2] if run.seconds else 0.0
    lines = [
        [
            stage.thread,
            stage.name,
            str(stage.calls),
            numbers.duration(stage.seconds),
            _share(stage.seconds, wall),
            f"{numbers.size(stage.bytes / stage.seconds)}/s" if stage.bytes and stage.seconds else numbers.NOTHING,
        ]
        for stage in run.stages
    ]
    headings = ["thread", "stage", "calls", "time", "of wall time", "bytes"]
    head = tag(
        "thead",
        tag("tr", [tag("th", text, scope="col", class_="name" if k < 2 else None) for k, text in enumerate(headings)]),
    )
    body = [
        tag(
            "tr",
            [tag("th", text, scope="row") if k < 2 else tag("td", text) for k, text in enumerate(line)],
            class_="idle" if stage.waiting else None,
        )
        for line, stage in zip(lines, run.stages, strict=True)
    ]
    return tag("div", tag("table", head, tag("tbody", body)), class_="scroll", tabindex=0)


def _share(part: float, whole: float) -> str:
    if not whole:
        return numbers.NOTHING
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 1 or not part else "< 1 %"


def notes(result: Result, seen: Iterable[ScenePictures]) -> Html | None:
    """What a reader has to know, and what is missing."""
    missing = [f"Not shown: {text}" for one in seen for text in one.missing]
    said = [tag("li", text) for text in [*tables.remarks(result), *tables.away(result), *missing]]
    return section("Notes, and what was not measured", tag("ul", said) if said else None)


def repeat(result: Result) -> Html | None:
    """The command, the scenes, the machine and the settings."""
    command = facts.command(result)
    button = tag("button", "Copy", type="button", class_="copy needs-script", hidden=True)
    typed = tag("div", tag("pre", tag("code", command)), button, class_="command")
    scenes = [
        folded(
            f"Scene {one.name}",
            pairs([("size", facts.scene(one)), *facts.files(one), ("remark", one.remark or "none")]),
        )
        for one in result.scenes
    ]
    rows = [folded(f"Row {row.name}", pairs(_row(row))) for row in result.rows]
    return section(
        "Repeat it",
        typed,
        folded("Machine", pairs(facts.machine(result)), opened=True),
        folded("Settings", pairs(facts.settings(result))),
        *scenes,
        folded("Rows", *rows),
        lead="bench.json beside this page holds every figure.",
    )


def _row(row: Row) -> Sequence[tuple[str, str]]:
    return [
        (name, facts.text(value))
        for name, value in (
            ("bundle", row.bundle),
            ("network", row.network),
            ("target", row.target),
            ("precision", row.precision),
            ("engine", row.engine),
            ("steps", row.steps),
            ("tile", None if row.tile is None else f"{row.tile[0]} x {row.tile[1]}, halo {row.halo}"),
            ("budget", row.budget),
            ("notes", list(row.notes)),
        )
        if value not in (None, "", [])
    ]


def pairs(listed: Sequence[tuple[str, str]]) -> Html | None:
    """Names and texts."""
    if not listed:
        return None
    return tag("dl", [tag("div", tag("dt", name), tag("dd", text)) for name, text in listed])
