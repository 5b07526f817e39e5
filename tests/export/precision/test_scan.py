# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from fakes import make_spec
from precision_support import source
from stf_export.precision.scan import BINS, HEADROOM, Range, histograms, scan, unfit
from stf_infer.accuracy import Tiles
from stf_infer.errors import ExportError
from stf_infer.spec import ModelSpec

SPEC = make_spec(8, halo=0)
FEED = {i.tensor: (len(i.bands), *SPEC.tensor_shape(i)[1:]) for i in SPEC.inputs}
OUT = SPEC.output.tensor


def tiles(spec: ModelSpec = SPEC, count: int = 3) -> Tiles:
    """Constant tiles: that of number k holds k + 1 in every input."""
    inputs = {
        i.role: np.stack([np.full(spec.tensor_shape(i), k + 1, np.float32) for k in range(count)]) for i in spec.inputs
    }
    return Tiles(inputs, "procedural", (), tuple((0, 0) for _ in range(count)))


def given(tmp_path, nodes: str, weights=None):
    first = next(iter(FEED))
    inputs = {name: ("batch", *shape) for name, shape in FEED.items()}
    return source(tmp_path, nodes.replace("IN", first).replace("OUT", OUT), weights, inputs, outputs=(OUT,)), first


def test_ranges_are_those_of_all_tiles(tmp_path, monkeypatch):
    graph, first = given(tmp_path, "a = Mul(IN, k)\nOUT = Add(a, k)", {"k": -2.0})
    found = scan(graph, SPEC, tiles())
    assert found[first] == Range(1, 3, pytest.approx(np.sqrt(14 / 3)))
    assert found["a"] == Range(-6, -2, pytest.approx(2 * np.sqrt(14 / 3)))
    assert found["a"].largest == 6
    assert found[OUT].low == -8
    assert "k" not in found


def test_what_a_half_cannot_hold(tmp_path):
    graph, _ = given(
        tmp_path,
        "a = Mul(IN, big)\nb = Mul(IN, small)\nc = Add(a, b)\nOUT = Mul(c, small)",
        {"big": 1e5, "small": 1e-7},
    )
    found = scan(graph, SPEC, tiles())
    assert unfit(found, ir.DataType.FLOAT16).keys() == {"a", "b", "c"}
    assert "3e+05" in unfit(found, ir.DataType.FLOAT16)["a"]
    assert unfit(found, ir.DataType.BFLOAT16) == {}


def test_there_is_room_for_scenes_that_are_brighter(tmp_path):
    edge = 65504 / HEADROOM
    assert not unfit({"a": Range(-edge, 0, 1.0)}, ir.DataType.FLOAT16)
    assert unfit({"a": Range(-edge * 1.01, 0, 1.0)}, ir.DataType.FLOAT16)
    assert not unfit({"a": Range(0, 0, 0)}, ir.DataType.FLOAT16)
    assert not unfit({"a": Range(0, 1e-4, 2e-5)}, ir.DataType.FLOAT16)
    assert unfit({"a": Range(0, 1e-4, 2e-6)}, ir.DataType.FLOAT16)


def test_a_network_that_is_not_finite_is_refused(tmp_path):
    graph, _ = given(tmp_path, "a = Sub(IN, IN)\nOUT = Div(IN, a)")
    with pytest.raises(ExportError, match="not finite in fp32"):
        scan(graph, SPEC, tiles())


def test_histograms_count_absolute_values(tmp_path, monkeypatch):
    graph, first = given(tmp_path, "a = Neg(IN)\nOUT = Mul(a, k)", {"k": 2.0})
    ranges = scan(graph, SPEC, tiles())
    one = int(np.prod(FEED[first]))
    for room in (2**28, 1):  # all at once, and one after the other
        monkeypatch.setattr("stf_export.precision.scan._GROUP", room)
        found = histograms(graph, SPEC, tiles(), ranges, ["a", first, OUT])
        for name in ("a", first, OUT):
            assert found[name].sum() == 3 * one
            assert found[name][-1] == one  # the largest
            assert found[name][BINS // 3] + found[name][BINS // 3 - 1] == one
