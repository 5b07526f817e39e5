# SPDX-License-Identifier: Apache-2.0
"""Which operands of an operator change their type with its precision, read from the operator's own schema.

An operator has one type variable that its results have (``T`` of Conv); operands of that variable follow it. Others
keep what they are: the scales of Resize are float32 whatever is resized, and the grid of GridSample has a type of its
own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx_ir as ir

from ..extras import need

FLOAT = ir.DataType.FLOAT

# Precisions that replace float32 number by number, and the type that they store.
HALVES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}

# Operators whose products carry the network's cost. They are reduced wherever they may be.
HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "LSTM", "GRU", "RNN", "GridSample"})

# TensorRT-RTX 1.7 takes no transposed convolution in bf16 ("could not infer output types").
_NOT_BF16 = frozenset({"ConvTranspose"})

# They read any type, and what they tell does not depend on it.
_INDIFFERENT = frozenset({"Shape", "Size", "Cast"})

# Batch normalisation that could not be taken into a convolution: its statistics follow the type of its values.
_ALL_FOLLOW = frozenset({"BatchNormalization"})


@dataclass(frozen=True)
class Operands:
    """What changes its type if a node is reduced.

    Attributes:
        reads: Numbers of the inputs that follow it.
        gives: Numbers of the outputs that follow it.
        indifferent: Whether it reads any type, so that nobody has to bring its inputs to one.
    """

    reads: tuple[int, ...]
    gives: tuple[int, ...]
    indifferent: bool = False


def is_float(value: ir.Value | None) -> bool:
    """Whether a value holds float32 numbers."""
    return value is not None and value.dtype == FLOAT


def operands(node: ir.Node, low: ir.DataType, opset: int) -> Operands | None:
    """What of a node follows its precision, or None where it has to stay in float32 or holds no float32 at all.

    Args:
        node: Of a graph in float32.
        low: The type to reduce to.
        opset: Version of the default operator set.
    """
    if node.domain != "" or any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in _attributes(node)):
        return None
    gives = tuple(k for k, value in enumerate(node.outputs) if is_float(value))
    reads = tuple(k for k, value in enumerate(node.inputs) if is_float(value))
    if not gives and not reads:
        return None
    if node.op_type in _INDIFFERENT:
        return Operands((), gives, indifferent=True)
    schema = _schema(node.op_type, opset)
    if schema is None or (low == ir.DataType.BFLOAT16 and node.op_type in _NOT_BF16):
        return None
    types_in, types_out = schema
    variables = [_of(types_out, k) for k in gives] or [_of(types_in, k) for k in reads]
    name, allowed = variables[0]
    if not _takes(allowed, low):
        return None
    if node.op_type in _ALL_FOLLOW:
        return Operands(reads, gives) if all(_takes(_of(types_in, k)[1], low) for k in reads) else None
    return Operands(
        tuple(k for k in reads if _of(types_in, k)[0] == name), tuple(k for k in gives if _of(types_out, k)[0] == name)
    )


def _attributes(node: ir.Node) -> list[Any]:
    return list(node.attributes.values())


def _takes(allowed: frozenset[str], low: ir.DataType) -> bool:
    return f"tensor({low.name.lower()})" in allowed


def _of(types: tuple[tuple[str, frozenset[str]], ...], number: int) -> tuple[str, frozenset[str]]:
    """Variable and allowed types of an operand; the last one stands for all that follow it."""
    return types[min(number, len(types) - 1)]


@cache
def _schema(operator: str, opset: int) -> Any:
    """Type variables of the inputs and of the outputs, or None where the operator is not known."""
    onnx = need("onnx")
    try:
        schema = onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return None
    allowed = {c.type_param_str: frozenset(c.allowed_type_strs) for c in schema.type_constraints}

    def of(formal: Any) -> tuple[str, frozenset[str]]:
        return formal.type_str, allowed.get(formal.type_str, frozenset({formal.type_str}))

    return tuple(map(of, schema.inputs)), tuple(map(of, schema.outputs))
