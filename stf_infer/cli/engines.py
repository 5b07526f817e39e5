# SPDX-License-Identifier: Apache-2.0
"""``stf-infer engines``: which backends can be used here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from ._verb import Report, verb


@click.command(short_help="List the inference backends, or why one is missing.")
@verb
def engines() -> Report:
    """List every backend: usable with its version, or the reason why not and the extra that brings it."""
    from ..engines import available

    listed = available()

    def show(console: Any) -> None:
        from rich.table import Table

        table = Table("engine", "version", "precision", "")
        for info in listed:
            hint = f"{info.reason}; pip install 'stf-infer\\[{info.extra}]'" if not info.usable else "usable"
            table.add_row(info.name, info.version, ", ".join(info.precisions), hint)
        console.print(table)

    return Report({"engines": [asdict(info) for info in listed]}, show)
