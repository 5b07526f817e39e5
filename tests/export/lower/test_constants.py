# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from lower_support import graph, proven, simplified

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("operator", ["Add", "Mul"])
@pytest.mark.parametrize("swapped", [False, True])
def test_constants_in_a_row_are_one(operator, swapped):
    second = f"{operator}(b, h)" if swapped else f"{operator}(h, b)"
    weights = {"a": RNG.normal(size=(4, 1, 1)), "b": RNG.normal(size=(4, 1, 1))}
    assert proven(graph(f"h = {operator}(x, a)\ny = {second}", weights), exact=False) == {operator: 1}


def test_no_constant_grows():
    """A bias of each head and a mask of each window: their sum would be as large as their product."""
    weights = {"a": RNG.normal(size=(4, 1, 8)), "b": RNG.normal(size=(6, 8))}
    assert proven(graph("h = Add(x, a)\ny = Add(h, b)", weights)) == {"Add": 2}


def test_a_sum_of_two_and_a_difference_are_not_mixed():
    assert proven(graph("h = Add(x, a)\ny = Mul(h, a)", {"a": 1.5})) == {"Add": 1, "Mul": 1}


@pytest.mark.parametrize(
    "turned",
    [
        "Transpose<perm=[1, 0]>(w)",
        "Slice(w, s, e)",
        "Reshape(w, t)",
        "Gather<axis=0>(w, g)",
        "Slice(w, zero, e)",
    ],
)
def test_weights_of_any_size_are_turned_beforehand(turned):
    """Larger than what is worked out whatever the operator is."""
    weights = {
        "w": RNG.normal(size=(300, 300)),
        "s": [0, 0],
        "e": [300, 200],
        "t": [300, 300],
        "zero": [0, 0],
        "g": RNG.permutation(300).tolist(),
    }
    model = graph(f"v = {turned}\ny = MatMul(x, v)", weights, {"x": ("n", 300)})
    assert proven(model, exact=False) == {"MatMul": 1}


def test_weights_that_would_grow_are_left_to_the_engine():
    model = graph(
        "v = Expand(w, s)\ny = Add(x, v)", {"w": RNG.normal(size=(1, 300)), "s": [300, 300]}, {"x": (300, 300)}
    )
    written, nodes = simplified(model)
    assert nodes.after == len(written.graph.node)
    assert written.ByteSize() < 20_000


def test_equal_weights_and_equal_work_are_kept_once():
    same = RNG.normal(size=(4, 4, 1, 1))
    nodes = "a = Conv(x, v)\nb = Conv(x, w)\nc = Relu(a)\nd = Relu(b)\ny = Add(c, d)"
    model = graph(nodes, {"v": same, "w": same.copy()})
    assert proven(model) == {"Conv": 1, "Relu": 1, "Add": 1}
    assert len(simplified(model)[0].graph.initializer) == 1


def test_what_nobody_reads_goes():
    written, nodes = simplified(graph("h = Exp(x)\nunread = Mul(h, w)\ny = Relu(x)", {"w": np.ones((6, 8))}))
    assert [n.op_type for n in written.graph.node] == ["Relu"]
    assert not written.graph.initializer
    assert (nodes.before, nodes.after) == (3, 1)


def test_random_numbers_are_drawn_as_often_as_before():
    written, _ = simplified(graph("a = RandomNormalLike(x)\nb = RandomNormalLike(x)\ny = Sub(a, b)"))
    assert [n.op_type for n in written.graph.node].count("RandomNormalLike") == 2
