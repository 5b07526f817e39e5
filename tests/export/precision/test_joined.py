# SPDX-License-Identifier: Apache-2.0
"""Rounding before a Concat: the same numbers, and graphs that OpenVINO compiles."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from precision_support import run, source
from stf_export.precision import integers
from stf_export.precision.integers import products, quantise
from stf_export.precision.running import session
from stf_infer.engines.openvino import runtime

RNG = np.random.default_rng(5)


def weight(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def reduced(given, most=2.0):
    model = given.fresh()
    nodes = products(model)
    quantise(model, {str(node.name) for node in nodes}, {str(node.inputs[0].name): most for node in nodes})
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    return model


def rounded_tensors(model):
    """What gives the tensors that are rounded."""
    return [n.inputs[0].producer().op_type for n in model.graph if n.op_type == "QuantizeLinear"]


# Nodes that end in the tensor j, which a product reads, and what is rounded then.
JOINS = {
    "side by side": ("a = Relu(x)\nb = Sigmoid(x)\nj = Concat<axis=1>(a, b)", ["Relu", "Sigmoid"]),
    "moved before": (
        "a = Relu(x)\nr = Sigmoid(x)\nb = Transpose<perm=[0, 1, 3, 2]>(r)\nj = Concat<axis=1>(a, b)",
        ["Relu", "Sigmoid"],
    ),
    "moved after": (
        "a = Relu(x)\nb = Sigmoid(x)\nc = Concat<axis=1>(a, b)\nj = Transpose<perm=[0, 1, 3, 2]>(c)",
        ["Relu", "Sigmoid"],
    ),
    "read by others, too": (
        "a = Relu(x)\nr = Sigmoid(x)\nb = Transpose<perm=[0, 1, 3, 2]>(r)\nj = Concat<axis=1>(a, b)\nz = Exp(b)",
        ["Relu", "Transpose"],
    ),
    "the same twice": ("a = Relu(x)\nj = Concat<axis=1>(a, a)", ["Relu"]),
    "of a constant": ("a = Relu(x)\nj = Concat<axis=1>(a, k)", ["Concat"]),
    "read by what is not 8-bit": ("a = Relu(x)\nb = Sigmoid(x)\nj = Concat<axis=1>(a, b)\nz = Exp(j)", ["Concat"]),
    "not joined": ("a = Relu(x)\nb = Sigmoid(x)\nj = Max(a, b)", ["Max"]),
}


@pytest.mark.parametrize("name", JOINS)
def test_parts_are_rounded_in_place_of_the_whole(tmp_path, name, monkeypatch):
    nodes, rounded = JOINS[name]
    held = {"w": weight(3, 4 if name == "not joined" else 8, 3, 3), "k": weight(1, 4, 8, 8)}
    outputs = ("y", "z") if "z =" in nodes else ("y",)
    given = source(tmp_path, f"{nodes}\ny = Conv(j, w)", held, {"x": (1, 4, 8, 8)}, outputs=outputs)
    model = reduced(given)
    assert sorted(rounded_tensors(model)) == sorted(rounded)
    monkeypatch.setattr(integers, "round_parts", lambda *_: False)
    x = RNG.normal(size=(1, 4, 8, 8))
    np.testing.assert_array_equal(run(model, x=x), run(reduced(given), x=x))


def test_a_part_of_two_joins_is_rounded_once_for_each_range(tmp_path):
    nodes = """a = Relu(x)
    b = Sigmoid(x)
    i = Concat<axis=1>(a, b)
    j = Concat<axis=1>(b, a)
    c = Conv(i, w)
    d = Conv(j, w)
    y = Add(c, d)"""
    given = source(tmp_path, nodes, {"w": weight(3, 8, 1, 1)}, {"x": (1, 4, 8, 8)})
    model = given.fresh()
    quantise(model, {str(node.name) for node in products(model)}, {"i": 2.0, "j": 1.0})
    assert sorted(rounded_tensors(model)) == ["Relu", "Relu", "Sigmoid", "Sigmoid"]
    assert sorted(rounded_tensors(reduced(given))) == ["Relu", "Sigmoid"]


def test_openvino_compiles_a_join_behind_depth_to_space(tmp_path):
    """With one pair behind the Concat it does not ("argument element types are inconsistent", 2026.4).

    Each result adds two numbers that no processor adds in 16 bits.
    """
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    nodes = """a = Relu(x)
    d = DepthToSpace<blocksize=2>(u)
    r = Reshape(d, s)
    t = Transpose<perm=[0, 2, 1]>(r)
    j = Concat<axis=2>(a, t)
    y = MatMul(j, w)"""
    given = source(
        tmp_path,
        nodes,
        {"w": np.tile(np.eye(8), (2, 1)), "s": np.array([1, 8, 16])},
        {"x": (1, 16, 8), "u": (1, 32, 2, 2)},
    )
    model = reduced(given)
    assert sorted(rounded_tensors(model)) == ["DepthToSpace", "Relu"]
    core = runtime().Core()
    compiled = core.compile_model(core.read_model(ir.to_proto(model).SerializeToString()), "CPU")
    feed = {"x": RNG.normal(size=(1, 16, 8)), "u": RNG.normal(size=(1, 32, 2, 2))}
    feed = {name: array.astype(np.float32) for name, array in feed.items()}
    np.testing.assert_allclose(compiled(feed)[0], run(model, **feed), atol=1e-5)


def test_8_bit_products_are_exact_on_every_processor(tmp_path):
    """Pairs of 127 x 127 do not fit into 16 bits, in which some processors add them."""
    given = source(tmp_path, "y = MatMul(x, w)", {"w": np.ones((64, 32), np.float32)}, {"x": (16, 64)})
    found = session(reduced(given, most=1.0)).run(None, {"x": np.ones((16, 64), np.float32)})[0]
    np.testing.assert_allclose(found, 64, rtol=1e-6)
