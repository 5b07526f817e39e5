# SPDX-License-Identifier: Apache-2.0
"""What follows from sizes alone: shapes that are worked out in the graph, and states that begin as zeros.

A tile's rows, columns and channels are fixed, so that the graph's arithmetic on shapes has one unknown at most, the
batch. A recurrent layer starts from zeros where it is given no state (ONNX, LSTM and GRU): zeros that are made in the
graph, as many as the batch is large, need not be.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .graph import Rewrite, attribute, constant, dims, integers, weight

Sizes = list[int | str]

_PASS = ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape")
_ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.floor_divide}
# Operators that move values about and make none.
_MOVES = ("Slice", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Identity", "Expand", "Tile")


def evaluate(value: ir.Value | None) -> Sizes | None:
    """A list of sizes that the graph works out: numbers, and names of free axes; None where it cannot be told."""
    if (known := integers(value)) is not None:
        return list(known)
    node = value.producer() if value is not None else None
    if node is None or node.domain != "":
        return None
    first = node.inputs[0]
    if node.op_type == "Shape":
        lengths = dims(first)
        if lengths is None or None in lengths:
            return None
        return list(lengths[attribute(node, "start", 0) : attribute(node, "end")])  # type: ignore[arg-type]
    if node.op_type == "Concat":
        parts = [evaluate(i) for i in node.inputs]
        return None if any(p is None for p in parts) else [size for part in parts for size in part or ()]
    sizes = evaluate(first)
    if sizes is None:
        return None
    if node.op_type in _PASS:
        return sizes
    others = [integers(i) for i in node.inputs[1:]]
    if node.op_type == "Gather" and others[0] is not None:
        return [sizes[i] for i in others[0]]
    if node.op_type == "Slice" and None not in others:
        (start,), (end,), _, (step,) = (*others, *([[0], [1]][len(others) - 2 :]))  # type: ignore[misc]
        return sizes[start:end:step]
    if node.op_type in _ARITHMETIC and (right := evaluate(node.inputs[1])) is not None:
        return _calculate(node.op_type, sizes, right)
    return None


def _calculate(operator: str, left: Sizes, right: Sizes) -> Sizes | None:
    if any(isinstance(size, str) for size in (*left, *right)):
        return None
    return [int(size) for size in np.atleast_1d(_ARITHMETIC[operator](left, right))]


def resize_by_factor(node: ir.Node) -> bool:
    """An image that is enlarged or reduced to a size is so by a factor, where that is exact in single precision.

    The size of the batch is then not asked for.
    """
    if len(node.inputs) < 4 or integers(node.inputs[3]) is not None or attribute(node, "axes"):
        return False
    sizes, lengths = evaluate(node.inputs[3]), dims(node.inputs[0])
    if sizes is None or lengths is None or len(sizes) != len(lengths):
        return False
    factors = []
    for size, length in zip(sizes, lengths, strict=True):
        if size == length:
            factors.append(1.0)
        elif isinstance(size, int) and isinstance(length, int) and _is_exact(size, length):
            factors.append(size / length)
        else:
            return False
    assert node.graph is not None
    node.replace_input_with(2, weight(node.graph, np.array(factors, np.float32), f"{node.outputs[0].name}_factor"))
    node.replace_input_with(3, None)
    node.resize_inputs(3)
    return True


def _is_exact(size: int, length: int) -> bool:
    return float(np.float32(size / length)) * length == size


def start_from_nothing(node: ir.Node) -> bool:
    """A recurrent layer whose first states are zeros is given none."""
    found = [i for i in (5, 6) if i < len(node.inputs) and node.inputs[i] is not None and _is_zero(node.inputs[i])]
    for i in found:
        node.replace_input_with(i, None)
    return bool(found)


def _is_zero(value: ir.Value | None) -> bool:
    array = constant(value)
    if array is not None:
        return not array.any()
    node = value.producer() if value is not None else None
    if node is None or node.domain != "":
        return False
    if node.op_type == "ConstantOfShape":
        fill = attribute(node, "value")
        return fill is None or not fill.numpy().any()
    if node.op_type == "Concat":
        return all(_is_zero(i) for i in node.inputs)
    return node.op_type in _MOVES and _is_zero(node.inputs[0])


REWRITES: dict[str, list[Rewrite]] = {
    "Resize": [resize_by_factor],
    **{operator: [start_from_nothing] for operator in ("LSTM", "GRU", "RNN")},
}
