# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from stf_export import networks
from stf_export.samplers import GRAPH_STEPS, Sampler, Schedule, SpacingName, resolve, schedule
from stf_infer.diffusion import Clip, Loop, Prediction, SamplerName, SamplerSpec, advance
from stf_infer.errors import ExportError

STFDIFF = networks.network_class("stfdiff").preset
DIFFSTSF = networks.network_class("diffstsf").preset
KNOWN = {"name": "ddim", "steps": 4, "prediction": "x0", "schedule": "cosine", "train_steps": 100}


def in_float32(name: str, steps: int) -> Schedule:
    """A schedule as a checkpoint stores it."""
    return Schedule("checkpoint", schedule(name, steps).alphas_cumprod.astype(np.float32).astype(np.float64))


def test_stfdiff_as_its_authors_sample_it():
    sampler = resolve(Sampler(), STFDIFF)
    assert sampler.timesteps == (99, 89, 79, 69, 59, 49, 39, 29, 19, 9)
    assert (sampler.name, sampler.prediction, sampler.clip, sampler.eta) == ("ddim", "x0", "rederive", 0)
    assert (sampler.schedule, sampler.train_steps, sampler.loop) == ("cosine", 100, "graph")
    assert resolve(Sampler(prediction="epsilon"), STFDIFF).clip == "on"


def test_diffstsf_as_its_authors_sample_it():
    sampler = resolve(Sampler(), DIFFSTSF)
    assert sampler.timesteps == tuple(range(996, -1, -4))
    assert (sampler.name, sampler.prediction, sampler.clip, sampler.variance) == (
        "ddpm",
        "epsilon",
        "rederive",
        "learned",
    )
    assert (sampler.schedule, sampler.train_steps, sampler.loop) == ("cosine", 1000, "host")
    few = resolve(Sampler(name="ddim", steps=4), DIFFSTSF)
    assert (few.timesteps, few.variance, few.loop) == ((750, 500, 250, 0), None, "graph")


@pytest.mark.parametrize("name", get_args(SamplerName))
@pytest.mark.parametrize("prediction", get_args(Prediction))
@pytest.mark.parametrize("clip", get_args(Clip))
@pytest.mark.parametrize("spacing", get_args(SpacingName))
def test_every_choice_becomes_steps(name: str, prediction: str, clip: str, spacing: str):
    sampler = resolve(Sampler(**{**KNOWN, "name": name, "prediction": prediction, "clip": clip, "spacing": spacing}))
    assert (sampler.name, sampler.prediction, sampler.clip, sampler.spacing) == (name, prediction, clip, spacing)
    assert len(sampler.updates) == 4
    assert sampler.next_alphas_cumprod[-1] == 1
    assert SamplerSpec.model_validate_json(sampler.model_dump_json()) == sampler


@pytest.mark.parametrize("loop", get_args(Loop))
@pytest.mark.parametrize("steps", [1, GRAPH_STEPS, GRAPH_STEPS + 1])
def test_few_steps_become_a_graph_unless_the_loop_is_stated(loop: str, steps: int):
    assert resolve(Sampler(**{**KNOWN, "steps": steps})).loop == ("graph" if steps <= GRAPH_STEPS else "host")
    assert resolve(Sampler(**{**KNOWN, "steps": steps, "loop": loop})).loop == loop


def test_a_checkpoint_s_schedule_is_taken():
    found = in_float32("linear", 200)
    for asked in (Sampler(), Sampler(schedule="checkpoint"), Sampler(schedule="linear"), Sampler(train_steps=200)):
        sampler = resolve(asked, STFDIFF, found)
        assert (sampler.schedule, sampler.train_steps) == ("checkpoint", 200)
        assert sampler.timesteps[0] == 199
        assert sampler.alphas_cumprod[0] == found.alphas_cumprod[199]


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"schedule": "cosine"}, "cosine over 200 steps.*the checkpoint's, with alpha-bar"),
        ({"schedule": "linear", "train_steps": 100}, "100 training steps asked for.*200, as the checkpoint has"),
        ({"beta_range": (0.1, 0.2), "schedule": "linear"}, "linear over 200 steps.*the checkpoint's"),
    ],
)
def test_options_that_contradict_the_checkpoint(asked: dict, named: str):
    with pytest.raises(ExportError, match=named):
        resolve(Sampler(**asked), STFDIFF, in_float32("linear", 200))


