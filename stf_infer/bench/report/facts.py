# SPDX-License-Identifier: Apache-2.0
"""What it was measured on, with which settings, and how to repeat it, as pairs of a name and a text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from ..result import Result, SceneFacts
from .numbers import duration, figure, size


def command(result: Result) -> str:
    """What a person types to repeat the run."""
    return shlex.join(result.command)


def headline(result: Result) -> str:
    """Machine and date in one line."""
    machine = result.machine
    parts = [machine.cpu, f"{machine.cores} cores", size(machine.memory), *machine.gpus]
    return f"{', '.join(parts)} · {result.measured} · stf-infer {result.package}"


def machine(result: Result) -> list[tuple[str, str]]:
    """Facts about the machine."""
    found = result.machine
    facts = [
        ("System", found.system),
        ("CPU", f"{found.cpu}, {found.cores} cores"),
        ("CPU features", " ".join(found.features)),
        ("Memory", size(found.memory)),
        ("GPU", ", ".join(found.gpus) or "none"),
        ("Libraries", ", ".join(f"{name} {version}" for name, version in found.libraries.items())),
        *flat(found.readings),
        *((name, figure(value, digits=3)) for name, value in found.noise.items()),
        ("Measured", f"{result.measured}, in {duration(result.seconds)}"),
    ]
    return [(name.replace("_", " "), text) for name, text in facts if text]


def settings(result: Result) -> list[tuple[str, str]]:
    """Everything that was asked for."""
    return list(flat(result.settings))


def scene(facts: SceneFacts) -> str:
    """Size, bands and origin of a scene in one line."""
    parts = [
        f"{facts.height} x {facts.width} pixels",
        f"bands {', '.join(facts.bands)}",
        f"ratio {facts.ratio:g}",
        *([f"data range {facts.data_range:g} {facts.unit}".rstrip()] if facts.data_range is not None else []),
    ]
    if facts.change_threshold is not None:
        parts.append(f"changed: by more than {facts.change_threshold:.3g} {facts.unit}".rstrip())
    return ", ".join(parts)


def files(facts: SceneFacts) -> list[tuple[str, str]]:
    """Role and path of what a scene was fused from, and of its truth."""
    return [*facts.inputs.items(), *((("truth", facts.truth),) if facts.truth else ())]


def flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as one list: names joined by blanks, leaves as text."""
    for key, value in values.items():
        name = f"{above} {key}".strip()
        if isinstance(value, dict) and value:
            yield from flat(value, name)
        else:
            yield name, text(value)


def text(value: Any) -> str:
    """A plain value as a person reads it."""
    if value is None or value in ([], {}, ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {text(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return ("; " if any(isinstance(one, dict) for one in value) else ", ").join(map(text, value))
    return str(value)
