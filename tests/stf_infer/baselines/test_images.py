# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from stf_infer.baselines import add_coarse_change, copy_reference, interpolate_coarse
from stf_infer.errors import UsageError


def test_copy_is_a_copy():
    fine = np.ones((1, 2, 2), np.float32)
    copy = copy_reference(fine)
    copy[:] = 0
    assert fine.all()


@pytest.mark.parametrize("ratio", [1, 2, 16])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (4, 5)])
def test_a_constant_stays_and_the_shape_grows(ratio, size):
    up = interpolate_coarse(np.full((2, *size), 0.3, np.float32), ratio)
    assert up.shape == (2, size[0] * ratio, size[1] * ratio)
    np.testing.assert_allclose(up, 0.3, rtol=1e-6)


def test_a_ramp_keeps_its_ground_position():
    coarse = (16 * np.arange(6) + 7.5).astype(np.float32)[None, None].repeat(3, axis=1)
    up = interpolate_coarse(coarse, 16)[0, 20]
    np.testing.assert_allclose(up[8:88], np.arange(8, 88), rtol=1e-5)  # between the outermost centres
    np.testing.assert_allclose(up[:8], 7.5)  # beyond them the edge is repeated
    np.testing.assert_allclose(up[88:], 87.5)


def test_change_is_added():
    fine = np.random.default_rng(0).random((3, 8, 8), np.float32)
    coarse = np.zeros((3, 2, 2), np.float32)
    np.testing.assert_allclose(add_coarse_change(fine, coarse, coarse + 0.1, 4), fine + 0.1, rtol=1e-6)


def test_nothing_changed_means_a_copy():
    fine = np.random.default_rng(0).random((1, 8, 8), np.float32)
    coarse = np.random.default_rng(1).random((1, 2, 2), np.float32)
    np.testing.assert_array_equal(add_coarse_change(fine, coarse, coarse, 4), fine)


def test_pixels_without_ground_take_no_part():
    fine = np.zeros((1, 64, 16), np.float32)
    coarse_t1 = np.zeros((1, 16, 4), np.float32)
    coarse_t2 = np.full_like(coarse_t1, 0.2)
    valid = np.ones((16, 4), bool)
    coarse_t2[0, 4:12], valid[4:12] = 7.0, False
    added = add_coarse_change(fine, coarse_t1, coarse_t2, 4, valid)
    np.testing.assert_allclose(added[0, :17], 0.2, rtol=1e-5)
    np.testing.assert_array_equal(added[0, 24:40], 0)  # nothing valid is near
    everywhere = add_coarse_change(fine, coarse_t1, coarse_t2, 4, np.ones((16, 4), bool))
    np.testing.assert_allclose(everywhere, add_coarse_change(fine, coarse_t1, coarse_t2, 4), rtol=1e-6)


def test_images_that_do_not_fit():
    with pytest.raises(UsageError, match="do not lie on"):
        add_coarse_change(np.zeros((1, 8, 8)), np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), 3)
