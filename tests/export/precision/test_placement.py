# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from precision_support import halved, low_operators, run, source
from stf_export.precision.placement import is_lost, place, rounded

FP16, BF16 = ir.DataType.FLOAT16, ir.DataType.BFLOAT16
IMAGE = {"x": ("n", 2, 4, 4)}


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("numbers", "low", "lost"),
    [
        ([1.0, -3.0], FP16, False),
        ([1e5, 1.0], FP16, True),
        ([1e5, 1.0], BF16, False),
        ([1e-12], FP16, True),
        ([1e-12], BF16, False),
        ([1e-5], FP16, False),  # below the smallest normal number, and held to three digits
        ([3e-7, 1e-7], FP16, True),
        ([1.0, 1e-7], FP16, False),  # what vanishes beside a large one is not missed
        ([-np.inf, 0.0, 1.0], FP16, False),  # a mask
        ([0.0, 0.0], FP16, False),
    ],
)
def test_lost(numbers, low, lost):
    assert is_lost(np.array(numbers, np.float32), low) == lost


def test_rounded_is_what_the_half_holds():
    assert rounded(np.float32([1 + 2.0**-11, 1 + 3 * 2.0**-11, 70000]), FP16).tolist() == [1.0, 1 + 2.0**-9, np.inf]
    assert rounded(np.float32([1 + 2.0**-8, 1 + 3 * 2.0**-8]), BF16).tolist() == [1.0, 1 + 2.0**-6]


def test_a_plain_network_is_reduced_from_end_to_end(tmp_path):
    given = source(tmp_path, "a = Conv(x, w)\nb = Relu(a)\ny = Conv(b, w)", {"w": weight(2, 2, 1, 1)}, IMAGE)
    assert low_operators(given) == ["Conv", "Relu", "Conv"]
    assert halved(given)[1] == 2  # in and out


def test_an_epsilon_that_would_vanish_stays(tmp_path):
    given = source(
        tmp_path,
        "a = Conv(x, w)\nb = Add(a, eps)\ny = Div(a, b)",
        {"w": np.eye(2)[:, :, None, None], "eps": 1e-12},
        IMAGE,
    )
    assert low_operators(given) == ["Conv"]
    zero = np.zeros((1, 2, 4, 4))
    assert np.isfinite(run(halved(given, emulate=True)[0], x=zero)).all()
    assert np.isfinite(run(halved(given)[0], x=zero)).all()


def test_a_constant_that_would_overflow_stays(tmp_path):
    given = source(
        tmp_path, "a = Conv(x, w)\nb = Add(a, big)\ny = Conv(b, w)", {"w": weight(2, 2, 1, 1), "big": 1e5}, IMAGE
    )
    assert low_operators(given) == ["Conv", "Conv"]


@pytest.mark.parametrize(
    "node",
    [
        "b = Softmax<axis=1>(a)",
        "b = Exp(a)",
        "b = Pow(a, two)",
        "b = Reciprocal(a)",
        "b = ReduceMean<keepdims=1>(a)",
        "b = ReduceL2<keepdims=1>(a)",
        "b = GlobalAveragePool(a)",
        "b = InstanceNormalization(a, one, one)",
        "b = LayerNormalization<axis=-1>(a, four)",
        "b = Sin(a)",
        "b = Floor(a)",
    ],
)
def test_delicate_operators_stay(tmp_path, node):
    weights = {"w": weight(2, 2, 1, 1), "two": 2.0, "one": np.ones(2), "four": np.ones(4)}
    given = source(tmp_path, f"a = Conv(x, w)\n{node}\ny = Mul(a, b)", weights, IMAGE)
    assert node.split()[2].partition("(")[0].partition("<")[0] not in low_operators(given)
    halved(given)


def test_phases_and_places_stay(tmp_path):
    nodes = "a = Mul(x, thousand)\nb = Add(a, one)\nc = Sin(b)\ny = Conv(c, w)"
    given = source(tmp_path, nodes, {"thousand": 1000.0, "one": 1.0, "w": weight(2, 2, 1, 1)}, IMAGE)
    assert low_operators(given) == ["Conv"]
    nodes = "g0 = Mul(g, one)\na = Conv(x, w)\nb = GridSample(a, g0)\ny = Conv(b, w)"
    given = source(tmp_path, nodes, {"one": 1.0, "w": weight(2, 2, 1, 1)}, {**IMAGE, "g": ("n", 4, 4, 2)})
    assert low_operators(given) == ["Conv", "GridSample", "Conv"]
    model = halved(given)[0]
    (sample,) = [node for node in model.graph if node.op_type == "GridSample"]
    assert [value.dtype for value in sample.inputs] == [FP16, ir.DataType.FLOAT]


