# SPDX-License-Identifier: Apache-2.0
"""Partial sums: what they hold, and that no way of splitting and merging changes them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stf_infer.errors import MetricError
from stf_infer.metrics import Moments
from stf_infer.metrics import definitions as d

pytestmark = pytest.mark.filterwarnings("error")

FIGURES = (d.mse, d.rmse, d.mae, d.bias, d.nrmse, d.cc, d.r2, lambda m: d.psnr(m, 1.0), lambda m: (0, d.ergas(m, 16)))


def moments_of(prediction, truth, mask=None) -> Moments:
    out = Moments(len(prediction))
    out.update(prediction, truth, mask)
    return out


def figures_of(moments: Moments) -> np.ndarray:
    return np.concatenate([np.append(*figure(moments)) for figure in FIGURES])


def pair(seed: int, shape=(3, 7, 9), mean: float = 0.3):
    rng = np.random.default_rng(seed)
    truth = mean + 0.1 * rng.standard_normal(shape)
    return truth + 0.02 * rng.standard_normal(shape), truth


def test_sums_are_what_their_names_say():
    p, t = pair(0)
    m = moments_of(p, t)
    assert m.count == 63
    assert m.bands == 3
    dp, dt = (x.reshape(3, -1) - x.mean(axis=(1, 2))[:, None] for x in (p, t))
    np.testing.assert_allclose(m.mean_prediction, p.mean(axis=(1, 2)), rtol=1e-14)
    np.testing.assert_allclose(m.mean_truth, t.mean(axis=(1, 2)), rtol=1e-14)
    np.testing.assert_allclose(m.deviation_prediction, (dp**2).sum(1), rtol=1e-13)
    np.testing.assert_allclose(m.deviation_truth, (dt**2).sum(1), rtol=1e-13)
    np.testing.assert_allclose(m.codeviation, (dp * dt).sum(1), rtol=1e-12)
    np.testing.assert_allclose(m.error, (p - t).sum(axis=(1, 2)), rtol=1e-11)
    np.testing.assert_allclose(m.absolute_error, abs(p - t).sum(axis=(1, 2)), rtol=1e-13)
    np.testing.assert_allclose(m.squared_error, ((p - t) ** 2).sum(axis=(1, 2)), rtol=1e-13)
    np.testing.assert_array_equal(m.minimum_truth, t.min(axis=(1, 2)))
    np.testing.assert_array_equal(m.maximum_truth, t.max(axis=(1, 2)))


@given(
    seed=st.integers(0, 2**16),
    cuts=st.lists(st.integers(0, 63), max_size=6),
    order=st.randoms(use_true_random=False),
    mean=st.sampled_from([0.0, 0.3, 300.0, -1e6]),
)
@settings(max_examples=60, deadline=None)
def test_any_splitting_and_merging_order_gives_the_same_figures(seed, cuts, order, mean):
    p, t = (x.reshape(3, -1) for x in pair(seed, mean=mean))
    edges = sorted({0, 63, *cuts})
    parts = []
    for start, stop in pairwise(edges):
        part = Moments(3)
        part.add(p[:, start:stop], t[:, start:stop])
        parts.append(part)
    while len(parts) > 1:
        order.shuffle(parts)
        parts.append(parts.pop().merge(parts.pop()))
    whole = Moments(3)
    whole.add(p, t)
    assert parts[0].count == whole.count
    np.testing.assert_allclose(figures_of(parts[0]), figures_of(whole), rtol=1e-10, atol=1e-10)


@given(seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_the_order_of_pixels_does_not_matter(seed):
    p, t = (x.reshape(3, -1) for x in pair(seed))
    order = np.random.default_rng(seed).permutation(p.shape[1])
    straight, shuffled = Moments(3), Moments(3)
    straight.add(p, t)
    shuffled.add(p[:, order], t[:, order])
    np.testing.assert_allclose(figures_of(shuffled), figures_of(straight), rtol=1e-10, atol=1e-12)


def test_a_large_mean_costs_no_digits():
    rng = np.random.default_rng(4)
    small_t = rng.standard_normal((1, 40, 40))
    small_p = small_t + 0.1 * rng.standard_normal((1, 40, 40))
    near, far = moments_of(small_p, small_t), Moments(1)
    for rows in range(0, 40, 5):
        far.update(small_p[:, rows : rows + 5] + 1e8, small_t[:, rows : rows + 5] + 1e8)
    # 1e8 + x itself keeps 8 digits of x; a plain sum of squares would keep none.
    np.testing.assert_allclose(d.cc(far)[0], d.cc(near)[0], rtol=1e-6)
    np.testing.assert_allclose(d.r2(far)[0], d.r2(near)[0], rtol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 295.37, -2.2e-7])
def test_a_constant_band_deviates_by_exactly_zero_however_it_is_split(value):
    m = Moments(1)
    for count in (1, 3, 1000, 7, 65536):
        m.add(np.full((1, count), value), np.full((1, count), value))
    assert m.deviation_truth[0] == 0
    assert m.deviation_prediction[0] == 0
    assert m.mean_truth[0] == value


def test_update_leaves_out_what_is_masked_or_not_finite():
    p, t = pair(1, (2, 4, 5))
    mask = np.ones((4, 5), bool)
    mask[0] = False
    p[0, 1, 0], t[1, 2, 2] = np.nan, np.inf
    use = mask.copy()
    use[1, 0] = use[2, 2] = False
    m, chosen = moments_of(p, t, mask), Moments(2)
    chosen.add(p[:, use], t[:, use])
    assert m.count == 13
    np.testing.assert_array_equal(figures_of(m), figures_of(chosen))


def test_merging_nothing_changes_nothing():
    m = moments_of(*pair(2))
    before = figures_of(m)
    m.merge(Moments(3))
    m.add(np.empty((3, 0)), np.empty((3, 0)))
    np.testing.assert_array_equal(figures_of(m), before)
    np.testing.assert_allclose(figures_of(Moments(3).merge(m)), before, rtol=1e-12)


def test_other_numbers_of_bands_are_refused():
    with pytest.raises(MetricError, match=r"Got: 2\. Allowed: 3"):
        Moments(3).merge(Moments(2))
    with pytest.raises(MetricError, match=r"Got: 2\. Allowed: 3"):
        Moments(3).update(np.ones((2, 2, 2)), np.ones((2, 2, 2)))
    with pytest.raises(MetricError, match="Got: 0"):
        Moments(0)
