# SPDX-License-Identifier: Apache-2.0
"""Network values as stored numbers, by the arithmetic of the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stf_infer.errors import UsageError
from stf_infer.spec import OutputSpec, Values
from stf_infer.storage import Storage

FLOATS, INTEGERS = {"dtype": "float32", "nodata": None}, {"dtype": "int16", "nodata": None}


def output(**given: Any) -> OutputSpec:
    return OutputSpec(tensor="y", bands=("a", "b"), **given)


def stored(spec: OutputSpec, dtype: Any, values: Any, valid: Any = None) -> np.ndarray:
    sums = np.broadcast_to(np.array(values, np.float32), (2, 1, len(values))).copy()
    mask = np.ones((1, len(values)), np.uint8) if valid is None else np.array([valid], np.uint8)
    numbers, _ = Storage.choose(spec, dtype, FLOATS).finalise(sums, mask, spec)
    np.testing.assert_array_equal(numbers[0], numbers[1])
    return numbers[0, 0]


def test_floats_are_physical_values():
    """network = physical * 2 - 1"""
    spec = output(values=Values(scale=2.0, offset=-1.0))
    np.testing.assert_allclose(stored(spec, "float32", [-1, 0, 1, 3]), [0, 0.5, 1, 2])


def test_integers_have_the_scale_and_offset_of_the_contract():
    """physical = stored * 0.01 + 150, in kelvin; the network sees (physical - 300) / 50."""
    spec = output(values=Values(unit="kelvin", scale=0.02, offset=-6.0), storage_scale=0.01, storage_offset=150.0)
    storage = Storage.choose(spec, "int16", INTEGERS)
    assert (storage.scale, storage.offset, storage.unit) == (0.01, 150.0, "kelvin")
    np.testing.assert_array_equal(stored(spec, "int16", [0.0, -1.0, 1.0]), [15_000, 10_000, 20_000])


@pytest.mark.parametrize(("dtype", "low", "high"), [("float32", 0.0, 0.8), ("int16", 0, 8000)])
def test_limits_of_the_unit_are_kept(dtype, low, high):
    spec = output(values=Values(scale=-1.0, minimum=0.0, maximum=0.8))
    np.testing.assert_allclose(stored(spec, dtype, [0.5, -0.8, -5.0]), [low, high, high], rtol=1e-6)


def test_invalid_pixels_are_nodata_and_counted_apart_from_odd_values():
    spec = output()
    storage = Storage.choose(spec, "int16", {"dtype": "int16", "nodata": -5})
    sums = np.array([[[0.1, np.nan, np.inf, np.nan]], [[0.1, 0.2, 0.3, 0.4]]], np.float32)
    numbers, not_finite = storage.finalise(sums, np.array([[1, 1, 1, 0]], np.uint8), spec)
    assert numbers.tolist() == [[[1000, -5, -5, -5]], [[1000, 2000, 3000, -5]]]
    assert not_finite == 2


@pytest.mark.parametrize(
    ("held", "nodata", "chosen"),
    [
        ("int16", -1, -1),
        ("int16", -32768, -32768),
        ("int16", 0, -32768),
        ("int16", -9999.5, -32768),
        ("int32", -40_000, -32768),
        ("int16", float("nan"), -32768),
        ("float32", -9999, -32768),
    ],
)
def test_nodata_of_integers_is_that_of_fine_t1_where_no_measurement_can_be(held, nodata, chosen):
    assert Storage.choose(output(), "int16", {"dtype": held, "nodata": nodata}).nodata == chosen


@pytest.mark.parametrize(
    ("unit", "scale", "offset", "fits"),
    [
        ("reflectance", 1e-4, 0.0, True),
        ("reflectance", 1e-6, 0.0, False),
        ("kelvin", 1e-4, 0.0, False),
        ("kelvin", 0.01, 0.0, True),
        ("1", 1e-9, 0.0, True),
    ],
)
def test_int16_is_offered_where_it_can_hold_the_unit(unit, scale, offset, fits):
    spec = output(values=Values(unit=unit), storage_scale=scale, storage_offset=offset)
    assert Storage.choose(spec, "auto", INTEGERS).dtype == (np.int16 if fits else np.float32)
    assert Storage.choose(spec, "auto", FLOATS).dtype == np.float32
    if not fits:
        with pytest.raises(UsageError, match=f"int16 cannot hold {unit}"):
            Storage.choose(spec, "int16", INTEGERS)
