# SPDX-License-Identifier: Apache-2.0
"""A float32 graph as one with 8-bit products: QuantizeLinear and DequantizeLinear around what is reduced.

Weights per channel, everything symmetric about 0 (the pairs that ``onnxruntime.quantization`` writes with
``ActivationSymmetric``, ``WeightSymmetric`` and no 32-bit biases), and only what products read, as TensorRT takes and
advises. Reduced are products with weights. Those of two activations (attention) stay in float32, as do the first and
the last layers of every path: they see and make the values of the image, at a small share of the work.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from stf_infer.errors import ExportError

from ..lower.graph import attribute, constant, dims
from .joined import round_parts
from .naming import Names, constant_value, drop_unused
from .operands import FLOAT, HEAVY, is_float

# Products with weights that have an 8-bit form in every backend.
REDUCED = ("Conv", "ConvTranspose", "MatMul", "Gemm")

_MOST = 127  # so that both signs reach as far
_OPSET = 13  # the first one with an axis of scales


def products(model: ir.Model) -> list[ir.Node]:
    """Products with weights, in the order in which they are computed."""
    return [
        node
        for node in model.graph
        if node.domain == ""
        and node.op_type in REDUCED
        and is_float(node.inputs[0])
        and constant(node.inputs[0]) is None
        and constant(node.inputs[1]) is not None
    ]


def first_and_last(model: ir.Model) -> set[str]:
    """Names of the products that nothing but inputs comes before, and of those that no other follows."""
    heavy = HEAVY - {"GridSample"}
    before: dict[ir.Value, bool] = {}
    first = set()
    for node in model.graph:
        behind = any(before.get(v, False) for v in node.inputs if v is not None)
        is_heavy = node.op_type in heavy
        if is_heavy and not behind:
            first.add(str(node.name))
        before |= dict.fromkeys(node.outputs, behind or is_heavy)
    after: dict[ir.Value, bool] = {}
    last = set()
    for node in reversed(list(model.graph)):
        ahead = any(after.get(v, False) for v in node.outputs)
        is_heavy = node.op_type in heavy
        if is_heavy and not ahead:
            last.add(str(node.name))
        for value in node.inputs:
            if value is not None:
                after[value] = after.get(value, False) or ahead or is_heavy
    return first | last


def quantise(model: ir.Model, nodes: Collection[str], thresholds: Mapping[str, float]) -> int:
    """Let products of a float32 graph be 8-bit, in place.

    Args:
        model: In float32, with the type of every value.
        nodes: Names of the products, of those that :func:`products` tells.
        thresholds: Largest absolute value of the tensor that each of them reads.

    Returns:
        How many are reduced.

    Raises:
        ExportError: There is nothing to reduce, or the operator set has no scales per channel.
    """
    wanted = [node for node in products(model) if node.name in nodes]
    if not wanted:
        raise ExportError("No product is left that could be 8-bit")
    if model.graph.opset_imports[""] < _OPSET:
        raise ExportError(
            "The operator set of the graph has no scales per channel",
            got=model.graph.opset_imports[""],
            allowed=f"{_OPSET} or newer",
            fix="Export the ONNX file again with a newer operator set",
        )
    writer = _Writer(model, wanted)
    for node in wanted:
        read, weight = node.inputs[0], node.inputs[1]
        assert read is not None
        assert weight is not None
        node.replace_input_with(0, writer.activation(read, thresholds[str(read.name)]))
        node.replace_input_with(1, writer.weight(weight, _axis(node, weight)))
    drop_unused(model.graph)
    return len(wanted)


def scales_of(weight: np.ndarray, axis: int | None) -> np.ndarray:
    """The scale of each channel along an axis, or of the whole: its largest absolute value is 127 steps."""
    others = None if axis is None else tuple(k for k in range(weight.ndim) if k != axis)
    largest = np.abs(weight).max(axis=others)
    return np.asarray(np.where(largest > 0, largest, 1.0) / _MOST, np.float32)


def integers_of(weight: np.ndarray, scales: np.ndarray, axis: int | None) -> np.ndarray:
    """A weight in steps of its scales, rounded to the nearest, half to even: int8, -127 to 127."""
    if axis is not None:
        scales = scales.reshape([-1 if k == axis else 1 for k in range(weight.ndim)])
    return np.clip(np.rint(weight / scales), -_MOST, _MOST).astype(np.int8)


def _axis(node: ir.Node, weight: ir.Value) -> int | None:
    """The axis of a weight that results are told apart by, or None where no one is."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 1 if len(dims(weight) or ()) == 2 else None


