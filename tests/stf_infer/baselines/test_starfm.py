# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest

from starfm_oracle import images, starfm_band
from stf_infer import _core
from stf_infer.baselines import Starfm, starfm
from stf_infer.baselines.starfm import Weight
from stf_infer.errors import UsageError


@pytest.mark.parametrize("weight", get_args(Weight))
@pytest.mark.parametrize(
    ("shape", "window"), [((1, 1), 51), ((1, 40), 7), ((40, 1), 7), ((9, 16), 3), ((20, 33), 1), ((17, 70), 51)]
)
@pytest.mark.parametrize("threads", [1, 3])
def test_it_is_the_formula(shape, window, weight, threads):
    bands = [images(shape, seed) for seed in (0, 1)]
    fine, before, after = (np.stack(role) for role in zip(*bands, strict=True))
    settings = Starfm(window=window, weight=weight, classes=3, coarse_uncertainty=0.01)
    found = starfm(fine, before, after, settings, deviation=np.array([0.1, 0.02]), threads=threads)
    for band, deviation in enumerate((0.1, 0.02)):
        expected = starfm_band(*bands[band], settings, deviation)
        np.testing.assert_allclose(found[band], expected, rtol=0, atol=2e-7)


def test_threads_do_not_change_a_bit():
    given = [image[None] for image in images((50, 61))]
    assert np.array_equal(starfm(*given, threads=1), starfm(*given, threads=4))


def test_a_window_of_one_adds_the_coarse_change():
    fine, before, after = images((2, 8, 9))
    np.testing.assert_allclose(starfm(fine, before, after, Starfm(window=1)), fine + (after - before), rtol=1e-6)


def test_where_nothing_changes_the_fine_image_stays():
    """All that take part predict themselves; on flat land that is the pixel itself."""
    fine = np.full((1, 20, 20), 0.2, np.float32)
    np.testing.assert_allclose(starfm(fine, fine, fine), fine, rtol=1e-6)
    np.testing.assert_allclose(starfm(fine, fine, fine + np.float32(0.1)), fine + 0.1, rtol=1e-6)


def test_the_deviation_is_that_of_the_image_by_itself():
    given = images((2, 30, 31))
    stated = starfm(*given, deviation=given[0].std(axis=(1, 2), dtype=np.float64))
    assert np.array_equal(starfm(*given), stated)
    assert not np.array_equal(starfm(*given, deviation=np.zeros(2)), stated)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 50}, "window"),
        ({"window": -1}, "window"),
        ({"classes": 0}, "classes"),
        ({"fine_uncertainty": -1.0}, "fine_uncertainty"),
        ({"coarse_uncertainty": float("nan")}, "coarse_uncertainty"),
        ({"step": 0.0}, "step"),
        ({"weight": "none"}, "logarithm, product"),
    ],
)
def test_settings_that_cannot_be_used(wrong, message):
    with pytest.raises(UsageError, match=message):
        Starfm(**wrong)
    assert dataclasses.asdict(Starfm()) == Starfm().as_dict()


@pytest.mark.parametrize("shapes", [((1, 4, 4), (1, 4, 5)), ((4, 4), (4, 4)), ((1, 0, 4), (1, 0, 4))])
def test_images_that_do_not_lie_on_each_other(shapes):
    fine, other = (np.zeros(shape, np.float32) for shape in shapes)
    with pytest.raises(UsageError, match="three images on the fine grid"):
        starfm(fine, other, other)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("coarse_t2", np.zeros((3, 4), np.float32), r"coarse_t2 has shape \(3, 4\); fine_t1 has \(4, 4\)"),
        ("radius", -1, "radius is -1"),
        ("similar", float("nan"), "similar is nan"),
        ("fine_coarse", -0.5, "fine_coarse is -0.5"),
        ("coarse_coarse", -0.5, "coarse_coarse is -0.5"),
        ("step", 0.0, "step is 0"),
        ("weight", "none", "weight is 'none'"),
        ("threads", 0, "threads is 0"),
    ],
)
def test_the_core_checks_what_it_is_given(argument, value, message):
    given = {role: np.zeros((4, 4), np.float32) for role in ("fine_t1", "coarse_t1", "coarse_t2", "out")}
    given |= {"radius": 1, "similar": 0.1, "fine_coarse": 0, "coarse_coarse": 0, "step": 1e-4, "weight": "product"}
    with pytest.raises(ValueError, match=message):
        _core.starfm(**{**given, argument: value})


def test_the_core_does_not_write_to_what_is_read_only():
    image = np.zeros((4, 4), np.float32)
    out = image.copy()
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        _core.starfm(image, image, image, 1, 0.1, 0, 0, 1e-4, "product", out)
