# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from stf_infer.diffusion import SamplerSpec, Update, advance

TWO = {
    "name": "ddim",
    "prediction": "x0",
    "train_steps": 10,
    "timesteps": (8, 3),
    "alphas_cumprod": (0.36, 0.64),
    "next_alphas_cumprod": (0.64, 1.0),
    "updates": (Update(x0=0.8, epsilon=0.6), Update(x0=1.0)),
}


def image(value: float, channels: int = 1) -> np.ndarray:
    return np.full((1, channels, 2, 2), value)


def test_two_steps_by_hand():
    sampler = SamplerSpec(**TWO)
    # abar 0.36: x = 0.6 x0 + 0.8 epsilon
    x, x0 = advance(sampler, 0, image(1.0), image(0.5), None, None)
    assert x0 == pytest.approx(0.5)
    assert x == pytest.approx(0.8 * 0.5 + 0.6 * (1.0 - 0.6 * 0.5) / 0.8)
    x, x0 = advance(sampler, 1, x, image(0.25), x0, None)
    assert x == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("prediction", "x0", "epsilon"),
    [
        ("epsilon", (1.0 - 0.8 * 0.9) / 0.6, 0.9),
        ("x0", 0.9, (1.0 - 0.6 * 0.9) / 0.8),
        ("v", 0.6 * 1.0 - 0.8 * 0.9, 0.6 * 0.9 + 0.8 * 1.0),
    ],
)
@pytest.mark.parametrize("clip", ["off", "on", "rederive"])
def test_every_reading_and_clipping_rule(prediction: str, x0: float, epsilon: float, clip: str):
    sampler = SamplerSpec(**{**TWO, "prediction": prediction, "clip": clip, "limits": (-0.1, 0.3)})
    x, read = advance(sampler, 0, image(1.0), image(0.9), None, None)
    if clip != "off":
        x0 = min(max(x0, -0.1), 0.3)
    if clip == "rederive":
        epsilon = (1.0 - 0.6 * x0) / 0.8
    assert read == pytest.approx(x0)
    assert x == pytest.approx(0.8 * x0 + 0.6 * epsilon)


def test_all_terms_of_a_step():
    update = Update(x=2.0, x0=3.0, epsilon=5.0, previous_x0=7.0, noise=11.0)
    sampler = SamplerSpec(**{**TWO, "updates": (update, Update(x0=1.0))})
    x, _ = advance(sampler, 0, image(1.0), image(0.5), image(0.1), image(0.01))
    assert x == pytest.approx(2.0 + 1.5 + 5.0 * 0.875 + 0.7 + 0.11)


def test_a_learnt_variance_is_the_second_half_of_the_output():
    update = Update(x0=1.0, noise=0.25, largest_noise=4.0)
    sampler = SamplerSpec(**{**TWO, "updates": (update, Update(x0=1.0))})
    for half, sigma in ((-1.0, 0.25), (0.0, 1.0), (1.0, 4.0)):
        output = np.concatenate([image(0.5), image(half)], axis=1)
        x, x0 = advance(sampler, 0, image(1.0), output, None, image(0.1))
        assert x0.shape == (1, 1, 2, 2)
        assert x == pytest.approx(0.5 + 0.1 * sigma)


def test_the_variance_is_left_out_where_nothing_is_drawn():
    output = np.concatenate([image(0.5), image(np.nan)], axis=1)
    x, _ = advance(SamplerSpec(**TWO), 1, image(1.0), output, None, None)
    assert x == pytest.approx(0.5)


def test_draws_are_counted_from_one():
    noisy = Update(x0=1.0, noise=0.1)
    lists = {
        "timesteps": (8, 5, 3, 1),
        "alphas_cumprod": (0.1, 0.2, 0.3, 0.4),
        "next_alphas_cumprod": (0.2, 0.3, 0.4, 1),
    }
    sampler = SamplerSpec(**{**TWO, **lists, "updates": (noisy, Update(x0=1.0), noisy, Update(x0=1.0))})
    assert sampler.draws == (1, None, 2, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"timesteps": (8,)},
        {"timesteps": (3, 8)},
        {"timesteps": (10, 3)},
        {"timesteps": (8, -1)},
        {"alphas_cumprod": (0.36, 1.0)},
        {"alphas_cumprod": (float("nan"), 0.5)},
        {"next_alphas_cumprod": (0.64, 1.1)},
        {"limits": (1.0, -1.0)},
        {"eta": 2.0},
        {"name": "euler"},
        {"prediction": "noise"},
        {"clip": "yes"},
        {"loop": "device"},
        {"updates": ()},
        {"surplus": 1},
    ],
)
def test_what_is_no_sampling_is_refused(wrong: dict):
    with pytest.raises(ValidationError):
        SamplerSpec(**{**TWO, **wrong})


@pytest.mark.parametrize("wrong", [{"noise": -1.0}, {"largest_noise": 1.0}, {"noise": 2.0, "largest_noise": 1.0}])
def test_what_is_no_step_is_refused(wrong: dict):
    with pytest.raises(ValidationError):
        Update(**wrong)
