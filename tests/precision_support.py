# SPDX-License-Identifier: Apache-2.0
"""Small graphs, reduced and run as they are written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from lower_support import graph
from stf_export import export_onnx
from stf_export.precision.halves import reduce_floats
from stf_export.precision.operands import HALVES
from stf_export.precision.placement import place
from stf_export.precision.running import session
from stf_export.precision.typed import OPSET_BF16, Source
from stf_infer.bundle import Bundle
from tiny_networks import contract_for


def source(
    folder: Path, nodes: str, weights=None, inputs=None, opset: int = 18, *, bf16: bool = False, outputs=("y",)
) -> Source:
    """A graph in float32; see :func:`lower_support.graph`."""
    path = folder / "graph.onnx"
    onnx.save(graph(nodes, weights, inputs, outputs, opset), path)
    return Source(path, OPSET_BF16 if bf16 else None)


def low_operators(given: Source, precision: str = "fp16", islands: Collection[str] = (), tensors=()) -> list[str]:
    """Operators that are computed in the half, in order."""
    model = given.fresh()
    placed = place(model, HALVES[precision], islands, tensors)
    return [node.op_type for node in model.graph if node.name in placed]


def halved(given: Source, precision: str = "fp16", *, islands=(), tensors=(), emulate=False) -> tuple[ir.Model, int]:
    """The reduced graph, proven by ONNX's own rules, and its casts."""
    model = given.fresh()
    low = HALVES[precision]
    casts = reduce_floats(model, low, place(model, low, islands, tensors), emulate=emulate)
    proto = ir.to_proto(model)
    for value in proto.graph.value_info:
        assert value.type.tensor_type.elem_type, "a value without a type"
    onnx.checker.check_model(proto, full_check=True)
    assert sum(node.op_type == "Cast" for node in model.graph) >= casts
    return model, casts


def run(model: ir.Model, **feed: np.ndarray) -> np.ndarray:
    """The first output, operator by operator as they stand."""
    return session(model, literal=True).run(None, {k: np.asarray(v, np.float32) for k, v in feed.items()})[0]


def bundle_of(
    folder: Path, nodes: str, weights: Mapping[str, np.ndarray], bands: Sequence[str] = ("red", "nir"), tile: int = 16
) -> Bundle:
    """A bundle of a graph that takes ``fine_t1`` and gives ``fine_t2``."""
    shape = ("batch", len(bands), tile, tile)
    model = graph(nodes, weights, {"fine_t1": shape}, outputs=("fine_t2",))
    path = folder / "given.onnx"
    onnx.save(model, path)
    contract = contract_for({"fine_t1": "fine"}, bands=tuple(bands))
    return export_onnx(path, contract, tile=tile, out=folder / "net.stf")
