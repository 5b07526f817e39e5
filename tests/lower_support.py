# SPDX-License-Identifier: Apache-2.0
"""Small ONNX graphs in a few lines, simplified and run before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from stf_export.lower import Nodes, simplify

Lengths = Sequence[int | str]


def graph(
    nodes: str,
    weights: Mapping[str, np.ndarray] | None = None,
    inputs: Mapping[str, Lengths] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 18,
) -> onnx.ModelProto:
    """A model of nodes as ONNX writes them, one a line, such as ``y = Slice(x, start, end)``.

    Inputs are float32, and ``x`` of shape (n, 4, 6, 8) unless others are named; lists of integers in ``weights`` are
    int64, arrays of int8 stay so, other numbers are float32.
    """
    made = helper.make_graph(
        [onnx.parser.parse_node(line.strip()) for line in nodes.strip().splitlines()],
        "graph",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, lengths)
            for name, lengths in (inputs or {"x": ("n", 4, 6, 8)}).items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(_array(value), name) for name, value in (weights or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def _array(value: np.ndarray | Sequence[int] | float) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == np.int8:
        return array
    return array.astype(np.int64 if array.dtype.kind == "i" else np.float32)


def simplified(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Nodes]:
    """A simplified copy, checked by ONNX's own rules."""
    edited = ir.from_proto(model)
    nodes = simplify(edited)
    written = ir.to_proto(edited)
    onnx.checker.check_model(written, full_check=True)
    return written, nodes


def run(model: onnx.ModelProto, batch: int, seed: int = 0) -> list[np.ndarray]:
    """Outputs of a model as it is written, for random inputs."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    feed = {
        i.name: rng.normal(size=[d if isinstance(d, int) else batch for d in i.shape]).astype(np.float32)
        for i in session.get_inputs()
    }
    return session.run(None, feed)


def proven(model: onnx.ModelProto, *, exact: bool = True, rounding: float = 1e-6) -> Counter[str]:
    """Operators of the simplified model, once it is shown to compute what the model computes, for several batches.

    Args:
        model: What to simplify.
        exact: Whether every bit must agree; else the difference may be ``rounding`` of the output's range.
        rounding: That part.
    """
    written, nodes = simplified(model)
    assert nodes.after == len(written.graph.node) <= nodes.before
    assert [i.name for i in written.graph.input] == [i.name for i in model.graph.input]
    assert [o.name for o in written.graph.output] == [o.name for o in model.graph.output]
    for batch in (1, 3):
        for before, after in zip(run(model, batch, batch), run(written, batch, batch), strict=True):
            assert before.shape == after.shape
            assert before.dtype == after.dtype
            if exact:
                np.testing.assert_array_equal(after, before)
            else:
                np.testing.assert_allclose(after, before, rtol=0, atol=rounding * float(np.ptp(before)))
    return Counter(node.op_type for node in written.graph.node)