@pytest.mark.parametrize(
    ("left_out", "named"),
    [
        ("prediction", "epsilon, x0, v"),
        ("schedule", "linear, scaled-linear, cosine, sqrt, checkpoint"),
        ("train_steps", "timesteps-count"),
        ("steps", "1 to 100"),
    ],
)
def test_what_is_not_known_of_a_network_has_to_be_said(left_out: str, named: str):
    with pytest.raises(ExportError, match=named):
        resolve(Sampler(**{name: value for name, value in KNOWN.items() if name != left_out}))


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"name": "euler"}, "ddim, dpm, ddpm"),
        ({"spacing": "uniform"}, "leading, trailing, linspace, stfdiff, guided"),
        ({"prediction": "noise"}, "epsilon, x0, v"),
        ({"schedule": "sigmoid"}, "linear, scaled-linear, cosine, sqrt, checkpoint"),
        ({"clip": "yes"}, "off, on, rederive"),
        ({"variance": "fixed"}, "small, large, learned"),
        ({"loop": "device"}, "graph, host"),
        ({"steps": 0}, "1 or more"),
        ({"steps": 2.5}, "1 or more"),
        ({"steps": 101}, "1 to 100"),
        ({"train_steps": 0}, "1 or more"),
        ({"eta": 1.5}, "0 to 1"),
        ({"eta": -0.1}, "0 to 1"),
        ({"limits": (1, -1)}, "LOW below HIGH"),
        ({"timesteps": (100, 1), "steps": None}, "from 99 down to 0"),
        ({"timesteps": (50, 1)}, "Leave these out"),
        ({"name": "dpm", "eta": 0.5}, "with ddim"),
        ({"name": "ddim", "variance": "learned"}, "with ddpm"),
        ({"name": "dpm", "diffusers_compatible": True}, "with ddim or ddpm"),
        ({"schedule": "checkpoint"}, "holds no noise schedule"),
        ({"beta_range": (0.1, 0.2)}, "linear, scaled-linear"),
    ],
)
def test_what_is_not_allowed_names_what_is(asked: dict, named: str):
    with pytest.raises(ExportError, match=named):
        resolve(Sampler(**{**KNOWN, **asked}))


@pytest.mark.parametrize("name", get_args(SamplerName))
@pytest.mark.parametrize("prediction", get_args(Prediction))
@pytest.mark.parametrize("clip", get_args(Clip))
def test_the_gain_is_what_a_step_makes_of_an_error(name: str, prediction: str, clip: str):
    sampler = resolve(Sampler(**{**KNOWN, "name": name, "prediction": prediction, "clip": clip, "limits": (-1e9, 1e9)}))
    x, output, noise = (np.full((1, 1, 1, 1), value) for value in (0.3, 0.2, 0.0))
    found = []
    for number in range(4):
        exact, wrong = (advance(sampler, number, x, m, x, noise)[0].item() for m in (output, output + 1.0))
        found.append(abs(wrong - exact))
    assert sampler.gain == pytest.approx(max(found))
    if prediction != "epsilon":
        assert sampler.gain <= 1 + (name == "dpm")


def test_a_sampler_from_a_table():
    assert Sampler.from_table({"steps": 4, "limits": [0, 1]}) == Sampler(steps=4, limits=(0, 1))
    with pytest.raises(ExportError, match="Allowed: name, steps, spacing"):
        Sampler.from_table({"step": 4})


def test_only_what_was_asked_for_is_told():
    assert Sampler(steps=4, eta=0.0).asked == {"steps": 4, "eta": 0.0}
