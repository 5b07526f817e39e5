# SPDX-License-Identifier: Apache-2.0
"""New values of a graph, under names that nothing in it has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir


@dataclass
class Names:
    """Names that are taken in a model."""

    taken: set[str]

    @classmethod
    def of(cls, model: ir.Model) -> Names:
        """Those of all values and nodes, of subgraphs too."""
        taken = {str(v.name) for g in model.graphs() for v in (*g.inputs, *g.initializers.values())}
        taken |= {str(v.name) for node in model.graph.all_nodes() for v in node.outputs}
        return cls(taken | {str(node.name) for node in model.graph.all_nodes()})

    def new(self, wanted: str) -> str:
        """A name like the one that is wanted; it is taken now."""
        name, number = wanted, 1
        while name in self.taken:
            name, number = f"{wanted}_{number}", number + 1
        self.taken.add(name)
        return name


def drop_unused(graph: ir.Graph) -> None:
    """Take constants that nobody reads any more out of a graph."""
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def constant_value(graph: ir.Graph, array: np.ndarray, name: str) -> ir.Value:
    """A new constant of a graph."""
    tensor = ir.Tensor(np.require(array, requirements="C"), name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    graph.register_initializer(value)
    return value
