# SPDX-License-Identifier: Apache-2.0
"""Noise as users draw it: what it refuses, that it is normal, and that nothing in it hangs together.

All samples are drawn from fixed seeds, so no test can fail by chance. Bounds are those of 5 standard errors.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stf_infer import _core
from stf_infer.errors import UsageError
from stf_infer.grid import Window
from stf_infer.noise import TileNoise, noise

SIGMAS = 5
SHAPE = (3, 200, 300)


def assert_independent(a: np.ndarray, b: np.ndarray) -> None:
    """Neither the numbers nor their squares are correlated."""
    for x, y in ((a, b), (a**2, b**2)):
        r = np.corrcoef(x.ravel(), y.ravel())[0, 1]
        assert abs(r) < SIGMAS / np.sqrt(a.size)


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1])
@pytest.mark.parametrize("step", [0, 1, 999])
def test_it_is_standard_normal(seed, step):
    sample = noise(seed, step, 4000, -77, SHAPE).astype(np.float64).ravel()
    n = sample.size
    assert abs(sample.mean()) < SIGMAS / np.sqrt(n)
    assert abs(sample.var() - 1) < SIGMAS * np.sqrt(2 / n)
    assert abs(stats.skew(sample)) < SIGMAS * np.sqrt(6 / n)
    assert abs(stats.kurtosis(sample)) < SIGMAS * np.sqrt(24 / n)
    assert stats.kstest(sample, "norm").pvalue > 1e-4
    beyond = np.count_nonzero(np.abs(sample) > 3)
    expected = n * 2 * stats.norm.sf(3)
    assert abs(beyond - expected) < SIGMAS * np.sqrt(expected)


@pytest.mark.parametrize("other", [{"seed": 12}, {"seed": 11 + 2**32}, {"step": 4}, {"y": 200}, {"x": -300}])
def test_seeds_draws_and_neighbouring_tiles_are_independent(other):
    base = {"seed": 11, "step": 3, "y": 0, "x": 0}
    assert_independent(*(noise(**given, shape=SHAPE).astype(np.float64) for given in (base, {**base, **other})))


def test_bands_are_independent():
    sample = noise(11, 0, 0, 0, (6, 200, 300)).astype(np.float64)
    for one in range(6):
        for other in range(one):
            assert_independent(sample[one], sample[other])


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (0, 256), (16, 0)])
def test_neighbouring_pixels_are_independent(shift):
    sample = noise(11, 0, 0, 0, (1, 400, 600)).astype(np.float64)[0]
    assert_independent(sample, np.roll(sample, shift, (0, 1)))


def test_the_spectrum_is_flat():
    """Periods and stripes would stand out of the periodogram, whose values over their mean are exponential."""
    sample = noise(5, 0, 0, 0, (1, 256, 256)).astype(np.float64)[0]
    power = np.abs(np.fft.rfft2(sample - sample.mean()))[:, 1:128] ** 2
    power /= power.mean()
    assert power.max() < np.log(power.size) + 10
    for axis in (0, 1):
        mean = power.mean(axis=axis)
        assert np.abs(mean - 1).max() < SIGMAS / np.sqrt(power.shape[axis])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1),
    y=st.integers(-100, 100),
    x=st.integers(-100, 100),
    inner=st.tuples(st.integers(0, 19), st.integers(0, 29)),
)
def test_a_window_sees_what_the_whole_does(seed, y, x, inner):
    whole = noise(seed, 1, y, x, (2, 20, 30))
    part = noise(seed, 1, y + inner[0], x + inner[1], (2, 20 - inner[0], 30 - inner[1]))
    assert part.tobytes() == whole[:, inner[0] :, inner[1] :].tobytes()


def test_tiles_of_a_batch_are_drawn_at_their_windows():
    windows = [Window(-4, 12, 0, 16), Window(12, 28, -16, 0)]
    drawn = TileNoise(9, windows).draw(2, 3)
    assert drawn.shape == (2, 3, 16, 16)
    for window, tile in zip(windows, drawn, strict=True):
        np.testing.assert_array_equal(tile, noise(9, 2, window.y0, window.x0, (3, 16, 16)))


def test_numpy_integers_are_seeds_too():
    np.testing.assert_array_equal(noise(np.uint64(5), np.int64(1), 0, 0, (1, 2, 2)), noise(5, 1, 0, 0, (1, 2, 2)))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", None, True])
def test_a_seed_has_64_bits(seed):
    with pytest.raises(UsageError, match=r"The seed cannot be used.*whole number from 0 to 18446744073709551615"):
        noise(seed, 0, 0, 0, (1, 2, 2))


@pytest.mark.parametrize("step", [-1, 2**32, 0.5])
def test_a_draw_has_32_bits(step):
    with pytest.raises(UsageError, match=r"The draw cannot be used.*from 0 to 4294967295"):
        noise(0, step, 0, 0, (1, 2, 2))


@pytest.mark.parametrize("shape", [(2, 2), (1, 0, 2), (1, 2, 2, 2)])
def test_a_shape_has_pixels(shape):
    with pytest.raises(UsageError, match="Noise cannot have this shape"):
        noise(0, 0, 0, 0, shape)


def test_it_is_what_the_core_draws():
    out = np.empty((2, 5, 7), np.float32)
    _core.noise(3, 1, -2, 9, out)
    assert noise(3, 1, -2, 9, (2, 5, 7)).tobytes() == out.tobytes()
