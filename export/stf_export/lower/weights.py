# SPDX-License-Identifier: Apache-2.0
"""What follows a layer and is linear, as part of its weights.

    (W x + b) s = (s W) x + s b
    ((W x + b) - mean) gain / sqrt(variance + epsilon) + shift      batch normalisation: s = gain / sqrt(...)

Weights are multiplied in double precision; results are equal within rounding. A layer that runs several times (the
steps of a recurrent network) has its weights changed equally each time, and equal weights are kept once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .graph import Rewrite, alone, attribute, constant, dims, made_by, substitute, weight

_VIEWS = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")


@dataclass(frozen=True)
class _Layer:
    """A linear layer: the node with the weights, the node with the bias, the axis of output channels in the weights."""

    weights: ir.Node
    bias: ir.Node
    axis: int

    @property
    def matrix(self) -> np.ndarray | None:
        return constant(self.weights.inputs[1])

    @property
    def bias_at(self) -> int | None:
        """Which input of the bias' node it is; None where there is none."""
        if self.bias is not self.weights:
            return 0 if constant(self.bias.inputs[0]) is not None else 1
        return 2 if len(self.bias.inputs) > 2 and self.bias.inputs[2] is not None else None


def normalise(node: ir.Node) -> bool:
    """Batch normalisation after a convolution."""
    statistics = [constant(value) for value in node.inputs[1:]]
    source = node.inputs[0]
    found = made_by(source, "Conv", "ConvTranspose")
    if found is None or source is None or any(s is None for s in statistics) or attribute(node, "training_mode"):
        return False
    layer = _layer(found)
    if layer is None or len(node.outputs) > 1 or not alone(source):
        return False
    gain, shift, mean, variance = (np.asarray(s, np.float64) for s in statistics)
    factors = gain / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return _change(layer, factors, shift - mean * factors) and substitute(node.outputs[0], source)


def scale(node: ir.Node) -> bool:
    """A number that a layer's output is multiplied by, also after it was cut along its channels and reshaped."""
    at = next((i for i in (0, 1) if (a := constant(node.inputs[i])) is not None and a.size == 1), None)
    if at is None:
        return False
    number, value = constant(node.inputs[at]), node.inputs[1 - at]
    assert number is not None
    lengths = dims(value)
    if value is None or lengths is None or number.ndim > len(lengths) or constant(value) is not None:
        return False
    return _scale_below(value, number, slice(None)) and substitute(node.outputs[0], value)


def _scale_below(value: ir.Value | None, number: np.ndarray, part: slice) -> bool:
    """Multiply what gives a value, if nothing else reads it and it comes from a layer."""
    if value is None or not alone(value) or (made := value.producer()) is None or made.domain != "":
        return False
    if (layer := _layer(made)) is not None:
        return _scale_part(layer, part, number)
    if part != slice(None):
        return False
    if made.op_type == "Split":
        cut = _cut(made, value)
        return cut is not None and _scale_below(made.inputs[0], number, cut)
    if made.op_type == "MatMul":
        return any(_scale_below(operand, number, part) for operand in made.inputs)
    return made.op_type in _VIEWS and _scale_below(made.inputs[0], number, part)


def _scale_part(layer: _Layer, part: slice, number: np.ndarray) -> bool:
    shared = len(layer.weights.inputs[1].uses()) > 1  # type: ignore[union-attr]  # a second copy would be kept
    matrix = layer.matrix
    if shared or matrix is None:
        return False
    factors = np.ones(matrix.shape[layer.axis])
    factors[part] = float(number.reshape(()))
    return _change(layer, factors, None)


def _cut(split: ir.Node, output: ir.Value) -> slice | None:
    """Which channels an output of a split holds, if it is the channels that are split: MatMul's last, Conv's second."""
    source = split.inputs[0]
    lengths = dims(source)
    widths = [(dims(o) or ())[attribute(split, "axis", 0) :][:1] for o in split.outputs]
    made = None if source is None else source.producer()
    if lengths is None or made is None or any(not w or not isinstance(w[0], int) for w in widths):
        return None
    if attribute(split, "axis", 0) % len(lengths) != (1 if made.op_type == "Conv" else len(lengths) - 1):
        return None
    index = list(split.outputs).index(output)
    start = sum(w[0] for w in widths[:index])  # type: ignore[misc]
    return slice(start, start + widths[index][0])  # type: ignore[operator]


def _layer(node: ir.Node) -> _Layer | None:
    """The linear layer that ends with a node."""
    if node.op_type == "Conv":
        return _known(_Layer(node, node, 0))
    if node.op_type == "ConvTranspose" and attribute(node, "group", 1) == 1:
        return _known(_Layer(node, node, 1))
    if node.op_type == "Gemm" and attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0:
        return _known(_Layer(node, node, 0 if attribute(node, "transB", 0) else 1))
    if node.op_type == "MatMul":
        return _known(_Layer(node, node, 1))
    if node.op_type == "Add":
        product = next((m for m in (made_by(v, "MatMul") for v in node.inputs) if m is not None), None)
        if product is not None and alone(product.outputs[0]) and any(constant(v) is not None for v in node.inputs):
            return _known(_Layer(product, node, 1))
    return None


def _known(layer: _Layer) -> _Layer | None:
    """The layer, if its weights are constant and its bias, too, one number a channel."""
    matrix = layer.matrix
    if matrix is None or matrix.dtype != np.float32 or (layer.weights.op_type == "MatMul" and matrix.ndim != 2):
        return None
    if layer.bias_at is not None:
        bias = constant(layer.bias.inputs[layer.bias_at])
        if bias is None or bias.shape[-1:] != (matrix.shape[layer.axis],) or bias.size != bias.shape[-1]:
            return None
    return layer


def _change(layer: _Layer, factors: np.ndarray, shift: np.ndarray | None) -> bool:
    """Multiply the channels of a layer and add to its bias."""
    matrix, graph = layer.matrix, layer.weights.graph
    assert matrix is not None
    assert graph is not None
    if not np.isfinite(factors).all():
        return False
    along = factors.reshape([-1 if axis == layer.axis else 1 for axis in range(matrix.ndim)])
    new = weight(graph, (matrix * along).astype(np.float32), f"{layer.weights.outputs[0].name}_weights")
    at = layer.bias_at
    bias = None if at is None else constant(layer.bias.inputs[at])
    if bias is None and shift is not None:
        if layer.bias.op_type not in ("Conv", "ConvTranspose"):
            return False
        at, bias = 2, np.zeros(len(factors), np.float32)
        layer.bias.resize_inputs(3)
    layer.weights.replace_input_with(1, new)
    if at is not None and bias is not None:
        moved = bias * factors + (0.0 if shift is None else shift)
        name = str(layer.bias.outputs[0].name)
        layer.bias.replace_input_with(at, weight(graph, moved.astype(np.float32).reshape(bias.shape), f"{name}_bias"))
    return True


REWRITES: dict[str, list[Rewrite]] = {"BatchNormalization": [normalise], "Mul": [scale]}
