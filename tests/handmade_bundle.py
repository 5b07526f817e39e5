# SPDX-License-Identifier: Apache-2.0
"""A bundle written by hand, without the export stage; its network is the function ``add_coarse_change``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fakes import add_coarse_change, make_spec, smooth_field
from stf_infer.bundle import item_text
from stf_infer.spec import ModelSpec


def asset(path: Path, **extra: Any) -> dict[str, Any]:
    """The entry of a file in ``item.json``."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"href": path.name, "file:size": len(content), "file:checksum": f"1220{digest}", **extra}


def golden_arrays(spec: ModelSpec) -> dict[str, np.ndarray]:
    """A golden tile of the function."""
    inputs = {i.role: smooth_field(*spec.tensor_shape(i), seed=k) for k, i in enumerate(spec.inputs)}
    images = (inputs[role] for role in ("fine_t1", "coarse_t1", "coarse_t2"))
    return {**{f"input_{role}": a for role, a in inputs.items()}, "output": add_coarse_change(*images)}


def make_bundle(folder: Path, spec: ModelSpec | None = None) -> Path:
    """Write a bundle; its graph is not one, only a file with a hash."""
    spec = spec or make_spec(32, halo=2)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"a graph" * 100)
    (folder / "model.onnx.data").write_bytes(b"weights" * 1000)
    np.savez_compressed(folder / "golden.npz", **golden_arrays(spec))
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": spec.name,
        "properties": {
            "datetime": "2024-05-01T00:00:00Z",
            "mlm:total_parameters": 1234,
            "stf:format": "1.0",
            "stf:contract": spec.model_dump(mode="json"),
            "stf:parity": {"reference": "torch", "tolerance": 1e-5, "max_abs": 1e-7, "relative": 2e-7, "tiles": 4},
            "stf:probe": {"reach": {"fine_t1": 2}, "seam": 1e-7, "unused": []},
            "stf:created": {"by": "stf-infer 0.1.0", "opset": 18},
            "stf:notes": ["converted from [Keras]"],
        },
        "assets": {
            "model-fp32": asset(
                folder / "model.onnx",
                title="The network",
                **{"stf:precision": "fp32", "stf:needs": ["model-fp32-data"]},
            ),
            "model-fp32-data": asset(folder / "model.onnx.data", title="Weights"),
            "golden": asset(folder / "golden.npz", title="A tile", type="application/zip"),
        },
    }
    (folder / "item.json").write_text(item_text(item))
    return folder


def edit_item(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change ``item.json`` in place."""
    path = folder / "item.json"
    item = json.loads(path.read_text())
    change(item)
    path.write_text(item_text(item))
