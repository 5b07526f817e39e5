# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from stf_infer.datasets.sensor import (
    Response,
    atmosphere,
    coarse_hidden,
    coarse_image,
    draw_responses,
    fine_image,
    footprint,
    quantised,
)

PLAIN = Response(np.ones(1, np.float32), np.zeros(1, np.float32), 0.0, (0.0, 0.0))


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize("ratio", [1, 4, 16])
def test_footprint_sums_to_one_and_is_centred(ratio, scan):
    margin = 2 * ratio
    weight = footprint(8 * ratio, ratio, margin, scan=scan)
    assert weight.shape == (4, 8 * ratio)
    np.testing.assert_allclose(weight.sum(1), 1, rtol=1e-6)
    centre = weight @ (np.arange(8 * ratio) + 0.5)
    np.testing.assert_allclose(centre, margin + (np.arange(4) + 0.5) * ratio, rtol=1e-5)


def test_footprint_is_wider_than_its_pixel_along_the_scan():
    weight = footprint(96, 16, 32, scan=True)
    inside = weight[0, 32:48].sum()
    assert 0.74 < inside < 0.76  # a triangle of two pixels keeps three quarters within one
    across = footprint(96, 16, 32, scan=False)[0, 32:48].sum()
    assert inside < across < 0.95


def test_shift_moves_the_centre():
    still, moved = (footprint(96, 16, 32, shift, scan=True) for shift in (0.0, 1.5))
    np.testing.assert_allclose((moved - still) @ np.arange(96), 1.5, atol=1e-3)


def test_coarse_image_of_a_ramp_is_the_ramp():
    ramp = (np.arange(96, dtype=np.float32) / 200)[None, :, None] * np.ones((1, 1, 96), np.float32)
    coarse = coarse_image(np.random.default_rng(0), ramp, 16, 32, PLAIN)
    expected = (32 + np.array([7.5, 23.5])) / 200
    np.testing.assert_allclose(coarse[0], np.repeat(expected[:, None], 2, 1), atol=1e-4)


def test_response_is_applied_by_band():
    surface = np.full((2, 96, 96), 0.2, np.float32)
    response = Response(np.array([1.1, 0.9], np.float32), np.array([0.01, 0.0], np.float32), 0.0, (0.0, 0.0))
    coarse = coarse_image(np.random.default_rng(0), surface, 16, 32, response)
    np.testing.assert_allclose(coarse[0], 0.23, atol=1e-4)
    np.testing.assert_allclose(coarse[1], 0.18, atol=1e-4)


def test_noise_has_the_stated_size():
    surface = np.full((1, 1064, 1064), 0.2, np.float32)
    noisy = Response(PLAIN.gain, PLAIN.offset, 0.002, (0.0, 0.0))
    coarse = coarse_image(np.random.default_rng(0), surface, 16, 4 * 8, noisy)
    assert abs(coarse.std() - 0.002) < 0.0002


def test_sensors_differ_alike_at_both_dates():
    first, second = draw_responses(np.random.default_rng(3), ("red", "nir"), 16)
    assert first.gain.shape == second.offset.shape == (2,)
    assert 0 < np.abs(first.gain - second.gain).max() < 0.04
    assert first.shift != second.shift


def test_fine_image_keeps_the_mean():
    surface = np.random.default_rng(1).random((2, 64, 64), np.float32) * 0.2 + 0.1
    image = fine_image(np.random.default_rng(0), surface)
    np.testing.assert_allclose(image.mean((1, 2)), surface.mean((1, 2)), atol=2e-4)
    assert image.std() < surface.std()


def test_haze_lies_mostly_on_the_blue():
    surface = np.zeros((3, 2, 2), np.float32)
    seen = atmosphere(surface, ("blue", "red", "nir"), 1.0, 0.01)[:, 0, 0]
    assert seen[0] == pytest.approx(0.01)
    assert seen[0] > seen[1] > seen[2] > 0


def test_a_coarse_pixel_is_hidden_by_a_tenth_of_cloud():
    hidden = np.zeros((96, 96), bool)
    hidden[32:48, 32:48] = True
    np.testing.assert_array_equal(coarse_hidden(hidden, 16, 32), [[True, True], [False, False]])


def test_quantised_values_are_whole_steps_above_zero():
    np.testing.assert_allclose(quantised(np.array([-0.1, 0.0, 0.12344])), [1e-4, 1e-4, 0.1234], rtol=1e-6)