def test_scales_of_a_resize_stay(tmp_path):
    nodes = "a = Conv(x, w)\nb = Resize(a, , s)\ny = Conv(b, w)"
    given = source(tmp_path, nodes, {"w": weight(2, 2, 1, 1), "s": np.float32([1, 1, 2, 2])}, IMAGE)
    assert low_operators(given) == ["Conv", "Resize", "Conv"]
    model = halved(given)[0]
    (resize,) = [node for node in model.graph if node.op_type == "Resize"]
    assert [v.dtype for v in (resize.inputs[0], resize.inputs[2])] == [FP16, ir.DataType.FLOAT]


def test_what_an_operator_set_does_not_know_stays(tmp_path):
    nodes = "a = Conv(x, w)\ny = Relu(a)"
    old = source(tmp_path, nodes, {"w": weight(2, 2, 1, 1)}, IMAGE)
    assert "Conv" not in low_operators(old, "bf16")  # 18 has no such convolution
    new = source(tmp_path, nodes, {"w": weight(2, 2, 1, 1)}, IMAGE, bf16=True)
    assert low_operators(new, "bf16") == ["Conv", "Relu"]
    transposed = source(tmp_path, "y = ConvTranspose(x, w)", {"w": weight(2, 2, 1, 1)}, IMAGE, bf16=True)
    assert low_operators(transposed, "bf16") == []  # which TensorRT-RTX refuses


def test_islands_and_tensors_are_obeyed(tmp_path):
    nodes = "a = Conv(x, w)\nb = Relu(a)\nc = Conv(b, w)\ny = Conv(c, w)"
    given = source(tmp_path, nodes, {"w": weight(2, 2, 1, 1)}, IMAGE)
    names = [node.name for node in given.fresh().graph]
    assert low_operators(given, islands=[names[2]]).count("Conv") == 2
    # A tensor that a half cannot hold: neither who gives it nor who reads it is reduced.
    assert low_operators(given, tensors=["c"]) == ["Conv", "Relu"]


def test_what_lies_between_two_islands_is_not_cast(tmp_path):
    nodes = "a = Exp(x)\nb = Reshape(a, s)\nc = Neg(b)\nd = Exp(c)\ny = MatMul(d, w)"
    given = source(tmp_path, nodes, {"s": [-1, 8, 4], "w": weight(4, 4)}, IMAGE)
    assert low_operators(given) == ["MatMul"]
    assert halved(given)[1] == 2


def test_a_tensor_is_cast_once_for_all_who_read_it(tmp_path):
    nodes = "a = Conv(x, w)\nb = Exp(a)\nc = Log(a)\nd = Softmax(a)\ne = Add(b, c)\nf = Add(e, d)\ny = Conv(f, w)"
    given = source(tmp_path, nodes, {"w": weight(2, 2, 1, 1)}, IMAGE)
    assert low_operators(given) == ["Conv", "Conv"]
    assert halved(given)[1] == 4  # in, up for three readers, down, out


def test_subgraphs_read_float32(tmp_path):
    nodes = """a = Conv(x, w)
    m = ReduceMax<keepdims=0>(a)
    c = Greater(m, zero)
    b = If(c) <then_branch = t () => (r) { r = Relu(a) }, else_branch = e () => (r) { r = Neg(a) }>
    y = Conv(b, w)"""
    given = source(
        tmp_path, "\n".join(line.strip() for line in nodes.splitlines()), {"w": weight(2, 2, 1, 1), "zero": 0.0}, IMAGE
    )
    assert "If" not in low_operators(given)
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 4))
    for model in (halved(given)[0], halved(given, emulate=True)[0]):
        np.testing.assert_allclose(run(model, x=x), run(given.fresh(), x=x), rtol=0, atol=0.01)


def test_wanted_nodes_go_down_whatever_it_costs(tmp_path):
    nodes = "a = Exp(x)\nb = Neg(a)\nc = Exp(b)\ny = MatMul(c, w)"
    given = source(tmp_path, nodes, {"w": weight(4, 4)}, IMAGE)
    model = given.fresh()
    names = [node.name for node in model.graph]
    assert place(model, FP16).keys() == {names[3]}
    assert place(model, FP16, wanted=names).keys() == {names[1], names[3]}
