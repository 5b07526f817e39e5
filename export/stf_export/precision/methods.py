# SPDX-License-Identifier: Apache-2.0
"""The ways to reduce a graph, each as a function of the layers that are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

import onnx_ir as ir

from stf_infer.errors import ExportError

from . import halves, integers
from .layers import Layer, layers_of
from .operands import HALVES, HEAVY, Operands
from .placement import place
from .typed import Source


class Method(ABC):
    """A precision for a graph.

    Attributes:
        precision: Its name.
        source: The graph in float32.
        layers: All layers of the graph.
        free: Those of them that may be reduced or kept, in the order in which they are computed.
    """

    precision: str

    def __init__(self, source: Source, keep: Collection[Layer]) -> None:
        self.source = source
        self.layers = layers_of(source.fresh())
        self.kept = set(keep)
        self.free: list[Layer] = []

    @abstractmethod
    def write(self, islands: Collection[Layer]) -> ir.Model:
        """The reduced graph, with these layers in float32 besides those that never are reduced."""

    def trial(self, reduced: Collection[Layer], *, alone: bool) -> ir.Model:
        """What is run to find out how accurate the graph is with these layers reduced.

        Args:
            reduced: Of those that are free.
            alone: Whether they are reduced whatever it takes, to see what they cost by themselves.
        """
        return self.write(set(self.free).difference(reduced))

    def most(self) -> float:
        """The share if nothing had to be kept but what the caller wants to keep."""
        return self.share(())

    @abstractmethod
    def reduced(self, islands: Collection[Layer]) -> set[str]:
        """Names of the nodes that are reduced then."""

    def share(self, islands: Collection[Layer]) -> float:
        """Part of the multiply-adds of the network that is reduced then; of a network without any, of its layers."""
        return self._share(self.reduced(islands))

    def _share(self, nodes: set[str]) -> float:
        done = [layer for layer in self.layers if nodes.issuperset(layer.nodes)]
        work = sum(layer.work for layer in self.layers)
        return sum(layer.work for layer in done) / work if work else len(done) / max(1, len(self.layers))


class Half(Method):
    """fp16 or bf16.

    Args:
        source: The graph in float32.
        precision: Which of them.
        keep: Layers that stay in float32 in any case.
        unfit: Tensors that it cannot hold.
    """

    def __init__(self, source: Source, precision: str, keep: Collection[Layer], unfit: Collection[str]) -> None:
        super().__init__(source, keep)
        self.precision, self.low, self.unfit = precision, HALVES[precision], set(unfit)
        self._placed: dict[frozenset[Layer], dict[str, Operands]] = {}
        model = source.fresh()
        placed = self._place(model, ())
        heavy = {str(node.name) for node in model.graph if node.op_type in HEAVY}
        if not placed or (heavy and not heavy & placed.keys()):
            raise ExportError(f"No product of the network can be computed in {precision}", got=self._why(model))
        # What only hands numbers on costs nothing: it goes where its neighbours go.
        rounding = {str(node.name) for node in model.graph if node.op_type not in halves.HAND_ON} & placed.keys()
        self.free = [layer for layer in self.layers if layer not in self.kept and rounding & set(layer.nodes)]

    def write(self, islands: Collection[Layer]) -> ir.Model:
        return self._written(islands, emulate=False, wanted=set())

    def trial(self, reduced: Collection[Layer], *, alone: bool) -> ir.Model:
        """The emulation: no engine on a CPU rounds where the half does."""
        islands = set(self.free).difference(reduced)
        return self._written(islands, emulate=True, wanted=_nodes(reduced) if alone else set())

    def most(self) -> float:
        """With the tensors that it cannot hold, whose layers are islands as well."""
        return self._share(set(place(self.source.fresh(), self.low, _nodes(self.kept))))

    def reduced(self, islands: Collection[Layer]) -> set[str]:
        return set(self._place(self.source.fresh(), islands))

    def _written(self, islands: Collection[Layer], *, emulate: bool, wanted: set[str]) -> ir.Model:
        model = self.source.fresh()
        if wanted:
            placed = place(model, self.low, _nodes({*self.kept, *islands}), self.unfit, wanted)
        else:
            placed = self._place(model, islands)
        halves.reduce_floats(model, self.low, placed, emulate=emulate)
        return model

    def _place(self, model: ir.Model, islands: Collection[Layer]) -> dict[str, Operands]:
        """The cut for these islands, which takes seconds for a large network, each once."""
        key = frozenset(islands)
        if key not in self._placed:
            self._placed[key] = place(model, self.low, _nodes({*self.kept, *islands}), self.unfit)
        return self._placed[key]

    def _why(self, model: ir.Model) -> str:
        heavy = sorted({node.op_type for node in model.graph if node.op_type in HEAVY})
        return f"{', '.join(heavy)}; tensors that it cannot hold: {len(self.unfit)}" if heavy else "it has no product"


class Integers(Method):
    """int8.

    Args:
        source: The graph in float32.
        keep: Layers that stay in float32 in any case.
        thresholds: Largest absolute value of the tensors that products read.
    """

    precision = "int8"

    def __init__(self, source: Source, keep: Collection[Layer], thresholds: Mapping[str, float]) -> None:
        super().__init__(source, keep)
        self.thresholds = thresholds
        self.free = [layer for layer in reducible(source) if layer not in self.kept]
        if not self.free:
            raise ExportError(
                "Every product of the network that could be 8-bit is to be kept",
                got=", ".join(layer.name for layer in self.kept),
            )

    def write(self, islands: Collection[Layer]) -> ir.Model:
        model = self.source.fresh()
        nodes = self.reduced(islands)
        if nodes:
            integers.quantise(model, nodes, self.thresholds)
        return model

    def reduced(self, islands: Collection[Layer]) -> set[str]:
        return _nodes(set(self.free).difference(islands))


def reducible(source: Source) -> list[Layer]:
    """The layers that may be 8-bit: products with weights but the first and the last ones.

    Raises:
        ExportError: There is none; the message says what there is.
    """
    model = source.fresh()
    found = {str(node.name) for node in integers.products(model)}
    ends = integers.first_and_last(model)
    layers = [layer for layer in layers_of(model) if found.difference(ends).issuperset(layer.nodes)]
    if not layers:
        raise ExportError(
            "The network has no product that could be 8-bit",
            got=f"{len(found)} products with weights, of which {len(found & ends)} are the first or last of a path",
            fix="Reduce it to fp16",
        )
    return layers


def _nodes(layers: Collection[Layer]) -> set[str]:
    return {node for layer in layers for node in layer.nodes}
