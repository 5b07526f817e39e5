# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from stf_export.samplers import Sampler, ddpm, resolve
from stf_infer.diffusion import Variance, advance

SHAPE = (1, 2, 3, 3)


def sampler_of(**asked):
    return resolve(Sampler(**{"prediction": "epsilon", "schedule": "cosine", "train_steps": 100, "steps": 7, **asked}))


def step(sampler, number: int, variance: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(number)
    x, epsilon, noise = (rng.standard_normal(SHAPE) for _ in range(3))
    output = np.concatenate([epsilon, np.full(SHAPE, variance)], axis=1)
    return advance(sampler, number, x, output, None, noise)[0]


def test_the_factors_are_those_of_the_posterior():
    """x_{t-1} given x_t and x0: the product of two normal densities, multiplied out."""
    level, after = 0.3, 0.5
    kept = level / after  # x_t = sqrt(kept) x_{t-1} + sqrt(1 - kept) z
    precision = kept / (1 - kept) + 1 / (1 - after)
    (update,) = ddpm.updates([(level, after)], "small")
    assert update.noise**2 == pytest.approx(1 / precision)
    assert update.x == pytest.approx(np.sqrt(kept) / (1 - kept) / precision)
    assert update.x0 == pytest.approx(np.sqrt(after) / (1 - after) / precision)


def test_all_training_steps_give_back_their_betas():
    sampler = sampler_of(name="ddpm", steps=100, variance="large")
    levels = np.array(sampler.alphas_cumprod[::-1])
    betas = 1 - levels / np.concatenate([[1.0], levels[:-1]])
    assert [u.noise**2 for u in sampler.updates[:-1]] == pytest.approx(betas[:0:-1])


@pytest.mark.parametrize("number", range(7))
def test_the_small_variance_is_ddim_with_eta_1(number: int):
    """Song et al. 2021, section 4.1."""
    ancestral, implicit = sampler_of(name="ddpm", variance="small"), sampler_of(name="ddim", eta=1.0)
    np.testing.assert_allclose(step(ancestral, number), step(implicit, number), rtol=1e-9)


@pytest.mark.parametrize("number", range(6))
def test_a_learnt_variance_lies_between_small_and_large(number: int):
    small, large, learned = (sampler_of(name="ddpm", variance=v) for v in ("small", "large", "learned"))
    np.testing.assert_allclose(step(learned, number, -1.0), step(small, number), rtol=1e-9)
    np.testing.assert_allclose(step(learned, number, 1.0), step(large, number), rtol=1e-9)
    low, high = small.updates[number].noise, large.updates[number].noise
    mean = step(small, number) - low * np.random.default_rng(number).standard_normal((3, *SHAPE))[2]
    noise = np.random.default_rng(number).standard_normal((3, *SHAPE))[2]
    sigma = np.exp(0.25 * np.log(low) + 0.75 * np.log(high))
    np.testing.assert_allclose(step(learned, number, 0.5), mean + sigma * noise, rtol=1e-9)


@pytest.mark.parametrize("variance", get_args(Variance))
def test_every_variance_draws_in_all_steps_but_the_last(variance: str):
    sampler = sampler_of(name="ddpm", variance=variance)
    assert sampler.draws == (1, 2, 3, 4, 5, 6, None)
    assert sampler.updates[-1].x0 == 1
