# SPDX-License-Identifier: Apache-2.0
"""The figures of an engine whose error is known are that error."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import sample_support
from fakes import FunctionEngine, add_coarse_change, make_spec
from stf_infer.accuracy import Accuracy, Budget, Tiles, compare, procedural_tiles
from stf_infer.bundle import item_text
from stf_infer.errors import AssetError, EngineError
from stf_infer.samples.spec import SampleValues
from stf_infer.spec import Values


def flat_tiles(spec, count=3, value=0.5):
    """Tiles of one value, so that the network's output is that value."""
    inputs = {t.role: np.full((count, *t.shape), value, np.float32) for t in spec.tensors if "noise" not in t.role}
    return Tiles(inputs, "real", ("fine_t1=a.tif",), tuple((0, 32 * k) for k in range(count)))


def compared(spec, tiles, change):
    """``change`` gets the right output ``(N, C, H, W)`` and gives that of the reduced engine."""
    right = FunctionEngine(spec, add_coarse_change)
    wrong = FunctionEngine(spec, lambda **given: change(add_coarse_change(**given)))
    return compare(spec, right, wrong, tiles)


def test_a_known_error_is_found_band_by_band():
    spec = make_spec(32)

    def change(right):
        return right * np.array([1.01, 0.98], np.float32)[:, None, None]

    found = compared(spec, flat_tiles(spec), change)
    assert found.bands == ("red", "nir")
    assert found.rmse == pytest.approx((0.01, 0.02), rel=1e-5)
    assert found.max_abs == pytest.approx((0.005, 0.01), rel=1e-5)
    assert found.sam_deg == pytest.approx(math.degrees(math.atan(1.01) - math.atan(0.98)), rel=1e-3)
    assert (found.tiles, found.not_finite, found.source) == (3, 0, "real")
    assert found.worst == ("nir", pytest.approx(0.02, rel=1e-5))


def test_the_mean_is_over_the_pixels_of_all_tiles():
    spec = make_spec(32)

    def change(right):
        out = right.copy()
        out[:, 0, 0, 0] += 0.1  # one pixel of 32 * 32
        return out

    found = compared(spec, flat_tiles(spec), change)
    assert found.rmse == pytest.approx((0.1 / 0.5 / 32, 0.0), rel=1e-5)
    assert found.max_abs == pytest.approx((0.1, 0.0), rel=1e-5)


@pytest.mark.parametrize(
    ("rule", "counts"),
    [({"halo": 4}, False), ({"halo": 4, "mode": "blend", "overlap": 8}, True), ({"halo": 0}, True)],
)
def test_the_halo_of_exact_tiles_does_not_count(rule, counts):
    spec = make_spec(32, **rule)

    def change(right):
        out = right.copy()
        for edge in (np.s_[..., :4, :], np.s_[..., -4:, :], np.s_[..., :4], np.s_[..., -4:]):
            out[edge] += 1
        return out

    assert (max(compared(spec, flat_tiles(spec), change).rmse) > 0) == counts


def test_figures_are_of_physical_values():
    """An offset of network values makes no small error of a large one, nor the other way round."""
    spec = make_spec(32, values=Values(unit="1", scale=0.1, offset=-3, minimum=0))
    found = compared(spec, flat_tiles(spec, value=-2.0), lambda right: right + 0.01)  # physical 10, off by 0.1
    assert found.rmse == pytest.approx((0.01, 0.01), rel=1e-4)
    assert found.max_abs == pytest.approx((0.1, 0.1), rel=1e-4)
    assert found.sam_deg == pytest.approx(0, abs=1e-4)


def test_values_that_are_lost_are_counted_and_over_any_budget():
    spec = make_spec(32)

    def change(right):
        out = right.copy()
        out[0, 0, 0, :3] = np.nan, np.inf, -np.inf
        return out

    found = compared(spec, flat_tiles(spec, 1), change)
    assert (found.not_finite, found.rmse) == (3, (0.0, 0.0))
    assert found.over(Budget(rmse=1.0)) == ("3 values are not finite, and are in fp32",)
    assert found.over(Budget()) == ()


def test_a_network_without_a_finite_value_is_an_error():
    spec = make_spec(32)
    engine = FunctionEngine(spec, lambda **given: add_coarse_change(**given) * np.nan)
    with pytest.raises(EngineError, match=r"has no finite value on the tiles in fp32.*stf-infer check"):
        compare(spec, engine, engine, flat_tiles(spec))


