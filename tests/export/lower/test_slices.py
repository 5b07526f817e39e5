# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from lower_support import graph, proven

END = 2**63 - 1
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(4, 2, 3, 3))


@pytest.mark.parametrize(
    ("start", "end", "axis", "step"),
    [(0, END, 0, 1), (0, END, 1, 1), (0, 4, 1, 1), (-4, 100, -3, 1), (0, 8, 3, 1)],
)
def test_a_slice_that_keeps_everything_is_nothing(start, end, axis, step):
    model = graph("a = Slice(x, s, e, a0, t)\ny = Relu(a)", {"s": [start], "e": [end], "a0": [axis], "t": [step]})
    assert proven(model) == {"Relu": 1}


@pytest.mark.parametrize(
    ("start", "end", "axis", "step"),
    [(1, END, 1, 1), (0, -1, 2, 1), (0, END, 2, 2), (1, END, 0, 1), (-1, -9, 2, -1), (0, END, 0, 2)],
)
def test_a_slice_that_cuts_stays(start, end, axis, step):
    model = graph("a = Slice(x, s, e, a0, t)\ny = Relu(a)", {"s": [start], "e": [end], "a0": [axis], "t": [step]})
    assert proven(model) == {"Slice": 1, "Relu": 1}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (([1], [6], [2]), ([0], [3], [3])),
        (([1], [6], [2]), ([2], [END], [2])),
        (([0, 2], [5, END], [2, 3]), ([1, -3], [-1, END], [2, 3])),
        (([0], [END], [2], [2]), ([1], [END], [3], [2])),
        (([1], [END], [3], [2]), ([1], [END], [3], [2])),
        (([1], [4]), ([0], [END], [0])),
    ],
)
def test_slices_of_slices_are_one(first, second):
    weights = {f"a{i}": value for i, value in enumerate(first)} | {f"b{i}": value for i, value in enumerate(second)}
    one, two = (", ".join(f"{letter}{i}" for i in range(len(cut))) for letter, cut in (("a", first), ("b", second)))
    shape = {"x": (4, 4, 6, 8)} if len(first) == 2 else None
    assert proven(graph(f"h = Slice(x, {one})\ny = Slice(h, {two})", weights, shape)) == {"Slice": 1}


def test_four_phases_are_four_slices():
    """What a wavelet takes: rows, then columns, two of each; the halves are read by two."""
    nodes = """
        r0 = Slice(x, zero, end, two, two)
        r1 = Slice(x, one, end, two, two)
        a = Slice(r0, zero, end, three, two)
        b = Slice(r0, one, end, three, two)
        c = Slice(r1, zero, end, three, two)
        d = Slice(r1, one, end, three, two)
        e = Add(a, b)
        f = Sub(c, d)
        y = Mul(e, f)
    """
    weights = {"zero": [0], "one": [1], "two": [2], "three": [3], "end": [END]}
    assert proven(graph(nodes, weights)) == {"Slice": 4, "Add": 1, "Sub": 1, "Mul": 1}


def test_a_slice_that_others_read_too_stays():
    nodes = "h = Slice(x, s, e, a0)\ny = Slice(h, s, e, a0)\nz = Relu(h)"
    counts = proven(graph(nodes, {"s": [1], "e": [5], "a0": [2]}, outputs=("y", "z")))
    assert counts == {"Slice": 2, "Relu": 1}


def transposed(cut, *, stride=2, pads=(0, 0, 0, 0), dilation=1, extra=(0, 0), auto=False):
    starts, ends, axes = cut
    attributes = f"strides=[{stride}, {stride}], dilations=[{dilation}, {dilation}], output_padding={list(extra)}, "
    attributes += 'auto_pad="SAME_UPPER"' if auto else f"pads={list(pads)}"
    nodes = f"h = ConvTranspose<{attributes}>(x, w, b)\ny = Slice(h, s, e, a0)"
    weights = {"w": KERNEL, "b": RNG.normal(size=2), "s": starts, "e": ends, "a0": axes}
    return graph(nodes, weights)


@pytest.mark.parametrize(
    ("cut", "options"),
    [
        (([1, 1], [END, END], [2, 3]), {}),
        (([0, 0], [-1, -1], [2, 3]), {}),
        (([1], [-1], [2]), {}),
        (([2, 1], [END, -1], [2, 3]), {}),
        (([1], [END], [2]), {"pads": (1, 0, 0, 1)}),
        (([0], [-1], [3]), {"extra": (1, 1)}),
        (([2, 2], [-3, -4], [2, 3]), {"stride": 1, "dilation": 2}),
    ],
)
def test_what_is_cut_off_a_transposed_convolution_is_padding(cut, options):
    assert proven(transposed(cut, **options)) == {"ConvTranspose": 1}


@pytest.mark.parametrize(
    ("cut", "options"),
    [
        (([3], [END], [2]), {}),  # more than a kernel reaches
        (([2], [END], [2]), {"pads": (1, 1, 1, 1)}),
        (([0], [1], [1]), {}),  # channels
        (([1], [END], [0]), {}),  # samples
        (([1], [END], [2]), {"auto": True}),
    ],
)
def test_what_is_no_padding_stays(cut, options):
    assert proven(transposed(cut, **options)) == {"ConvTranspose": 1, "Slice": 1}


def test_steps_are_no_padding():
    nodes = "h = ConvTranspose<strides=[2, 2]>(x, w)\ny = Slice(h, s, e, a0, t)"
    weights = {"w": KERNEL, "s": [1], "e": [END], "a0": [2], "t": [2]}
    assert proven(graph(nodes, weights))["Slice"] == 1


def test_a_transposed_convolution_that_others_read_keeps_its_size():
    nodes = "h = ConvTranspose<strides=[2, 2]>(x, w)\ny = Slice(h, s, e, a0)\nz = Relu(h)"
    counts = proven(graph(nodes, {"w": KERNEL, "s": [1], "e": [END], "a0": [2]}, outputs=("y", "z")))
    assert counts == {"ConvTranspose": 1, "Slice": 1, "Relu": 1}
