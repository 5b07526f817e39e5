# SPDX-License-Identifier: Apache-2.0
"""The page: what it holds, in which order."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ....metrics.report import HEADINGS
from ...result import Result, Row
from .. import facts, metric_tables, tables
from . import charts, lanes, sections, summary
from .choice import bar, by_row, by_scene, one_of, select
from .elements import Html, tag
from .pictures import ScenePictures, pictures
from .viewer import scatter, viewer

# Nothing may be fetched, from wherever the page is opened.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_MOST_SCENES = 3  # more are folded
_CHARTED = ("rmse", "sam_deg", "ssim", "ergas")


def page(result: Result, folder: Path) -> str:
    """The report as one HTML file.

    Args:
        result: The bench.
        folder: What paths of rasters are relative to. What cannot be read there is left out, and the page says so.
    """
    seen = pictures(result, folder)
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"Bench of stf-infer, {result.measured}"),
        tag("style", Html(_text("page.css"))),
    ]
    body = [_header(result), tag("main", _main(result, seen)), tag("script", Html(_text("page.js")))]
    return "<!doctype html>\n" + tag("html", tag("head", head), tag("body", body), lang="en") + "\n"


def _text(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def _header(result: Result) -> Html:
    def note(title: str, texts: list[Html], look: str) -> Html | None:
        return tag("div", tag("b", title), tag("ul", texts), class_=look, role="note") if texts else None

    return tag(
        "header",
        tag("h1", "Bench of stf-infer"),
        tag("p", facts.headline(result), class_="lead"),
        _scenes(result),
        note("Why figures may be off", [tag("li", text) for text in result.machine.warnings], "warning"),
        note("Failed", [tag("li", tag("b", name), ": ", why) for name, why in tables.failures(result)], "failed"),
    )


def _scenes(result: Result) -> Html | list[Html] | None:
    told = [tag("p", f"Scene {one.name}: {facts.scene(one)}", class_="lead") for one in result.scenes]
    return told if len(told) <= _MOST_SCENES else sections.folded(f"{len(told)} scenes", *told)


def _main(result: Result, seen: dict[str, ScenePictures]) -> list[Html | None]:
    """The sections; those that a row and a scene are chosen for stand together under one bar."""
    chosen = [
        sections.section(
            "Speed beside accuracy",
            _pareto(result),
            sections.table(result, tables.speed(result)),
            sections.table(result, metric_tables.over_scenes(result)),
            sections.table(result, tables.accuracy(result)),
        ),
        sections.section("Pictures", by_scene(result, lambda scene: viewer(result, scene, seen[scene]))),
        sections.section(
            "Predicted over true values",
            by_scene(result, lambda scene: scatter(result, scene, seen[scene])),
            lead="Dashed: equal values. Line: least squares. The stronger the blue, the more pixels, logarithmically.",
        ),
        sections.section(
            "Where the time goes",
            by_scene(result, lambda scene: by_row(result, lambda _, row: _time(row, scene), "This row was not timed.")),
        ),
        sections.section(
            "Steps against quality", by_scene(result, lambda scene: scrolled(charts.steps(result, scene)))
        ),
        sections.of_bands(result),
    ]
    sweep = tables.sweep(result)
    return [
        summary.cards(result),
        tag("div", bar(result), chosen, class_="chosen") if any(chosen) else None,
        sections.section(
            "How steady a call is",
            scrolled(lanes.latency_lanes(result)),
            lead="Calls that were timed, one by one or as a histogram. Strokes: p50, p90, p99.",
        ),
        sections.section(
            "Batches and threads",
            tag("div", drawn, class_="charts") if (drawn := charts.sweeps(result)) else None,
            sections.folded("As a table", sections.table(result, sweep, titled=False), opened=not drawn),
        ),
        sections.notes(result, seen.values()),
        sections.repeat(result),
    ]


def _pareto(result: Result) -> Html | None:
    def over(metric: str) -> Html | None:
        return by_scene(result, lambda scene: charts.pareto(result, scene, metric))

    drawn = one_of("metric", ((metric, over(metric)) for metric in _CHARTED))
    if drawn is None:
        return None
    choice = select("metric", "Accuracy as", [(metric, HEADINGS[metric][0]) for metric in _CHARTED])
    caption = "The line joins the engines that no other engine beats in both. Rings, and dashed lines: baselines."
    return tag(
        "figure",
        tag("div", choice, class_="needs-script", hidden=True),
        scrolled(drawn),
        tag("figcaption", caption),
        class_="wide",
    )


def scrolled(drawn: Html | None) -> Html | None:
    """Something that may be wider than a small screen."""
    return tag("div", drawn, class_="scroll", tabindex=0) if drawn else None


def _time(row: Row, scene: str) -> Html | None:
    run = next((one for one in row.throughput if one.scene == scene), None)
    if run is None or not (run.spans or run.stages):
        return None
    drawn = lanes.timeline(run)
    shown = [scrolled(drawn), lanes.timeline_legend(run)] if drawn else []
    return tag("div", shown, sections.stages(run) if run.stages else None)