class _Writer:
    """Puts pairs of QuantizeLinear and DequantizeLinear into a graph, one for each tensor.

    Args:
        model: The graph.
        wanted: The products that shall be 8-bit.
    """

    def __init__(self, model: ir.Model, wanted: list[ir.Node]) -> None:
        self.graph, self.names, self.wanted = model.graph, Names.of(model), set(wanted)
        self.held: dict[ir.Value, ir.Value] = {}
        self.pairs: dict[tuple[ir.Value, float], ir.Value] = {}
        self.weights: dict[tuple[ir.Value, int], ir.Value] = {}

    def activation(self, value: ir.Value, most: float) -> ir.Value:
        """What a tensor is after it was held in 8 bits up to ``most``."""
        if value not in self.held:
            here_only = all(use.node in self.wanted and use.idx == 0 for use in value.uses())
            joined = here_only and not value.is_graph_output()
            in_parts = joined and round_parts(value, lambda part: self._pair(part, most))
            self.held[value] = value if in_parts else self._pair(value, most)
        return self.held[value]

    def _pair(self, value: ir.Value, most: float) -> ir.Value:
        if (value, most) not in self.pairs:
            scale = self._constant(np.float32((most or 1.0) / _MOST), f"{value.name}_scale")
            zero = self._constant(np.int8(0), f"{value.name}_zero")
            held = self._node("QuantizeLinear", [value, scale, zero], f"{value.name}_int8", ir.DataType.INT8, value)
            back = self._node("DequantizeLinear", [held, scale, zero], f"{value.name}_held", FLOAT, value)
            nodes = [held.producer(), back.producer()]
            source = value.producer()
            if source is None:
                self.graph.insert_before(next(iter(self.graph)), nodes)
            else:
                self.graph.insert_after(source, nodes)
            self.pairs[value, most] = back
        return self.pairs[value, most]

    def weight(self, value: ir.Value, axis: int | None) -> ir.Value:
        """What a weight is after it was held in 8 bits; it is stored in 8 bits."""
        key = value, -1 if axis is None else axis
        if key not in self.weights:
            array = constant(value)
            assert array is not None
            scales = scales_of(array, axis)
            held = self._constant(integers_of(array, scales, axis), f"{value.name}_int8")
            zeros = self._constant(np.zeros(scales.shape, np.int8), f"{value.name}_zero")
            given = [self._constant(scales, f"{value.name}_scale"), zeros]
            attributes = {} if axis is None else {"axis": axis}
            back = self._node("DequantizeLinear", [held, *given], f"{value.name}_held", FLOAT, value, attributes)
            self.graph.insert_before(next(iter(self.graph)), back.producer())
            self.weights[key] = back
        return self.weights[key]

    def _node(
        self,
        operator: str,
        inputs: list[ir.Value],
        name: str,
        dtype: ir.DataType,
        like: ir.Value,
        attributes: Mapping[str, int] | None = None,
    ) -> ir.Value:
        node = ir.node(
            operator, inputs, attributes or {}, num_outputs=1, name=self.names.new(f"{operator}_{like.name}")
        )
        made: ir.Value = node.outputs[0]
        made.name, made.type, made.shape = self.names.new(name), ir.TensorType(dtype), like.shape
        return made

    def _constant(self, array: np.ndarray | np.generic, name: str) -> ir.Value:
        return constant_value(self.graph, np.asarray(array), self.names.new(name))
