# SPDX-License-Identifier: Apache-2.0
"""A convolution after a doubling is four of the image: the same numbers, and fewer multiplications."""

from __future__ import annotations

import numpy as np
import pytest

from lower_support import graph, proven

RNG = np.random.default_rng(0)
WEIGHTS = {
    "factors": np.array([1.0, 1.0, 2.0, 2.0]),
    "kernel": RNG.normal(size=(5, 4, 3, 3)),
    "bias": RNG.normal(size=5),
}
# Nodes that are nothing, so that there is room for new ones.
ROOM = "\n".join(f"i{n} = Identity({'x' if n == 0 else f'i{n - 1}'})" for n in range(4))
ASYMMETRIC = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'


def doubled(how: str = ASYMMETRIC, conv: str = "pads = [1, 1, 1, 1]", room: str = ROOM, last: str = "i3", **weights):
    nodes = f"""
        {room}
        up = Resize<mode = "nearest", {how}>({last}, , factors)
        y = Conv<{conv}>(up, kernel, bias)
    """
    return graph(nodes, {**WEIGHTS, **weights})


@pytest.mark.parametrize(
    "how",
    [
        ASYMMETRIC,
        'coordinate_transformation_mode = "half_pixel", nearest_mode = "round_prefer_floor"',
        'coordinate_transformation_mode = "half_pixel", nearest_mode = "round_prefer_ceil"',
    ],
)
def test_it_is_written_by_parity(how):
    assert proven(doubled(how), exact=False) == {"Conv": 4, "Concat": 1, "DepthToSpace": 1}


def test_a_layer_that_runs_twice_keeps_its_weights_once():
    nodes = f"""
        {ROOM}
        j0 = Identity(i3)
        j1 = Identity(j0)
        j2 = Identity(j1)
        j3 = Identity(j2)
        up = Resize<mode = "nearest", {ASYMMETRIC}>(j3, , factors)
        a = Conv<pads = [1, 1, 1, 1]>(up, square)
        again = Resize<mode = "nearest", {ASYMMETRIC}>(a, , factors)
        y = Conv<pads = [1, 1, 1, 1]>(again, square)
    """
    model = graph(nodes, {"factors": WEIGHTS["factors"], "square": RNG.normal(size=(4, 4, 3, 3))})
    assert proven(model, exact=False)["Conv"] == 8
    from lower_support import simplified

    written, _ = simplified(model)
    assert len(written.graph.initializer) == 4


def test_the_graph_never_grows():
    assert proven(doubled(room="", last="x")) == {"Resize": 1, "Conv": 1}


@pytest.mark.parametrize(
    "other",
    [
        {"how": 'coordinate_transformation_mode = "asymmetric", nearest_mode = "ceil"'},
        {"how": 'coordinate_transformation_mode = "align_corners", nearest_mode = "floor"'},
        {"conv": "pads = [0, 0, 0, 0]"},
        {"conv": "pads = [1, 1, 1, 1], strides = [2, 2]"},
        {"conv": "pads = [2, 2, 2, 2], dilations = [2, 2]"},
        {"factors": np.array([1.0, 1.0, 2.0, 1.0])},
        {"factors": np.array([1.0, 1.0, 3.0, 3.0])},
        {"kernel": RNG.normal(size=(5, 4, 1, 1))},
        {"kernel": RNG.normal(size=(5, 2, 3, 3)), "conv": "pads = [1, 1, 1, 1], group = 2", "bias": RNG.normal(size=5)},
    ],
)
def test_any_other_is_left_alone(other):
    if "group" in other.get("conv", ""):
        other = {**other, "kernel": RNG.normal(size=(6, 2, 3, 3)), "bias": RNG.normal(size=6)}
    assert proven(doubled(**other)) == {"Resize": 1, "Conv": 1}


def test_an_image_that_is_read_by_others_is_still_doubled():
    nodes = f"""
        {ROOM}
        up = Resize<mode = "nearest", {ASYMMETRIC}>(i3, , factors)
        y = Conv<pads = [1, 1, 1, 1]>(up, kernel, bias)
        z = Relu(up)
    """
    assert proven(graph(nodes, WEIGHTS, outputs=("y", "z"))) == {"Resize": 1, "Conv": 1, "Relu": 1}
