# SPDX-License-Identifier: Apache-2.0
"""A bench as Markdown, in GitHub's flavour."""

from __future__ import annotations

import re

from ..result import Result
from . import facts, metric_tables, tables

# What would start a tag, a table's column, emphasis, code or a link.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~])")


def markdown(result: Result) -> str:
    """The report as Markdown: tables, failures, notes, machine, settings and the command to repeat it."""
    parts = ["# Bench of stf-infer", escape(facts.headline(result))]
    parts += [f"> **Warning:** {escape(warning)}" for warning in result.machine.warnings]
    parts.append(f"To repeat it:\n\n{code(facts.command(result))}")
    parts += [f"Scene **{escape(scene.name)}**: {escape(facts.scene(scene))}" for scene in result.scenes]
    for table in (
        tables.speed(result),
        metric_tables.over_scenes(result),
        tables.accuracy(result),
        tables.sweep(result),
    ):
        parts += section(table)
    if failures := tables.failures(result):
        parts.append("## Failed")
        parts.append("\n".join(f"- **{escape(name)}**: {escape(reason)}" for name, reason in failures))
    if remarks := [*tables.remarks(result), *tables.away(result)]:
        parts.append("## Notes")
        parts.append("\n".join(f"- {escape(remark)}" for remark in remarks))
    for scene in result.scenes:
        parts.append(f"## Scene {escape(scene.name)}")
        parts.append(pairs([("size", facts.scene(scene)), *facts.files(scene)]))
        for table in (metric_tables.all_metrics(result, scene.name), metric_tables.per_band(result, scene.name)):
            parts += section(table, level=3)
    parts += ["## Machine", pairs(facts.machine(result)), "## Settings", pairs(facts.settings(result))]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(table: tables.Table | None, *, level: int = 2) -> list[str]:
    """A table under its title, or nothing."""
    if table is None:
        return []
    sides = ["---" if number < table.names else "---:" for number in range(len(table.headings))]
    rows = [[escape(heading) for heading in table.headings], sides]
    for line in table.lines:
        rows.append([f"**{escape(cell.text)}**" if cell.best else escape(cell.text) for cell in line])
    drawn = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return [f"{'#' * level} {escape(table.title)}", drawn, escape(table.note)]


def pairs(facts: list[tuple[str, str]]) -> str:
    """Names and texts as a table of two columns."""
    if not facts:
        return ""
    return "\n".join(["| | |", "|---|---|", *(f"| {escape(name)} | {escape(text)} |" for name, text in facts)])


def code(text: str) -> str:
    """A block of code, fenced by more backticks than it holds."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def escape(text: str) -> str:
    """Text that Markdown takes literally, in one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
