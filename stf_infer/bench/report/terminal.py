# SPDX-License-Identifier: Apache-2.0
"""A bench on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..result import Result
from . import facts, tables

if TYPE_CHECKING:
    from rich.console import Console


def show(result: Result, console: Console) -> None:
    """Print speed, accuracy, failures and warnings; 110 columns are enough.

    Args:
        result: What was measured.
        console: Where to.
    """
    console.print(facts.headline(result), style="dim", highlight=False, markup=False)
    for warning in result.machine.warnings:
        console.print(f"Warning: {warning}", style="yellow", highlight=False, markup=False)
    for scene in result.scenes:
        console.print(f"Scene {scene.name}: {facts.scene(scene)}", highlight=False, markup=False)
    for table in (tables.speed(result), tables.accuracy(result), tables.sweep(result)):
        if table is not None:
            print_table(table, console)
    for name, reason in tables.failures(result):
        console.print(f"Failed: {name}: {reason}", style="red", highlight=False, markup=False)
    if not result.rows:
        console.print("No row: there was nothing to measure.", highlight=False)
    for remark in tables.remarks(result):
        console.print(f"Note: {remark}", highlight=False, markup=False)


def print_table(table: tables.Table, console: Console, styles: Mapping[str, str] | None = None) -> None:
    """Print one table; ``styles`` maps the text of a cell to how it is written."""
    from rich.text import Text

    from ...metrics.report import plain_table

    drawn = plain_table(table.title, table.headings[0])
    drawn.columns[0].min_width = min(24, max((len(line[0].text) for line in table.lines), default=1))
    for number, heading in enumerate(table.headings[1:], 1):
        figures = number >= table.names
        # A column is as wide as its figures; its heading may take two lines.
        drawn.add_column(heading, justify="right" if figures else "left", overflow="fold")
        drawn.columns[-1].min_width = max((len(line[number].text) for line in table.lines), default=1)
    for line in table.lines:
        told = [(cell.text, "bold green" if cell.best else (styles or {}).get(cell.text, "")) for cell in line]
        drawn.add_row(*(Text(text, style=style) for text, style in told))
    console.print(drawn)
    if table.note:
        console.print(table.note, style="dim", highlight=False, markup=False)
