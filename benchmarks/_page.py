# SPDX-License-Identifier: Apache-2.0
"""The page of all benchmarks: machine, versions, what was measured when, and the figures."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from _sections import SECTIONS, cell, table

import stf_infer
from stf_infer.engines import machine

SHOWN = 40  # lines of a figure's table


@dataclass(frozen=True)
class Outcome:
    """What became of a benchmark: figures (JSON or text), or the reason why there are none.

    Attributes:
        name: What ``--only`` calls it; ``title``: what it measures.
        command: What a reader types.
        machine: What it ran on.
        began: Date and time, UTC; ``load``: of the machine then, a minute's mean; ``seconds``: how long it took.
        figures: What it found.
        reason: Why there is nothing.
    """

    name: str
    title: str
    command: str
    machine: str
    began: str
    load: float
    seconds: float = 0.0
    figures: Any = None
    reason: str = ""

    def keep(self, folder: Path) -> None:
        """Write it into a folder, where a later page finds it."""
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{self.name}.json"
        beside.write_text(json.dumps(asdict(self), indent=1) + "\n")
        beside.replace(folder / f"{self.name}.json")


def this_machine() -> str:
    """Processor with the instruction sets that count, and cores."""
    return f"{machine.cpu()}, {machine.cores()} cores"


def kept(folder: Path, name: str, command: str) -> Outcome | None:
    """What was found by the same command on the same machine before, or None."""
    try:
        found = Outcome(**json.loads((folder / f"{name}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if (found.command, found.machine) == (command, this_machine()) else None


def page(outcomes: Sequence[Outcome], quick: bool) -> str:
    """The page as Markdown."""
    gpus = ", ".join(map(str, machine.gpus()))
    lines = [
        "# Benchmarks",
        "",
        f"Written by `python benchmarks/run_all.py{' --quick' if quick else ''}` on {dt.date.today().isoformat()}.",
        "",
        f"- Machine: {this_machine()}",
        f"- Versions: stf-infer {stf_infer.__version__}, Python {sys.version.split()[0]}, {_versions()}",
        f"- GPU: {gpus or 'none here. Nothing on this page was measured on a GPU'}; `nox -s gpu` measures one",
        *(["- **Quick**: small sizes and few rounds; figures show that things run, and are not to be quoted"] * quick),
        "",
        "| benchmark | command | began, UTC | load | took | |",
        "|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        state = cell(f"**not measured**: {one.reason}") if one.reason else "measured"
        when = f"{one.began} | {one.load:.1f} | {one.seconds:.0f} s" if one.began else "| |"
        lines.append(f"| {one.name} | `{one.command}` | {when} | {state} |")
    for one in outcomes:
        if not one.reason:
            lines += ["", f"## {one.title}", "", f"    {one.command}", "", *_section(one)]
    return "\n".join(lines) + "\n"


def _versions() -> str:
    found = []
    for name in ("onnxruntime", "openvino", "torch", "numpy"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def _section(one: Outcome) -> list[str]:
    if isinstance(one.figures, str):
        lines = one.figures.splitlines()
        return lines if any(line.startswith("| ") for line in lines) else ["```", *lines, "```"]
    if one.name in SECTIONS:
        return SECTIONS[one.name](one.figures)
    rows = flat(one.figures)
    more = [(f"... and {len(rows) - SHOWN} more", "")] if len(rows) > SHOWN else []
    return table(("figure", ""), [*rows[:SHOWN], *more])


def flat(figures: Any, name: str = "") -> list[tuple[str, str]]:
    """Every number and text of nested figures under the names that lead to it, but for what the page's head tells."""
    if isinstance(figures, dict):
        items = (
            (key, value) for key, value in figures.items() if key not in ("machine", "cores", "stf_infer", "measured")
        )
        return [row for key, value in items for row in flat(value, f"{name} / {key}" if name else str(key))]
    if isinstance(figures, list):
        if all(isinstance(value, (int, float, str)) for value in figures):
            return [(name, ", ".join(map(_number, figures)))]
        return [row for number, value in enumerate(figures, 1) for row in flat(value, f"{name} {number}".strip())]
    return [] if figures is None else [(name, _number(figures))]


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
