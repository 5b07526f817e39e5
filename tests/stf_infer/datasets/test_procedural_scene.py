# SPDX-License-Identifier: Apache-2.0
from dataclasses import fields

import numpy as np
import pytest

from stf_infer.datasets import (
    DEMO_SEED,
    TEST_SEEDS,
    TRAINING_SEEDS,
    VALIDATION_SEEDS,
    Change,
    LandCover,
    procedural_scene,
)
from stf_infer.datasets.spectra import BANDS
from stf_infer.errors import BandError, UsageError

IMAGES = ("fine_t1", "fine_t2", "coarse_t1", "coarse_t2")


@pytest.fixture(scope="module")
def scene():
    return procedural_scene(5, 256, 320)


def test_shapes_types_and_values(scene):
    assert scene.fine_t1.shape == scene.fine_t2.shape == (4, 256, 320)
    assert scene.coarse_t1.shape == scene.coarse_t2.shape == (4, 16, 20)
    for name in IMAGES:
        image = getattr(scene, name)
        assert image.dtype == np.float32
        assert 0 < image.min() < 0.1
        assert 0.3 < image.max() < 0.8
        steps = image.astype(np.float64) * 1e4
        assert np.abs(steps - np.rint(steps)).max() < 1e-3
    assert scene.land_cover.shape == scene.change.shape == (256, 320)
    assert set(np.unique(scene.land_cover)) <= set(LandCover)


def test_same_seed_same_scene(scene):
    again = procedural_scene(5, 256, 320)
    for field in fields(scene):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(scene, field.name), err_msg=field.name)


def test_another_seed_is_another_scene(scene):
    other = procedural_scene(6, 256, 320)
    assert (other.land_cover != scene.land_cover).mean() > 0.5
    assert other.days != scene.days


def test_the_land_holds_what_it_should():
    land = [procedural_scene(seed, 256, 256).land_cover for seed in range(4)]
    seen = set(np.unique(np.stack(land)))
    assert {LandCover.WATER, LandCover.TOWN, LandCover.WHEAT, LandCover.MAIZE, LandCover.MEADOW} <= seen
    assert seen & {LandCover.BROADLEAF, LandCover.NEEDLE}


def test_crops_change_by_their_own_curves(scene):
    change = scene.fine_t2 - scene.fine_t1
    calm = scene.change == Change.NONE
    nir = {
        code: change[3][(scene.land_cover == code) & calm].mean()
        for code in np.unique(scene.land_cover)
        if code >= LandCover.WHEAT
    }
    assert max(nir.values()) - min(nir.values()) > 0.1
    water = np.abs(change[3][(scene.land_cover == LandCover.WATER) & calm]).mean()
    assert water < 0.05


def test_one_coarse_pixel_holds_changes_that_differ(scene):
    nir = (scene.fine_t2 - scene.fine_t1)[3].reshape(16, 16, 20, 16)
    assert np.median(nir.std(axis=(1, 3))) > 0.05


def test_coarse_images_hold_the_mean_of_the_fine_ones(scene):
    for fine, coarse in ((scene.fine_t1, scene.coarse_t1), (scene.fine_t2, scene.coarse_t2)):
        blocks = fine.reshape(4, 16, 16, 20, 16).mean(axis=(2, 4))
        # gain within some percent, offset within some thousandths, a footprint that is not the block
        np.testing.assert_allclose(coarse.mean(axis=(1, 2)), blocks.mean(axis=(1, 2)), rtol=0.12, atol=0.015)
        for band in range(4):
            assert np.corrcoef(blocks[band].ravel(), coarse[band].ravel())[0, 1] > 0.85
            assert coarse[band].std() < blocks[band].std()  # the footprint is wider than a block


def test_options_do_not_move_the_land(scene):
    others = {
        "bands": procedural_scene(5, 256, 320, bands=("nir", "swir2")),
        "clouds": procedural_scene(5, 256, 320, clouds=True),
        "change": procedural_scene(5, 256, 320, change=False),
    }
    for name, other in others.items():
        np.testing.assert_array_equal(other.land_cover, scene.land_cover, err_msg=name)
        assert other.days == scene.days
        assert other.origin == scene.origin


def test_abrupt_change_is_where_the_map_says(scene):
    calm = procedural_scene(5, 256, 320, change=False)
    assert (scene.change != Change.NONE).mean() > 0.002
    assert (calm.change == Change.NONE).all()
    np.testing.assert_array_equal(scene.fine_t1, calm.fine_t1)
    differs = (np.abs(scene.fine_t2 - calm.fine_t2) > 0.01).any(axis=0)
    near = scene.change != Change.NONE
    for _ in range(2):  # the sensor and the edge of an event blur by a pixel each
        padded = np.pad(near, 1)
        near = np.logical_or.reduce([padded[y : y + 256, x : x + 320] for y in range(3) for x in range(3)])
    assert not (differs & ~near).any()
    assert differs[scene.change != Change.NONE].mean() > 0.5


def test_every_event_occurs_in_some_scene():
    seen = {code for seed in range(12) for code in np.unique(procedural_scene(seed, 128, 128).change)}
    assert seen == set(Change)


def test_clouds_are_masked_and_spare_the_truth(scene):
    cloudy = procedural_scene(5, 256, 320, clouds=True)
    np.testing.assert_array_equal(cloudy.fine_t2, scene.fine_t2)
    for valid in (cloudy.fine_t1_valid, cloudy.coarse_t1_valid, cloudy.coarse_t2_valid):
        assert 0.3 < valid.mean() < 0.99
    assert cloudy.fine_t1[0].max() > 0.55
    # the sensor's blur reaches one pixel: compare where a whole neighbourhood is clear
    clear = cloudy.fine_t1_valid
    padded = np.pad(clear, 1, constant_values=True)
    inside = np.logical_and.reduce([padded[y : y + 256, x : x + 320] for y in range(3) for x in range(3)])
    assert np.abs(cloudy.fine_t1 - scene.fine_t1)[:, inside].max() < 0.05
    assert scene.fine_t1_valid.all()
    assert scene.coarse_t2_valid.all()


def test_seeds_are_disjoint():
    groups = [set(TRAINING_SEEDS), set(VALIDATION_SEEDS), set(TEST_SEEDS), {DEMO_SEED}]
    assert sum(map(len, groups)) == len(set().union(*groups))


@pytest.mark.parametrize("band", BANDS)
def test_every_band(band):
    assert procedural_scene(1, 32, 32, bands=(band,)).fine_t1.shape == (1, 32, 32)


@pytest.mark.parametrize("ratio", [2, 8, 16])
def test_every_ratio(ratio):
    scene = procedural_scene(1, 64, 32, ratio=ratio)
    assert scene.coarse_t1.shape == (4, 64 // ratio, 32 // ratio)
    assert scene.coarse_transform[0] == 30 * ratio


def test_bad_arguments():
    with pytest.raises(UsageError, match="multiples of the ratio"):
        procedural_scene(1, 100, 64)
    with pytest.raises(UsageError, match="not negative"):
        procedural_scene(-1, 64, 64)
    with pytest.raises(BandError, match="thermal"):
        procedural_scene(1, 64, 64, bands=("red", "thermal"))
    with pytest.raises(BandError):
        procedural_scene(1, 64, 64, bands=())
