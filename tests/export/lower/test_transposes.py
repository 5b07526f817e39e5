# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from lower_support import graph, proven

THERE, BACK = "Transpose<perm=[0, 2, 3, 1]>", "Transpose<perm=[0, 3, 1, 2]>"


def test_transposes_in_a_row_are_one():
    assert proven(graph(f"h = {THERE}(x)\ny = {THERE}(h)")) == {"Transpose": 1}


def test_a_transpose_without_an_order_turns_all_axes():
    assert proven(graph("h = Transpose(x)\ni = Transpose(h)\ny = Relu(i)")) == {"Relu": 1}


EACH = ["Relu(h)", "LeakyRelu<alpha=0.2>(h)", "Mul(h, c)", "Sub(c, h)", "Div(h, c)", "Cast<to=11>(h)", "Clip(h, c0, c)"]


@pytest.mark.parametrize("operator", EACH)
def test_pairs_cancel_around_what_looks_at_single_numbers(operator):
    nodes = f"h = {THERE}(x)\ni = {operator}\ny = {BACK}(i)"
    weights = {"c": 1.25, "c0": -0.5}
    if "Cast" in operator:
        nodes = nodes.replace(f"y = {BACK}(i)", f"j = {BACK}(i)\ny = Cast<to=1>(j)")
    counts = proven(graph(nodes, weights))
    assert counts["Transpose"] == 0


def test_a_chain_between_a_pair():
    nodes = f"h = {THERE}(x)\ni = Mul(h, c)\nj = Sigmoid(i)\nk = Add(one, j)\ny = {BACK}(k)"
    assert proven(graph(nodes, {"c": [[1.5]], "one": [1.0]})) == {"Mul": 1, "Sigmoid": 1, "Add": 1}


def test_what_looks_along_an_axis_keeps_its_pair():
    nodes = f"h = {THERE}(x)\ni = Softmax<axis=-1>(h)\ny = {BACK}(i)"
    assert proven(graph(nodes)) == {"Transpose": 2, "Softmax": 1}


def test_constants_with_axes_keep_their_pair():
    nodes = f"h = {THERE}(x)\ni = Mul(h, c)\ny = {BACK}(i)"
    assert proven(graph(nodes, {"c": [1.0, 2.0, 3.0, 4.0]})) == {"Transpose": 2, "Mul": 1}


def test_a_transposed_value_that_others_read_is_kept():
    nodes = f"y = {THERE}(x)\ni = Relu(y)\nz = {BACK}(i)"
    assert proven(graph(nodes, outputs=("y", "z"))) == {"Transpose": 2, "Relu": 1}


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div", "Max"])
def test_two_transposed_values_are_transposed_once(operator):
    nodes = f"a = Exp(x)\nh = {THERE}(x)\ni = {THERE}(a)\ny = {operator}(h, i)"
    assert proven(graph(nodes)) == {"Exp": 1, operator: 1, "Transpose": 1}


def test_two_transposed_values_of_other_sizes_stay():
    inputs = {"x": ("n", 4, 6, 8), "z": ("n", 4, 1, 8)}
    nodes = f"h = {THERE}(x)\ni = {THERE}(z)\ny = Add(h, i)"
    assert proven(graph(nodes, None, inputs)) == {"Transpose": 2, "Add": 1}


def test_a_comparison_keeps_its_type():
    nodes = f"h = {THERE}(x)\ni = Cast<to=9>(h)\nj = Not(i)\nk = {BACK}(j)\ny = Cast<to=1>(k)"
    assert proven(graph(nodes))["Transpose"] == 0
