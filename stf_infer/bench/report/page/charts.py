# SPDX-License-Identifier: Apache-2.0
"""Drawings over two axes: speed against accuracy, sweeps, steps of a sampler against quality."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from ....metrics.report import HEADINGS
from ...result import Latency, Result, Row, Throughput
from .. import numbers
from ..tables import metric_format
from .elements import Html, joined
from .plot import COLOURS, Plot, axis_for, figure, legend

_MOST_LABELS = 12  # more marks than that are named by a legend, but for those on the front


def pareto(result: Result, scene: str, metric: str) -> Html | None:
    """Accuracy over speed of whole scenes; None where no row has both.

    A line joins the engines that no other engine beats in both; the others are faint. Baselines are rings, and rows
    without a speed are lines. Accuracies that read alike count as equal.
    """
    short = numbers.labels(result.rows)
    fast, slow = [], []
    for k, row in enumerate(result.rows):
        value = _truth(row, scene, metric)
        run = _run(row, scene)
        if value is None or row.failure is not None:
            continue
        if run is not None:
            fast.append((k, row, run.megapixels_a_second, float(f"{value:.4g}")))
        else:
            slow.append((row, value))
    if not fast:
        return None
    less = HEADINGS[metric][1] is not False
    name, shown = HEADINGS[metric][0], metric_format(metric)
    plot = Plot(960, 400, f"{name} over megapixels a second, scene {scene}", right=24)
    x = axis_for([speed for *_, speed, _ in fast], *plot.across, logarithmic=True)
    y = axis_for([*(value for *_, value in fast), *(value for _, value in slow)], *plot.upward)
    better = "lower is better" if less else "higher is better"
    plot.axes(x, y, "whole scene, Mpx/s (right is faster, logarithmic)", f"{name} ({better})")
    for row, value in slow:
        plot.line([(plot.across[0], y(value)), (plot.across[1], y(value))], class_="level")
        plot.text(plot.across[0] + 6, y(value) - 5, f"{short[row.name]}: {shown(value)}", class_="name")
    engines = {k: (speed, value if less else -value) for k, row, speed, value in fast if row.kind == "engine"}
    front = [k for k, one in engines.items() if not any(_beats(other, one) for other in engines.values())]
    front.sort(key=lambda k: engines[k][0])
    plot.line([(x(engines[k][0]), y(engines[k][1] if less else -engines[k][1])) for k in front], class_="front")
    for k, row, speed, value in fast:
        told = f"{row.name}: {numbers.figure(speed)} Mpx/s, {name} {shown(value)}"
        look = "ring" if row.kind == "baseline" else "" if k in front else "faint"
        plot.mark(x(speed), y(value), k, told, look)
    few = len(fast) <= _MOST_LABELS
    for k, row, speed, value in sorted(fast, key=lambda one: one[2]):
        if few or k in front or row.kind == "baseline":
            plot.label(x(speed), y(value), short[row.name])
    return plot.drawn() if few else joined([plot.drawn(), legend([(k, short[row.name]) for k, row, *_ in fast])])


def _beats(other: tuple[float, float], one: tuple[float, float]) -> bool:
    """Whether a speed and an error are both at least as good as another's, and one of them better."""
    return other[0] >= one[0] and other[1] <= one[1] and other != one


def sweeps(result: Result) -> list[Html]:
    """Tiles a second over batch and over threads; empty where there was no sweep."""
    drawings: list[tuple[str, Callable[[Latency], float], Callable[[Latency, Latency], bool]]] = [
        ("tiles a call", lambda f: f.batch, lambda f, own: f.threads == own.threads),
        ("threads", lambda f: f.threads or 0, lambda f, own: f.batch == own.batch and f.threads is not None),
    ]
    out = []
    for label, of, fits in drawings:
        lines: dict[int, list[tuple[float, float, str]]] = {}
        for k, row in enumerate(result.rows):
            if row.failure is not None or not row.sweep:
                continue
            measured = [*([row.latency] if row.latency else []), *row.sweep]
            found = {of(f): f for f in reversed(measured) if fits(f, measured[0]) and f.tile.p50 > 0}
            points = [(at, 1 / f.tile.p50, numbers.milliseconds(f.tile.p50)) for at, f in sorted(found.items())]
            if len(points) > 1:
                lines[k] = points
        if lines:
            out.append(_sweep(result, lines, label))
    return out


def _sweep(result: Result, lines: dict[int, list[tuple[float, float, str]]], label: str) -> Html:
    short = numbers.labels(result.rows)
    plot = Plot(480, 320, f"Tiles a second over {label}")
    every = [point for points in lines.values() for point in points]
    places = sorted({at for at, *_ in every})
    x = replace(axis_for(places, *plot.across, logarithmic=True), marked=tuple(places))
    y = axis_for([value for _, value, _ in every], *plot.upward, zero=True)
    plot.axes(x, y, f"{label} (logarithmic)", "tiles/s (higher is better)")
    for k, points in lines.items():
        plot.line([(x(at), y(value)) for at, value, _ in points], class_=f"line c{k % COLOURS}")
        for at, value, told in points:
            plot.mark(x(at), y(value), k, f"{result.rows[k].name}: {label} {at:g}: {told} ms/tile")
    return figure(joined([plot.drawn(), legend([(k, short[result.rows[k].name]) for k in lines])]), "")


def steps(result: Result, scene: str, metric: str = "rmse") -> Html | None:
    """Quality over the steps of diffusion samplers; None where fewer than two numbers of steps were measured."""
    lines: dict[tuple[str, str, str], list[tuple[int, float, Row]]] = {}
    for row in result.rows:
        value = _truth(row, scene, metric)
        if row.failure is None and row.steps and value is not None:
            lines.setdefault((row.network, row.target, row.precision), []).append((row.steps, value, row))
    every = [one for points in lines.values() for one in points]
    counts = sorted({float(n) for n, *_ in every})
    if len(counts) < 2:
        return None
    name, shown = HEADINGS[metric][0], metric_format(metric)
    plot = Plot(960, 360, f"{name} over the steps of a sampler, scene {scene}", right=24)
    x = replace(axis_for(counts, *plot.across, logarithmic=True), marked=tuple(counts))
    y = axis_for([value for _, value, _ in every], *plot.upward)
    better = "higher" if HEADINGS[metric][1] is False else "lower"
    plot.axes(x, y, "steps (logarithmic)", f"{name} ({better} is better)")
    for k, points in enumerate(lines.values()):
        points.sort(key=lambda one: one[0])
        plot.line([(x(n), y(value)) for n, value, _ in points], class_=f"line c{k % COLOURS}")
        for n, value, row in points:
            plot.mark(x(n), y(value), k, f"{row.name}: {n} steps, {name} {shown(value)}{_a_tile(row)}")
    for n, value, row in every:
        plot.label(x(n), y(value), f"{n}{_a_tile(row)}")
    return joined([plot.drawn(), legend([(k, " ".join(one)) for k, one in enumerate(lines)])])


def _a_tile(row: Row) -> str:
    return f", {numbers.milliseconds(row.latency.tile.p50)} ms/tile" if row.latency else ""


def _truth(row: Row, scene: str, metric: str) -> float | None:
    value = next((q.truth.pooled.get(metric) for q in row.quality if q.scene == scene and q.truth), None)
    return value if value is not None and math.isfinite(value) else None


def _run(row: Row, scene: str) -> Throughput | None:
    return next((run for run in row.throughput if run.scene == scene and run.megapixels_a_second > 0), None)
