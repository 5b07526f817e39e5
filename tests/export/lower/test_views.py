# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from lower_support import graph, proven

ONE = {"x": ("n", 1, 6, 8)}


@pytest.mark.parametrize(
    ("nodes", "weights", "shape"),
    [
        ("y = Reshape(x, s)", {"s": [-1, 4, 6, 8]}, None),
        ("y = Reshape(x, s)", {"s": [0, 0, 0, 0]}, None),
        ("y = Flatten<axis=1>(x)", {}, {"x": ("n", 7)}),
        ("y = Transpose<perm=[0, 1, 2, 3]>(x)", {}, None),
        ("h = Reshape(x, s)\ny = Reshape(h, t)", {"s": [-1, 48], "t": [-1, 4, 6, 8]}, None),
        ("h = Unsqueeze(x, a)\ny = Squeeze(h, a)", {"a": [1]}, None),
        ("h = Squeeze(x, a)\ny = Unsqueeze(h, a)", {"a": [1]}, ONE),
        ("h = Transpose<perm=[0, 2, 1, 3]>(x)\ny = Reshape(h, s)", {"s": [-1, 1, 6, 8]}, ONE),
        ("h = Transpose<perm=[0, 2, 3, 1]>(x)\ny = Transpose<perm=[0, 3, 1, 2]>(h)", {}, None),
    ],
)
def test_views_that_end_where_they_began_are_nothing(nodes, weights, shape):
    model = graph(nodes.replace("y =", "v =") + "\ny = Relu(v)", weights, shape)
    assert proven(model) == {"Relu": 1}


@pytest.mark.parametrize(
    ("nodes", "weights", "shape"),
    [
        ("h = Reshape(x, s)\ny = Reshape(h, t)", {"s": [-1, 24, 8], "t": [-1, 2, 96]}, None),
        ("h = Reshape(x, s)\ny = Unsqueeze(h, a)", {"s": [-1, 24, 8], "a": [1]}, None),
        ("h = Unsqueeze(x, a)\ng = Unsqueeze(h, b)\ny = Flatten<axis=2>(g)", {"a": [1], "b": [2]}, None),
        ("h = Transpose<perm=[0, 2, 1, 3]>(x)\ny = Reshape(h, s)", {"s": [-1, 48]}, ONE),
        ("h = Reshape(x, s)\ny = Transpose<perm=[0, 3, 2, 1]>(h)", {"s": [-1, 192, 1, 1]}, None),
    ],
)
def test_of_views_in_a_row_the_last_is_left(nodes, weights, shape):
    assert proven(graph(nodes, weights, shape)) == {"Reshape": 1}


def test_a_transpose_that_moves_numbers_is_no_view():
    counts = proven(graph("h = Transpose<perm=[0, 2, 1, 3]>(x)\ny = Reshape(h, s)", {"s": [-1, 48]}))
    assert counts == {"Transpose": 1, "Reshape": 1}


def test_a_view_that_others_read_stays():
    nodes = "h = Reshape(x, s)\ny = Relu(h)\nz = Reshape(h, t)"
    counts = proven(graph(nodes, {"s": [-1, 24, 8], "t": [-1, 2, 96]}, outputs=("y", "z")))
    assert counts == {"Reshape": 2, "Relu": 1}


def test_shapes_that_are_worked_out_become_constants():
    nodes = """
        shape = Shape(x)
        n = Gather<axis=0>(shape, zero)
        head = Slice(shape, zero, one)
        rest = Slice(shape, two, end, zero, one)
        area = ReduceProd<keepdims=1>(rest)
        c = Mul(four, six)
        t = Concat<axis=0>(head, c, minus)
        h = Reshape(x, t)
        i = Exp(h)
        y = Reshape(i, shape)
    """
    numbers = {"zero": [0], "one": [1], "two": [2], "end": [4], "four": [4], "six": [6], "minus": [-1]}
    assert proven(graph(nodes, numbers)) == {"Reshape": 2, "Exp": 1}


def test_two_free_axes_are_left_alone():
    nodes = "shape = Shape(x)\nh = Flatten<axis=1>(x)\ny = Reshape(h, shape)"
    model = graph(nodes, None, {"x": ("n", 4, "h", 8)})
    assert proven(model)["Shape"] == 1


@pytest.mark.parametrize("axis", [1, 2, -4])
def test_a_stack_is_one_concatenation(axis):
    parts = "\n".join(f"f{i} = {op}(x)\nu{i} = Unsqueeze(f{i}, a)" for i, op in enumerate(("Relu", "Exp", "Neg")))
    model = graph(f"{parts}\ny = Concat<axis={axis}>(u0, u1, u2)", {"a": [axis]})
    assert proven(model) == {"Relu": 1, "Exp": 1, "Neg": 1, "Concat": 1, "Reshape": 1}


@pytest.mark.parametrize("axis", [0, 4])
def test_a_stack_along_the_batch_or_the_last_axis_stays(axis):
    nodes = f"f = Relu(x)\nu = Unsqueeze(f, a)\nv = Unsqueeze(x, a)\ny = Concat<axis={axis}>(u, v)"
    assert proven(graph(nodes, {"a": [axis]})) == {"Relu": 1, "Unsqueeze": 2, "Concat": 1}


def test_a_stack_folds_into_the_view_behind_it():
    nodes = "f = Relu(x)\nu = Unsqueeze(f, a)\nv = Unsqueeze(x, a)\nh = Concat<axis=1>(u, v)\ny = Reshape(h, s)"
    assert proven(graph(nodes, {"a": [1], "s": [-1, 4, 6, 8]})) == {"Relu": 1, "Concat": 1, "Reshape": 1}


def test_an_input_is_not_an_output():
    """Names of inputs and outputs stay, so that something must stand between them."""
    assert proven(graph("h = Unsqueeze(x, a)\ny = Squeeze(h, a)", {"a": [1]})) == {"Identity": 1}
    nodes = "y = Relu(x)\nh = Unsqueeze(y, a)\nz = Squeeze(h, a)"
    assert proven(graph(nodes, {"a": [1]}, outputs=("y", "z"))) == {"Relu": 1, "Identity": 1}


def test_values_of_inputs_are_never_taken_for_constants():
    model = graph("y = Mul(x, z)", None, {"x": ("n", 4), "z": (1, 4)})
    assert proven(model) == {"Mul": 1}
    np.testing.assert_equal(len(model.graph.initializer), 0)
