# SPDX-License-Identifier: Apache-2.0
"""The stream: nodata stays where it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import (
    add_coarse_change,
    box_blur,
    make_model,
    make_spec,
)
from pipeline_support import GEO, fuse, inputs
from stf_infer.errors import EngineError, NodataError
from stf_infer.raster import Raster


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), mode=st.sampled_from(["exact", "blend"]), share=st.sampled_from([0.001, 0.05, 0.6]))
def test_the_result_is_nodata_exactly_where_an_input_is(seed, mode, share):
    rng = np.random.default_rng(seed)
    rasters = inputs(61, 83, seed=seed)
    fine, coarse = rasters["fine_t1"].data, rasters["coarse_t2"]
    holes = rng.random(fine.shape) < share
    fine[holes] = np.nan
    cells = rng.random(coarse.shape[1:]) < share
    coarse[0, cells] = np.nan
    expected = holes.any(0) | cells.repeat(4, 0).repeat(4, 1)[:61, :83]
    if expected.all():
        return
    rule = {"halo": 4, "stride": 4} if mode == "exact" else {"mode": "blend", "overlap": 8, "stride": 4}
    result = fuse(box_blur(3), rasters, 24, **rule)
    np.testing.assert_array_equal(np.isnan(result.array), np.broadcast_to(expected, fine.shape))
    assert result.valid_fraction == pytest.approx(1 - expected.mean())


def test_a_hole_does_not_poison_its_neighbours():
    """It is filled from its row before the network, so a blur of a constant stays the constant."""
    rasters = inputs(61, 83)
    fine = np.full((2, 61, 83), 0.25, np.float32)
    fine[:, 10:30, 20:60] = np.nan
    fine[0, 50, 5] = np.nan
    rasters["fine_t1"] = Raster(fine, **GEO)
    result = fuse(box_blur(4), rasters, 24, coarse_grid="fine", halo=4, stride=1)
    np.testing.assert_array_equal(np.isnan(result.array[0]), np.isnan(fine).any(0))
    np.testing.assert_allclose(result.array[~np.isnan(result.array)], 0.25, rtol=1e-6)


def test_the_fill_does_not_depend_on_the_tiles():
    rasters = inputs(61, 83)
    rasters["fine_t1"].data[:, 10:30, 20:60] = np.nan
    given = {"coarse_grid": "fine", "halo": 4, "stride": 1}
    small, large = fuse(box_blur(4), rasters, 16, **given), fuse(box_blur(4), rasters, 60, **given)
    np.testing.assert_allclose(small.array, large.array, atol=1e-6)


@pytest.mark.parametrize("rule", [{}, {"mode": "blend", "overlap": 4}])
def test_tiles_without_a_valid_pixel_are_not_run(rule):
    rasters = inputs(64, 64)
    rasters["fine_t1"].data[:, :, :40] = np.nan
    seen = []

    def look(fine_t1: np.ndarray, **_: Any) -> np.ndarray:
        seen.extend(fine_t1)
        return fine_t1

    result = fuse(look, rasters, 16, **rule)
    per_axis = 4 if not rule else 5
    assert result.tiles == len(seen) == per_axis * 2
    assert result.skipped_tiles == per_axis * per_axis - result.tiles
    np.testing.assert_allclose(result.array, rasters["fine_t1"].data, rtol=1e-6)


@pytest.mark.parametrize("role", ["fine_t1", "coarse_t2"])
def test_nothing_valid_is_an_error_and_the_engine_rests(role):
    rasters = inputs(61, 83)
    array = rasters[role].data if role == "fine_t1" else rasters[role]
    array[:] = np.nan
    model = make_model(make_spec(16), add_coarse_change)
    with pytest.raises(NodataError, match=r"Not one pixel is valid.*fine_t1: an array of 2 x 61 x 83"):
        model.fuse(**rasters)
    assert model.engine.batch_sizes == []


def test_what_the_network_makes_of_nothing_is_nodata(caplog):
    """NaN and infinity out of the network are no values, and the result says how many there were."""

    def odd(fine_t1: np.ndarray, **_: Any) -> np.ndarray:
        out = fine_t1.copy()
        out[:, 0, 3, 4], out[:, 1, 5, 6] = np.nan, np.inf
        return out

    result = fuse(odd, inputs(16, 16), 16)
    assert np.argwhere(np.isnan(result.array)).tolist() == [[0, 3, 4], [1, 5, 6]]
    assert result.not_finite == 2
    assert "2 of 512 values are not finite" in caplog.text


def test_a_network_that_gives_nothing_finite_has_failed():
    with pytest.raises(EngineError, match="no finite value"):
        fuse(lambda fine_t1, **_: fine_t1 * np.nan, inputs(40, 40), 16)
