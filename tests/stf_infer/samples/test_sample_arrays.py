# SPDX-License-Identifier: Apache-2.0
"""Bare arrays, and arrays whose axes are named by the caller: shapes, samples, missing values, scaling."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import pytest

from sample_support import AHEAD, STEPS, forecast, histories, make_spec, model_of
from stf_infer import SampleArray
from stf_infer.errors import DimError, EngineError, SampleError, ScaleError, UsageError
from stf_infer.samples.run import regions
from stf_infer.samples.spec import SampleInput, SampleOutput, SampleSpec, SampleValues, dims
from support import REPOSITORY


@pytest.mark.parametrize("samples", [(), (5,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("batch", [1, 2, 64])
def test_any_leading_axes_are_samples(samples, batch):
    history = histories(*samples)
    with model_of(make_spec()) as model:
        result = model.fuse(history=history, bias=np.zeros(samples), tile_batch=batch)
        assert max(model.engine.batch_sizes) <= batch
    np.testing.assert_array_equal(result.array, history[..., -AHEAD:, :])
    assert result.array.dtype == np.float32
    assert result.data is None
    assert result.samples == np.prod(samples)
    assert list(result.dims.values()) == list(samples)


@pytest.mark.parametrize(
    ("history", "bias"), [((4,), ()), ((), (4,)), ((4,), (1,)), ((1,), (4,)), ((3, 1), (4,)), ((3, 4), (4,))]
)
def test_samples_broadcast_as_numpy_s_do(history, bias):
    history, bias = histories(*history), np.arange(np.prod(bias)).reshape(bias) * 100.0
    expected = history[..., -AHEAD:, :] + bias[..., None, None]
    result = model_of(make_spec()).fuse(history=history, bias=bias)
    np.testing.assert_array_equal(result.array, expected)


def test_zero_samples_are_no_error():
    result = model_of(make_spec()).fuse(history=histories(0), bias=1.0)
    assert result.array.shape == (0, AHEAD, 2)
    assert (result.samples, result.skipped, result.not_finite) == (0, 0, 0)


def test_many_samples_pass_through_in_regions(monkeypatch):
    monkeypatch.setattr("stf_infer.samples.run._HELD", 80)  # a sample is 11 numbers
    history, done = histories(5, 9), []
    with model_of(make_spec()) as model:
        result = model.fuse(history=history, bias=np.arange(9), tile_batch=4, progress=lambda *a: done.append(a))
        assert max(model.engine.batch_sizes) == 4
    np.testing.assert_array_equal(result.array, history[..., -AHEAD:, :] + np.arange(9)[:, None, None])
    assert done[-1] == (45, 45)
    assert len(done) == 10
    assert result.as_dict()["samples"] == 45


@pytest.mark.parametrize(
    ("sizes", "most"), [((3, 4, 5), 1), ((3, 4, 5), 7), ((3, 4, 5), 20), ((3, 4, 5), 60), ((), 3), ((10,), 3)]
)
def test_regions_cover_every_sample_once_and_in_order(sizes, most):
    numbers = np.arange(np.prod(sizes, dtype=int)).reshape(sizes)
    parts = [numbers[region].ravel() for region in regions(sizes, most)]
    np.testing.assert_array_equal(np.concatenate(parts), numbers.ravel())
    assert max(len(part) for part in parts) <= most


# Missing values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_a_sample_with_a_missing_value_is_not_run(missing, caplog):
    history = histories(5)
    history[2, 0, 1] = missing  # a step that the forecast does not even depend on
    bias = np.array([0, 0, 0, 0, np.nan])
    with model_of(make_spec()) as model:
        result = model.fuse(history=history, bias=bias)
        assert model.engine.batch_sizes == [3]
    valid = [0, 1, 3]
    np.testing.assert_array_equal(result.array[valid], history[valid, -AHEAD:])
    assert np.isnan(result.array[[2, 4]]).all()
    assert (result.samples, result.skipped) == (5, 2)
    assert "2 of 5 samples have a missing value" in caplog.text


def test_one_sample_that_is_missing_is_nan():
    with model_of(make_spec()) as model:
        result = model.fuse(history=np.full((STEPS, 2), np.nan), bias=0)
        assert model.engine.batch_sizes == []
    assert np.isnan(result.array).all()
    assert result.skipped == 1


def test_masked_and_nodata_values_are_missing():
    history = histories(3)
    masked = np.ma.masked_equal(history.astype(np.int16), 7)
    result = model_of(make_spec()).fuse(history=masked, bias=0)
    assert np.isnan(result.array[:, 0, 0]).tolist() == [False, True, False]
    result = model_of(make_spec()).fuse(history=SampleArray(history, nodata=0), bias=0)
    assert np.isnan(result.array[:, 0, 0]).tolist() == [True, False, False]


def test_values_of_the_network_that_are_not_finite_are_counted(caplog):
    def broken(past, bias):
        out = forecast(past, bias)
        out[0, 0, 0], out[0, 1, 1] = np.inf, np.nan
        return out

    spec = make_spec(output=SampleValues(maximum=1e9))  # a limit must not hide the infinity
    result = model_of(spec, broken).fuse(history=histories(3), bias=0)
    assert result.not_finite == 2
    assert np.isnan(result.array[0]).tolist() == [[True, False], [False, True]]
    assert np.isfinite(result.array[1:]).all()
    assert "2 of 12 values are not finite" in caplog.text


def test_a_network_that_gives_nothing_finite_is_an_error():
    with pytest.raises(EngineError, match="no finite value"):
        model_of(make_spec(), lambda past, bias: forecast(past, bias) * np.nan).fuse(history=histories(3), bias=0)


# Values -------------------------------------------------------------------------------------------------------


def test_values_are_scaled_in_and_out():
    values = SampleValues(unit="mm", along="station", scale=(2.0, 4.0), offset=(1.0, 0.0), minimum=1.0)
    seen = {}

    def keep(past, bias):
        seen["past"] = past
        return forecast(past, bias)

    history = histories(1)
    result = model_of(make_spec(values=values, output=values), keep).fuse(history=history, bias=0)
    clipped = np.maximum(history, 1)
    np.testing.assert_allclose(seen["past"], clipped * [2, 4] + [1, 0])
    np.testing.assert_allclose(result.array, clipped[:, -AHEAD:])


def test_a_stated_scale_makes_stored_numbers_physical():
    spec = make_spec(values=SampleValues(unit="mm"))
    stored = histories(2).astype(np.int16)
    array = SampleArray(stored, scale=0.1, offset=5, nodata=0)
    result = model_of(spec).fuse(history=array, bias=0)
    assert np.isnan(result.array[0]).all()
    np.testing.assert_allclose(result.array[1], stored[1, -AHEAD:] * 0.1 + 5, rtol=1e-6)


def test_integers_without_a_scale_are_not_guessed():
    stored = histories(2).astype(np.int16)
    with pytest.raises(ScaleError, match=r"holds integers and no scale.*--scale history=X"):
        model_of(make_spec(values=SampleValues(unit="mm"))).fuse(history=stored, bias=0)
    for unit in ("", "1"):  # nothing to be converted to
        model_of(make_spec(values=SampleValues(unit=unit))).fuse(history=stored, bias=0)


def test_numbers_that_cannot_be_of_the_unit_are_refused():
    spec = make_spec(values=SampleValues(unit="kelvin"))
    with pytest.raises(ScaleError, match=r"does not hold kelvin: 100% .*median"):
        model_of(spec).fuse(history=histories(2), bias=0)
    model_of(spec).fuse(history=histories(2) + 280, bias=0)
    model_of(spec).fuse(history=SampleArray(histories(2), scale=1), bias=0)


@pytest.mark.parametrize("scale", [0.0, np.nan, np.inf])
def test_a_scale_must_be_a_number(scale):
    with pytest.raises(ScaleError, match="cannot be used"):
        model_of(make_spec()).fuse(history=SampleArray(histories(2), scale=scale), bias=0)


CALENDAR = SampleSpec(
    network="calendar",
    inputs=(
        SampleInput(
            role="calendar",
            tensor="calendar",
            dims=dims(step=2, part=("slot", "day")),
            dtype="int64",
            values=SampleValues(along="part", minimum=0, maximum=(287, 6)),
        ),
    ),
    output=SampleOutput(tensor="sum"),
)


def add_up(calendar):
    assert calendar.dtype == np.int64
    return calendar.sum(axis=(1, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float32, np.float64])
def test_whole_numbers_keep_their_type(dtype):
    calendar = np.array([[[200, 6], [201, 0]], [[0, 0], [1, 1]]], dtype)
    assert model_of(CALENDAR, add_up).fuse(calendar=calendar).array.tolist() == [407.0, 2.0]


def test_a_missing_whole_number_makes_the_sample_nan():
    calendar = np.array([[[200, 6], [np.nan, 0]], [[0, 0], [1, 1]]])
    np.testing.assert_array_equal(model_of(CALENDAR, add_up).fuse(calendar=calendar).array, [np.nan, 2])


@pytest.mark.parametrize(
    ("value", "place", "says"),
    [
        (288, (1, 0, 0), "288 at step 0, part 0"),
        (7, (0, 1, 1), "7 at step 1, part 1"),
        (-1, (0, 0, 0), "-1 at"),
        (0.5, (0, 0, 0), "0.5"),
    ],
)
def test_whole_numbers_that_the_network_does_not_know(value, place, says):
    calendar = np.zeros((2, 2, 2))
    calendar[place] = value
    with pytest.raises(SampleError, match=says):
        model_of(CALENDAR, add_up).fuse(calendar=calendar)


# Names --------------------------------------------------------------------------------------------------------


def test_a_bare_array_may_get_names():
    history = np.moveaxis(histories(4, 5), (0, 2), (3, 0))  # time, run, station, ensemble
    assert history.shape == (STEPS, 5, 2, 4)
    array = SampleArray(history, dims=("time", "run", "station", "ensemble"))
    result = model_of(make_spec()).fuse(history=array, bias=SampleArray(np.arange(4), dims=("ensemble",)))
    assert result.dims == {"run": 5, "ensemble": 4}
    expected = histories(4, 5)[..., -AHEAD:, :] + np.arange(4)[:, None, None, None]
    np.testing.assert_array_equal(result.array, expected.swapaxes(0, 1))


def test_an_axis_of_length_one_may_be_left_out_where_axes_have_names():
    spec = SampleSpec(
        network="n",
        inputs=(SampleInput(role="a", tensor="a", dims=dims(time=2, channel=1)),),
        output=SampleOutput(tensor="o", dims=dims(channel=1)),
    )
    model = model_of(spec, lambda a: a.sum(axis=1))
    assert model.fuse(a=SampleArray(np.ones((5, 2)), dims=("run", "time"))).array.shape == (5, 1)
    with pytest.raises(DimError, match="does not end with"):
        model.fuse(a=np.ones((5, 2)))


@pytest.mark.parametrize(
    ("inputs", "error", "says"),
    [
        ({"history": histories(2)}, UsageError, r"takes other inputs.*Give bias=\.\.\. \(--input bias=FILE\)"),
        ({"history": histories(2), "bias": 0, "x": 1}, UsageError, "Leave x out"),
        ({"history": histories(2), "bias": None}, UsageError, "Give bias"),
        (
            {"history": np.zeros((2, 4, 2)), "bias": 0},
            DimError,
            r"Allowed: \(\.\.\., 3, 2\): time \(3\), station \(2\)",
        ),
        ({"history": np.zeros(2), "bias": 0}, DimError, r"does not end with.*shape \(2,\)"),
        ({"history": histories(2), "bias": np.zeros(3)}, DimError, "do not broadcast.*3 where another has 2|2 where"),
        ({"history": np.array([["a", "b"]]), "bias": 0}, SampleError, "holds no numbers"),
        ({"history": np.zeros((3, 2), complex), "bias": 0}, SampleError, "holds no numbers"),
        (
            {"history": SampleArray(histories(2), dims=("run", "time")), "bias": 0},
            DimError,
            r"a name for each of its axes.*Allowed: 3 names",
        ),
        (
            {"history": SampleArray(histories(2), dims=("run", "run", "time")), "bias": 0},
            DimError,
            "none twice",
        ),
        (
            {"history": SampleArray(histories(2), dims=("run", "hour", "station")), "bias": 0},
            DimError,
            r"history has no dim time.*hour \(3\).*rename\(hour='time'\).*--dims history=NAMES",
        ),
        (
            {"history": SampleArray(np.zeros((9, 2)), dims=("time", "station")), "bias": 0},
            DimError,
            r"another length along time.*: 9\. Allowed: 3.*slice\(-3, None\).*rolling",
        ),
        (
            {"history": histories(), "bias": SampleArray(np.zeros(2), dims=("station",))},
            DimError,
            r"station is a dim of the network, but not of bias",
        ),
        (
            {"history": histories(), "bias": SampleArray(np.zeros(2), dims=("ahead",))},
            DimError,
            r"ahead is a dim of the network",
        ),
        (
            {
                "history": SampleArray(histories(2), dims=("run", "time", "station")),
                "bias": SampleArray(np.zeros(3), dims=("run",)),
            },
            DimError,
            r"different numbers of samples along run.*2 and 3 \(bias",
        ),
        (
            {"history": SampleArray(histories(2), dims=("run", "time", "station")), "bias": np.zeros(2)},
            DimError,
            "nobody can tell how they belong together",
        ),
        ({"history": histories(2), "bias": 0, "tile_batch": 0}, UsageError, "tile batch"),
    ],
)
def test_what_does_not_fit_is_refused(inputs, error, says):
    model = model_of(make_spec())
    with pytest.raises(error, match=says):
        model.fuse(**inputs)
    assert model.engine.batch_sizes == []


def test_an_estimate_runs_nothing():
    model = model_of(make_spec())
    estimate = model.estimate(history=histories(5, 30), bias=0, tile_batch=64)
    assert model.engine.batch_sizes == []
    assert (estimate.samples, estimate.calls) == (150, 3)
    assert estimate.shape == (5, 30, AHEAD, 2)
    assert estimate.as_dict()["output_bytes"] == 150 * 4 * 4


def test_provenance_says_what_made_the_result():
    made = model_of(make_spec()).fuse(history=histories(2), bias=0).provenance
    assert made["bundle"] == made["network"] == "persistence"
    assert made["engine"] == "function"
    assert made["inputs"] == "history=array; bias=array"


def test_arrays_need_neither_xarray_nor_rasterio_nor_torch():
    code = f"""
import sys; sys.path.insert(0, {str(REPOSITORY / "tests")!r})
from sample_support import *
model_of(make_spec()).fuse(history=histories(3), bias=0)
print(*sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert loaded & {"xarray", "torch", "onnx", "stf_export", "h5netcdf", "pandas"} == set()


def test_progress_is_told_after_each_region(caplog):
    caplog.set_level(logging.WARNING)
    seen = []
    model_of(make_spec()).fuse(history=histories(3), bias=0, progress=lambda *a: seen.append(a))
    assert seen == [(3, 3)]
    assert caplog.text == ""
