# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from stf_export.networks.scene_scalars import densestf_level, stfmlp_alpha, stfnet_temporal_weight
from stf_infer.scene_scalars import SWITCH, Means, switched_weight


def constant(*levels: float) -> np.ndarray:
    return np.ones((len(levels), 3, 5), np.float32) * np.array(levels, np.float32)[:, None, None]


def test_stfnet_weighs_inversely_to_the_absolute_change():
    weight = stfnet_temporal_weight(constant(0, 0), constant(0.1, 0.05), constant(0.0, 0.2))
    # Changes 0.1 and 0.1; 0.05 and 0.15.
    np.testing.assert_allclose(weight, [0.5, 0.75], atol=1e-5)
    assert weight.dtype == np.float64


def test_stfnet_switches_band_by_band():
    weight = stfnet_temporal_weight(constant(0, 0, 0), constant(0.1, 0.5, 0.1), constant(0.5, 0.4, 0.2))
    # Changes 0.1 and 0.4; 0.5 and 0.1; 0.1 and 0.1.
    np.testing.assert_allclose(weight, [1, 0, 0.5], atol=1e-5)


def test_stfnet_counts_gains_and_losses_and_stfmlp_lets_them_cancel():
    before = constant(0.5)
    middle = before.copy()
    middle[0, 0] += 0.3
    middle[0, 2] -= 0.3
    after = middle + 0.1
    # Mean absolute changes 0.2 and 0.1, mean changes 0 and 0.1.
    np.testing.assert_allclose(stfnet_temporal_weight(before, middle, after), [1 / 3], atol=1e-5)
    np.testing.assert_allclose(stfmlp_alpha(before, middle, after), [1], atol=1e-5)


def test_stfmlp_has_one_number_for_all_bands():
    alpha = stfmlp_alpha(constant(0, 0), constant(0.1, 0.3), constant(0.05, 0.25))
    # Changes over both bands: 0.2 and 0.05.
    np.testing.assert_allclose(alpha, [0.05 / 0.25], atol=1e-6)
    assert alpha.shape == (1,)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((0.0, 0.0), 0.5),
        ((0.0, 0.1), 1.0),
        ((0.1, 0.0), 0.0),
        ((0.3, 0.51), 1.0),
        ((0.51, 0.3), 0.0),
        ((0.3, 0.5 - 1e-9), 0.5 / 0.8),
        ((0.5 - 1e-9, 0.3), 0.3 / 0.8),
    ],
)
def test_switched_weight(changes: tuple[float, float], expected: float):
    got = switched_weight(np.array([changes[0]]), np.array([changes[1]]))
    np.testing.assert_allclose(got, [expected], atol=1e-8)


def test_switched_weight_is_the_reciprocal_formula():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 50)) * 0.2
    expected = (1 / (a + 1e-6)) / (1 / (a + 1e-6) + 1 / (b + 1e-6))
    np.testing.assert_allclose(switched_weight(a, b, eps=1e-6), expected, rtol=1e-12)


def test_only_valid_pixels_count():
    rng = np.random.default_rng(0)
    one, two, three = rng.random((3, 2, 4, 6)).astype(np.float32)
    valid = rng.random((4, 6)) < 0.6
    spoilt = [image.copy() for image in (one, two, three)]
    for image in spoilt:
        image[:, ~valid] = np.nan
    kept = [image[:, valid][:, None] for image in (one, two, three)]
    for rule in (stfnet_temporal_weight, stfmlp_alpha, densestf_level):
        np.testing.assert_array_equal(rule(*spoilt, valid=valid), rule(*kept))


def test_means_of_blocks_are_the_means_of_the_scene():
    rng = np.random.default_rng(1)
    images, valid = rng.random((3, 2, 8, 4)), rng.random((8, 4)) < 0.7
    whole, blocks = Means.of(images, valid), Means(3)
    for rows in (slice(0, 3), slice(3, 4), slice(4, 8)):
        blocks.add(images[:, :, rows], valid[rows])
    np.testing.assert_allclose(blocks.band(2), images[2][:, valid].mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(blocks.change(0), (images[1] - images[0])[:, valid].mean(axis=1), rtol=1e-10)
    for number in range(2):
        np.testing.assert_allclose(blocks.absolute_change(number), whole.absolute_change(number), rtol=1e-12)
    assert (Means.of(images, np.zeros((8, 4))).band(0) == 0).all()


def test_densestf_takes_the_mean_of_any_number_of_dates():
    np.testing.assert_allclose(densestf_level(constant(0.1, 0.2), constant(0.3, 0.6)), [0.2, 0.4], atol=1e-7)
    np.testing.assert_allclose(densestf_level(constant(0.1), constant(0.2), constant(0.6)), [0.3], atol=1e-7)
    np.testing.assert_allclose(densestf_level(constant(0.7)), [0.7], atol=1e-7)


def test_needs_no_torch():
    code = "import sys, stf_export.networks.scene_scalars; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert SWITCH == 0.2
