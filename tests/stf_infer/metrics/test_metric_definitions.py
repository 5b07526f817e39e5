# SPDX-License-Identifier: Apache-2.0
"""The pixelwise figures against answers known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stf_infer.metrics import Moments
from stf_infer.metrics import definitions as d

pytestmark = pytest.mark.filterwarnings("error")

TRUTH = np.array([[1.0, 2.0, 3.0, 4.0], [10.0, 10.0, 30.0, 30.0]])


def moments(prediction, truth=TRUTH) -> Moments:
    out = Moments(len(truth))
    out.add(np.asarray(prediction, float), np.asarray(truth, float))
    return out


def check(figures, per_band, pooled):
    np.testing.assert_allclose(figures[0], per_band, rtol=1e-14)
    np.testing.assert_allclose(figures[1], pooled, rtol=1e-14)


def test_constant_offset():
    m = moments(TRUTH + np.array([[0.5], [-2.0]]))
    check(d.bias(m), [0.5, -2.0], -0.75)
    check(d.mae(m), [0.5, 2.0], 1.25)
    check(d.mse(m), [0.25, 4.0], 2.125)
    check(d.rmse(m), [0.5, 2.0], math.sqrt(2.125))
    check(d.cc(m), [1.0, 1.0], 1.0)
    # SST: 5 and 400; SSE: 1 and 16.
    check(d.r2(m), [1 - 1 / 5, 1 - 16 / 400], 1 - 17 / 405)
    # Ranges: 3, 20, and 29 of all values.
    check(d.nrmse(m), [0.5 / 3, 0.1], math.sqrt(2.125) / 29)
    check(d.psnr(m, 10), [10 * math.log10(400), 10 * math.log10(25)], 10 * math.log10(100 / 2.125))
    # Means: 2.5 and 20.
    assert d.ergas(m, 16) == pytest.approx(100 / 16 * math.sqrt((0.2**2 + 0.1**2) / 2), rel=1e-14)


def test_ergas_divides_by_the_ratio():
    m = moments(TRUTH + 1)
    assert d.ergas(m, 4) == pytest.approx(4 * d.ergas(m, 16), rel=1e-14)


def test_r2_is_not_the_square_of_cc():
    m = moments(2 * TRUTH)
    check(d.cc(m), [1, 1], 1)
    # SSE = sum t^2: 30 and 2000.
    check(d.r2(m), [1 - 30 / 5, 1 - 2000 / 400], 1 - 2030 / 405)


def test_predicting_the_mean_has_no_r2_and_no_cc():
    m = moments(np.repeat(TRUTH.mean(axis=1, keepdims=True), 4, axis=1))
    check(d.r2(m), [0, 0], 0)
    assert np.isnan(d.cc(m)[0]).all()
    assert math.isnan(d.cc(m)[1])


def test_opposite_prediction_has_cc_minus_one():
    check(d.cc(moments(-TRUTH)), [-1, -1], -1)


def test_perfect_prediction():
    m = moments(TRUTH)
    for figure in (d.mse, d.rmse, d.mae, d.bias, d.nrmse):
        check(figure(m), [0, 0], 0)
    check(d.r2(m), [1, 1], 1)
    check(d.cc(m), [1, 1], 1)
    assert d.ergas(m, 16) == 0
    per_band, pooled = d.psnr(m, 1.0)
    assert per_band.tolist() == [math.inf, math.inf]
    assert pooled == math.inf


def test_constant_truth_is_left_out_where_it_has_no_meaning():
    truth = np.array([[7.0, 7.0, 7.0, 7.0], [1.0, 2.0, 3.0, 4.0]])
    m = moments(truth + np.array([0.0, 1.0, 0.0, 1.0]), truth)
    assert math.isnan(d.cc(m)[0][0])
    assert d.cc(m)[1] == d.cc(m)[0][1]
    assert math.isnan(d.r2(m)[0][0])
    assert d.r2(m)[1] == 1 - 4 / 5  # both SSE, one SST
    assert math.isnan(d.nrmse(m)[0][0])
    assert d.nrmse(m)[1] == pytest.approx(math.sqrt(0.5) / 6)


def test_zero_mean_bands_are_left_out_of_ergas():
    truth = np.array([[-0.1, 0.1, 0.3, -0.3], [1.0, 2.0, 3.0, 4.0]])
    m = moments(truth + 0.5, truth)
    assert d.has_zero_mean(m).tolist() == [True, False]
    assert d.ergas(m, 10) == pytest.approx(100 / 10 * 0.5 / 2.5)
    assert math.isnan(d.ergas(moments(truth[:1] + 0.5, truth[:1]), 10))


def test_zero_mean_is_seen_through_rounding():
    rng = np.random.default_rng(0)
    half = rng.random((1, 5000)) * 300
    truth = np.concatenate([half, -half], axis=1)[:, rng.permutation(10000)]
    assert d.has_zero_mean(moments(truth + 1, truth)).all()
    assert not d.has_zero_mean(moments(truth, truth + 1e-6)).any()
