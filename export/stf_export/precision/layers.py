# SPDX-License-Identifier: Apache-2.0
"""The layers of a graph: what can be kept in float32 by name, and what share of the work each has.

A layer is one product (a convolution, a matrix product, a recurrent cell), named after its weights as the network's
author named them, or a run of other operators between two products, named after its first.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from stf_infer.errors import UsageError

from ..lower.graph import attribute, dims
from .operands import HEAVY, is_float


@dataclass(frozen=True)
class Layer:
    """A layer.

    Attributes:
        name: What a person calls it.
        nodes: Names of its nodes.
        work: Multiply-adds for one tile or sample; 0 of what is no product.
    """

    name: str
    nodes: tuple[str, ...]
    work: int


def layers_of(model: ir.Model) -> list[Layer]:
    """The layers of a graph in the order in which they are computed; nodes without float32 belong to none."""
    layers: list[Layer] = []
    run: list[str] = []
    taken: dict[str, int] = {}

    def close() -> None:
        if run:
            layers.append(Layer(run[0], tuple(run), 0))
            run.clear()

    for node in model.graph:
        if not any(map(is_float, (*node.inputs, *node.outputs))):
            continue
        if node.op_type not in HEAVY:
            run.append(str(node.name))
            continue
        close()
        name = _name(node)
        taken[name] = taken.get(name, 0) + 1
        name = name if taken[name] == 1 else f"{name}#{taken[name]}"
        layers.append(Layer(name, (str(node.name),), work_of(node)))
    close()
    return layers


def kept(layers: Sequence[Layer], patterns: Collection[str]) -> list[Layer]:
    """The layers that a person names, by pattern: a layer's name, a node's, or the module that layers belong to.

    Raises:
        UsageError: A pattern fits none.
    """
    found: list[Layer] = []
    for pattern in patterns:
        fits = [
            layer
            for layer in layers
            if fnmatch.fnmatchcase(layer.name, pattern)
            or layer.name.startswith(f"{pattern}.")
            or layer.name.startswith(f"{pattern}#")
            or any(fnmatch.fnmatchcase(node, pattern) for node in layer.nodes)
        ]
        if not fits:
            names = [layer.name for layer in layers]
            near = difflib.get_close_matches(pattern, names, 5, 0.4) or names[:5]
            raise UsageError("The network has no such layer to keep", got=pattern, allowed=f"{', '.join(near)}, ...")
        found += fits
    return list(dict.fromkeys(found))


def work_of(node: ir.Node) -> int:
    """Multiply-adds of a product for one tile or sample; 0 of other operators."""
    numbers = [d if isinstance(d, int) else 1 for d in dims(node.outputs[0]) or ()]
    given = int(np.prod(numbers, dtype=np.int64))
    first, second = (dims(v) or () for v in (*node.inputs, None)[:2])
    last = [d if isinstance(d, int) else 1 for d in second]
    if node.op_type == "Conv":
        return given * int(np.prod(last[1:], dtype=np.int64))
    if node.op_type == "ConvTranspose":
        taken = int(np.prod([d if isinstance(d, int) else 1 for d in first], dtype=np.int64))
        return taken * int(np.prod(last[1:], dtype=np.int64))
    if node.op_type in ("MatMul", "Gemm") and first:
        axis = 0 if node.op_type == "Gemm" and attribute(node, "transA", 0) else -1
        summed = first[axis]
        return given * (summed if isinstance(summed, int) else 1)
    if node.op_type in ("LSTM", "GRU", "RNN") and len(first) == 3:
        recurrent = [d if isinstance(d, int) else 1 for d in dims(node.inputs[2]) or ()]
        steps = first[0] if isinstance(first[0], int) else 1
        return steps * (int(np.prod(last, dtype=np.int64)) + int(np.prod(recurrent, dtype=np.int64)))
    return 0


def _name(node: ir.Node) -> str:
    """Name of a product: that of its weights without what every weight is called."""
    for value in node.inputs[1:]:
        if value is not None and value.const_value is not None and "." in str(value.name):
            scope, _, leaf = str(value.name).removeprefix("module.").rpartition(".")
            return scope if leaf.startswith(("weight", "bias")) else f"{scope}.{leaf}"
    return str(node.name)
