# SPDX-License-Identifier: Apache-2.0
"""What `info` shows of how far a bundle's engines and graphs are from fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..bundle import Bundle


def accuracies(bundle: Bundle) -> list[dict[str, Any]]:
    """What is stated of each graph and each engine of less than fp32; files but sidecars are not looked at.

    Raises:
        BundleError: What is stated cannot be read.
    """
    from ..accuracy import Record, recorded
    from ..engines.store import accuracy_of, batch_of, entries

    found: list[tuple[str, str, int | None, Record]]
    found = [("network", precision, None, one) for precision, one in recorded(bundle).items()]
    for asset in entries(bundle):
        if asset.precision != "fp32" and (stated := accuracy_of(bundle, asset)):
            found.append((str(asset.target), str(asset.precision), batch_of(asset), Record.from_dict(stated)))
    return [
        {"engine": engine, "precision": precision, "batch": batch, "proven": one.proven, **one.as_dict()}
        for engine, precision, batch, one in found
    ]


def accuracy_table(stated: list[dict[str, Any]]) -> Any:
    """The same as a table."""
    from rich.markup import escape
    from rich.table import Table

    from ..accuracy import Record

    table = Table("engine", "precision", "off fp32", "budget", "tiles", box=None, pad_edge=False)
    for one in stated:
        built = "" if one["batch"] is None else f" b{one['batch']}"
        found = Record.from_dict(one)
        off, tiles = "not compared", ""
        if found.accuracy is not None:
            off, tiles = found.accuracy.short(), f"{found.accuracy.tiles} {found.accuracy.source}"
        words = (one["engine"], f"{one['precision']}{built}", off, str(found.budget), tiles)
        table.add_row(*map(escape, words))
    return table
