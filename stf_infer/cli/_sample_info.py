# SPDX-License-Identifier: Apache-2.0
"""What `info` shows of a network that takes samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..samples.spec import Dim, SampleSpec, SampleValues

# More labels or numbers than this are counted, not listed.
_LISTED = 4


def sample_table(spec: SampleSpec) -> Any:
    """A table of inputs and output: dims, type, unit and what is done to values."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("role", "dims", "type", "unit", "network value", box=None, pad_edge=False)
    for one in spec.inputs:
        words = _value_words(one.values, whole=one.dtype != "float32")
        table.add_row(one.role, escape(dim_words(one.dims)), one.dtype, _unit(one.values), escape(words))
    out = spec.output
    table.add_row(
        f"[bold]{escape(out.tensor)}[/]",
        escape(dim_words(out.dims)),
        "float32",
        _unit(out.values),
        escape(_value_words(out.values)),
    )
    return table


def dim_words(dims: tuple[Dim, ...]) -> str:
    """``time 96, station 3 (north, south, west)``."""
    return ", ".join(f"{dim.name} {dim.size}{_labels(dim)}" for dim in dims) or "one number"


def _labels(dim: Dim) -> str:
    if not dim.labels:
        return ""
    more = ", ..." if len(dim.labels) > _LISTED else ""
    return f" ({', '.join(dim.labels[:_LISTED])}{more})"


def _unit(values: SampleValues) -> str:
    return values.unit or "as trained"


def _value_words(values: SampleValues, *, whole: bool = False) -> str:
    numbers = {
        name: _numbers(getattr(values, name))
        for name in ("scale", "offset", "minimum", "maximum")
        if getattr(values, name) is not None
    }
    along = "" if values.along is None else f" along {values.along}"
    limits = f"{numbers.get('minimum', '')}..{numbers.get('maximum', '')}"
    if whole:
        return f"{limits}{along}"
    words = "as it is"
    if values.scale != 1 or values.offset != 0:
        words = f"x {numbers['scale']}" + ("" if values.offset == 0 else f" + {numbers['offset']}") + along
    return words if limits == ".." else f"{words}, clipped to {limits}"


def _numbers(value: Any) -> str:
    if not isinstance(value, tuple):
        return f"{value:g}"
    return f"[{', '.join(f'{v:g}' for v in value[:_LISTED])}{', ...' if len(value) > _LISTED else ''}]"
