# SPDX-License-Identifier: Apache-2.0
"""Parts of a page of which one is seen at a time: by scene, by row, by another choice. The script shows another one.

Without a script the first of each is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...result import Result, Row
from .. import numbers
from .elements import Html, tag


def by_scene(result: Result, made: Callable[[str], Html | None]) -> Html | None:
    """Something of each scene; None where no scene has it."""
    return one_of("scene", enumerate(made(scene.name) for scene in result.scenes))


def by_row(result: Result, made: Callable[[int, Row], Html | None], instead: str) -> Html | None:
    """Something of each row that was measured, or ``instead`` where a row has none; None where no row has it."""
    found = [(k, made(k, result.rows[k])) for k in shown_rows(result)]
    if not any(one for _, one in found):
        return None
    seen = ((k, one or tag("p", instead, class_="absent")) for k, one in found)
    return one_of("row", seen, first_row(result))


def first_row(result: Result) -> int | None:
    """Number of the row that is seen at first: one with a result, if there is any."""
    rows = shown_rows(result)
    with_result = [k for k in rows if any(quality.image for quality in result.rows[k].quality)]
    return next(iter(with_result or rows), None)


def shown_rows(result: Result) -> list[int]:
    """Numbers of the rows that were measured."""
    return [k for k, row in enumerate(result.rows) if row.failure is None]


def bar(result: Result) -> Html | None:
    """Where scene and row are chosen."""
    short = numbers.labels(result.rows)
    rows = [(str(k), short[result.rows[k].name]) for k in shown_rows(result)]
    scenes = [(str(k), scene.name) for k, scene in enumerate(result.scenes)]
    chosen = [select("row", "Row", rows, str(first_row(result)))] if rows else []
    if len(scenes) > 1:
        chosen.insert(0, select("scene", "Scene", scenes))
    return tag("div", chosen, class_="bar needs-script", hidden=True) if chosen else None


def select(name: str, label: str, options: Iterable[tuple[str, str]], chosen: str = "", **more: object) -> Html:
    """A choice of one, with its label. ``name`` is its id, unless one is among ``more``."""
    listed = [tag("option", text, value=value, selected=value == chosen) for value, text in options]
    return tag("label", tag("span", label), tag("select", listed, **(more or {"id": name})), class_="choice")


def one_of(kind: str, parts: Iterable[tuple[int | str, Html | None]], first: int | str | None = None) -> Html | None:
    """One of several parts, the others hidden; None where all are None.

    Args:
        kind: What they differ in; the choice with this id shows another one.
        parts: Value of that choice, and the part.
        first: The value that is seen at first; None: the first of them.
    """
    found = [(value, part) for value, part in parts if part]
    if not found:
        return None
    first = found[0][0] if first is None else first
    return tag("div", [tag("div", one, **{f"data_{kind}": value, "hidden": value != first}) for value, one in found])
