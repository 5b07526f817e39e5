# SPDX-License-Identifier: Apache-2.0
"""Channels of a graph, followed from the constants that scale them to the products that sum over them.

A channel that nothing but products reads may be multiplied by a number where it is made and divided by it where it is
read: :mod:`~stf_export.precision.migration` makes use of that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..lower.graph import Dims, attribute, constant, dims, integers

# They keep channels apart and f(s x) = s f(x) for s > 0.
_KEEPS = frozenset({"Relu", "LeakyRelu", "PRelu", "Identity", "MaxPool", "AveragePool", "Resize"})
_PADS = frozenset({"constant", "edge", "reflect", "wrap"})


@dataclass(frozen=True)
class Use:
    """A constant with channels along an axis.

    Attributes:
        node: What reads it.
        at: Which input it is.
        axis: Its axis of channels.
    """

    node: ir.Node
    at: int
    axis: int

    @property
    def value(self) -> ir.Value:
        """The constant."""
        value = self.node.inputs[self.at]
        assert value is not None
        return value

    @property
    def array(self) -> np.ndarray:
        """Its numbers."""
        array = constant(self.value)
        assert array is not None
        return array


@dataclass(frozen=True)
class Path:
    """Channels from what gives them to the products that read them.

    Attributes:
        makers: Constants whose channels give them: weights and bias, or gain and shift.
        readers: Weights that they are multiplied by, along the axis that is summed over.
        tensors: What the products read: name and axis of the channels.
    """

    makers: tuple[Use, ...]
    readers: tuple[Use, ...]
    tensors: tuple[tuple[str, int], ...]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for paths that share all of their constants."""
        return tuple((use.value, use.axis) for use in (*self.makers, *self.readers))


def paths(model: ir.Model, wanted: Collection[str]) -> list[Path]:
    """All paths of a graph that end in products only, of which one at least is to be 8-bit.

    Args:
        model: In float32, with shapes.
        wanted: Names of the products that are to be 8-bit.
    """
    found = []
    for node in model.graph:
        made = _made(node)
        if made is None:
            continue
        makers, value, axis = made
        readers: list[Use] = []
        tensors: list[tuple[str, int]] = []
        if _follow(value, axis, readers, tensors) and any(use.node.name in wanted for use in readers):
            found.append(Path(makers, tuple(readers), tuple(dict.fromkeys(tensors))))
    return found


def axis_given(node: ir.Node) -> int:
    """The axis of a product's weights along the channels that it gives."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1


def _made(node: ir.Node) -> tuple[tuple[Use, ...], ir.Value, int] | None:
    """The constants that scale the channels of a node's result, that result with its bias, and its axis of channels."""
    if node.domain != "" or len([o for o in node.outputs if o.uses()]) != 1:
        return None
    value, rank = node.outputs[0], len(dims(node.outputs[0]) or ())
    if node.op_type in ("LayerNormalization", "InstanceNormalization"):
        last = node.op_type == "LayerNormalization"
        if last and attribute(node, "axis", -1) not in (-1, rank - 1):
            return None
        return _uses(node, {1: 0, 2: 0}, value, rank - 1 if last else 1)
    if node.op_type in ("Conv", "ConvTranspose"):
        if node.op_type == "ConvTranspose" and attribute(node, "group", 1) != 1:
            return None
        return _uses(node, {1: 0 if node.op_type == "Conv" else 1, 2: 0}, value, 1)
    if node.op_type == "Gemm" and attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0:
        return _uses(node, {1: axis_given(node), 2: -1}, value, 1)
    if node.op_type == "MatMul" and len(dims(node.inputs[1]) or ()) == 2:
        found = _uses(node, {1: 1}, value, rank - 1)
        uses = value.uses()
        if found is None or len(uses) != 1 or uses[0].node.op_type != "Add" or value.is_graph_output():
            return found
        add = uses[0].node
        bias = _uses(add, {1 - uses[0].idx: -1}, add.outputs[0], rank - 1)
        return found if bias is None else ((*found[0], *bias[0]), *bias[1:])
    return None


