# SPDX-License-Identifier: Apache-2.0
"""A bench on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..result import Result
from . import facts, metric_tables, tables

if TYPE_CHECKING:
    from rich.console import Console

_NAME = 24  # columns that a name gets at least, if it needs them
_GAP = 2  # between columns


def show(result: Result, console: Console) -> None:
    """Print speed, accuracy, failures and warnings. A table that is too wide is printed in parts.

    Args:
        result: What was measured.
        console: Where to.
    """
    console.print(facts.headline(result), style="dim", highlight=False, markup=False)
    for warning in result.machine.warnings:
        console.print(f"Warning: {warning}", style="yellow", highlight=False, markup=False)
    for scene in result.scenes:
        console.print(f"Scene {scene.name}: {facts.scene(scene)}", highlight=False, markup=False)
    for table in (
        tables.speed(result),
        metric_tables.over_scenes(result),
        tables.accuracy(result),
        tables.sweep(result),
    ):
        if table is not None:
            print_table(table, console)
    for name, reason in tables.failures(result):
        console.print(f"Failed: {name}: {reason}", style="red", highlight=False, markup=False)
    if not result.rows:
        console.print("No row: there was nothing to measure.", highlight=False)
    for remark in tables.remarks(result):
        console.print(f"Note: {remark}", highlight=False, markup=False)
    if result.unavailable:
        console.print(
            f"Not measured: {', '.join(result.unavailable)}; `stf-infer engines` says why",
            style="dim",
            highlight=False,
            markup=False,
        )


def print_table(table: tables.Table, console: Console, styles: Mapping[str, str] | None = None) -> None:
    """Print one table, in two or more parts where it is wider than the console.

    Args:
        table: What to print.
        console: Where to.
        styles: Text of a cell to how it is written.
    """
    from rich.text import Text

    from ...metrics.report import plain_table

    widths = _widths(table, console.width)
    for part, columns in enumerate(_parts(widths, table.names, console.width)):
        drawn = plain_table("" if part else table.title, table.headings[0])
        drawn.padding = (0, 0, 0, 1)
        drawn.columns[0].width = widths[0]
        for k in columns[1:]:
            side = "left" if k < table.names else "right"
            drawn.add_column(_glued(table.headings[k]), justify=side, overflow="fold", width=widths[k])  # type: ignore[arg-type]
        for line in table.lines:
            cells = [line[k] for k in columns]
            told = [(cell.text, "bold green" if cell.best else (styles or {}).get(cell.text, "")) for cell in cells]
            drawn.add_row(*(Text(text, style=style) for text, style in told))
        console.print(drawn)
    if table.note:
        console.print(table.note, style="dim", highlight=False, markup=False)


def _widths(table: tables.Table, room: int) -> list[int]:
    """Of every column: its headings are in one line where all of them find room, else as wide as their words."""
    figures = [max([len(line[k].text) for line in table.lines] + [1]) for k in range(len(table.headings))]
    figures[0] = min(figures[0], max(_NAME, room // 3))
    for broken in (False, True):
        texts = [_glued(heading).split(" ") if broken else [heading] for heading in table.headings]
        widths = [max(wide, *map(len, words)) for wide, words in zip(figures, texts, strict=True)]
        if sum(widths) + _GAP * len(widths) + 1 <= room:
            break
    return widths


def _glued(heading: str) -> str:
    """A heading whose arrow stays with its last word."""
    return heading.replace(" ↓", "\u00a0↓").replace(" ↑", "\u00a0↑")


def _parts(widths: list[int], names: int, room: int) -> list[list[int]]:
    """Columns of every part of a table; each begins with the columns that name its lines."""
    own = list(range(names))
    parts = [list(own)]
    for k in range(names, len(widths)):
        if len(parts[-1]) > names and sum(widths[j] + _GAP for j in [*parts[-1], k]) + 1 > room:
            parts.append(list(own))
        parts[-1].append(k)
    return parts
