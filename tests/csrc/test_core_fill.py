# SPDX-License-Identifier: Apache-2.0
"""fill_invalid against NumPy: linear inside of a row, repeated at its ends, fallback for empty rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stf_infer import _core

PIXEL_TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]


def fill(rows: object, valid: object, fallback: object, dtype: object = np.float64) -> np.ndarray:
    strip = np.array(rows, dtype)
    _core.fill_invalid(strip, np.array(valid, np.uint8), np.array(fallback, np.float64))
    return strip


def expected_fill(strip: np.ndarray, valid: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """np.interp along every row; integers are rounded half to even."""
    out = strip.copy()
    at = np.arange(strip.shape[2])
    for row in range(strip.shape[1]):
        good = valid[row].astype(bool)
        for channel in range(strip.shape[0]):
            line = np.full(len(at), fallback[channel])
            if good.any():
                line = np.interp(at, at[good], strip[channel, row, good].astype(np.float64))
            if strip.dtype.kind in "ui":
                line = np.rint(line)
            out[channel, row, ~good] = line[~good].astype(strip.dtype)
    return out


@pytest.mark.parametrize(
    ("valid", "filled"),
    [
        ([1, 1, 1, 1, 1], [10, 20, 30, 40, 50]),
        ([1, 0, 0, 0, 1], [10, 20, 30, 40, 50]),
        ([0, 0, 1, 0, 0], [30, 30, 30, 30, 30]),
        ([1, 0, 1, 0, 0], [10, 20, 30, 30, 30]),
        ([0, 1, 0, 1, 1], [20, 20, 30, 40, 50]),
        ([0, 0, 0, 0, 0], [7, 7, 7, 7, 7]),
    ],
)
@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_every_kind_of_gap(valid, filled, dtype):
    row = np.where(valid, [10, 20, 30, 40, 50], 99)
    got = fill([[row]], [valid], [7.0], dtype)
    assert got.dtype == dtype
    assert got[0, 0].tolist() == filled


def test_nan_under_an_invalid_pixel_is_replaced():
    assert fill([[[1.0, np.nan, 3.0]]], [[1, 0, 1]], [0])[0, 0].tolist() == [1, 2, 3]


def test_what_counts_as_valid_is_anything_but_zero():
    assert fill([[[1, 9, 3]]], [[1, 255, 3]], [0])[0, 0].tolist() == [1, 9, 3]


def test_rows_and_channels_do_not_mix():
    strip = [[[1, 0, 3], [5, 0, 0]], [[10, 0, 30], [50, 0, 0]]]
    got = fill(strip, [[1, 0, 1], [0, 0, 0]], [-1, -2])
    assert got.tolist() == [[[1, 2, 3], [-1, -1, -1]], [[10, 20, 30], [-2, -2, -2]]]


def test_integers_are_rounded_to_even():
    assert fill([[[0, 9, 9, 9, 2]]], [[1, 0, 0, 0, 1]], [0], np.int16)[0, 0].tolist() == [0, 0, 1, 2, 2]
    assert fill([[[1, 9]]], [[0, 0]], [2.5], np.uint8)[0, 0].tolist() == [2, 2]


@settings(max_examples=150, deadline=None)
@given(
    dtype=st.sampled_from([np.uint8, np.int16, np.float32, np.float64]),
    valid=arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 25)), elements=st.integers(0, 1)),
    seed=st.integers(0, 2**16),
)
def test_agrees_with_numpy(dtype, valid, seed):
    rng = np.random.default_rng(seed)
    strip = rng.integers(0, 120, (3, *valid.shape)).astype(dtype)
    fallback = rng.uniform(0, 100, 3)
    got = strip.copy()
    _core.fill_invalid(got, valid, fallback)
    np.testing.assert_allclose(got, expected_fill(strip, valid, fallback), rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(valid=arrays(np.uint8, (6, 12), elements=st.integers(0, 1)), cut=st.integers(1, 5))
def test_the_block_that_is_read_does_not_matter(valid, cut):
    strip = np.arange(2 * 6 * 12, dtype=np.int32).reshape(2, 6, 12)
    whole, parts = strip.copy(), [strip[:, :cut].copy(), strip[:, cut:].copy()]
    _core.fill_invalid(whole, valid, np.array([1.0, 2.0]))
    for part, mask in zip(parts, (valid[:cut], valid[cut:]), strict=True):
        _core.fill_invalid(part, mask, np.array([1.0, 2.0]))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize(
    ("strip", "valid", "fallback", "message"),
    [
        ((4, 5), (4, 5), 1, r"strip has shape \(4, 5\); 3 dimensions"),
        ((1, 4, 0), (4, 0), 1, r"strip has shape \(1, 4, 0\); no side may be 0"),
        ((1, 4, 5), (5, 4), 1, r"valid has shape \(5, 4\); the strip has \(1, 4, 5\)"),
        ((1, 4, 5), (1, 4, 5), 1, r"valid has shape \(1, 4, 5\); 2 dimensions"),
        ((2, 4, 5), (4, 5), 1, r"fallback has shape \(1,?\); \(2,\) is wanted"),
    ],
)
def test_shapes_are_named(strip, valid, fallback, message):
    with pytest.raises(ValueError, match=message):
        _core.fill_invalid(np.zeros(strip, np.int16), np.zeros(valid, np.uint8), np.zeros(fallback))


def test_a_read_only_strip_is_refused():
    strip = np.zeros((1, 2, 2), np.uint8)
    strip.flags.writeable = False
    with pytest.raises(ValueError, match="strip is read-only"):
        _core.fill_invalid(strip, np.ones((2, 2), np.uint8), np.zeros(1))


def test_a_mask_of_another_type_is_refused():
    with pytest.raises(TypeError):
        _core.fill_invalid(np.zeros((1, 2, 2), np.uint8), np.ones((2, 2), bool), np.zeros(1))
