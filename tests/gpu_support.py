# SPDX-License-Identifier: Apache-2.0
"""Hold an engine to the golden tile and to the CPU, and write down what came of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from stf_infer import __version__, golden
from stf_infer.bundle import Bundle
from stf_infer.engines import build, machine, open_engine, registry, selection
from stf_infer.engines.host_loop import is_looped

REFERENCE = "onnxruntime-cpu"


def targets() -> list[str]:
    """Every target that runs on this machine's GPUs."""
    names = [f"tensorrt{kind}-sm{gpu.sm}" for gpu in machine.gpus()[:1] for kind in ("", "-rtx")]
    return ["onnxruntime-cuda", "onnxruntime-tensorrt", *names]


def standing(target: str) -> str:
    """Why a target cannot be run here, or empty."""
    info = registry.target(target).probe()
    return "" if info.usable else info.reason


def parity(bundle: Bundle, target: str, precision: str = "fp32") -> dict[str, Any]:
    """Build an engine where the target builds, and compare it: golden tile, other batches, the CPU; and time it.

    Less than fp32 is held to what tells a rounded network from a wrong one; how accurate it is says the budget.

    Raises:
        AssertionError: It is not what the network computes.
    """
    row: dict[str, Any] = {"network": bundle.spec.network, "target": target, "precision": precision}
    if registry.target(target).probe().builds and not is_looped(bundle):
        report = build(bundle, target, precision=precision, budget=None if precision == "fp32" else "none")
        row |= {"build_s": report.seconds, "bytes": report.bytes}
    tolerance = golden.tolerance_of(precision)
    with (
        open_engine(bundle, target, precision=precision) as engine,
        open_engine(bundle, REFERENCE, precision="fp32") as plain,
    ):
        found = golden.compare(bundle, engine)
        assert found.relative <= tolerance, found
        row |= {"relative": found.relative, "tolerance": tolerance, "batch": engine.preferred_batch}
        inputs, _ = bundle.golden()
        tiles = max(engine.preferred_batch, 2) - 1 if engine.max_batch else 3
        feed = {t.name: np.repeat(inputs[t.role][None], tiles, axis=0) for t in bundle.spec.tensors}
        for number in range(tiles):  # other tiles than the golden one, and not all alike
            for array in feed.values():
                array[number] = array[number] * (1 - array.dtype.type(number) / 10)
        name = bundle.spec.output.tensor
        noise = golden.golden_noise(bundle.spec, tiles)
        there, here = engine.infer(feed, noise)[name], plain.infer(feed, noise)[name]
        row["against_cpu"] = golden.difference(there, here, exact=precision == "fp32")[1]
        assert row["against_cpu"] <= tolerance, row
        row["ms_a_tile"] = selection.seconds_a_tile(bundle, engine) * 1e3
        row["cpu_ms_a_tile"] = selection.seconds_a_tile(bundle, plain) * 1e3
    return row


def write(rows: list[dict[str, Any]], folder: Path, device: str) -> Path:
    """Write ``gpu-<device>.json``."""
    path = folder / f"gpu-{re.sub('[^A-Za-z0-9]+', '-', device).strip('-').lower()}.json"
    told = {info.name: info.version for info in registry.available() if info.usable}
    data = {
        "device": device,
        "cpu": str(machine.cpu()),
        "stf_infer": __version__,
        "versions": told,
        "rows": sorted(rows, key=lambda row: (row["network"], row["target"], row["precision"])),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n")
    return path