def _uses(
    node: ir.Node, axes: Mapping[int, int], value: ir.Value, axis: int
) -> tuple[tuple[Use, ...], ir.Value, int] | None:
    """These inputs as constants with channels; None where one is no constant, or has others than the result."""
    found = []
    channels = (dims(value) or (None,) * (axis + 1))[axis]
    for at, along in axes.items():
        if at >= len(node.inputs) or node.inputs[at] is None:
            continue
        array = constant(node.inputs[at])
        if array is None or array.dtype != np.float32 or not array.ndim or array.shape[along] != channels:
            return None
        if along == -1 and array.size != channels:
            return None
        found.append(Use(node, at, along % array.ndim))
    return (tuple(found), value, axis) if found else None


def _follow(value: ir.Value, axis: int, readers: list[Use], tensors: list[tuple[str, int]]) -> bool:
    """Collect the products that read channels; False where anything else reads them."""
    if value.is_graph_output() or not value.uses():
        return False
    for use in value.uses():
        node, lengths = use.node, dims(value)
        if use.idx != 0 or node.domain != "" or lengths is None:
            return False
        if (along := _summed(node, axis, len(lengths))) is not None:
            readers.append(Use(node, 1, along))
            tensors.append((str(value.name), axis))
            continue
        to = _handed_on(node, axis, lengths)
        if to is None or not all(_follow(out, to, readers, tensors) for out in node.outputs if out.uses()):
            return False
    return True


def _summed(node: ir.Node, axis: int, rank: int) -> int | None:
    """The axis of a product's weights along the channels that it sums over, if these are they."""
    if node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm") or constant(node.inputs[1]) is None:
        return None
    if node.op_type in ("Conv", "ConvTranspose"):
        fits = axis == 1 and attribute(node, "group", 1) == 1
        return (1 if node.op_type == "Conv" else 0) if fits else None
    if node.op_type == "Gemm":
        return 1 - axis_given(node) if axis == 1 and not attribute(node, "transA", 0) else None
    return 0 if axis == rank - 1 and len(dims(node.inputs[1]) or ()) == 2 else None


def _handed_on(node: ir.Node, axis: int, lengths: Dims) -> int | None:
    """The axis of channels in what a node makes of its first input; None where it mixes them, or is not homogeneous."""
    if node.op_type in _KEEPS:
        # A crop may reach beyond the image, where it gives a number of its own.
        crops = attribute(node, "coordinate_transformation_mode") == "tf_crop_and_resize"
        return None if crops else axis
    if node.op_type == "Pad":
        return axis if _pads_zero_or_repeats(node, axis) else None
    if node.op_type == "Transpose":
        order = attribute(node, "perm", list(range(len(lengths)))[::-1])
        return list(order).index(axis)
    if node.op_type == "Reshape":
        return _kept(lengths, dims(node.outputs[0]), axis)
    if node.op_type == "Gather":
        along = attribute(node, "axis", 0) % len(lengths)
        more = len(dims(node.inputs[1]) or ()) - 1
        return None if along == axis else axis + (more if axis > along else 0)
    if node.op_type == "Split":
        return None if attribute(node, "axis", 0) % len(lengths) == axis else axis
    return None


def _pads_zero_or_repeats(node: ir.Node, axis: int) -> bool:
    amounts = integers(node.inputs[1])
    given = [
        constant(value) is not None and not np.any(constant(value)) for value in node.inputs[2:3] if value is not None
    ]
    zero = all(given) or attribute(node, "mode", "constant") != "constant"
    if amounts is None or len(node.inputs) > 3 or not zero or attribute(node, "mode", "constant") not in _PADS:
        return False
    return amounts[axis] == amounts[axis + len(amounts) // 2] == 0


def _kept(before: Dims, after: Dims | None, axis: int) -> int | None:
    """Where an axis is after a Reshape that leaves it whole: with as many numbers behind it."""
    behind = _product(before[axis + 1 :])
    if after is None or behind is None:
        return None
    return next((k for k, n in enumerate(after) if n == before[axis] and _product(after[k + 1 :]) == behind), None)


def _product(lengths: Sequence[int | str | None]) -> int | None:
    return (
        int(np.prod([n for n in lengths if isinstance(n, int)])) if all(isinstance(n, int) for n in lengths) else None
    )
