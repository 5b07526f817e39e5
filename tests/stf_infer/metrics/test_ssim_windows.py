# SPDX-License-Identifier: Apache-2.0
"""SSIM and UQI against a direct evaluation of their formulas, window by window."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_oracle import all_inside, box_smooth, gaussian_smooth
from stf_infer.errors import MetricError
from stf_infer.metrics import evaluate, ssim_map
from stf_infer.metrics.ssim import DEFAULT_SIZE, UQI_SIZE, WINDOWS, Window, ssim, uqi
from stf_infer.metrics.stream import Stream, Sums

pytestmark = pytest.mark.filterwarnings("error")


def weights_of(name: str, size: int) -> np.ndarray:
    if name == "uniform":
        return np.full((size, size), 1 / size**2)
    k = np.arange(size) - size // 2
    w = np.exp(-(k[:, None] ** 2 + k[None, :] ** 2) / (2 * 1.5**2))
    return w / w.sum()


def statistics(p, t, w):
    """Every window: means, variances and covariance by their definitions."""
    size = len(w)
    for y in range(p.shape[0] - size + 1):
        for x in range(p.shape[1] - size + 1):
            a, b = p[y : y + size, x : x + size], t[y : y + size, x : x + size]
            ma, mb = (w * a).sum(), (w * b).sum()
            yield ma, mb, (w * (a - ma) ** 2).sum(), (w * (b - mb) ** 2).sum(), (w * (a - ma) * (b - mb)).sum()


def direct_ssim(p, t, w, span):
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    return np.array(
        [
            (2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
            for ma, mb, va, vb, vab in statistics(p, t, w)
        ]
    ).reshape(p.shape[0] - len(w) + 1, -1)


def pair(seed=0, shape=(2, 17, 23)):
    rng = np.random.default_rng(seed)
    truth = rng.random(shape)
    return np.clip(truth + 0.2 * rng.standard_normal(shape), 0, 1), truth


def run(windowed, p, t, usable=None, cuts=()):
    usable = np.ones(p.shape[1:], bool) if usable is None else usable
    edges = sorted({0, p.shape[1], *cuts})
    stream = Stream(len(p), Sums(windowed=[windowed]))
    for start, stop in pairwise(edges):
        stream.update(p[:, start:stop], t[:, start:stop], usable[start:stop])
    return windowed


@pytest.mark.parametrize("size", [3, 4, 5, 7, 8, 11, 12, 13])
def test_box_smoothing_is_the_mean_of_every_window(size):
    field = np.random.default_rng(size).random((15, 14))
    expected = np.lib.stride_tricks.sliding_window_view(field, (size, size)).mean(axis=(2, 3))
    np.testing.assert_allclose(box_smooth(size)(field), expected, rtol=1e-13)


@pytest.mark.parametrize("size", [3, 7, 11])
def test_gaussian_smoothing_is_the_weighted_mean_of_every_window(size):
    field = np.random.default_rng(size).random((15, 14))
    view = np.lib.stride_tricks.sliding_window_view(field, (size, size))
    np.testing.assert_allclose(
        gaussian_smooth(size, 1.5)(field), (view * weights_of("gaussian", size)).sum(axis=(2, 3)), rtol=1e-13
    )


def test_a_window_is_inside_only_without_an_excluded_pixel():
    usable = np.ones((6, 8), bool)
    usable[1, 2] = False
    expected = np.lib.stride_tricks.sliding_window_view(usable, (3, 3)).all(axis=(2, 3))
    np.testing.assert_array_equal(all_inside(usable, 3), expected)
    assert np.count_nonzero(~expected) == 6


@pytest.mark.parametrize("span", [1.0, 0.3, 255.0])
@pytest.mark.parametrize("name", WINDOWS)
def test_ssim_is_its_formula(name, span):
    p, t = pair()
    window = Window.of(name)
    found = run(ssim(2, window, span), p * span, t * span)
    expected = [
        direct_ssim(a * span, b * span, weights_of(name, window.size), span).mean() for a, b in zip(p, t, strict=True)
    ]
    assert window.size == DEFAULT_SIZE[name]
    assert found.windows == (17 - window.size + 1) * (23 - window.size + 1)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-12)


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_that_touch_an_excluded_pixel_are_not_averaged(name):
    p, t = pair(3)
    usable = np.ones((17, 23), bool)
    usable[8, 5] = usable[0, 22] = False
    spoiled = p.copy()
    spoiled[:, ~usable] = [[np.nan, -3.4e38], [np.inf, 7.0]]
    window = Window.of(name, 5)
    inside = np.lib.stride_tricks.sliding_window_view(usable, (5, 5)).all(axis=(2, 3))
    expected = [direct_ssim(a, b, weights_of(name, 5), 1.0)[inside].mean() for a, b in zip(p, t, strict=True)]
    found = run(ssim(2, window, 1.0), spoiled, t, usable)
    assert found.windows == np.count_nonzero(inside)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-12)


def test_without_a_whole_window_the_index_is_undefined():
    p, t = pair(1, (1, 12, 12))
    usable = np.ones((12, 12), bool)
    usable[::3, ::3] = False
    assert np.isnan(run(ssim(1, Window.of("gaussian"), 1.0), p, t, usable).mean).all()
    assert np.isnan(run(uqi(1), p, t, np.zeros((12, 12), bool)).mean).all()


@given(cuts=st.lists(st.integers(1, 39), max_size=12), spoil=st.booleans())
@settings(max_examples=30, deadline=None)
def test_blocks_of_rows_do_not_change_the_mean(cuts, spoil):
    p, t = pair(5, (2, 40, 15))
    usable = np.ones((40, 15), bool)
    if spoil:
        usable[:9, 4] = usable[30, 2] = False
    for make in (lambda: ssim(2, Window.of("gaussian"), 1.0), lambda: uqi(2)):
        whole, parts = run(make(), p, t, usable), run(make(), p, t, usable, cuts)
        assert parts.windows == whole.windows
        np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-10)


def test_identical_images_have_exactly_one():
    _, t = pair(6)
    assert run(ssim(2, Window.of("gaussian"), 1.0), t, t).mean.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(run(uqi(2), t, t).mean, 1, rtol=1e-14)


def test_uqi_is_its_formula():
    p, t = pair(7)
    w = weights_of("uniform", UQI_SIZE)
    expected = [
        np.mean([4 * vab * ma * mb / ((va + vb) * (ma**2 + mb**2)) for ma, mb, va, vb, vab in statistics(a, b, w)])
        for a, b in zip(p, t, strict=True)
    ]
    np.testing.assert_allclose(run(uqi(2), p, t).mean, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("p", "t", "expected"),
    [(0.1, 0.3, 2 * 0.03 / 0.1), (0.1, 0.1, 1.0), (0.0, 0.0, 1.0), (0.0, 0.3, 0.0), (-0.1, 0.1, -1.0)],
)
def test_uqi_of_flat_windows_compares_the_means(p, t, expected):
    found = run(uqi(1), np.full((1, 9, 9), p), np.full((1, 9, 9), t))
    np.testing.assert_allclose(found.mean, expected, rtol=1e-12)


def test_uqi_knows_a_flat_window_far_from_the_first_pixel():
    t = np.full((1, 8, 16), 0.1)
    t[0, :, 8:] = 1 / 3
    p = t.copy()
    p[0, :, 8:] = 2 / 3
    # Flat windows hold no structure that rounding could turn into a score: only means count in the last one.
    last = np.s_[:, :, 8:]
    found = uqi(1)
    run(found, p, t)
    alone = run(uqi(1), p[last], t[last])
    np.testing.assert_allclose(alone.mean, 2 * (2 / 9) / (1 / 9 + 4 / 9), rtol=1e-12)
    assert 0 < found.mean[0] < 1


def test_a_large_mean_does_not_drown_the_variance():
    rng = np.random.default_rng(8)
    t = rng.standard_normal((1, 30, 30))
    p = t + 0.3 * rng.standard_normal((1, 30, 30))
    window = Window.of("gaussian")
    far = run(ssim(1, window, 10.0), p + 1e6, t + 1e6).mean
    expected = direct_ssim(p[0] + 1e6, t[0] + 1e6, weights_of("gaussian", 11), 10.0).mean()
    np.testing.assert_allclose(far, expected, rtol=1e-9)


@pytest.mark.parametrize("size", [0, 1, 2, 4, 10, -3, 7.0, "7", True])
def test_a_window_without_a_centre_is_refused(size):
    with pytest.raises(MetricError, match="odd number"):
        Window.of("gaussian", size)


def test_an_unknown_window_is_refused():
    with pytest.raises(MetricError, match=r"Got: 'hann'\. Allowed: gaussian, uniform"):
        Window.of("hann")


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int64"])
def test_the_map_shows_every_window(name, dtype):
    p, t = ((1000 * x).astype(dtype) for x in pair(9, (2, 70, 41)))
    mask = np.ones((70, 41), bool)
    mask[30, 7] = mask[0, 40] = False
    window = Window.of(name)
    found = ssim_map(p, t, mask, data_range=1000, window=name)
    inside = np.lib.stride_tricks.sliding_window_view(mask, (window.size,) * 2).all(axis=(2, 3))
    weights = weights_of(name, window.size)
    for band, (a, b) in enumerate(zip(p.astype(float), t.astype(float), strict=True)):
        expected = np.where(inside, direct_ssim(a, b, weights, 1000), np.nan)
        np.testing.assert_allclose(found[band], expected, rtol=1e-6)
    report = evaluate(p, t, mask, data_range=1000, ratio=4, window=name)
    assert np.nanmean(found.astype(float)) == pytest.approx(report.pooled["ssim"], rel=1e-6)


def test_the_map_leaves_out_what_is_not_finite_or_hidden():
    p, t = pair(10, (1, 20, 30))
    t[0, 15, 25] = np.nan
    hidden = np.zeros(p.shape, bool)
    hidden[0, 2, 2] = True
    found = ssim_map(np.ma.MaskedArray(p, hidden), t, data_range=1, window_size=5)
    assert found.shape == (1, 16, 26)
    assert np.isnan(found).sum() == 9 + 5 * 5
    assert np.isnan(found[0, :3, :3]).all()
    assert np.isnan(found[0, 11:16, 21:26]).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"data_range": 0}, "Got: 0"), ({"window_size": 13}, "12 x 40 pixels for a window of 13"), ({"threads": 0}, "0")],
)
def test_maps_that_cannot_be_made_are_refused(changed, message):
    p, t = pair(11, (1, 12, 40))
    with pytest.raises(MetricError, match=message):
        ssim_map(p, t, **{"data_range": 1.0, **changed})
