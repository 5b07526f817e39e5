# SPDX-License-Identifier: Apache-2.0
"""``stf-infer engines``: which backends can be used here."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ._verb import Report, verb

if TYPE_CHECKING:
    from ..engines import EngineInfo


@click.command(short_help="List the inference backends, or why one is missing.")
@verb
def engines() -> Report:
    """List every target: usable, can be built here only, or why it is missing and which extra brings it."""
    from ..engines import available, registry

    listed = available()
    options = {info.name: registry.options(info.name) for info in listed}

    def show(console: Any) -> None:
        from rich.markup import escape
        from rich.table import Table

        table = Table("engine", "version", "precision", "devices", "")
        for info in listed:
            table.add_row(
                info.name, info.version, ", ".join(info.precisions), ", ".join(info.devices), escape(_hint(info))
            )
        console.print(table)

    return Report({"engines": [{**asdict(info), "options": options[info.name]} for info in listed]}, show)


def _hint(info: EngineInfo) -> str:
    """How a target stands here, in a few words."""
    if info.usable:
        return "usable" if info.builds else "usable; nothing to build"
    if info.builds:
        return f"can be built here; {info.reason}"
    return f"{info.reason}; pip install 'stf-infer[{info.extra}]'" if info.extra else info.reason
