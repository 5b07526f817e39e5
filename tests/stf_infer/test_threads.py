# SPDX-License-Identifier: Apache-2.0
"""How many threads read and compress: as few as keep up, and never a matter of pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fakes import add_coarse_change, block_mean, make_model, make_spec, read_tif, write_tif
from pipeline_support import aoi
from stf_infer import threads
from stf_infer.grid import Window
from stf_infer.layout import FileOptions
from stf_infer.scene import Scene
from stf_infer.threads import ThreadSplit, fewest

TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}
SPEC = make_spec(32, halo=4, stride=4)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("threads")
    fine = np.random.default_rng(0).integers(1, 9999, (2, 300, 280)).astype(np.int16)
    coarse = write_tif(folder / "coarse.tif", block_mean(fine, 4), pixel=120, scale=1e-4)
    path = write_tif(
        folder / "fine.tif", fine, scale=1e-4, compress="deflate", tiled=True, blockxsize=64, blockysize=64
    )
    return {"fine_t1": path, "coarse_t1": coarse, "coarse_t2": coarse}


@pytest.fixture
def every_scene_is_measured(monkeypatch):
    monkeypatch.setattr(threads, "_FEWEST_TILES", 1)
    monkeypatch.setattr(threads, "_CALLS_PAID_BACK", 0)
    monkeypatch.setattr(threads, "cores", lambda: 8)


@pytest.mark.parametrize(
    ("work", "limit", "most", "expected"),
    [
        (0, 1, 8, 1),
        (0.8, 1, 8, 1),
        (0.9, 1, 8, 2),
        (1.6, 1, 8, 2),
        (3, 1, 8, 4),
        (100, 1, 8, 8),
        (9, 1, 1, 1),
        (1, 0, 4, 4),
    ],
)
def test_the_fewest_threads_fit_into_four_fifths(work, limit, most, expected):
    assert fewest(work, limit, most) == expected


@pytest.mark.usefixtures("every_scene_is_measured")
@pytest.mark.parametrize(
    ("decode", "encode", "compute", "expected"),
    [(100, 100, 1000.0, (1, 1)), (300, 100, 1.0, (4, 2)), (0, 1e6, 1.0, (1, 8))],
)
def test_a_slow_engine_needs_one_thread_beside_it(files, monkeypatch, decode, encode, compute, expected):
    """Seconds are of the whole scene for reading and writing, and of a tile for the engine."""
    tiles = 156
    monkeypatch.setattr(threads, "_decoding", lambda raster: tiles * decode / 100 / 3)
    monkeypatch.setattr(threads, "_encoding", lambda *_: tiles * encode / 100)
    monkeypatch.setattr(threads, "_computing", lambda *_: compute)
    model = make_model(SPEC, add_coarse_change)
    with Scene(SPEC, files) as scene:
        assert len(scene.plan()) == tiles
        found = threads.measured(scene, Window(0, 300, 0, 280), model.engine, 1, FileOptions())
    assert (found.reading, found.writing) == expected
    assert f"{decode * 10:.3g} ms to decode" in found.why


@pytest.mark.usefixtures("every_scene_is_measured")
def test_what_is_measured_are_seconds_of_the_whole_scene(files):
    model = make_model(SPEC, add_coarse_change)
    with Scene(SPEC, files) as scene:
        assert 0 < threads._decoding(scene.rasters["fine_t1"]) < 5
        assert 0 < threads._encoding(scene, FileOptions(compress="zstd")) < 5
        assert threads._encoding(scene, FileOptions(compress="none")) == 0
        found = threads.measured(scene, Window(0, 300, 0, 280), model.engine, 3, None)
    assert "0 ms to encode" in found.why
    assert model.engine.batch_sizes == [3, 3]


def test_a_small_scene_or_area_is_not_worth_a_call_of_the_engine(files, tmp_path):
    model = make_model(SPEC, add_coarse_change)
    result = model.fuse(tmp_path / "out.tif", **files)
    assert sum(model.engine.batch_sizes) == result.tiles
    assert "156 tiles are too few" in result.threads.why
    part = model.fuse(aoi=aoi(0, 60, 0, 60), **files)
    assert "7 tiles are too few" in part.threads.why


def test_what_is_stated_is_taken(files, tmp_path):
    model = make_model(SPEC, add_coarse_change)
    model._threads = 3
    assert model.fuse(tmp_path / "out.tif", **files).threads == ThreadSplit(3, 3, "stated")


def test_no_number_of_threads_changes_a_pixel(files, tmp_path, monkeypatch):
    out, found = tmp_path / "out.tif", []
    for split in (ThreadSplit(1, 1, "a"), ThreadSplit(2, 3, "b"), ThreadSplit(8, 8, "c")):
        monkeypatch.setattr(threads, "measured", lambda *_, split=split: split)
        result = make_model(SPEC, add_coarse_change).fuse(out, profile=tmp_path / "trace.json", **files)
        assert result.threads == split
        assert result.as_dict()["threads"] == split.as_dict()
        assert json.loads((tmp_path / "trace.json").read_text())["otherData"]["threads"] == split.as_dict()
        found.append(read_tif(out).tobytes())
    assert found[0] == found[1] == found[2]
