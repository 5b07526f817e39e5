# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from golden_support import read_golden
from stf_export.samplers import Schedule, ScheduleName, from_betas, schedule
from stf_infer.errors import ExportError


def betas_of(found: Schedule) -> np.ndarray:
    return 1 - found.alphas_cumprod / np.concatenate([[1.0], found.alphas_cumprod[:-1]])


@pytest.mark.parametrize(("name", "steps"), [("linear", 1000), ("cosine", 100)])
def test_published_schedules(name: str, steps: int):
    golden = read_golden("ddim_trajectories").arrays
    found = schedule(name, steps)
    np.testing.assert_allclose(found.alphas_cumprod, golden[f"alphas_cumprod__{name}{steps}__exact"], rtol=1e-12)
    np.testing.assert_allclose(betas_of(found), golden[f"betas__{name}{steps}__exact"], rtol=1e-9)


def test_the_schedule_of_stfdiff():
    wanted = read_golden("stfdiff_ddim").arrays["alphas_cumprod"]
    np.testing.assert_allclose(schedule("cosine", 100).alphas_cumprod, wanted, rtol=2e-6)


@pytest.mark.parametrize("name", get_args(ScheduleName))
@pytest.mark.parametrize("steps", [1, 2, 10, 100, 4000])
def test_every_schedule_falls_from_an_image_to_noise(name: str, steps: int):
    found = schedule(name, steps)
    assert (found.name, found.steps) == (name, steps)
    assert found.alphas_cumprod.dtype == np.float64
    assert (np.diff(found.alphas_cumprod) < 0).all()
    assert 0 < found.alphas_cumprod[-1] < (0.2 if steps > 1 else 1)
    assert betas_of(found).max() <= 0.999 + 1e-12


def test_betas_of_the_linear_schedules_are_in_equal_steps():
    for name, root in (("linear", 1), ("scaled-linear", 2)):
        steps = np.diff(betas_of(schedule(name, 1000, (0.001, 0.012))) ** (1 / root))
        np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
        assert betas_of(schedule(name, 1000, (0.001, 0.012)))[[0, -1]] == pytest.approx([0.001, 0.012])


def test_betas_are_in_proportion_to_the_number_of_steps():
    assert betas_of(schedule("linear", 500))[[0, -1]] == pytest.approx([2e-4, 0.04])
    assert betas_of(schedule("scaled-linear", 2000))[[0, -1]] == pytest.approx([5e-5, 0.01])


def test_curves_are_followed_where_no_beta_is_cut():
    u = (np.arange(100) + 1) / 100
    cosine = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule("cosine", 100).alphas_cumprod[:98], cosine[:98], rtol=1e-9)
    root = (1 - np.sqrt(u + 1e-4)) / (1 - np.sqrt(1e-4))
    np.testing.assert_allclose(schedule("sqrt", 100).alphas_cumprod[:98], root[:98], rtol=1e-9)


def test_given_betas_are_multiplied_up():
    assert from_betas("given", np.array([0.1, 0.5])).alphas_cumprod == pytest.approx([0.9, 0.45])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: schedule("sigmoid", 10), "cosine"),
        (lambda: schedule("cosine", 0), "1 or more"),
        (lambda: schedule("cosine", 10, (0.1, 0.2)), "scaled-linear"),
        (lambda: schedule("linear", 10, (0.1, 1.5)), "between 0 and 1"),
        (lambda: from_betas("given", np.array([0.1, 0.0])), "between 0 and 1"),
        (lambda: from_betas("given", np.array([])), "between 0 and 1"),
        (lambda: Schedule("given", np.array([0.5, 0.6])), "fall"),
        (lambda: Schedule("given", np.array([0.5, np.nan, 0.1, 0.05, 0.01])), "5 numbers"),
    ],
)
def test_schedules_that_cannot_be(call, named):
    with pytest.raises(ExportError, match=named):
        call()
