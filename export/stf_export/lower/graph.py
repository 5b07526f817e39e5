# SPDX-License-Identifier: Apache-2.0
"""A graph in hand: read constants and shapes, put a node in, put one value in the place of another.

A rewrite is a function that looks at one node and answers whether it changed the graph. It must leave the graph with
fewer nodes, or with a node the less to compute, so that applying rewrites until none applies ends. What a rewrite
leaves unused is removed afterwards, by :func:`apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

Rewrite = Callable[[ir.Node], bool]
Dims = tuple[int | str | None, ...]

# Rounds over a graph. Each reaches what the one before has uncovered; no network of the zoo needs more than four.
_ROUNDS = 12


def apply(graph: ir.Graph, rewrites: Mapping[str, Sequence[Rewrite]]) -> int:
    """Apply rewrites by operator until none applies any more; how often one did."""
    total = 0
    for _ in range(_ROUNDS):
        changed = 0
        for node in list(graph):
            if node.graph is None or node.domain != "":
                continue
            changed += any(rewrite(node) for rewrite in rewrites.get(node.op_type, ()))
            if node.graph is not None and not _is_used(node):
                graph.remove(node, safe=True)
        for node in reversed(list(graph)):
            if not _is_used(node):
                graph.remove(node, safe=True)
        if not changed:
            break
        total += changed
    return total


def _is_used(node: ir.Node) -> bool:
    return any(out.uses() or out.is_graph_output() for out in node.outputs)


def constant(value: ir.Value | None) -> np.ndarray | None:
    """What a value always is, or None where it depends on the graph's inputs."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.numpy()


def integers(value: ir.Value | None) -> list[int] | None:
    """A constant as a list of integers."""
    array = constant(value)
    return None if array is None or array.dtype.kind != "i" else [int(i) for i in array.reshape(-1)]


def dims(value: ir.Value | None) -> Dims | None:
    """Lengths of a value's axes: a number, a name where it is free, None where nothing is known."""
    if value is None or value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)


def target(lengths: Sequence[int | str | None] | None) -> list[int] | None:
    """The shape to ask ``Reshape`` for: -1 for the one axis that is free; None where several are, or one is empty."""
    if lengths is None or 0 in lengths:
        return None
    wanted = [d if isinstance(d, int) else -1 for d in lengths]
    return wanted if wanted.count(-1) <= 1 else None


def made_by(value: ir.Value | None, *operators: str) -> ir.Node | None:
    """The node that gives a value, if it is one of these operators."""
    node = None if value is None else value.producer()
    return node if node is not None and node.domain == "" and node.op_type in operators else None


def alone(value: ir.Value) -> bool:
    """Whether a value is read once, and not by whoever runs the graph."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """An attribute's value, lists as lists."""
    found = node.attributes.get(name)
    if found is None:
        return default
    return list(found.value) if isinstance(found.value, tuple) else found.value


def emit(
    before: ir.Node,
    operator: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    shape: Sequence[int | str | None] | None = None,
) -> ir.Value:
    """Put a node in front of another; its output, of the type of the first input."""
    first = next(i for i in inputs if i is not None)
    node = ir.node(operator, inputs, attributes or {}, num_outputs=1)
    output = node.outputs[0]
    output.type = first.type
    output.shape = None if shape is None else ir.Shape(shape)
    assert before.graph is not None
    before.graph.insert_before(before, node)
    return output


def weight(graph: ir.Graph, array: np.ndarray, like: str) -> ir.Value:
    """A new constant of the graph, named after another value."""
    name, number = f"{like}_folded", 1
    while name in graph.initializers:
        name, number = f"{like}_folded_{number}", number + 1
    tensor = ir.tensor(np.asarray(array, order="C"), name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def substitute(old: ir.Value, new: ir.Value) -> bool:
    """Let all that read ``old`` read ``new``; always True. An output of the graph keeps its name."""
    if old.is_graph_output():
        if new.producer() is None or new.is_graph_output():
            node = old.producer()
            assert node is not None
            new = emit(node, "Identity", [new])
        old.name, new.name = f"{old.name}_before", old.name
    if new.shape is None:
        new.shape = old.shape
    if new.type is None:
        new.type = old.type
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    return True
