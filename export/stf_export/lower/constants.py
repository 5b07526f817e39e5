# SPDX-License-Identifier: Apache-2.0
"""Constants: what may be worked out before the network runs, and constants that follow each other."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from .graph import Rewrite, alone, constant, dims, emit, made_by, substitute, weight

# Operators that give no more numbers than they are given: weights may be worked out whatever their size.
_NO_LARGER = frozenset(
    ("Cast", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Split", "Transpose", "Unsqueeze")
)

# Numbers of an operand up to which everything is worked out, and of a result.
SMALL_OPERAND, SMALL_RESULT = 2**13, 2**16
# Larger than any result: how much may be worked out is said by `may_fold`.
LARGE = 2**40


def may_fold(node: ir.Node) -> bool | None:
    """Whether a node of constants is worked out; None leaves that to the sizes of its operands.

    A bias table that is looked up, a sliced or turned weight: yes. Never what would make the file larger.
    """
    given = sum(v.const_value.size for v in node.inputs if v is not None and v.const_value is not None)
    made = sum(
        math.prod(v.shape.numpy()) if v.shape is not None and v.shape.is_static() else LARGE for v in node.outputs
    )
    if made > max(given, SMALL_RESULT):
        return False
    return True if node.domain == "" and node.op_type in _NO_LARGER else None


def chain(node: ir.Node) -> bool:
    """``(x + a) + b`` is ``x + (a + b)``, and so is a product, where that makes no larger constant.

    Equal within rounding.
    """
    below_at = next((i for i in (0, 1) if made_by(node.inputs[i], node.op_type) is not None), None)
    if below_at is None:
        return False
    below = made_by(node.inputs[below_at], node.op_type)
    outer = constant(node.inputs[1 - below_at])
    assert below is not None
    inner_at = next((i for i in (0, 1) if constant(below.inputs[i]) is not None), None)
    if outer is None or inner_at is None or not alone(below.outputs[0]) or outer.dtype.kind != "f":
        return False
    inner = constant(below.inputs[inner_at])
    source = below.inputs[1 - inner_at]
    assert inner is not None
    assert source is not None
    if constant(source) is not None or max(inner.ndim, outer.ndim) > len(dims(source) or ()):
        return False
    wide = inner.astype(np.float64), outer.astype(np.float64)
    both = wide[0] + wide[1] if node.op_type == "Add" else wide[0] * wide[1]
    if both.size > max(inner.size, outer.size) or not np.isfinite(both).all():
        return False
    assert node.graph is not None
    folded = weight(node.graph, both.astype(outer.dtype), str(node.outputs[0].name))
    return substitute(node.outputs[0], emit(node, node.op_type, [source, folded], shape=dims(node.outputs[0])))


REWRITES: dict[str, list[Rewrite]] = {"Add": [chain], "Mul": [chain]}
