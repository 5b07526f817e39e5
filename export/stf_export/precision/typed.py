# SPDX-License-Identifier: Apache-2.0
"""Graphs as this stage works on them: every value with its type and shape, every node with a name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import onnx_ir.passes.common as common

from stf_infer.errors import ExportError

from .. import onnx_graph
from ..extras import need
from .operands import FLOAT

# Operator set that knows bf16 convolutions; the one before has float32, fp16 and double.
OPSET_BF16 = 22

_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"})


class Source:
    """A float32 graph that is reduced again and again: each :meth:`fresh` model is one to change.

    Args:
        path: The ONNX file.
        opset: Operator set to bring it to; None keeps its own.

    Raises:
        ExportError: It is reduced already, its types cannot be inferred, or it cannot be brought to that operator set.
    """

    def __init__(self, path: Path, opset: int | None = None) -> None:
        self._folder = path.parent
        model = onnx_graph.editable(onnx_graph.load(path), path.parent)
        common.RemoveInitializersFromInputsPass()(model)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        if opset is not None and model.graph.opset_imports[""] < opset:
            model = _converted(model, opset)
        common.NameFixPass()(model)
        for number, node in enumerate(model.graph.all_nodes()):
            node.name = node.name or f"node_{number}"
        # Weights stay where they are; inference looks at small ones only, which shapes are made of.
        self._proto = onnx_graph.infer_shapes(ir.to_proto(model), "its own inputs")
        _refuse_reduced(self.fresh())

    def change(self, how: Callable[[ir.Model], object]) -> None:
        """Change the graph that all further models are copies of."""
        model = self.fresh()
        how(model)
        self._proto = ir.to_proto(model)

    def fresh(self) -> ir.Model:
        """A copy; weights are shared and must not be written to."""
        return onnx_graph.editable(self._proto, self._folder)


def _converted(model: ir.Model, opset: int) -> ir.Model:
    from onnxscript import version_converter

    need("onnxscript")
    version_converter.convert_version(model, opset, fallback=False)
    if model.graph.opset_imports[""] != opset:
        raise ExportError(f"The graph cannot be brought to operator set {opset}", got=model.graph.opset_imports[""])
    return model


def _refuse_reduced(model: ir.Model) -> None:
    nodes = {node.op_type for node in model.graph.all_nodes()} & _QUANTISED
    halves = {
        str(value.dtype)
        for value in (*model.graph.initializers.values(), *(v for n in model.graph.all_nodes() for v in n.outputs))
        if value.dtype is not None
        and value.dtype.is_floating_point()
        and value.dtype not in (FLOAT, ir.DataType.DOUBLE)
    }
    if nodes or halves:
        raise ExportError(
            "The graph is reduced already",
            got=", ".join(sorted(nodes | halves)),
            allowed="a graph in float32",
            fix="Export the network again in float32",
        )
