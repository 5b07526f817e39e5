# SPDX-License-Identifier: Apache-2.0
"""A float32 graph as one that computes in fp16 or bf16: strongly typed, float32 at both ends.

Weights are stored in the half; a tensor that is given in one type and read in the other is cast once. The same graph
can be written as an **emulation**: float32 throughout, with every number rounded where the half would round it. ONNX
Runtime computes fp16 graphs on a CPU in float32 from end to end, without a single rounding between operators (1.32),
and takes no bf16 graph at all: what it says of the half graph says nothing of a GPU. The emulation does, but for sums
inside of an operator, which are float32 there.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..lower.graph import constant
from .naming import Names, constant_value, drop_unused
from .operands import FLOAT, Operands
from .placement import rounded

# Operators that hand numbers on, or choose among them: what they are given rounded they give rounded.
HAND_ON = frozenset(
    {
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Concat", "Split", "Slice", "Gather"),
        *("GatherElements", "GatherND", "Expand", "Tile", "Pad", "DepthToSpace", "SpaceToDepth", "Relu", "Clip", "Max"),
        *("Min", "MaxPool", "ReduceMax", "ReduceMin", "Neg", "Abs", "Where", "Trilu", "ScatterND", "ScatterElements"),
    }
)


def reduce_floats(model: ir.Model, low: ir.DataType, placed: dict[str, Operands], *, emulate: bool = False) -> int:
    """Let nodes of a float32 graph compute in half precision, in place.

    Inputs and outputs of the graph keep their names and types.

    Args:
        model: In float32, with the type of every value.
        low: The half.
        placed: The nodes, and what of them follows the type, as :func:`stf_export.precision.placement.place` says.
        emulate: Write the emulation instead.

    Returns:
        How many casts it has now that it had not.
    """
    return (_Emulation if emulate else _Halves)(model, low, placed).write()


class _Halves:
    """The half graph."""

    def __init__(self, model: ir.Model, low: ir.DataType, placed: dict[str, Operands]) -> None:
        self.graph, self.low, self.placed, self.names = model.graph, low, placed, Names.of(model)
        self.casts = 0

    def write(self) -> int:
        nodes = list(self.graph)
        given = {v for n in nodes if (one := self.placed.get(str(n.name))) for v in (n.outputs[k] for k in one.gives)}
        readers = {v: self._readers(v) for v in (*self.graph.initializers.values(), *self.graph.inputs) if v.name}
        readers |= {v: self._readers(v) for n in nodes for v in n.outputs}
        for value, (low, high) in readers.items():
            if constant(value) is not None:
                self._constant(value, low)
            elif value in given:
                self._given_low(value, high)
            elif low:
                self._given_high(value, low)
        drop_unused(self.graph)
        return self.casts

    def _readers(self, value: ir.Value) -> tuple[list[ir.Usage], list[ir.Usage]]:
        """Who reads a value in the half, and who in float32; who reads any type is neither."""
        low, high = [], []
        for use in value.uses():
            one = self.placed.get(str(use.node.name)) if use.node.graph is self.graph else None
            if one is not None and use.idx in one.reads:
                low.append(use)
            elif not (one is not None and one.indifferent) and use.node.op_type not in ("Shape", "Size", "Cast"):
                high.append(use)
        return low, high

    def _constant(self, value: ir.Value, low: list[ir.Usage]) -> None:
        if not low or value.dtype != FLOAT:
            return
        array = constant(value)
        assert array is not None
        made = self._weight(array, value)
        self._read(low, made)

    def _weight(self, array: np.ndarray, like: ir.Value) -> ir.Value:
        with np.errstate(over="ignore"):
            return self._new_weight(array.astype(self.low.numpy()), like)

    def _new_weight(self, array: np.ndarray, like: ir.Value) -> ir.Value:
        return constant_value(self.graph, array, self.names.new(f"{like.name}_{_SHORT[self.low]}"))

    def _given_low(self, value: ir.Value, high: list[ir.Usage]) -> None:
        node = value.producer()
        assert node is not None
        value.type = ir.TensorType(self.low)
        if node.op_type == "Cast":
            node.attributes["to"] = ir.AttrInt64("to", int(self.low))
        elif node.op_type == "ConstantOfShape":
            filled = node.attributes.get("value")
            number = np.zeros(1, np.float32) if filled is None else filled.as_tensor().numpy()
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(number.astype(self.low.numpy())))
        if value.is_graph_output():
            name = str(value.name)
            value.name = self.names.new(f"{name}_{_SHORT[self.low]}")
            raised = self._cast(value, FLOAT, name)
            at = [k for k, out in enumerate(self.graph.outputs) if out is value]
            for k in at:
                self.graph.outputs[k] = raised
        elif high:
            raised = self._cast(value, FLOAT)
        else:
            return
        self._read(high, raised)

    def _given_high(self, value: ir.Value, low: list[ir.Usage]) -> None:
        self._read(low, self._cast(value, self.low))

    def _cast(self, value: ir.Value, to: ir.DataType, name: str | None = None) -> ir.Value:
        """A cast right behind whatever gives the value, or before all nodes."""
        name = name or self.names.new(f"{value.name}_{_SHORT[to]}")
        node = ir.node(
            "Cast", [value], {"to": int(to)}, num_outputs=1, name=self.names.new(f"cast_{value.name}_{_SHORT[to]}")
        )
        made: ir.Value = node.outputs[0]
        made.name, made.type, made.shape = name, ir.TensorType(to), value.shape
        source = value.producer()
        if source is None:
            self.graph.insert_before(next(iter(self.graph)), node)
        else:
            self.graph.insert_after(source, node)
        self.casts += 1
        return made

    def _read(self, uses: list[ir.Usage], value: ir.Value) -> None:
        for node, k in uses:
            node.replace_input_with(k, value)


class _Emulation(_Halves):
    """Float32 throughout, rounded where the half would round."""

    def _weight(self, array: np.ndarray, like: ir.Value) -> ir.Value:
        return self._new_weight(rounded(array, self.low), like)

    def _given_low(self, value: ir.Value, high: list[ir.Usage]) -> None:
        node = value.producer()
        assert node is not None
        if node.op_type in HAND_ON:
            return
        uses = list(value.uses())
        if value.is_graph_output():
            name = str(value.name)
            value.name = self.names.new(f"{name}_exact")
            made = self._cast(self._cast(value, self.low), FLOAT, name)
            for k in [k for k, out in enumerate(self.graph.outputs) if out is value]:
                self.graph.outputs[k] = made
        else:
            made = self._cast(self._cast(value, self.low), FLOAT)
        self._read(uses, made)

    def _given_high(self, value: ir.Value, low: list[ir.Usage]) -> None:
        self._read(low, self._cast(self._cast(value, self.low), FLOAT))


_SHORT = {ir.DataType.FLOAT16: "fp16", ir.DataType.BFLOAT16: "bf16", FLOAT: "fp32"}
