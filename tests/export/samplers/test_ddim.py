# SPDX-License-Identifier: Apache-2.0
"""DDIM against full trajectories: every schedule, spacing, number of steps, prediction and clipping rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from golden_support import read_golden
from sampler_support import PREDICTIONS, run
from stf_export.samplers import Sampler, ddim, resolve
from stf_infer.diffusion import advance

TOYS: dict[str, Callable] = {
    "weak": lambda x, t: 0.1 * x * np.sin(t / 100),
    "strong": lambda x, t: 0.8 * x * np.cos(t / 37) + 0.3 * np.sin(3 * x),
}
CLIPS = {"off": "off", "on": "on", "on_rederive_eps": "rederive"}
TOLERANCE = {(np.float64, "exact"): 1e-6, (np.float32, "exact"): 5e-5, (np.float32, "diffusers_compatible"): 5e-5}


@pytest.mark.parametrize(("number", "label"), TOLERANCE)
@pytest.mark.parametrize("schedule", ["linear1000", "cosine100"])
@pytest.mark.parametrize("toy", TOYS)
def test_trajectories(number: type, label: str, schedule: str, toy: str):
    golden = read_golden("ddim_trajectories")
    axes = [enumerate(golden.meta[axis]) for axis in ("spacing", "N", "prediction_type")]
    final = golden.arrays[f"final__{schedule}__{toy}__{label}"]
    name, start = schedule.rstrip("01"), golden.arrays["x_T"].astype(number)
    for (i, spacing), (j, steps), (k, kind), (m, clip) in itertools.product(*axes, enumerate(CLIPS)):
        sampler = resolve(
            Sampler(
                name="ddim",
                steps=steps,
                spacing=spacing,
                prediction=PREDICTIONS[kind],
                clip=CLIPS[clip],
                schedule=name,
                train_steps=int(schedule[len(name) :]),
                diffusers_compatible=label != "exact",
            )
        )
        found, wanted = run(sampler, TOYS[toy], start), final[i, j, k, m]
        assert found.dtype == number
        error = np.abs(found - wanted).max() / max(1, np.abs(wanted).max())
        assert error <= TOLERANCE[number, label], (spacing, steps, kind, clip)


@pytest.mark.parametrize("name", ["ddim", "dpm", "ddpm"])
@pytest.mark.parametrize("prediction", PREDICTIONS.values())
@pytest.mark.parametrize("clip", CLIPS.values())
def test_tensors_and_arrays_go_the_same_way(name: str, prediction: str, clip: str):
    asked = Sampler(
        name=name,
        steps=5,
        prediction=prediction,
        clip=clip,
        eta=0.7 if name == "ddim" else None,
        variance="learned" if name == "ddpm" else None,
        schedule="cosine",
        train_steps=50,
    )
    sampler, rng = resolve(asked), np.random.default_rng(0)
    x, previous = rng.standard_normal((2, 3, 4, 4), np.float32), None
    image, before = torch.from_numpy(x), None
    for number in range(5):
        output, noise = rng.standard_normal((2, 6, 4, 4), np.float32), rng.standard_normal(x.shape, np.float32)
        x, previous = advance(sampler, number, x, output, previous, noise)
        image, before = advance(sampler, number, image, torch.from_numpy(output), before, torch.from_numpy(noise))
        assert x.dtype == np.float32
        assert image.dtype == torch.float32
        np.testing.assert_allclose(image.numpy(), x, rtol=1e-5, atol=1e-5)


def test_a_step_keeps_the_variance_of_what_it_knows():
    """With the true x0 and epsilon, x' is again sqrt(abar') x0 plus noise of variance 1 - abar', whatever eta."""
    levels = [(0.1, 0.3), (0.3, 0.8), (0.8, 1.0)]
    for eta in (0.0, 0.4, 1.0):
        for (_, after), update in zip(levels, ddim.updates(levels, eta), strict=True):
            assert update.x0**2 == pytest.approx(after)
            assert update.epsilon**2 + update.noise**2 == pytest.approx(1 - after)
            assert (update.noise > 0) == (eta > 0 and after < 1)


def test_the_next_step_is_the_next_entry_of_the_list():
    sampler = resolve(Sampler(name="ddim", timesteps=(90, 20, 3), prediction="x0", schedule="cosine", train_steps=100))
    assert sampler.next_alphas_cumprod == (*sampler.alphas_cumprod[1:], 1.0)
    assert sampler.spacing == "given"


def test_steps_are_counted_back_only_where_that_is_asked_for():
    asked = {
        "name": "ddim",
        "steps": 4,
        "spacing": "linspace",
        "prediction": "x0",
        "schedule": "linear",
        "train_steps": 1000,
    }
    exact, compatible = resolve(Sampler(**asked)), resolve(Sampler(**asked, diffusers_compatible=True))
    assert exact.timesteps == compatible.timesteps == (999, 666, 333, 0)
    all_levels = resolve(Sampler(**{**asked, "steps": 1000})).alphas_cumprod[::-1]
    assert exact.next_alphas_cumprod == (all_levels[666], all_levels[333], all_levels[0], 1.0)
    assert compatible.next_alphas_cumprod == (all_levels[749], all_levels[416], all_levels[83], 1.0)
