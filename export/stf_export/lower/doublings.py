# SPDX-License-Identifier: Apache-2.0
"""A convolution of an image whose rows and columns were repeated, as four of the image itself.

A 3x3 kernel on an image of which every pixel is there twice along both axes sees 2x2 different pixels at each place::

    rows of the image        a  b  c            the even row at b sees  a, b, b:  w0 a + (w1 + w2) b
    repeated           a  a  b  b  c  c         the odd one             b, b, c:  (w0 + w1) b + w2 c

So even and odd rows and columns are four convolutions with kernels of 2x2, which take four ninths of the
multiplications and read a quarter of the pixels. Weights are added in double precision; results are equal within
rounding. The graph gets four nodes more, so this is done only where others were saved.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir

from .graph import alone, attribute, constant, dims, emit, made_by, substitute, weight

# Coordinates and rounding with which "nearest" repeats every pixel (ONNX, Resize).
_REPEATING = (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"))

# What each of the two rows sees of the kernel's three, and how far the image is padded before and behind it.
_ROWS = (((0,), (1, 2), (1, 0)), ((0, 1), (2,), (0, 1)))


# Nodes that take the place of two: four convolutions, and two that weave what they give.
_MORE = 4


def by_parity(graph: ir.Graph, spare: int) -> int:
    """Write the 3x3 convolutions after a doubling by repetition by even and odd rows and columns; how many.

    Args:
        graph: The graph.
        spare: Nodes that it may grow by. Where that is not enough for all of them, none is changed.
    """
    found = [node for node in graph if node.op_type == "Conv" and node.domain == "" and _doubled(node) is not None]
    if _MORE * len(found) > spare:
        return 0
    for node in found:
        _split(node)
    return len(found)


def _doubled(node: ir.Node) -> ir.Node | None:
    """The Resize before a convolution, if both are as they have to be."""
    resize = made_by(node.inputs[0], "Resize")
    kernel = constant(node.inputs[1])
    if resize is None or kernel is None or kernel.shape[2:] != (3, 3) or not alone(resize.outputs[0]):
        return None
    lengths = dims(resize.inputs[0])
    if lengths is None or len(lengths) != 4 or kernel.dtype != np.float32:
        return None
    return resize if _repeats(resize) and _keeps_size(node) else None


def _split(node: ir.Node) -> None:
    resize, kernel = _doubled(node), constant(node.inputs[1])
    assert resize is not None
    assert kernel is not None
    source, lengths = resize.inputs[0], dims(resize.inputs[0])
    assert lengths is not None
    name, graph = str(node.outputs[0].name), node.graph
    assert graph is not None
    shape = (lengths[0], kernel.shape[0], *lengths[2:])
    parts = []
    for rows, columns in itertools.product(_ROWS, _ROWS):
        small = _summed(_summed(kernel.astype(np.float64), rows, 2), columns, 3)
        pads = [rows[2][0], columns[2][0], rows[2][1], columns[2][1]]
        inputs = [source, weight(graph, small.astype(np.float32), f"{name}_parity"), *node.inputs[2:]]
        parts.append(emit(node, "Conv", inputs, {"kernel_shape": [2, 2], "pads": pads}, shape=shape))
    stacked = emit(node, "Concat", parts, {"axis": 1}, shape=(lengths[0], 4 * kernel.shape[0], *lengths[2:]))
    woven = emit(node, "DepthToSpace", [stacked], {"blocksize": 2, "mode": "DCR"}, shape=dims(node.outputs[0]))
    substitute(node.outputs[0], woven)


def _summed(kernel: np.ndarray, row: tuple[tuple[int, ...], ...], axis: int) -> np.ndarray:
    """The two rows or columns of the kernel that are left."""
    return np.stack([kernel.take(row[i], axis).sum(axis) for i in (0, 1)], axis)


def _repeats(resize: ir.Node) -> bool:
    """Whether it doubles rows and columns by repeating them."""
    factors = constant(resize.inputs[2]) if len(resize.inputs) == 3 else None
    if factors is None or factors.tolist() != [1.0, 1.0, 2.0, 2.0] or attribute(resize, "mode", "nearest") != "nearest":
        return False
    how = attribute(resize, "coordinate_transformation_mode", "half_pixel")
    return (how, attribute(resize, "nearest_mode", "round_prefer_floor")) in _REPEATING


def _keeps_size(conv: ir.Node) -> bool:
    """Whether it is a plain convolution that pads by one."""
    return (
        attribute(conv, "pads", [0, 0, 0, 0]) == [1, 1, 1, 1]
        and attribute(conv, "group", 1) == 1
        and attribute(conv, "strides", [1, 1]) == [1, 1]
        and attribute(conv, "dilations", [1, 1]) == [1, 1]
        and attribute(conv, "auto_pad", "NOTSET") == "NOTSET"
    )
