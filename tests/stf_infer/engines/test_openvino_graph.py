# SPDX-License-Identifier: Apache-2.0
"""What is changed of a graph before OpenVINO compiles it computes what it computed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lower_support import graph
from stf_infer.engines.openvino import runtime
from stf_infer.engines.openvino_graph import pad_rounded

if importlib.util.find_spec("openvino") is None:
    pytest.skip("needs the extra openvino", allow_module_level=True)

RNG = np.random.default_rng(0)
WEIGHTS = {
    "pads": [0, 0, 1, 2, 0, 0, 2, 1],
    "scale": 0.05,
    "zero": np.array(7, np.int8),
    "kernel": RNG.normal(size=(3, 4, 3, 3)),
}

# A network that rounds what it has padded, and uses both what is padded and what is not.
NODES = """
    a = Relu(x)
    p = Pad<mode = "{mode}">(a, pads)
    q = QuantizeLinear(p, {scale}, zero)
    d = DequantizeLinear(q, {scale}, zero)
    y = Conv(d, kernel)
"""


def read(nodes: str, path: Path, weights: Any = None, **more: Any) -> Any:
    """The graph as OpenVINO reads it, for one tile."""
    model = graph(nodes, {**WEIGHTS, **(weights or {})}, **more)
    onnx.save(model, str(path))
    read = runtime().Core().read_model(str(path))
    read.reshape({"x": [1, 4, 6, 8]})
    return read


def run(model: Any) -> list[np.ndarray]:
    compiled = runtime().Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    tile = np.random.default_rng(1).normal(size=(1, 4, 6, 8)).astype(np.float32)
    return [np.array(value) for value in compiled([tile]).values()]


def operators(model: Any) -> list[str]:
    return [op.get_type_name() for op in model.get_ordered_ops()]


@pytest.mark.parametrize(("mode", "changed"), [("edge", 1), ("reflect", 1), ("constant", 0)])
def test_rounded_numbers_are_padded_where_numbers_are_repeated(tmp_path, mode, changed):
    nodes = NODES.format(mode=mode, scale="scale")
    model = read(nodes, tmp_path / "a.onnx")
    right = run(read(nodes, tmp_path / "b.onnx"))
    assert pad_rounded(model) == changed
    order = operators(model)
    assert (order.index("FakeQuantize") < order.index("Pad")) == bool(changed)
    (pad,) = (op for op in model.get_ordered_ops() if op.get_type_name() == "Pad")
    assert (pad.get_output_element_type(0).get_type_name() == "i8") == bool(changed)
    # One step of rounding where a number lies in the middle of two.
    for found, wanted in zip(run(model), right, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_what_else_reads_the_padded_numbers_keeps_them(tmp_path):
    nodes = NODES.format(mode="edge", scale="scale") + "    z = Neg(p)"
    model = read(nodes, tmp_path / "a.onnx", outputs=("y", "z"))
    assert pad_rounded(model) == 0


def test_a_scale_for_each_channel_is_left_alone(tmp_path):
    nodes = NODES.format(mode="edge", scale="scales").replace("scales, zero", "scales, zeros")
    weights = {"scales": np.full(4, 0.05)}
    nodes = nodes.replace("q = QuantizeLinear(", "q = QuantizeLinear<axis = 1>(")
    nodes = nodes.replace("d = DequantizeLinear(", "d = DequantizeLinear<axis = 1>(")
    model = graph(nodes.replace(", zeros", ""), {**WEIGHTS, **weights})
    onnx.save(model, str(tmp_path / "a.onnx"))
    assert pad_rounded(runtime().Core().read_model(str(tmp_path / "a.onnx"))) == 0


def test_a_graph_without_roundings_is_not_touched(tmp_path):
    model = read('p = Pad<mode = "edge">(x, pads)\ny = Conv(p, kernel)', tmp_path / "a.onnx")
    before = operators(model)
    assert pad_rounded(model) == 0
    assert operators(model) == before
