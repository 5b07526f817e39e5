# SPDX-License-Identifier: Apache-2.0
"""What was found of a precision, as it stands in ``item.json`` (for graphs) and in sidecars (for engines)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..bundle import Bundle
from ..errors import BundleError
from ..item_file import changing, read_item, replace_item
from .budget import Budget
from .comparison import Accuracy
from .tiles import counted

PROPERTY = "stf:accuracy"


@dataclass(frozen=True)
class Record:
    """What was found of an engine or a graph.

    Attributes:
        budget: What it was held to.
        accuracy: How far it is from fp32; None where nobody could run it.
        tiles: SHA-256 of the tiles of the bundle that it ran on; empty for procedural ones.
    """

    budget: Budget
    accuracy: Accuracy | None = None
    tiles: str = ""

    @property
    def proven(self) -> bool:
        """Whether it was compared and is within a budget that asks for something."""
        return self.accuracy is not None and self.budget.asks and not self.over

    @property
    def over(self) -> tuple[str, ...]:
        """What is over the budget, a line each; empty too where nothing was compared."""
        return () if self.accuracy is None else self.accuracy.over(self.budget)

    def told(self) -> str:
        """What was found, for a person."""
        if self.accuracy is None:
            return f"not compared with fp32: {'it could not be run' if self.budget.asks else 'nobody asked for it'}"
        allowed = f"{self.budget} allowed" if self.budget.asks else "no budget"
        return (
            f"off fp32 by {self.accuracy.short()}; {allowed}; on {counted(self.accuracy.tiles, self.accuracy.source)}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them."""
        found = {} if self.accuracy is None else self.accuracy.as_dict()
        return {"budget": str(self.budget), **found, **({"tiles_sha256": self.tiles} if self.tiles else {})}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Record:
        """What :meth:`as_dict` gave.

        Raises:
            BundleError: It is no such thing.
        """
        try:
            accuracy = Accuracy.from_dict(data) if "rmse" in data else None
            return cls(Budget.parse(data["budget"]), accuracy, str(data.get("tiles_sha256", "")))
        except Exception as error:
            raise BundleError("The bundle states an accuracy that cannot be read", got=f"{data}: {error!r}") from error


def record(
    where: Bundle | dict[str, Any], precision: str, accuracy: Accuracy | None, budget: Budget, tiles: str = ""
) -> None:
    """State the accuracy of a graph in ``item.json``, in place of what is stated there for its precision.

    Args:
        where: An item that is being written; or an open bundle, whose item is replaced at once.
        precision: Of the graph.
        accuracy: What was found, or None where nothing was compared.
        budget: What it was held to.
        tiles: SHA-256 of the tiles of the bundle that it ran on, if it holds any.

    Raises:
        OutputError: The bundle cannot be written to; it is as it was before.
    """
    entry = Record(budget, accuracy, tiles).as_dict()
    if isinstance(where, dict):
        where["properties"].setdefault(PROPERTY, {})[precision] = entry
        return
    with changing(where):
        item = read_item(where.path)
        record(item, precision, accuracy, budget, tiles)
        replace_item(where.path, item)
    where.reload()


def recorded(bundle: Bundle) -> dict[str, Record]:
    """What the bundle states of the accuracy of its graphs, by precision.

    Raises:
        BundleError: It cannot be read.
    """
    stated = bundle.properties.get(PROPERTY, {})
    if not isinstance(stated, dict) or not all(isinstance(entry, dict) for entry in stated.values()):
        raise BundleError("The bundle states an accuracy that cannot be read", got=stated)
    return {precision: Record.from_dict(entry) for precision, entry in stated.items()}
