# SPDX-License-Identifier: Apache-2.0
"""A comparison of two benches, on a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..compare import Change, Comparison
from .markdown import escape, section
from .numbers import NOTHING, figure
from .tables import Cell, Table
from .terminal import print_table

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {"worse": "bold red", "better": "bold green", "unclear": "yellow", "same": ""}


def show_changes(comparison: Comparison, console: Console) -> None:
    """Print every figure of both benches with its ratio, interval and verdict, and what was not compared."""
    for warning in comparison.warnings:
        console.print(f"Warning: {warning}", style="yellow", highlight=False, markup=False)
    if comparison.changes:
        print_table(_table(comparison, comparison.changes, "After over before"), console, _STYLES)
    for line in _unmatched(comparison):
        console.print(line, highlight=False, markup=False)
    style = "bold green" if comparison.passed else "bold red"
    console.print(_verdict(comparison), style=style, highlight=False, markup=False)


def changes_as_markdown(comparison: Comparison) -> str:
    """The comparison for a comment on a change: the verdict, what changed, and the rest folded away."""
    parts = [f"**{escape(_verdict(comparison))}**"]
    parts += [f"> {escape(warning)}" for warning in comparison.warnings]
    moved = [change for change in comparison.changes if change.verdict in ("worse", "better")]
    rest = [change for change in comparison.changes if change.verdict not in ("worse", "better")]
    if moved:
        parts += section(_table(comparison, moved, "Changed"), level=3)
    parts += [f"- {escape(line)}" for line in _unmatched(comparison)]
    if rest:
        folded = section(_table(comparison, rest, "Same within tolerance, or unclear"), level=4)
        parts += ["<details><summary>All other figures</summary>", *folded, "</details>"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(comparison: Comparison, changes: Iterable[Change], title: str) -> Table:
    headings = (
        "",
        "scene",
        "figure",
        "before",
        "after",
        "ratio",
        f"{100 * comparison.confidence:g} % interval",
        "allowed",
        "",
    )
    lines, above = [], ""
    for change in changes:
        interval = NOTHING if change.low is None else f"{change.low:.3f} to {change.high:.3f}"
        texts = [
            change.row if change.row != above else "",
            change.scene,
            change.figure,
            figure(change.before),
            figure(change.after),
            f"{change.ratio:.3f}",
            interval,
            f"{100 * change.tolerance:g} %",
            change.verdict,
        ]
        lines.append(tuple(map(Cell, texts)))
        above = change.row
    return Table(title, headings, tuple(lines), names=3)


def _unmatched(comparison: Comparison) -> list[str]:
    lines = [f"Failed after, not before: {name}: {why}" for name, why in comparison.newly_failed.items()]
    lines += [f"Only before: {name}" for name in comparison.only_before]
    return lines + [f"Only after: {name}" for name in comparison.only_after]


def _verdict(comparison: Comparison) -> str:
    worse, failed = len(comparison.regressions), len(comparison.newly_failed)
    better = sum(change.verdict == "better" for change in comparison.changes)
    unclear = sum(change.verdict == "unclear" for change in comparison.changes)
    rest = f"{better} better, {unclear} unclear, of {len(comparison.changes)} figures."
    if comparison.passed:
        return f"No regression: {rest}"
    parts = [*([f"{worse} worse"] if worse else []), *([f"{failed} newly failed"] if failed else [])]
    return f"Regression: {', '.join(parts)}, {rest}"
