# SPDX-License-Identifier: Apache-2.0
"""Where figures of this machine go: ``results/NAME-PROCESSOR-LEVEL.json``.

Processors of one name differ in their instruction sets, and figures with them, so the widest set is part of the name.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from stf_infer.engines import machine

RESULTS = Path(__file__).parent / "results"

# What decides how fast arithmetic is, the widest first: a feature, and how a file's name says it.
_LEVELS = {
    "amx_bf16": "amx",
    "avx512_bf16": "avx512-bf16",
    "avx512f": "avx512",
    "avx2": "avx2",
    "sve2": "sve2",
    "sve": "sve",
    "i8mm": "i8mm",
}


def machine_name(cpu: machine.Cpu | None = None) -> str:
    """``amd-epyc-avx512-bf16``: a processor (this one) by its name and widest instruction set."""
    cpu = cpu or machine.cpu()
    level = next((name for feature, name in _LEVELS.items() if feature in cpu.features), "")
    return re.sub(r"[^a-z0-9]+", "-", f"{cpu.name} {level}".lower()).strip("-")


def write_results(name: str, figures: dict[str, Any]) -> Path:
    """Write the figures of a benchmark, in place of those of an earlier run on such a machine."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{machine_name()}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    return path
