# SPDX-License-Identifier: Apache-2.0
"""Figures as a person reads them: four digits, a unit that fits, a dash where there is nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from ..result import Row, Throughput

NOTHING = "-"

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def figure(value: float | None, *, digits: int = 4) -> str:
    """A number with so many significant digits, never in powers of ten where it can be read without."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    rounded = float(f"{value:.{digits - 1}e}")
    if not rounded:
        return "0"
    if not 1e-4 <= abs(rounded) < 1e7:
        return f"{rounded:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


def milliseconds(seconds: float | None) -> str:
    """Seconds as a number of milliseconds, without the unit."""
    return figure(None if seconds is None else seconds * 1e3)


def duration(seconds: float | None) -> str:
    """Seconds with the unit that fits: 85 us, 12.3 ms, 4.56 s, 12 min 5 s."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds >= 100:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    if seconds >= 1:
        return f"{figure(seconds, digits=3)} s"
    return f"{figure(seconds * 1e3, digits=3)} ms" if seconds >= 1e-3 else f"{figure(seconds * 1e6, digits=3)} us"


def size(count: float | None) -> str:
    """Bytes with a binary unit."""
    if count is None:
        return NOTHING
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_BYTES) - 1:
        value, unit = value / 1024, unit + 1
    return f"{figure(value, digits=3) if unit else int(value)} {_BYTES[unit]}"


def mebibytes(count: float | None) -> str:
    """Bytes as a number of MiB, without the unit."""
    return NOTHING if count is None else f"{count / 2**20:,.0f}"


def over_engine(throughput: Throughput) -> float | None:
    """Wall time of a scene over what the engine alone takes for its tiles; None where that is not known."""
    if not throughput.engine_seconds or not throughput.seconds:
        return None
    return statistics.median(throughput.seconds) / throughput.engine_seconds


def labels(rows: Iterable[Row]) -> dict[str, str]:
    """Name of a row: a shorter one, without the network where all engines share it.

    Baselines keep their names. What is left is unique, or the names stay as they are.
    """
    rows = list(rows)
    heads = {row.name.split(" | ", 1)[0] for row in rows if row.kind == "engine" and " | " in row.name}
    engines = [row for row in rows if row.kind == "engine"]
    alike = len(heads) == 1 and all(" | " in row.name for row in engines) and len(engines) > 1
    short = {r.name: r.name.split(" | ", 1)[1] if alike and r.kind == "engine" else r.name for r in rows}
    return short if len(set(short.values())) == len(short) else {row.name: row.name for row in rows}
