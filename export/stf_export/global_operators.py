# SPDX-License-Identifier: Apache-2.0
"""Find the operators of a graph that look at a whole tile, or at where in the tile they are.

A finding is an explanation, not a verdict: whether a network may be tiled exactly is measured
(:mod:`stf_export.probe`). What is found here names the reason in a bundle whose tiles must be blended.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from stf_infer.grid import Shape

from .extras import need

_EVERYTHING = {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "InstanceNormalization", "GroupNormalization"}
_REDUCTIONS = {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"}
_POOLS = {"AveragePool", "MaxPool"}
_ELEMENTWISE = {"Add", "Sub", "Mul", "Concat"}

Dims = tuple[int | None, ...]


def global_operators(model: Any, tile: Shape) -> tuple[str, ...]:
    """Operators that see a whole tile or know their place in it, each with what it does and how often.

    Args:
        model: An ONNX model with static rows and columns.
        tile: Its tile in fine pixels.
    """
    graph = _Graph(model, tile)
    found = Counter(why for node in model.graph.node for why in graph.reasons(node))
    return tuple(why if n == 1 else f"{why}, {n} times" for why, n in found.items())


class _Graph:
    def __init__(self, model: Any, tile: Shape) -> None:
        self._onnx = need("onnx")
        self._tile = tile
        self._weights = {t.name: t for t in model.graph.initializer}
        self._constants = {n.output[0]: n.attribute[0].t for n in model.graph.node if _is_tensor_constant(n)}
        self._shapes = dict(self._known_shapes(model))
        self._positions = {
            d[-2] * d[-1]
            for d in self._shapes.values()
            if len(d) == 4 and d[-2] and d[-1] and self._is_image(d) and d[-2] * d[-1] > 1
        }

    def reasons(self, node: Any) -> Iterator[str]:
        """Why this node sees a whole tile, or knows its place in it."""
        op = node.op_type
        dims = self._shapes.get(node.input[0], ()) if node.input else ()
        if op in _EVERYTHING:
            yield f"{op} over a whole tile"
        elif op in _REDUCTIONS and self._reduces_everything(node, dims):
            yield f"{op} over all rows and columns"
        elif op in _POOLS and len(dims) == 4 and self._attribute(node, "kernel_shape") == list(dims[2:]):
            yield f"{op} over a whole tile"
        elif op == "LayerNormalization" and self._is_image(dims) and self._attribute(node, "axis", -1) % 4 < 3:
            yield "LayerNormalization over rows and columns"
        elif op == "Softmax" and dims and dims[self._attribute(node, "axis", -1)] in self._positions:
            yield "Softmax over all positions"
        elif op == "MatMul" and dims and dims[-1] in self._positions:
            yield "MatMul over all positions"
        elif op == "Resize" and self._attribute(node, "coordinate_transformation_mode") == b"align_corners":
            yield "Resize with aligned corners"
        elif op == "DFT":
            yield "DFT over a whole tile"
        elif op in _ELEMENTWISE and any(self._is_position_map(i) for i in node.input):
            yield f"{op} of a map that is fixed to the tile"

    def _known_shapes(self, model: Any) -> Iterator[tuple[str, Dims]]:
        # A model beyond protobuf's limit cannot be inferred: what it states itself must do.
        with contextlib.suppress(ValueError, self._onnx.shape_inference.InferenceError):
            model = self._onnx.shape_inference.infer_shapes(model, data_prop=True)
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            yield (
                value.name,
                tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim),
            )

    def _is_image(self, dims: Dims) -> bool:
        """Whether the last two axes are the tile's, at full or reduced size."""
        if len(dims) != 4 or not dims[-2] or not dims[-1]:
            return False
        height, width = dims[-2], dims[-1]
        return height * width > 1 and height * self._tile.width == width * self._tile.height

    def _reduces_everything(self, node: Any, dims: Dims) -> bool:
        axes = self._attribute(node, "axes")
        if axes is None and len(node.input) > 1 and node.input[1]:
            tensor = self._weights.get(node.input[1], self._constants.get(node.input[1]))
            axes = self._onnx.numpy_helper.to_array(tensor).tolist() if tensor is not None else None
        rank = len(dims)
        axes = {a % rank for a in axes} if axes is not None and rank else set(range(rank))
        if self._is_image(dims):
            return {2, 3} <= axes
        return any(dims[a] in self._positions for a in axes)

    def _is_position_map(self, name: str) -> bool:
        tensor = self._weights.get(name, self._constants.get(name))
        return tensor is not None and len(tensor.dims) >= 2 and self._is_image((1, 1, *tensor.dims[-2:]))

    def _attribute(self, node: Any, name: str, default: Any = None) -> Any:
        for attribute in node.attribute:
            if attribute.name == name:
                return self._onnx.helper.get_attribute_value(attribute)
        return default


def _is_tensor_constant(node: Any) -> bool:
    return node.op_type == "Constant" and bool(node.attribute) and node.attribute[0].HasField("t")
