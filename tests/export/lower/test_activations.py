# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import onnxruntime
import pytest

from lower_support import graph, proven, simplified

NUMBERS = {"root": np.sqrt(2.0), "one": 1.0, "half": 0.5, "third": 1 / 3}
GELU = "a = Div(x, root)\nb = Erf(a)\nc = Add(b, one)\n"


def fused(model, tmp_path):
    """What ONNX Runtime makes of a graph."""
    import onnx

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node)


@pytest.mark.parametrize(("inner", "outer"), list(itertools.product((False, True), repeat=2)))
def test_onnx_runtime_knows_a_gelu_again(inner, outer, tmp_path):
    inner_product = "d = Mul(c, half)\n" if inner else "d = Mul(half, c)\n"
    model = graph(GELU + inner_product + ("y = Mul(d, x)" if outer else "y = Mul(x, d)"), NUMBERS)
    assert fused(model, tmp_path)["Gelu"] == 0
    assert proven(model) == {"Div": 1, "Erf": 1, "Add": 1, "Mul": 2}
    assert fused(simplified(model)[0], tmp_path) == {"Gelu": 1}


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param("d = Mul(third, c)\ny = Mul(x, d)", id="not a power of two: other bits"),
        pytest.param("d = Mul(half, b)\ny = Mul(x, d)", id="no sum"),
        pytest.param("d = Mul(half, c)\ne = Relu(d)\nf = Mul(x, d)\ny = Add(e, f)", id="read twice"),
    ],
)
def test_other_products_stay_as_they_are(nodes):
    model = graph(GELU + nodes, NUMBERS)
    written, _ = simplified(model)
    products = [set(node.input) for node in written.graph.node if node.op_type == "Mul"]
    assert "x" in products[-1]


def test_twice_is_as_good_as_once():
    model = graph(GELU + "d = Mul(half, c)\ny = Mul(x, d)", NUMBERS)
    once, _ = simplified(model)
    assert simplified(once)[0].graph == once.graph
