# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from lower_support import graph, proven

RNG = np.random.default_rng(0)


def enlarged(height, width, mode, options=""):
    """A size of which the first two numbers are read off the input."""
    nodes = f's = Shape<start=0, end=2>(x)\nt = Concat<axis=0>(s, size)\ny = Resize<mode="{mode}"{options}>(x, , , t)'
    return graph(nodes, {"size": [height, width]})


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("options", ["", ', coordinate_transformation_mode="align_corners"'])
def test_a_size_that_is_a_multiple_is_a_factor(mode, options):
    assert proven(enlarged(12, 32, mode, options)) == {"Resize": 1}
    assert proven(enlarged(3, 4, mode, options)) == {"Resize": 1}


def test_a_factor_that_has_no_end_stays_a_size():
    assert proven(enlarged(8, 16, "linear"))["Shape"] == 1  # 8 / 6


@pytest.mark.parametrize("layer", ["LSTM", "GRU"])
@pytest.mark.parametrize("zeros", ["Expand(zero, s)", "ConstantOfShape(s)"])
def test_recurrent_layers_start_from_nothing(layer, zeros):
    gates = {"LSTM": 4, "GRU": 3}[layer]
    states = "i, i" if layer == "LSTM" else "i"
    nodes = f"""
        n = Shape<start=1, end=2>(x)
        s = Concat<axis=0>(one, n, five)
        z = {zeros}
        i = Slice(z, nought, one, nought)
        y, h = {layer}<hidden_size=5>(x, w, r, b, , {states})
    """
    weights = {
        "w": RNG.normal(size=(1, 5 * gates, 3)),
        "r": RNG.normal(size=(1, 5 * gates, 5)),
        "b": RNG.normal(size=(1, 10 * gates)),
        "zero": 0.0,
        "nought": [0],
        "one": [1],
        "five": [5],
    }
    assert proven(graph(nodes, weights, {"x": (7, "n", 3)}, ("y", "h"))) == {layer: 1}


def test_a_state_that_is_no_zero_is_kept():
    nodes = """
        n = Shape<start=1, end=2>(x)
        s = Concat<axis=0>(one, n, five)
        i = Expand(c, s)
        y = GRU<hidden_size=5>(x, w, r, , , i)
    """
    weights = {"w": RNG.normal(size=(1, 15, 3)), "r": RNG.normal(size=(1, 15, 5)), "c": 0.5, "one": [1], "five": [5]}
    counts = proven(graph(nodes, weights, {"x": (7, "n", 3)}))
    assert counts["Expand"] == counts["GRU"] == 1
