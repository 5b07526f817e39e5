# SPDX-License-Identifier: Apache-2.0
"""Which nodes of a graph are computed in half precision, and which stay in float32.

Products go down, what a half cannot hold stays up, and everything between follows whichever side needs fewer casts.
Up stay

- what the caller names (islands), and what reads or gives a tensor that halves cannot hold;
- operators that add up many numbers, or that turn small differences into large ones: an engine may do both in the
  type of its operands, which no run on another engine shows;
- constants that a half turns into 0 or infinity, such as an epsilon of 1e-12: with the nodes that read them;
- places and phases: what a sine, a rounding or an index is computed from. A half counts to 2048, a scene does not end
  there.

The rest is a cut of least cost between the two sides (Stoer, Ford and Fulkerson's maximum flow, by networkx): each
tensor that crosses costs its size once, however many nodes read it.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator

import numpy as np
import onnx_ir as ir

from ..extras import need
from ..lower.graph import constant, dims
from .operands import HEAVY, Operands, is_float, operands

# Sums over an axis or a tile, and functions that are steep somewhere.
_DELICATE = frozenset(
    {
        *("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"),
        *("ReduceProd", "CumSum", "GlobalAveragePool", "GlobalLpPool", "LpNormalization", "MeanVarianceNormalization"),
        *("InstanceNormalization", "LayerNormalization", "GroupNormalization", "Softmax", "LogSoftmax"),
        *("Exp", "Log", "Pow", "Reciprocal", "Softplus", "Tan", "Sinh", "Cosh"),
    }
)

# What they read is a place or a phase.
_EXACT = frozenset({"Sin", "Cos", "Floor", "Ceil", "Round", "Mod"})

# Rounding to a half may cost a tensor this many times the unit roundoff, as RMS over RMS. Ordinary numbers lose about
# 0.4 of it; what lies below the smallest normal number loses more, and what overflows loses everything.
LOST = 4.0

_CAST, _COMPUTE = 16, 1  # what a number costs that is cast, or is computed in float32


def unit_roundoff(low: ir.DataType) -> float:
    """Largest relative error of rounding a normal number."""
    return 2.0**-11 if low == ir.DataType.FLOAT16 else 2.0**-8


def rounded(array: np.ndarray, low: ir.DataType) -> np.ndarray:
    """Numbers as a half holds them, in float32."""
    with np.errstate(over="ignore"):
        found: np.ndarray = array.astype(low.numpy()).astype(np.float32)
    return found


def is_lost(array: np.ndarray, low: ir.DataType) -> bool:
    """Whether a half cannot hold these numbers: they overflow, or vanish. Infinite ones are held."""
    finite = np.asarray(array, np.float32)[np.isfinite(array)].astype(np.float64)
    size = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
    if size == 0:
        return False
    held = rounded(finite.astype(np.float32), low)
    if not np.isfinite(held).all():
        return True
    return float(np.sqrt(np.mean((held - finite) ** 2))) > LOST * unit_roundoff(low) * size


def place(
    model: ir.Model,
    low: ir.DataType,
    islands: Collection[str] = (),
    tensors: Collection[str] = (),
    wanted: Collection[str] = (),
) -> dict[str, Operands]:
    """The nodes that are computed in half precision, with what of them follows it.

    Args:
        model: In float32, with the type of every value; nodes have names of their own.
        low: The type of the others.
        islands: Names of nodes that stay in float32.
        tensors: Names of values that stay in float32, whoever gives and reads them.
        wanted: Names of nodes that go down if they may, whatever casts that takes.

    Returns:
        By the node's name. Seconds for thousands of nodes.
    """
    opset = model.graph.opset_imports[""]
    found = {node.name: operands(node, low, opset) for node in model.graph}
    may = {str(name): one for name, one in found.items() if one is not None}
    high = _must_stay(model, may, low, islands, tensors)
    below = _cut(model, may, high, wanted)
    return {name: one for name, one in may.items() if name in below}


def _must_stay(
    model: ir.Model, may: dict[str, Operands], low: ir.DataType, islands: Collection[str], tensors: Collection[str]
) -> set[str]:
    exact = _exact_values(model)
    lost: dict[ir.Value, bool] = {}
    high = set()
    for node in model.graph:
        name = str(node.name)
        if name not in may:
            continue
        one = may[name]
        read = [value for value in (node.inputs[k] for k in one.reads) if value is not None]
        given = [node.outputs[k] for k in one.gives]
        if (
            name in islands
            or node.op_type in _DELICATE | _EXACT
            or any(value.name in tensors for value in (*read, *given))
            or any(value in exact for value in given)
            or any(_is_lost_constant(value, low, lost) for value in read)
        ):
            high.add(name)
    return high


def _is_lost_constant(value: ir.Value, low: ir.DataType, known: dict[ir.Value, bool]) -> bool:
    if value not in known:
        array = constant(value)
        known[value] = array is not None and is_lost(array, low)
    return known[value]


def _exact_values(model: ir.Model) -> set[ir.Value]:
    """Values that places and phases are computed from, back to the last product, sum or input."""
    waiting = [value for node in model.graph for value in _places(node)]
    found: set[ir.Value] = set()
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if value in found or not is_float(value) or node is None or node.op_type in HEAVY | _DELICATE:
            continue
        found.add(value)
        waiting += [v for v in node.inputs if v is not None]
    return found


def _places(node: ir.Node) -> Iterable[ir.Value]:
    """Operands of a node that are places or phases."""
    if node.op_type in _EXACT or (node.op_type == "Cast" and not is_float(node.outputs[0])):
        return [v for v in node.inputs if v is not None]
    if node.op_type == "GridSample":
        return [v for v in node.inputs[1:2] if v is not None]
    return []


def _cut(model: ir.Model, may: dict[str, Operands], high: set[str], wanted: Collection[str]) -> set[str]:
    """Names of the nodes on the half side of the cheapest cut."""
    networkx = need("networkx")
    flow = networkx.DiGraph()
    up, down = ("side", "up"), ("side", "down")
    flow.add_nodes_from((up, down))
    for node in model.graph:
        name = str(node.name)
        if name not in may:
            continue
        if name in high:
            flow.add_edge(up, name)  # no capacity: it may not be cut
        elif node.op_type in HEAVY or name in wanted:
            flow.add_edge(name, down)
        else:
            flow.add_edge(name, down, capacity=_COMPUTE * sum(map(_numbers, node.outputs)))
    for value in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs)):
        if is_float(value):
            for start, end, cost in _crossings(model, value, may, up):
                flow.add_edge(start, end, **({} if cost is None else {"capacity": cost}))
    _, (_, below) = networkx.minimum_cut(flow, up, down)
    return {name for name in may if name in below}


def _crossings(
    model: ir.Model, value: ir.Value, may: dict[str, Operands], up: tuple[str, str]
) -> Iterator[tuple[Hashable, Hashable, int | None]]:
    """Edges with their cost: a value that is given on one side and read on the other costs a cast; None is endless."""
    source = value.producer()
    one = None if source is None else may.get(str(source.name))
    gives: Hashable = str(source.name) if source is not None and one and value.index() in one.gives else up
    readers: set[Hashable] = {up} if value.is_graph_output() else set()
    for node, k in value.uses():
        one = may.get(str(node.name)) if node.graph is model.graph else None  # others belong to a subgraph
        if one is None or not one.indifferent:
            readers.add(str(node.name) if one is not None and k in one.reads else up)
    if not readers - {gives}:
        return
    lowered, raised, cost = ("lowered", value.name), ("raised", value.name), _CAST * _numbers(value)
    yield gives, lowered, cost
    yield raised, gives, cost
    for reader in readers:
        yield lowered, reader, None
        yield reader, raised, None


def _numbers(value: ir.Value) -> int:
    """Numbers in a value, for a batch of one."""
    return max(1, int(np.prod([d if isinstance(d, int) else 1 for d in dims(value) or ()], dtype=np.int64)))
