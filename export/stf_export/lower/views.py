# SPDX-License-Identifier: Apache-2.0
"""Views: Reshape, Flatten, Squeeze, Unsqueeze, and a Transpose that moves only axes of length one.

A view gives the same numbers in the same order under another shape, so that of several in a row only the last shape
counts, and none is needed where it is the first one again.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from .graph import Rewrite, alone, attribute, dims, emit, integers, made_by, substitute, target, weight
from .sizes import Sizes, evaluate

_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def drop(node: ir.Node) -> bool:
    """An Identity is nothing, but where an output of the graph needs a name of its own."""
    source, out = node.inputs[0], node.outputs[0]
    assert source is not None
    if out.is_graph_output() and (source.producer() is None or source.is_graph_output()):
        return False
    return substitute(out, source)


def settle(node: ir.Node) -> bool:
    """A shape that is worked out from another one is a constant where only the batch is free."""
    if integers(node.inputs[1]) is not None:
        return False
    wanted = target(dims(node.outputs[0])) or target(_solved(node))
    if wanted is None:
        return False
    node.replace_input_with(1, _shape(node, wanted))
    if dims(node.outputs[0]) is None or -1 not in wanted:
        node.outputs[0].shape = ir.Shape([d if d >= 0 else None for d in wanted])
    return True


def _solved(node: ir.Node) -> Sizes | None:
    """The shape that a Reshape works out, with what it leaves open (-1) filled in: the number of values stays."""
    sizes, lengths = evaluate(node.inputs[1]), dims(node.inputs[0])
    if sizes is None or lengths is None or -1 not in sizes:
        return sizes
    free = [size for size in sizes if isinstance(size, str)]
    if [length for length in lengths if not isinstance(length, int)] != free:
        return sizes
    known = math.prod(size for size in sizes if isinstance(size, int) and size != -1)
    all_values = math.prod(length for length in lengths if isinstance(length, int))
    return [all_values // known if size == -1 else size for size in sizes] if known else sizes


def join(node: ir.Node) -> bool:
    """Of two views the last, or none; a view that changes nothing is none."""
    if not _is_view(node):
        return False
    source, out = node.inputs[0], node.outputs[0]
    assert source is not None
    wanted = target(dims(out))
    if wanted is None:
        return False
    if target(dims(source)) == wanted:
        return substitute(out, source)
    below = source.producer()
    if below is None or not _is_view(below):
        return False
    first = below.inputs[0]
    assert first is not None
    if target(dims(first)) == wanted:
        return substitute(out, first)
    if not alone(source):
        return False
    return substitute(out, emit(node, "Reshape", [first, _shape(node, wanted)], shape=dims(out)))


def stack(node: ir.Node) -> bool:
    """Values that get a new axis and are laid together along it are laid together along the one behind it.

    The numbers then lie in the same order, and one Reshape makes the axis for all of them.
    """
    axis = attribute(node, "axis")
    out = dims(node.outputs[0])
    added = [made_by(value, "Unsqueeze") for value in node.inputs]
    wanted = target(out)
    if wanted is None or out is None or len(added) < 2:
        return False
    axis %= len(out)
    parts = []
    for one in added:
        lengths = None if one is None else dims(one.inputs[0])
        if one is None or lengths is None or integers(one.inputs[1]) not in ([axis], [axis - len(out)]):
            return False
        if axis == len(lengths) or not alone(one.outputs[0]) or not isinstance(lengths[axis], int):
            return False
        parts.append(one.inputs[0])
    joined = list(dims(parts[0]) or ())
    joined[axis] *= len(parts)  # type: ignore[operator]
    flat = emit(node, "Concat", parts, {"axis": axis}, shape=joined)
    return substitute(node.outputs[0], emit(node, "Reshape", [flat, _shape(node, wanted)], shape=out))


def _is_view(node: ir.Node) -> bool:
    if node.domain != "":
        return False
    if node.op_type != "Transpose":
        return node.op_type in _VIEWS
    lengths = dims(node.inputs[0])
    order = attribute(node, "perm")
    if lengths is None or order is None:
        return False
    moved = [axis for axis in order if lengths[axis] != 1]
    return moved == sorted(moved)


def _shape(node: ir.Node, wanted: list[int]) -> ir.Value:
    assert node.graph is not None
    return weight(node.graph, np.array(wanted, np.int64), f"{node.outputs[0].name}_shape")


REWRITES: dict[str, list[Rewrite]] = {
    "Concat": [stack],
    "Identity": [drop],
    "Reshape": [settle, join],
    **{operator: [join] for operator in (*_VIEWS[1:], "Transpose")},
}
