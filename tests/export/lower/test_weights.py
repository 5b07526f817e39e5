# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from lower_support import graph, proven, simplified

RNG = np.random.default_rng(0)
IMAGE = {"w": RNG.normal(size=(4, 4, 3, 3)), "b": RNG.normal(size=4)}
TABLE = {"w": RNG.normal(size=(8, 12)), "b": RNG.normal(size=12)}
STATISTICS = {
    "g": RNG.normal(size=4),
    "t": RNG.normal(size=4),
    "m": RNG.normal(size=4),
    "v": RNG.random(4) + 0.1,
}


@pytest.mark.parametrize("bias", ["", ", b"])
@pytest.mark.parametrize(("layer", "group"), [("Conv", 1), ("Conv", 2), ("ConvTranspose", 1)])
def test_normalisation_is_part_of_a_convolution(layer, group, bias):
    weights = {**IMAGE, **STATISTICS, "w": IMAGE["w"][:, : 4 // group]}
    nodes = f"h = {layer}<group={group}>(x, w{bias})\ny = BatchNormalization<epsilon=0.01>(h, g, t, m, v)"
    assert proven(graph(nodes, weights), exact=False) == {layer: 1}


def test_a_layer_that_runs_twice_is_changed_once():
    nodes = """
        h = Conv<pads=[1, 1, 1, 1]>(x, w, b)
        i = BatchNormalization(h, g, t, m, v)
        j = Relu(i)
        k = Conv<pads=[1, 1, 1, 1]>(j, w, b)
        y = BatchNormalization(k, g, t, m, v)
    """
    model = graph(nodes, {**IMAGE, **STATISTICS})
    assert proven(model, exact=False) == {"Conv": 2, "Relu": 1}
    assert len(simplified(model)[0].graph.initializer) == 2


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ("h = Relu(x)\ny = BatchNormalization(h, g, t, m, v)", ("y",)),
        ("z = Conv(x, w, b)\ny = BatchNormalization(z, g, t, m, v)", ("y", "z")),
    ],
)
def test_normalisation_of_something_else_stays(nodes, outputs):
    counts = proven(graph(nodes, {**IMAGE, **STATISTICS}, outputs=outputs))
    assert counts["BatchNormalization"] == 1


LAYERS = {
    "Conv": ("h = Conv(x, w, b)", IMAGE, None),
    "Conv without bias": ("h = Conv(x, w)", IMAGE, None),
    "ConvTranspose": ("h = ConvTranspose(x, w, b)", IMAGE, None),
    "MatMul": ("h = MatMul(x, w)", TABLE, {"x": ("n", 5, 8)}),
    "Linear": ("m = MatMul(x, w)\nh = Add(m, b)", TABLE, {"x": ("n", 5, 8)}),
    "Linear, bias first": ("m = MatMul(x, w)\nh = Add(b, m)", TABLE, {"x": ("n", 5, 8)}),
    "Gemm": ("h = Gemm(x, w, b)", TABLE, {"x": ("n", 8)}),
    "Gemm, turned": ("h = Gemm<transB=1>(x, w, b)", {**TABLE, "w": TABLE["w"].T}, {"x": ("n", 8)}),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_factor_is_part_of_a_layer(layer):
    nodes, weights, inputs = LAYERS[layer]
    assert proven(graph(f"{nodes}\ny = Mul(h, c)", {**weights, "c": 0.3}, inputs), exact=False)["Mul"] == 0


def test_a_power_of_two_changes_no_bit():
    nodes, weights, inputs = LAYERS["Linear"]
    assert proven(graph(f"{nodes}\ny = Mul(c, h)", {**weights, "c": 0.25}, inputs))["Mul"] == 0


def test_a_factor_goes_through_views_and_a_product_to_the_query():
    nodes = """
        m = MatMul(x, w)
        n = Add(m, b)
        o = Reshape(n, s)
        q = Transpose<perm=[0, 2, 1, 3]>(o)
        i = MatMul(x, v)
        j = Reshape(i, s)
        k = Transpose<perm=[0, 2, 3, 1]>(j)
        p = MatMul(q, k)
        y = Mul(p, c)
    """
    weights = {**TABLE, "v": RNG.normal(size=(8, 12)), "s": [-1, 5, 3, 4], "c": 0.7}
    counts = proven(graph(nodes, weights, {"x": ("n", 5, 8)}), exact=False)
    assert counts == {"MatMul": 3, "Add": 1, "Reshape": 2, "Transpose": 2}


def test_a_factor_of_one_part_of_a_split_scales_its_channels():
    nodes = """
        m = MatMul(x, w)
        h = Add(m, b)
        p, q, r = Split<axis=-1, num_outputs=3>(h)
        i = Mul(q, c)
        j = Add(p, i)
        y = Add(j, r)
    """
    counts = proven(graph(nodes, {**TABLE, "c": 0.7}, {"x": ("n", 5, 8)}), exact=False)
    assert counts == {"MatMul": 1, "Add": 3, "Split": 1}
    nodes = "h = Conv(x, w, b)\np, q = Split<axis=1, num_outputs=2>(h)\ni = Mul(q, c)\ny = Add(p, i)"
    assert proven(graph(nodes, {**IMAGE, "c": 0.7}), exact=False) == {"Conv": 1, "Split": 1, "Add": 1}


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ("h = Conv(x, w, b)\ni = Relu(h)\ny = Mul(i, c)", ("y",)),  # something lies between
        ("z = Conv(x, w, b)\ny = Mul(z, c)", ("y", "z")),  # read by others
        ("h = Conv(x, w, b)\np, q = Split<axis=2, num_outputs=2>(h)\ni = Mul(q, c)\ny = Add(p, i)", ("y",)),  # rows
        ("h = Conv(x, w, b)\ni = Conv(x, w)\nj = Mul(h, c)\ny = Add(i, j)", ("y",)),  # weights of another layer, too
    ],
)
def test_a_factor_of_something_else_stays(nodes, outputs):
    assert proven(graph(nodes, {**IMAGE, "c": 0.3}, outputs=outputs))["Mul"] == 1
