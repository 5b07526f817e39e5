# SPDX-License-Identifier: Apache-2.0
"""Drawings with a lane for each row or thread: how calls scatter, and what a run did when."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...result import Distribution, Result, Span, Throughput
from .. import numbers
from .elements import Html, tag
from .plot import COLOURS, Axis, Plot

# Stretches of one kind that are closer than this share of the timeline are drawn as one.
_FINEST = 1 / 1500
_MOST_BINS = 110
_LONG = 3.0  # seconds from which a timeline is in seconds
_FEW = 100  # fewer calls are drawn one by one
_LATENCY_LANE, _TIME_LANE = 52, 44


def latency_lanes(result: Result) -> Html | None:
    """How the calls of every row scatter around its median; None where nothing was timed twice."""
    timed = [
        (k, row.name, row.latency.tile)
        for k, row in enumerate(result.rows)
        if row.latency and len(row.latency.tile.samples) > 1 and row.latency.tile.p50 > 0
    ]
    if not timed:
        return None
    short = numbers.labels(result.rows)
    relative = {k: np.array(tile.samples) / tile.p50 for k, _, tile in timed}
    low = max(0.5, min(float(one.min()) for one in relative.values()))
    high = min(2.0, max(float(np.percentile(one, 99)) for one in relative.values()))
    room = 0.08 * max(high - low, 0.02)
    height = 8 + _LATENCY_LANE * len(timed) + 46
    plot = Plot(960, height, "Distribution of the time of a tile", left=8, right=12, top=8)
    x = Axis(low - room, high + room, *plot.across)
    plot.below(x, "time of a tile over the row's own median")
    for i, (k, name, tile) in enumerate(timed):
        base = plot.top + _LATENCY_LANE * (i + 1) - 4
        if len(relative[k]) < _FEW:
            _dots(plot, x, base, relative[k], f"dot c{k % COLOURS}")
        else:
            _outline(plot, x, base, relative[k], f"area c{k % COLOURS}")
        for words, value in _points(tile).items():
            if value <= x.high * tile.p50:
                at = x(value / tile.p50)
                told = tag("title", f"{name}: {words} {numbers.milliseconds(value)} ms")
                plot.parts.append(tag("line", told, class_="point", x1=at, x2=at, y1=base + 3.0, y2=base - 12.0))
        plot.text(plot.left + 2, base - _LATENCY_LANE + 16, short[name], class_="name strong")
        plot.text(plot.across[1], base - _LATENCY_LANE + 16, _told(tile, x.high), class_="tick", anchor="end")
    return plot.drawn()


def _outline(plot: Plot, x: Axis, base: float, values: np.ndarray, look: str) -> None:
    """A histogram that stands on a lane."""
    bins = min(_MOST_BINS, round(4 * len(values) ** 0.5))
    counts, edges = np.histogram(values, bins, (x.low, x.high))
    tops = base - counts / max(counts.max(), 1) * (_LATENCY_LANE - 22)
    points = [(x(edges[0]), base)]
    for j, top in enumerate(tops):
        points += [(x(edges[j]), top), (x(edges[j + 1]), top)]
    plot.line([*points, (x(edges[-1]), base)], class_=look)


def _dots(plot: Plot, x: Axis, base: float, values: np.ndarray, look: str) -> None:
    """Calls in their order, from the top of a lane to its bottom and again."""
    for k, value in enumerate(values):
        if value <= x.high:
            plot.parts.append(tag("circle", class_=look, cx=x(value), cy=base - 4.0 - 3.2 * (6 - k % 7), r=2.6))


def _points(tile: Distribution) -> dict[str, float]:
    return {"p50": tile.p50, "p90": tile.p90, "p99": tile.p99}


def _told(tile: Distribution, end: float) -> str:
    texts = [f"{name} {numbers.milliseconds(value)}" for name, value in _points(tile).items() if name != "p90"]
    texts.append(f"max {numbers.milliseconds(tile.maximum)} ms")
    texts.append(f"n {tile.n}")
    beyond = sum(one > end * tile.p50 for one in tile.samples)
    return ", ".join(texts) + (f", {beyond} beyond →" if beyond else "")


def timeline(run: Throughput) -> Html | None:
    """Which thread did what while a scene was fused; None where nobody noted it."""
    if not run.spans:
        return None
    lanes = list(dict.fromkeys(span.thread for span in run.spans))
    kinds = _kinds(run)
    end = max(span.end for span in run.spans) or 1.0
    plot = Plot(1000, 16 + _TIME_LANE * len(lanes) + 56, "What each thread did", left=70, right=14, top=10, bottom=50)
    unit, scale = ("seconds", 1.0) if end >= _LONG else ("milliseconds", 1e3)
    x = Axis(0, end * scale, *plot.across)
    plot.below(x, f"{unit} since the run began")
    for i, thread in enumerate(lanes):
        top = plot.top + 6 + _TIME_LANE * i
        plot.text(plot.left - 8, top + 20, thread, class_="name", anchor="end")
        stages = dict.fromkeys((span.name, span.waiting) for span in run.spans if span.thread == thread)
        for name, waiting in sorted(stages, key=lambda stage: not stage[1]):  # work is drawn over waiting
            found = [s for s in run.spans if (s.thread, s.name, s.waiting) == (thread, name, waiting)]
            look = "wait" if waiting else f"work c{kinds.index(name) % COLOURS}"
            total = numbers.duration(sum(span.end - span.start for span in found))
            title = tag("title", f"{thread}: {name}, {total}")
            plot.parts.append(tag("path", title, class_=look, d=_boxes(found, x, scale, top, end * _FINEST)))
    return plot.drawn()


def _boxes(spans: Sequence[Span], x: Axis, scale: float, top: float, gap: float) -> str:
    """Boxes from start to end of the stretches, as one path."""
    joined: list[list[float]] = []
    for span in sorted(spans, key=lambda one: one.start):
        if joined and span.start - joined[-1][1] < gap:
            joined[-1][1] = max(joined[-1][1], span.end)
        else:
            joined.append([span.start, span.end])
    path = []
    for start, stop in joined:
        left = x(start * scale)
        path.append(f"M{left:.1f} {top:.0f}h{max(x(stop * scale) - left, 0.6):.1f}v30H{left:.1f}z")
    return "".join(path)


def timeline_legend(run: Throughput) -> Html:
    """What the colours of a timeline mean."""
    entries = [tag("span", tag("i", class_=f"chip c{k % COLOURS}"), name) for k, name in enumerate(_kinds(run))]
    if any(span.waiting for span in run.spans):
        entries.append(tag("span", tag("i", class_="chip wait"), "waiting for another thread"))
    return tag("p", entries, class_="legend")


def _kinds(run: Throughput) -> list[str]:
    return list(dict.fromkeys(span.name for span in run.spans if not span.waiting))
