# SPDX-License-Identifier: Apache-2.0
"""The graph as it is written: nothing in it that the network does not need.

What is general is left to the passes that torch's own exporter brings along (onnxscript and onnx-ir, Microsoft and the
ONNX project): functions inlined, constants worked out, equal subexpressions and equal weights kept once, batch
normalisation taken into convolutions. What they leave is done here, by small rewrites that look at one node and its
neighbours (:mod:`~stf_export.lower.slices`, :mod:`~stf_export.lower.views`, :mod:`~stf_export.lower.transposes`,
:mod:`~stf_export.lower.sizes`, :mod:`~stf_export.lower.constants`, :mod:`~stf_export.lower.activations`), and, last, by
:mod:`~stf_export.lower.doublings`. Each keeps what the graph computes, bit by bit
unless it says otherwise. No value of an input is looked at: only constants, and shapes that the tile fixes.

Weights are never copied but where one is changed, so that a network of a gigabyte needs little more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import RewritePass
from onnxscript.rewriter.rules import common as rules

from . import activations, constants, doublings, sizes, slices, transposes, views, weights
from .graph import Rewrite, apply

_OWN: dict[str, list[Rewrite]] = {}
for _module in (slices, views, transposes, sizes, constants, weights, activations):
    for _operator, _rewrites in _module.REWRITES.items():
        _OWN.setdefault(_operator, []).extend(_rewrites)

# Rules of onnxscript by the operator without which they have nothing to do: it tries each rule on each node, which for
# all of its rules takes longer than tracing a large network does.
_BORROWED: dict[str, tuple[Any, ...]] = {
    "BatchNormalization": (rules.fuse_batchnorm_into_gemm_rule,),
    "Cast": (rules.cast_cast_rule, rules.no_op_cast_rule),
    "Clip": (rules.successive_clip_rule, rules.successive_clip_relu_rule, rules.successive_relu_clip_rule),
    "Dropout": (rules.dropout_inference_rule, rules.dropout_zero_rule),
    "Expand": (rules.no_op_expand_rule,),
    "Max": (rules.max_max_rule, rules.min_max_rule, rules.max_min_rule),
    "Min": (rules.min_min_rule,),
    "Pad": (rules.normalize_pad_format_conv_rule, rules.fuse_pad_into_conv_rule),
    "ScatterND": (rules.no_op_dynamic_scatter_nd_rule, rules.no_op_static_scatter_nd_rule),
}


@dataclass(frozen=True)
class Nodes:
    """How many operators a graph has, constants not counted.

    Attributes:
        before: As it was traced, or given.
        after: As it is written.
    """

    before: int
    after: int

    def __add__(self, other: Nodes) -> Nodes:
        return Nodes(self.before + other.before, self.after + other.after)


def simplify(model: ir.Model) -> Nodes:
    """Take everything out of a model that does not change what it computes, in place.

    Inputs and outputs keep their names, order, types and shapes.

    Args:
        model: The model; weights may be lazy or outside of the file.

    Returns:
        Operators before and after. There are never more after than before.
    """
    common.InlinePass()(model)
    common.RemoveInitializersFromInputsPass()(model)
    before = count(model)
    _fold(model)
    for _ in range(2):  # the second round sees what equal subexpressions became
        _borrowed(model)
        apply(model.graph, _OWN)
        common.DeduplicateHashedInitializersPass()(model)
        common.CommonSubexpressionEliminationPass()(model)
    if doublings.by_parity(model.graph, before - count(model)):
        common.DeduplicateHashedInitializersPass()(model)
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedFunctionsPass()(model)
    common.RemoveUnusedOpsetsPass()(model)
    common.NameFixPass()(model)
    return Nodes(before, count(model))


def count(model: ir.Model) -> int:
    """Operators of a model, constants not counted."""
    return sum(node.op_type != "Constant" for node in model.graph.all_nodes())


def _fold(model: ir.Model) -> None:
    fold_constants(
        model,
        onnx_shape_inference=True,
        input_size_limit=constants.SMALL_OPERAND,
        output_size_limit=constants.LARGE,
        should_fold=constants.may_fold,
    )
    common.RemoveUnusedNodesPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for value in model.graph.initializers.values():
        # A weight that was turned is a view; equal ones are found by their bytes.
        tensor = value.const_value
        array = getattr(tensor, "raw", None)
        if tensor is not None and isinstance(array, np.ndarray) and not array.flags.c_contiguous:
            value.const_value = ir.Tensor(np.asarray(array, order="C"), dtype=tensor.dtype, name=value.name)


def _borrowed(model: ir.Model) -> None:
    present = {node.op_type for node in model.graph}
    wanted = [rule for operator, some in _BORROWED.items() if operator in present for rule in some]
    if wanted and RewritePass(wanted)(model).modified:
        _fold(model)
