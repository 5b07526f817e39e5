# SPDX-License-Identifier: Apache-2.0
"""Spectral angles that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stf_infer.metrics import SpectralAngles

pytestmark = pytest.mark.filterwarnings("error")


def angles(prediction, truth) -> SpectralAngles:
    out = SpectralAngles()
    out.add(np.asarray(prediction, float), np.asarray(truth, float))
    return out


@pytest.mark.parametrize("degrees", [0.0, 1e-9, 1e-4, 1.0, 30.0, 45.0, 90.0, 120.0, 179.999, 180.0])
def test_known_angle(degrees):
    a = math.radians(degrees)
    sam = angles([[3 * math.cos(a)], [3 * math.sin(a)]], [[0.2], [0.0]])
    assert sam.degrees == pytest.approx(degrees, rel=1e-12, abs=1e-14)
    assert sam.radians == pytest.approx(a, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.37, 1e-9, 1e9])
def test_scaled_spectra_have_no_angle(scale):
    truth = np.random.default_rng(0).random((6, 500)) + 0.01
    assert angles(scale * truth, truth).radians < 1e-15


def test_mean_over_pixels_not_over_bands():
    sam = angles([[1, 1], [0, 1]], [[1, 1], [0, 0]])
    assert sam.degrees == pytest.approx(22.5)
    assert sam.pixels == 2


def test_zero_vectors_are_left_out_and_counted():
    sam = angles([[0, 1, 1, 0], [0, 1, 0, 0]], [[1, 1, 0, 0], [0, 0, 0, 0]])
    assert (sam.pixels, sam.zero_vectors) == (1, 3)
    assert sam.degrees == pytest.approx(45)


def test_nothing_to_average_is_undefined():
    assert math.isnan(SpectralAngles().radians)
    assert math.isnan(angles([[0.0], [0.0]], [[1.0], [1.0]]).degrees)
    assert math.isnan(angles(np.empty((2, 0)), np.empty((2, 0))).degrees)


def test_merging_is_adding():
    rng = np.random.default_rng(1)
    p, t = rng.random((4, 100)), rng.random((4, 100))
    p[:, 3] = 0
    whole, parts = angles(p, t), angles(p[:, :40], t[:, :40]).merge(angles(p[:, 40:], t[:, 40:]))
    assert (parts.pixels, parts.zero_vectors) == (whole.pixels, whole.zero_vectors) == (99, 1)
    assert parts.radians == pytest.approx(whole.radians, rel=1e-13)
