# SPDX-License-Identifier: Apache-2.0
"""What a reader looks for first: the fastest row, the most accurate one, and what fusion is worth."""

from __future__ import annotations

from collections.abc import Iterator

from ...result import Result, Row, Throughput
from .. import numbers
from ..tables import metric_format
from .elements import Html, tag


def cards(result: Result) -> Html | None:
    """A few figures in large letters, of the first scene; None where nothing was measured."""
    found = list(_figures(result))
    if not found:
        return None
    drawn = [
        tag("div", tag("span", label), tag("strong", value), tag("span", told), class_="card")
        for label, value, told in found
    ]
    return tag("section", drawn, class_="cards", aria_label="In short")


def _figures(result: Result) -> Iterator[tuple[str, str, str]]:
    short = numbers.labels(result.rows)
    scene = result.scenes[0].name if result.scenes else ""
    engines = [row for row in result.rows if row.failure is None and row.kind == "engine"]
    fast = [(run.megapixels_a_second, row) for row in engines if (run := _run(row, scene))]
    if fast:
        speed, row = max(fast, key=lambda one: one[0])
        tile = f", {numbers.milliseconds(row.latency.tile.p50)} ms a tile" if row.latency else ""
        yield "Fastest", f"{numbers.figure(speed, digits=3)} Mpx/s", f"{short[row.name]}{tile}"
    good = [(value, row) for row in engines if (value := _rmse(row, scene)) is not None]
    if good:
        value, row = min(good, key=lambda one: one[0])
        alike = sum(metric_format("rmse")(one) == metric_format("rmse")(value) for one, _ in good) - 1
        told = short[row.name] + (f", and {alike} more that read alike" if alike else "")
        yield "Most accurate", f"RMSE {metric_format('rmse')(value)}", told
        plain = [(v, r) for r in result.rows if r.kind == "baseline" and (v := _rmse(r, scene)) is not None]
        if plain and (base := min(plain, key=lambda one: one[0]))[0]:
            change = 100 * (1 - value / base[0])
            words = "lower" if change >= 0 else "higher"
            told = f"than the best baseline, {short[base[1].name]} ({metric_format('rmse')(base[0])})"
            yield "Worth of fusion", f"RMSE {abs(change):.0f} % {words}", told
    yield from _price(engines, scene, short)


def _price(engines: list[Row], scene: str, short: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """What the fastest engine gains over the fastest in fp32 of the same bundle, and what that costs."""
    timed = [(run.megapixels_a_second, row) for row in engines if (run := _run(row, scene))]
    if not timed:
        return
    speed, row = max(timed, key=lambda one: one[0])
    full = [
        one for one in timed if one[1].precision == "fp32" and (one[1].bundle, one[1].steps) == (row.bundle, row.steps)
    ]
    mine = _rmse(row, scene)
    if row.precision == "fp32" or not full:
        return
    base, other = max(full, key=lambda one: one[0])
    theirs = _rmse(other, scene)
    cost = f"RMSE {100 * (mine / theirs - 1):+.2f} %, " if mine is not None and theirs else ""
    yield (
        f"{row.precision} over fp32",
        f"{speed / base:.2f} x as fast",
        f"{cost}{short[row.name]} over {short[other.name]}",
    )


def _run(row: Row, scene: str) -> Throughput | None:
    return next((run for run in row.throughput if run.scene == scene), None)


def _rmse(row: Row, scene: str) -> float | None:
    return next((q.truth.pooled.get("rmse") for q in row.quality if q.scene == scene and q.truth), None)
