# SPDX-License-Identifier: Apache-2.0
"""Whether two benches ran on one machine."""

from __future__ import annotations

from .result import Machine


def differences(before: Machine, after: Machine) -> list[str]:
    """What tells two machines apart, as a person reads it; empty where nothing does.

    Versions of libraries and of the system are no part of the machine: their change may be what is to be judged.
    """
    pairs = [
        ("CPU", before.cpu, after.cpu),
        ("cores", before.cores, after.cores),
        ("GPUs", ", ".join(before.gpus) or "none", ", ".join(after.gpus) or "none"),
    ]
    found = [f"{what} {one} before, {other} after" for what, one, other in pairs if one != other]
    gone, come = set(before.features) - set(after.features), set(after.features) - set(before.features)
    if gone:
        found.append(f"CPU features missing after: {' '.join(sorted(gone))}")
    if come:
        found.append(f"CPU features new after: {' '.join(sorted(come))}")
    return found
