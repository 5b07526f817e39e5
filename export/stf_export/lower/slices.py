# SPDX-License-Identifier: Apache-2.0
"""Slices: several as one, none where all is kept, and cut borders as padding of the convolution that made them.

A transposed convolution with stride ``s``, kernel ``k`` and dilation ``d`` gives ``s (n - 1) + d (k - 1) + 1 - before -
after`` rows, of which row ``i`` is row ``i + before`` of the result without padding (ONNX, ConvTranspose): rows are cut
off by padding more. The sums that are left are the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from .graph import Rewrite, alone, attribute, dims, emit, integers, made_by, substitute, weight

# ONNX, Slice: to cut to the end of an axis of unknown length, pass the largest number.
_TO_THE_END = 2**31 - 1


def kept(node: ir.Node) -> dict[int, range] | None:
    """What a slice keeps of each axis that it cuts; None where that is not known, or runs backwards."""
    lengths = dims(node.inputs[0])
    given = [integers(value) for value in node.inputs[1:] if value is not None]
    if lengths is None or len(given) != len(node.inputs) - 1 or any(g is None for g in given):
        return None
    starts, ends, axes, steps = [*given, None, None][:4]
    assert starts is not None
    assert ends is not None
    result = {}
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = i if axes is None else axes[i] % len(lengths)
        step = 1 if steps is None else steps[i]
        length = lengths[axis]
        if start == 0 and end >= _TO_THE_END and step == 1:
            continue
        if not isinstance(length, int) or step < 1:
            return None
        result[axis] = range(*slice(start, end, step).indices(length))
    return result


def drop(node: ir.Node) -> bool:
    """A slice that keeps everything is nothing."""
    lengths, ranges = dims(node.inputs[0]), kept(node)
    if lengths is None or ranges is None or any(r != range(lengths[axis]) for axis, r in ranges.items()):  # type: ignore[arg-type]
        return False
    return substitute(node.outputs[0], _first(node))


def merge(node: ir.Node) -> bool:
    """A slice of a slice is one slice, where nothing but slices reads the first."""
    below = made_by(node.inputs[0], "Slice")
    if below is None or below.outputs[0].is_graph_output():
        return False
    if any(user.op_type != "Slice" or kept(user) is None for user in below.outputs[0].consumers()):
        return False
    inner, outer = kept(below), kept(node)
    if inner is None or outer is None:
        return False
    both = dict(inner)
    for axis, cut in outer.items():
        base = both.get(axis, range(2**62))
        start = base.start + cut.start * base.step
        both[axis] = range(start, start + len(cut) * base.step * cut.step, base.step * cut.step)
    return substitute(node.outputs[0], _slice(node, _first(below), both))


def into_padding(node: ir.Node) -> bool:
    """Rows and columns cut off a transposed convolution are padding of it."""
    made = made_by(node.inputs[0], "ConvTranspose")
    ranges, lengths = kept(node), dims(node.inputs[0])
    if made is None or ranges is None or lengths is None or not alone(made.outputs[0]):
        return False
    kernel = dims(made.inputs[1])
    if kernel is None or attribute(made, "auto_pad", "NOTSET") != "NOTSET" or attribute(made, "output_shape"):
        return False
    spatial = len(lengths) - 2
    pads = attribute(made, "pads", [0] * 2 * spatial)
    dilations = attribute(made, "dilations", [1] * spatial)
    for axis, cut in ranges.items():
        length, size = lengths[axis], kernel[axis]
        if axis < 2 or cut.step != 1 or not cut or not isinstance(length, int) or not isinstance(size, int):
            return False
        at = axis - 2
        pads[at] += cut.start
        pads[at + spatial] += length - cut.stop
        # More padding than a kernel reaches is not taken by every engine.
        if max(pads[at], pads[at + spatial]) > dilations[at] * (size - 1):
            return False
    attributes = {name: a for name, a in made.attributes.items() if name != "pads"} | {
        "pads": ir.AttrInt64s("pads", pads)
    }
    padded = emit(node, made.op_type, made.inputs, attributes, shape=dims(node.outputs[0]))
    return substitute(node.outputs[0], padded)


def _slice(node: ir.Node, source: ir.Value, ranges: Mapping[int, range]) -> ir.Value:
    assert node.graph is not None
    columns = zip(*((r.start, r.stop, axis, r.step) for axis, r in sorted(ranges.items())), strict=True)
    values = [weight(node.graph, np.array(column, np.int64), f"{source.name}_cut") for column in columns]
    return emit(node, "Slice", [source, *values], shape=dims(node.outputs[0]))


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value


REWRITES: dict[str, list[Rewrite]] = {"Slice": [drop, merge, into_padding]}
