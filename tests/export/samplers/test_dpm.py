# SPDX-License-Identifier: Apache-2.0
"""DPM-Solver++(2M) where the answer is known: data with a normal distribution."""

from __future__ import annotations

import numpy as np
import pytest

from sampler_support import run
from stf_export.samplers import Sampler, Schedule, dpm, resolve
from stf_infer.diffusion import SamplerSpec

MEAN, SPREAD = 0.7, 0.3


def even_schedule(steps: int) -> Schedule:
    """Equal steps of lambda = log(alpha / sigma), from 4 down to -4."""
    return Schedule("given", 1 / (1 + np.exp(-2 * np.linspace(4, -4, steps))))


def sampler_of(name: str, steps: int, prediction: str = "x0") -> SamplerSpec:
    asked = Sampler(name=name, steps=steps, spacing="linspace", prediction=prediction)
    return resolve(asked, found=even_schedule(steps))


def denoised(sampler: SamplerSpec, prediction: str):
    """The best estimate for normal data, as each prediction would have it: E[x0 | x], and what follows from it."""
    levels = dict(zip(sampler.timesteps, sampler.alphas_cumprod, strict=True))

    def network(x, t):
        kept = levels[int(t)]
        alpha, sigma = np.sqrt(kept), np.sqrt(1 - kept)
        x0 = MEAN + alpha * SPREAD**2 / (kept * SPREAD**2 + 1 - kept) * (x - alpha * MEAN)
        epsilon = (x - alpha * x0) / sigma
        return {"x0": x0, "epsilon": epsilon, "v": alpha * epsilon - sigma * x0}[prediction]

    return network


def error(name: str, steps: int, prediction: str = "x0") -> float:
    """How far the image before the last step is from the exact solution of the probability flow."""
    sampler = sampler_of(name, steps, prediction)
    first, last = sampler.alphas_cumprod[0], sampler.alphas_cumprod[-1]
    x = np.linspace(-2, 2, 9).reshape(1, 1, 3, 3)

    def spread(kept):
        return np.sqrt(kept * SPREAD**2 + 1 - kept)

    exact = np.sqrt(last) * MEAN + (x - np.sqrt(first) * MEAN) * spread(last) / spread(first)
    return float(np.abs(run(sampler, denoised(sampler, prediction), x, stop=steps - 1) - exact).max())


@pytest.mark.parametrize("prediction", ["x0", "epsilon", "v"])
def test_it_is_of_second_order(prediction: str):
    errors = [error("dpm", steps, prediction) for steps in (41, 81, 161)]
    ratios = np.array(errors[:-1]) / errors[1:]
    assert ratios == pytest.approx([4, 4], rel=0.12)
    assert errors[-1] < 2e-4


def test_ddim_is_of_first_order_and_less_exact():
    errors = [error("ddim", steps) for steps in (41, 81, 161)]
    assert np.array(errors[:-1]) / errors[1:] == pytest.approx([2, 2], rel=0.12)
    assert errors[0] > 5 * error("dpm", 41)


def test_the_first_step_is_that_of_ddim_and_the_last_one_returns_x0():
    x = np.linspace(-2, 2, 9).reshape(1, 1, 3, 3)
    one, other = sampler_of("dpm", 10), sampler_of("ddim", 10)
    network = denoised(one, "x0")
    np.testing.assert_allclose(run(one, network, x, stop=1), run(other, network, x, stop=1), atol=1e-12)
    before = run(one, network, x, stop=9)
    np.testing.assert_allclose(run(one, network, x), network(before, np.float64(0)), atol=1e-12)


def test_two_steps_by_hand():
    """Algorithm 2 with the logarithms written out."""
    levels = [(0.1, 0.4), (0.4, 0.7), (0.7, 1.0)]
    alpha, sigma = np.sqrt([0.1, 0.4, 0.7]), np.sqrt([0.9, 0.6, 0.3])
    half = np.log(alpha / sigma)
    h = np.diff(half)
    r = h[0] / h[1]
    _, update, last = dpm.updates(levels)
    growth = -alpha[2] * (np.exp(-h[1]) - 1)
    assert update.x == pytest.approx(sigma[2] / sigma[1])
    assert update.x0 == pytest.approx(growth * (1 + 1 / (2 * r)))
    assert update.previous_x0 == pytest.approx(-growth / (2 * r))
    assert (last.x, last.x0, last.previous_x0) == (0, 1, 0)
