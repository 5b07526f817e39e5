# SPDX-License-Identifier: Apache-2.0
"""The small diffusion network that comes with the package: trained, few steps, samples that say how sure they are."""

from __future__ import annotations

import numpy as np
import pytest

import stf_infer
from stf_infer.baselines import add_coarse_change, interpolate_coarse
from stf_infer.datasets import TEST_SEEDS, procedural_scene
from stf_infer.demo import bundle_path
from stf_infer.golden import prove

BUNDLE = bundle_path("diffusion")


@pytest.fixture(scope="module")
def scene():
    return procedural_scene(TEST_SEEDS[11], 128, 128)


@pytest.fixture(scope="module")
def model():
    with stf_infer.open(BUNDLE, engine="onnxruntime-cpu", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def inputs(scene):
    coarse = {role: interpolate_coarse(getattr(scene, role), scene.ratio) for role in ("coarse_t1", "coarse_t2")}
    return {"fine_t1": scene.fine_t1, **coarse}


@pytest.fixture(scope="module")
def fused(model, inputs):
    return model.fuse(**inputs).array


def rmse(image, scene) -> float:
    return float(np.sqrt(np.mean((image - scene.fine_t2) ** 2)))


def test_it_is_whole_and_small():
    bundle = stf_infer.Bundle.open(BUNDLE)
    bundle.verify()
    assert sum(file.stat().st_size for file in BUNDLE.rglob("*")) < 2_000_000
    assert (bundle.spec.sampler.loop, bundle.spec.sampler.train_steps) == ("host", 100)
    assert len(bundle.spec.sampler.timesteps) == 4
    assert bundle.properties["stf:tuned"]["timesteps"] == list(bundle.spec.sampler.timesteps)
    assert all(proof.passed for proof in prove(bundle, ["onnxruntime-cpu"]))


def test_it_beats_both_baselines_on_an_unseen_scene(fused, scene):
    summed = add_coarse_change(scene.fine_t1, scene.coarse_t1, scene.coarse_t2, scene.ratio)
    assert rmse(fused, scene) < 0.8 * min(rmse(scene.fine_t1, scene), rmse(summed, scene))


def test_a_seed_gives_the_same_image_again_and_another_seed_another(model, inputs, fused):
    assert np.array_equal(model.fuse(seed=0, **inputs).array, fused)
    assert not np.allclose(model.fuse(seed=1, **inputs).array, fused, atol=1e-3)


def test_samples_differ_most_where_their_mean_is_wrong(model, inputs, fused, scene):
    mean, spread = np.split(model.fuse(samples=4, **inputs).array, 2)
    assert rmse(mean, scene) < rmse(fused, scene)
    error = np.abs(mean - scene.fine_t2)
    sure = spread < np.median(spread, axis=(1, 2), keepdims=True)
    assert error[sure].mean() < 0.8 * error[~sure].mean()
