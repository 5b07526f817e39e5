# SPDX-License-Identifier: Apache-2.0
"""Tuned time steps in a bundle: it stays a bundle."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from stf_export.steps import store, tune
from stf_infer.bundle import Bundle
from stf_infer.engines import available
from stf_infer.errors import AssetError, OutputError
from stf_infer.golden import prove
from stf_infer.model import open


@pytest.fixture
def tuned(model, rasters):
    return tune(model, rasters, 2, tiles=1)


def test_a_new_bundle_is_whole_and_the_old_one_as_it_was(step_bundle, tuned, rasters, tmp_path):
    before = {file.name: file.read_bytes() for file in step_bundle.iterdir()}
    new = store(Bundle.open(step_bundle), tuned, tmp_path / "new.stf")
    new.verify()
    assert {file.name: file.read_bytes() for file in step_bundle.iterdir()} == before
    assert new.spec.sampler == tuned.sampler
    assert new.properties["stf:tuned"]["timesteps"] == list(tuned.sampler.timesteps)
    assert (new.path / "model.onnx").read_bytes() == before["model.onnx"]
    usable = [engine.name for engine in available() if engine.usable]
    assert all(proof.passed for proof in prove(new, usable))
    with open(step_bundle) as old, open(new.path) as model:
        assert not np.allclose(model.fuse(**rasters).array, old.fuse(**rasters).array)
        old.engine.sampler = tuned.sampler
        assert np.array_equal(model.fuse(**rasters).array, old.fuse(**rasters).array)


def test_a_bundle_is_rewritten_in_its_place(step_bundle, tuned, tmp_path):
    copy = shutil.copytree(step_bundle, tmp_path / "toy.stf")
    (copy / "engines").mkdir()
    (copy / "engines" / "built").write_text("an engine")
    store(Bundle.open(copy), tuned)
    again = store(Bundle.open(copy), tuned, copy)
    again.verify()
    assert again.spec.sampler == tuned.sampler
    assert (copy / "engines" / "built").read_text() == "an engine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy.stf"]


def test_another_bundle_is_replaced_only_if_that_is_said(step_bundle, tuned, tmp_path):
    other = shutil.copytree(step_bundle, tmp_path / "other.stf")
    with pytest.raises(OutputError, match="--force"):
        store(Bundle.open(step_bundle), tuned, other)
    assert Bundle.open(other).spec.sampler != tuned.sampler
    assert store(Bundle.open(step_bundle), tuned, other, force=True).spec.sampler == tuned.sampler


def test_a_bundle_that_was_changed_is_not_handed_on(step_bundle, tuned, tmp_path):
    copy = shutil.copytree(step_bundle, tmp_path / "toy.stf")
    bundle = Bundle.open(copy)
    (copy / "model.onnx").write_bytes(b"something else")
    with pytest.raises(AssetError):
        store(bundle, tuned)
    assert json.loads((copy / "item.json").read_text()) == bundle.item
