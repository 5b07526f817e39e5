# SPDX-License-Identifier: Apache-2.0
"""Transposes: two as one or none, also through what is done to each number by itself."""

from __future__ import annotations

import onnx_ir as ir

from .graph import Rewrite, alone, attribute, constant, dims, emit, made_by, substitute

_EACH = (
    *("Abs", "Cast", "Ceil", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "LeakyRelu", "Log"),
    *("Neg", "Not", "Reciprocal", "Relu", "Sigmoid", "Sign", "Sin", "Softplus", "Sqrt", "Tanh"),
)
_OF_TWO = ("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub")


def order(node: ir.Node) -> list[int] | None:
    """The permutation of a transpose."""
    given = attribute(node, "perm")
    if given is not None:
        return [int(axis) for axis in given]
    lengths = dims(node.inputs[0])
    return None if lengths is None else list(range(len(lengths)))[::-1]


def join(node: ir.Node) -> bool:
    """Two transposes are one, or none; what lies between them and looks at single numbers is done before."""
    second = order(node)
    chain: list[ir.Node] = []
    value = node.inputs[0]
    while (between := _each(value)) is not None and alone(between.outputs[0]):
        chain.append(between)
        value = between.inputs[_moving(between)]
    if second == sorted(second or [0, -1]) and not chain:
        assert value is not None
        return substitute(node.outputs[0], value)
    below = made_by(value, "Transpose")
    first = None if below is None else order(below)
    if below is None or first is None or second is None:
        return False
    both = [first[axis] for axis in second]
    nothing = both == sorted(both)
    if not alone(below.outputs[0]) and not (nothing and not chain):
        return False
    result = below.inputs[0]
    assert result is not None
    for step in reversed(chain):
        inputs = list(step.inputs)
        inputs[_moving(step)] = result
        moved = emit(node, step.op_type, inputs, step.attributes, shape=dims(result))
        moved.type = step.outputs[0].type
        result = moved
    if not nothing:
        result = emit(node, "Transpose", [result], {"perm": both}, shape=dims(node.outputs[0]))
    return substitute(node.outputs[0], result)


def sink(node: ir.Node) -> bool:
    """What is done to pairs of numbers of two transposed values is done before, and transposed once."""
    if len(node.inputs) != 2:
        return False
    left, right = (made_by(value, "Transpose") for value in node.inputs)
    if left is None or right is None or left is right or order(left) is None or order(left) != order(right):
        return False
    if not alone(left.outputs[0]) or not alone(right.outputs[0]):
        return False
    before = dims(left.inputs[0])
    if before is None or before != dims(right.inputs[0]):
        return False
    plain = emit(node, node.op_type, [left.inputs[0], right.inputs[0]], node.attributes, shape=before)
    plain.type = node.outputs[0].type
    return substitute(node.outputs[0], emit(node, "Transpose", [plain], left.attributes, shape=dims(node.outputs[0])))


def _each(value: ir.Value | None) -> ir.Node | None:
    """The node that gives a value, if it treats each number of one input alike."""
    node = made_by(value, *_EACH, *_OF_TWO)
    if node is None or node.op_type in _EACH:
        return node
    return node if len(node.inputs) == 2 and any(_is_number(i) for i in node.inputs) else None


def _moving(node: ir.Node) -> int:
    """Which input of such a node is not a single number."""
    return 1 if node.op_type in _OF_TWO and _is_number(node.inputs[0]) else 0


def _is_number(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is not None and array.size == 1


REWRITES: dict[str, list[Rewrite]] = {"Transpose": [join], **{operator: [sink] for operator in _OF_TWO}}
