# SPDX-License-Identifier: Apache-2.0
"""What a model and ``run`` do with engines: which one, how many tiles at once, and what the result says of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

import stf_infer
from fakes import block_mean, smooth_field, write_tif
from stf_infer.cli import main
from stf_infer.engines import build, registry
from stf_infer.errors import EngineError
from toy_backend import ToyEngine


@pytest.fixture(autouse=True)
def only_toys(toys, monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "BUILT_IN", {})
    monkeypatch.setenv("STF_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def rasters(tmp_path):
    fine = smooth_field(2, 64, 96)
    coarse = block_mean(fine, 4)
    return {
        "fine_t1": write_tif(tmp_path / "fine_t1.tif", fine),
        "coarse_t1": write_tif(tmp_path / "coarse_t1.tif", coarse, pixel=120),
        "coarse_t2": write_tif(tmp_path / "coarse_t2.tif", coarse + np.float32(0.05), pixel=120),
    }


@pytest.fixture
def batches(monkeypatch):
    """Numbers of tiles in the calls of engines that take four well."""
    sizes = []
    real_open, real_infer = ToyEngine.open_impl, ToyEngine.infer_impl

    def opened(self, bundle, threads):
        real_open(self, bundle, threads)
        self.preferred_batch = 4

    monkeypatch.setattr(ToyEngine, "open_impl", opened)
    monkeypatch.setattr(ToyEngine, "infer_impl", lambda self, i: sizes.append(len(i["fine_t1"])) or real_infer(self, i))
    return sizes


@pytest.mark.parametrize(("stated", "largest"), [(None, 4), (2, 2)])
def test_tiles_come_in_the_number_that_suits_the_engine(bundle, rasters, batches, stated, largest):
    with stf_infer.open(bundle.path, engine="toy-open") as model:
        result = model.fuse(tile_batch=stated, **rasters)
    assert max(batches) == largest
    with rasterio.open(rasters["fine_t1"]) as source:
        np.testing.assert_allclose(result.array, source.read() + 0.05, atol=1e-6)


def test_the_choice_stands_in_the_result(bundle, rasters, tmp_path):
    build(bundle, "toy", precision="bf16", apart=False)
    with stf_infer.open(bundle.path) as model:
        made = model.fuse(tmp_path / "out.tif", **rasters).provenance
    assert made["engine"].split()[0] in ("toy", "toy-open")
    assert made["engine_choice"].startswith("the fastest of 2 on the golden tile: toy")
    with rasterio.open(tmp_path / "out.tif") as source:
        assert source.tags()["STF_ENGINE_CHOICE"] == made["engine_choice"]


def call(bundle, rasters, *more):
    files = [part for role, path in rasters.items() for part in (f"--{role.replace('_', '-')}", str(path))]
    return CliRunner().invoke(main, ["run", str(bundle.path), *files, *more])


def test_run_takes_engine_and_precision_and_says_why(bundle, rasters, tmp_path):
    build(bundle, "toy", apart=False)
    build(bundle, "toy", precision="bf16", apart=False)
    out = str(tmp_path / "out.tif")
    result = call(bundle, rasters, "--engine", "toy", "--precision", "bf16", "-o", out, "--json")
    made = json.loads(result.stdout)["provenance"]
    assert (made["engine"], made["precision"], made["engine_choice"]) == ("toy 1", "bf16", "asked for")
    assert "toy-open: asked for" in call(bundle, rasters, "--engine", "toy-open", "-o", out).stdout


def test_run_builds_again_only_where_it_may(bundle, rasters, tmp_path, monkeypatch):
    build(bundle, "toy", apart=False)
    monkeypatch.setenv("TOY_VERSION", "2")
    arguments = ["--engine", "toy", "-o", str(tmp_path / "out.tif")]
    result = call(bundle, rasters, *arguments)
    assert result.exit_code == 2
    assert "was built for something else. Got: backend toy 1. Allowed: backend toy 2" in result.stderr
    assert not (tmp_path / "out.tif").exists()
    result = call(bundle, rasters, *arguments, "--rebuild", "auto")
    assert result.exit_code == 0, result.stderr
    assert "toy is built again" in result.stderr
    assert call(bundle, rasters, *arguments).exit_code == 0


def test_a_batch_that_the_engine_does_not_take_is_told_before_anything_is_written(bundle, rasters, tmp_path):
    build(bundle, "toy", apart=False)
    with stf_infer.open(bundle.path, engine="toy") as model:
        with pytest.raises(EngineError, match=r"larger than the engine toy was built for. Got: 9 tiles"):
            model.fuse(tmp_path / "out.tif", tile_batch=9, **rasters)
        assert [p.name for p in tmp_path.glob("out*")] == []
        model.fuse(tmp_path / "out.tif", tile_batch=4, **rasters)  # the engine is still to be had
