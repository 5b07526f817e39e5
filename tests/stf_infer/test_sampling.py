# SPDX-License-Identifier: Apache-2.0
"""Reflection and interpolation positions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stf_infer.sampling import interpolation, mirrored


@given(length=st.integers(1, 9), reach=st.integers(0, 30))
def test_a_mirror_is_numpys_symmetric_padding(length, reach):
    padded = np.pad(np.arange(length), reach, mode="symmetric")
    np.testing.assert_array_equal(mirrored(np.arange(-reach, length + reach), length), padded)


@given(length=st.integers(1, 30), unit=st.integers(1, 9), reach=st.integers(0, 60))
def test_fine_and_coarse_are_mirrored_at_the_same_line(length, unit, reach):
    """Past the border a fine pixel shows what its coarse pixel shows; next to a cut one, the pixel beside it."""
    at = np.arange(-reach, length + reach)
    fine, coarse = mirrored(at, length, unit), mirrored(at // unit, -(-length // unit))
    assert ((fine >= 0) & (fine < length)).all()
    whole = length % unit == 0
    if whole:
        np.testing.assert_array_equal(fine // unit, coarse)
    else:
        assert (np.abs(fine // unit - coarse) <= 1).all()


@given(
    coarse=st.integers(1, 12),
    ratio=st.integers(1, 9),
    rule=st.sampled_from(["align-corners", "half-pixel"]),
    start=st.integers(0, 40),
    count=st.integers(1, 40),
)
def test_positions_are_usable_and_those_of_the_whole_axis(coarse, ratio, rule, start, count):
    """Also for fine pixels past the end of the coarse axis."""
    first, weight = interpolation(start, start + count, coarse, ratio, rule)
    assert first.dtype == np.int64
    assert weight.dtype == np.float32
    assert ((first >= 0) & (first <= max(coarse - 2, 0))).all()
    assert ((weight >= 0) & (weight <= 1)).all()
    whole_first, whole_weight = interpolation(0, start + count, coarse, ratio, rule)
    np.testing.assert_array_equal(first, whole_first[start:])
    np.testing.assert_array_equal(weight, whole_weight[start:])


def test_align_corners_meets_both_ends_and_half_pixel_the_middle():
    first, weight = interpolation(0, 12, 3, 4, "align-corners")
    assert (first[0] + weight[0], first[-1] + weight[-1]) == (0, 2)
    first, weight = interpolation(0, 12, 3, 4, "half-pixel")
    np.testing.assert_allclose((first + weight)[4:8], 1 + (np.arange(4) - 1.5) / 4)
    assert (first + weight)[:2].tolist() == [0, 0]


@pytest.mark.parametrize("rule", ["align-corners", "half-pixel"])
def test_one_coarse_pixel_serves_everything(rule):
    first, weight = interpolation(0, 16, 1, 16, rule)
    assert not first.any()
    assert not weight.any()
