# SPDX-License-Identifier: Apache-2.0
"""Activations in the form that engines know.

The operator GELU is younger than the operator set that graphs are written in, so it stands in them as what it is
(Hendrycks and Gimpel, Gaussian Error Linear Units, 2016)::

    x (0.5 (1 + erf(x / sqrt(2))))

ONNX Runtime computes that as one operator, with the bias before it, only where the half comes last.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir

from .graph import Rewrite, alone, constant, dims, emit, made_by, substitute


def halve_last(node: ir.Node) -> bool:
    """``x (c (a + erf))`` is ``(x (a + erf)) c``, where ``c`` is a power of two: the same bits for normal numbers."""
    for at, number_at in itertools.product((0, 1), (0, 1)):
        inner, value = made_by(node.inputs[at], "Mul"), node.inputs[1 - at]
        if inner is None or value is None or not alone(inner.outputs[0]):
            continue
        number, tail = inner.inputs[number_at], inner.inputs[1 - number_at]
        added = made_by(tail, "Add")
        if added is None or not _is_power_of_two(number) or all(made_by(v, "Erf") is None for v in added.inputs):
            continue
        product = emit(node, "Mul", [value, tail], shape=dims(node.outputs[0]))
        return substitute(node.outputs[0], emit(node, "Mul", [product, number], shape=dims(node.outputs[0])))
    return False


def _is_power_of_two(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is not None and array.size == 1 and array.ndim == 0 and bool(np.frexp(array)[0] == 0.5)


REWRITES: dict[str, list[Rewrite]] = {"Mul": [halve_last]}
