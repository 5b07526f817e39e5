# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from stf_infer.datasets.phenology import CURVES, cover


@pytest.mark.parametrize("crop", CURVES)
def test_shares_stay_shares(crop):
    delay, vigour = np.meshgrid([-15, 0, 15], [0.6, 1.0, 1.1])
    for day in range(1, 366, 7):
        ground = cover(crop, day, delay, vigour)
        parts = np.stack([ground.green, ground.dry, ground.flower])
        assert parts.shape == (3, 3, 3)
        assert parts.min() >= 0
        assert parts.sum(0).max() <= 1 + 1e-6


def test_winter_crops_ripen_while_summer_crops_grow():
    wheat = [float(cover("wheat", day).green) for day in (140, 200)]
    maize = [float(cover("maize", day).green) for day in (140, 200)]
    assert wheat[0] > 0.8 > 0.2 > wheat[1]
    assert maize[0] < 0.2 < 0.8 < maize[1]


def test_ripe_grain_stands_dry_and_leaves_stubble():
    assert float(cover("wheat", 190).dry) > 2 * float(cover("wheat", 215).dry) > 0.2


def test_a_late_parcel_is_what_an_early_one_was():
    late, early = cover("maize", 170, delay=10.0), cover("maize", 160)
    np.testing.assert_allclose(late.green, early.green, rtol=1e-5)


def test_rapeseed_blooms_and_wheat_does_not():
    assert float(cover("rapeseed", 122).flower) > 0.3
    assert float(cover("rapeseed", 170).flower) < 0.02
    assert float(cover("wheat", 122).flower) == 0


def test_a_cut_meadow_loses_leaves():
    days = np.arange(120, 280)
    green = np.array([float(cover("alfalfa", day).green) for day in days])
    assert np.diff(green).min() < -0.4


@pytest.mark.parametrize("crop", CURVES)
def test_no_two_crops_have_the_same_year(crop):
    year = np.array([float(cover(crop, day).green) for day in range(90, 300, 10)])
    for other in CURVES:
        if other != crop:
            assert np.abs(year - [float(cover(other, d).green) for d in range(90, 300, 10)]).max() > 0.05
