# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from sample_support import make_spec
from stf_infer.samples.spec import Dim, SampleInput, SampleOutput, SampleSpec, SampleValues, dims


def test_a_contract_survives_json():
    spec = make_spec(values=SampleValues(unit="kelvin", along="station", scale=(2.0, 3.0), minimum=0.0))
    text = json.dumps(spec.model_dump(mode="json"))
    assert SampleSpec.model_validate(json.loads(text)) == spec
    assert json.loads(text)["kind"] == "samples"


def test_a_contract_tells_what_a_graph_takes():
    spec = make_spec()
    assert [tuple(t) for t in spec.tensors] == [
        ("history", "past", (3, 2), "float32"),
        ("bias", "bias", (), "float32"),
    ]
    assert (spec.roles, spec.output_shape) == (("history", "bias"), (2, 2))
    assert spec.dim_names == {"time", "station", "ahead"}


def test_dims_by_size_or_by_labels():
    assert dims(time=4, station=["a", "b"]) == (
        Dim(name="time", size=4),
        Dim(name="station", size=2, labels=("a", "b")),
    )


def test_standardised_values():
    values = SampleValues.standardised([10.0, 20.0], [2.0, 4.0], unit="kelvin", along="channel")
    physical = np.array([[12.0, 12.0]])
    arrays = values.arrays(dims(month=1, channel=2))
    np.testing.assert_allclose(physical * arrays["scale"] + arrays["offset"], [[1.0, -2.0]])
    assert SampleValues.standardised(3.0, 2.0) == SampleValues(scale=0.5, offset=-1.5)
    one = SampleValues.standardised([0.0, 6.0], 2.0, along="channel")
    assert (one.scale, one.offset) == ((0.5, 0.5), (0.0, -3.0))


@pytest.mark.parametrize("deviation", [0.0, -1.0, float("nan"), float("inf")])
def test_a_deviation_must_be_one(deviation):
    with pytest.raises(ValueError, match="deviation"):
        SampleValues.standardised(0.0, deviation)


def whole(**values):
    return SampleInput(role="a", tensor="a", dims=dims(step=2, part=2), dtype="int64", values=SampleValues(**values))


def test_whole_numbers_have_limits():
    assert whole(minimum=0, maximum=(287, 6), along="part").values.maximum == (287.0, 6.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dim(name="Time", size=3), "pattern"),
        (lambda: Dim(name="x1", size=3), "pattern"),
        (lambda: Dim(name="time", size=0), "greater than 0"),
        (lambda: Dim(name="batch", size=3), "stacked along"),
        (lambda: Dim(name="time", size=2, labels=("a",)), "needs 2 labels"),
        (lambda: Dim(name="time", size=2, labels=("a", "a")), "each once"),
        (lambda: SampleValues(scale=0.0), "not 0"),
        (lambda: SampleValues(offset=float("inf")), "finite"),
        (lambda: SampleValues(scale=(1.0, 2.0)), "which dim"),
        (lambda: SampleValues(scale=(1.0, 0.0), along="x"), "not 0"),
        (lambda: SampleValues(colour=1), "Extra inputs"),
        (lambda: SampleInput(role="A", tensor="a"), "pattern"),
        (lambda: SampleInput(role="output", tensor="a"), "arguments of these names"),
        (lambda: SampleInput(role="a", tensor="a", dims=(*dims(x=2), *dims(x=2))), "a dim twice"),
        (
            lambda: SampleInput(role="a", tensor="a", dims=dims(x=2), values=SampleValues(along="y", scale=(1, 2))),
            "none of its dims",
        ),
        (
            lambda: SampleInput(role="a", tensor="a", dims=dims(x=3), values=SampleValues(along="x", scale=(1, 2))),
            "need 3 numbers",
        ),
        (lambda: SampleInput(role="a", tensor="a", dtype="float64"), "float32"),
        (lambda: whole(), "say which"),
        (lambda: whole(minimum=0), "say which"),
        (lambda: whole(minimum=0, maximum=3, scale=2), "not scaled"),
        (lambda: SampleSpec(network="n", inputs=(), output=SampleOutput(tensor="o")), "at least 1"),
    ],
)
def test_what_is_no_contract(make, message):
    with pytest.raises(ValidationError, match=message):
        make()


def spec_of(*inputs, output=None):
    return SampleSpec(network="n", inputs=inputs, output=output or SampleOutput(tensor="o"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spec_of(SampleInput(role="a", tensor="x"), SampleInput(role="a", tensor="y")), "role is named twice"),
        (lambda: spec_of(SampleInput(role="a", tensor="x"), SampleInput(role="b", tensor="x")), "tensor is named tw"),
        (lambda: spec_of(SampleInput(role="a", tensor="o")), "have the same tensor"),
        (
            lambda: spec_of(
                SampleInput(role="a", tensor="a", dims=dims(time=3)),
                output=SampleOutput(tensor="o", dims=dims(time=4)),
            ),
            "one axis and has two sizes: 3 and 4",
        ),
    ],
)
def test_what_contradicts_itself(make, message):
    with pytest.raises(ValidationError, match=message):
        make()