def test_zeros_have_no_size_and_no_direction():
    spec = make_spec(32)
    same = compared(spec, flat_tiles(spec, value=0.0), lambda right: right)
    assert (same.rmse, same.sam_deg) == ((0.0, 0.0), None)
    off = compared(spec, flat_tiles(spec, value=0.0), lambda right: right + 0.001)
    assert off.rmse == (math.inf, math.inf)
    assert len(off.over(Budget(rmse=1.0))) == 2


def test_one_band_has_no_angle():
    spec = make_spec(32, bands=("red",))
    assert compared(spec, flat_tiles(spec), lambda right: 2 * right).sam_deg is None


def test_both_engines_see_the_same_noise():
    """That of the seed 0 at the place of the tile."""
    spec = make_spec(32, draws=(0, 3))
    seen = []

    def network(**given):
        seen.append((given["noise_0"], given["noise_3"]))
        return given["fine_t1"] + 0.1 * given["noise_0"] + 0.1 * given["noise_3"]

    engine = FunctionEngine(spec, network)
    engine.preferred_batch = 2
    found = compare(spec, engine, engine, flat_tiles(spec))
    assert found.rmse == (0.0, 0.0)
    assert [len(one) for one, _ in seen] == [2, 2, 1, 1]
    np.testing.assert_array_equal(seen[0][1], seen[1][1])
    from stf_infer.noise import noise

    np.testing.assert_array_equal(seen[0][0][1], noise(0, 0, 0, 32, (2, 32, 32)))
    np.testing.assert_array_equal(seen[2][1][0], noise(0, 3, 0, 64, (2, 32, 32)))


def test_one_batch_is_held_at_a_time_and_none_is_too_large():
    spec = make_spec(32)
    right, wrong = (FunctionEngine(spec, add_coarse_change) for _ in range(2))
    right.preferred_batch, wrong.preferred_batch, wrong.max_batch = 8, 4, 2
    compare(spec, right, wrong, flat_tiles(spec, 5))
    assert right.batch_sizes == wrong.batch_sizes == [2, 2, 1]


def test_samples_are_told_by_the_dim_that_has_names():
    spec = sample_support.make_spec(output=SampleValues(scale=0.5, offset=1))
    tiles = procedural_tiles(spec, 10)
    right = FunctionEngine(spec, sample_support.forecast)
    wrong = FunctionEngine(
        spec, lambda **given: 1 + (sample_support.forecast(**given) - 1) * np.array([1.01, 1.0], np.float32)
    )
    found = compare(spec, right, wrong, tiles)
    assert found.bands == sample_support.STATIONS
    assert found.rmse == pytest.approx((0.01, 0), abs=1e-6)
    assert (found.sam_deg, found.tiles) == (None, 64)
    assert max(right.batch_sizes) <= 64


def test_samples_without_names_are_told_as_a_whole():
    spec = sample_support.make_spec(stations=2)
    engine = FunctionEngine(spec, sample_support.forecast)
    assert compare(spec, engine, engine, procedural_tiles(spec)).bands == ("forecast",)


def test_tiles_of_another_network_are_refused():
    spec = make_spec(32)
    engine = FunctionEngine(spec, add_coarse_change)
    with pytest.raises(AssetError, match="tiles are not those of fake"):
        compare(spec, engine, engine, flat_tiles(make_spec(64)))


def test_a_budget_names_the_band_what_was_got_and_what_is_allowed():
    found = Accuracy(("red", "nir"), (0.001, 0.0123), (0.1, 0.2), 0.07, 4, 0, "real")
    assert found.over(Budget(0.005, 0.05)) == (
        "nir: rmse 1.23%, allowed 0.5%",
        "spectral angle 0.07 deg, allowed 0.05 deg",
    )
    assert found.over(Budget(rmse=0.0123)) == ()
    assert found.over(Budget()) == ()
    assert Accuracy(("red",), (0.0,), (0.0,), None, 1, 0, "real").over(Budget(sam=0.0)) == ()


def test_it_survives_an_item():
    found = Accuracy(("red", "nir"), (0.001, math.inf), (0.1, 0.2), None, 4, 1, "real")
    assert Accuracy.from_dict(json.loads(item_text(found.as_dict()))) == found
    for wrong in ({}, {**found.as_dict(), "rmse": []}, {**found.as_dict(), "tiles": "many"}):
        with pytest.raises((KeyError, ValueError, TypeError)):
            Accuracy.from_dict(wrong)
