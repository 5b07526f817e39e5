# SPDX-License-Identifier: Apache-2.0
"""A run with its tiles on a device: what is copied, what memory it takes, where it is not possible, and how it fails.

PyCUDA and TensorRT are stand-ins, kernels are emulated. Nothing here has run on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from device_support import VALUES, network, rasters
from fake_cuda import Error
from fakes import make_model, make_spec, read_tif
from pipeline_support import aoi, inputs
from stf_infer.device_tiles import tiles_of, where_tiles_live
from stf_infer.errors import EngineError, UsageError
from stf_infer.grid import Window
from stf_infer.open_rows import Result
from stf_infer.pipeline import Pipeline
from stf_infer.scene import Scene
from stf_infer.seam import SeamMeter
from stf_infer.storage import Storage

SPEC = make_spec(32, halo=4, values=VALUES)


# Copies and memory ---------------------------------------------------------------------------------------------------


@contextmanager
def after_setup(machine: Any, monkeypatch: Any) -> Iterator[None]:
    """Counts copies from the moment on when everything that a run needs is on the device."""
    run = Pipeline.run

    def start(pipeline: Pipeline) -> Any:
        machine.cuda.uploads.clear()
        machine.cuda.downloads.clear()
        return run(pipeline)

    monkeypatch.setattr(Pipeline, "run", start)
    yield


@pytest.mark.parametrize("batch", [1, 4])
def test_every_row_goes_up_once_and_finished_rows_come_down(machine, monkeypatch, batch):
    there, given = machine(), rasters(holes=False)
    with after_setup(there, monkeypatch), there.model(SPEC, network()) as model:
        result = model.fuse(tile_batch=batch, tiles_on="device", **given)
    assert sum(there.cuda.uploads) == sum(raster.data.nbytes for raster in given.values())
    rows, looked_at, lost = (there.cuda.downloads[n::3] for n in range(3))
    assert sum(rows) == result.array.nbytes
    assert set(lost) == {8}
    assert sum(looked_at) < 0.6 * result.array.nbytes  # two columns of 24, two rows of 24, twice, and outer rows


def test_masks_go_up_with_rows_that_have_holes(machine, monkeypatch):
    there, given = machine(), rasters(holes=True)
    with after_setup(there, monkeypatch), there.model(SPEC, network()) as model:
        model.fuse(tiles_on="device", **given)
    fine, coarse = given["fine_t1"].data, given["coarse_t1"].data
    pixels = sum(raster.data.nbytes for raster in given.values())
    # Those of a raster to fill it, and those of all to finalise.
    assert sum(there.cuda.uploads) <= pixels + (fine[0].size + coarse[0].size) + fine[0].size
    assert sum(there.cuda.uploads) > pixels + fine[0].size


def test_memory_does_not_grow_with_the_scene(machine):
    taken = []
    for height in (2000, 8000):
        with machine().model(SPEC, network()) as model, Scene(SPEC, rasters(size=(height, 40), holes=False)) as scene:
            where = where_tiles_live(model.engine, 1, "device")
            with tiles_of(scene, model.engine, where, 2, (0, 40)) as tiles:
                storage = Storage.choose(SPEC.output, "int16", scene.fine_profile)
                result = Result(scene.plan(), Window(0, height, 0, 40), SPEC.output, storage)
                tiles.open_rows(result, SeamMeter(scene.plan()))
                taken.append(tiles._session.bytes)
    # Weights of 250 more rows of tiles, 32 numbers each; and strips end where blocks of the files do.
    assert taken[1] - taken[0] == pytest.approx(6000 // 24 * 32 * 4, abs=4000)


def test_too_little_memory_says_what_is_needed(machine, tmp_path):
    path, given = tmp_path / "out.tif", rasters()
    whole = machine()
    with whole.model(SPEC, network()) as model:
        engine = sum(len(memory) for memory in whole.cuda.memory.values())
        model.fuse(path, tiles_on="device", **given)
    path.unlink()
    for limit in np.linspace(engine, whole.cuda.peak - 1, 7).astype(int):
        there = machine(limit=int(limit))
        with there.model(SPEC, network()) as model:
            with pytest.raises(EngineError, match="too little memory to keep the scene's rows and tiles") as caught:
                model.fuse(path, tiles_on="device", **given)
            needed, free = (float(word) for word in caught.value.got.split() if word[0].isdigit())
            assert needed == pytest.approx((whole.cuda.peak - engine) / 1e6, abs=0.051)
            assert free == pytest.approx((limit - engine) / 1e6, abs=0.051)
            assert "smaller --tile-batch" in caught.value.fix
            assert not path.exists()
            assert sum(len(memory) for memory in there.cuda.memory.values()) == engine
            host = model.fuse(tiles_on="host", **given)  # the engine is as it was
            assert np.isfinite(host.array).any()


# Failures ------------------------------------------------------------------------------------------------------------


def fails_at(there: Any, call: int) -> Any:
    """A network that the device fails at, when it comes to the call of that number."""
    calls = []

    def function(**tensors: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == call:
            raise Error("an illegal memory access was encountered")
        return network()(**tensors)

    return function


@pytest.mark.parametrize("early", [(), (0, 1, 2), (1, 2)])
@pytest.mark.parametrize("call", [1, 5, 12])
def test_a_device_that_fails_late_ends_the_run(machine, tmp_path, early, call):
    there = machine(early=early)
    with there.model(SPEC, fails_at(there, call)) as model:
        with pytest.raises(EngineError, match=r"GPU failed .* Got: an illegal memory access"):
            model.fuse(tmp_path / "out.tif", tiles_on="device", tile_batch=1, **rasters())
        assert [path.name for path in tmp_path.iterdir()] == ["model.plan"]
        again = model.fuse(tiles_on="device", **rasters())
        assert np.isfinite(again.array).any()
    assert there.cuda.memory == {}


@pytest.mark.parametrize("kernel", ["gather", "fill_invalid", "noise", "blend", "finalise"])
def test_a_kernel_that_is_not_started_ends_the_run(machine, kernel):
    def refuse(*given: Any, stream: int) -> None:
        raise RuntimeError("a kernel was not started: too many resources requested for launch")

    there = machine()
    setattr(there.kernels, kernel, refuse)
    failed = pytest.raises(EngineError, match=r"GPU failed .* Got: a kernel was not started")
    with there.model(make_spec(32, draws=(0,), halo=4), network()) as model, failed:
        model.fuse(tiles_on="device", **rasters())
    assert there.cuda.memory == {}


@pytest.mark.parametrize(("fail", "says"), [("execute", "TensorRT failed on a batch"), ("shape", "refuses the shape")])
def test_an_engine_that_fails_ends_the_run(machine, fail, says):
    there = machine()
    with there.model(SPEC, network()) as model:
        there.trt.fail = fail
        with pytest.raises(EngineError, match=says):
            model.fuse(tiles_on="device", **rasters())
    assert there.cuda.memory == {}


def test_more_tiles_than_the_plan_takes_are_refused(machine):
    refused = pytest.raises(EngineError, match=r"larger than the engine tensorrt-sm87 was built for. Got: 3 tiles")
    with machine().model(SPEC, network(), most=2) as model, refused:
        model.fuse(tiles_on="device", tile_batch=3, **rasters())


# Where it is possible ------------------------------------------------------------------------------------------------


def no_device(there: Any) -> None:
    there.kernels.problem = "CUDA driver version is insufficient"


@pytest.mark.parametrize(
    ("given", "prepare", "call", "reason"),
    [
        ({"emulated": None}, None, {}, "stf_infer._cuda is not built here"),
        ({}, no_device, {}, "CUDA driver version is insufficient"),
        ({}, None, {"samples": 2}, "mean and deviation of several samples are computed on the host"),
    ],
)
def test_what_is_missing_is_told(machine, caplog, given, prepare, call, reason):
    caplog.set_level(logging.INFO, "stf_infer")
    there = machine(**given)
    if prepare:
        prepare(there)
    spec = make_spec(32, draws=(0,), halo=4)
    with there.model(spec, network()) as model:
        result = model.fuse(**call, **rasters())
        assert result.provenance["tiles_on"].startswith(f"host: {reason}")
        assert f"tiles live on the host: {reason}" in caplog.text
        with pytest.raises(UsageError, match=f"Tiles cannot stay on the device. Got: {reason}"):
            model.fuse(tiles_on="device", **call, **rasters())


def test_an_engine_of_the_host_says_nothing_of_it():
    model = make_model(make_spec(32, coarse_grid="fine"), lambda fine_t1, **_: fine_t1)
    for where in ("auto", "host"):
        assert "tiles_on" not in model.fuse(tiles_on=where, **inputs(40, 40)).provenance
    with pytest.raises(UsageError, match="Got: the engine function takes tiles from the host's memory"):
        model.fuse(tiles_on="device", **inputs(40, 40))
    with pytest.raises(UsageError, match=r"tiles_on has no such choice. Got: gpu. Allowed: auto, device, host"):
        model.fuse(tiles_on="gpu", **inputs(40, 40))
    with pytest.raises(EngineError, match="takes tiles from the host's memory"):
        model.engine.device()


def test_plans_whose_output_is_not_float32_take_tiles_from_the_host(machine):
    with machine().model(SPEC, network(), output="float16") as model:
        assert not model.engine.holds_tiles


# Files, profile, resume ----------------------------------------------------------------------------------------------


def test_a_file_says_where_its_tiles_were(machine, tmp_path):
    import rasterio

    results = []
    for where in ("auto", "host"):
        path = tmp_path / f"{where}.tif"
        with machine().model(SPEC, network()) as model:
            results.append(model.fuse(path, tiles_on=where, **rasters()))
    assert read_tif(tmp_path / "auto.tif").tobytes() == read_tif(tmp_path / "host.tif").tobytes()
    assert [result.provenance["tiles_on"] for result in results] == ["device", "host, as stated"]
    with rasterio.open(tmp_path / "auto.tif") as source:
        assert (source.tags()["STF_TILES_ON"], source.dtypes[0]) == ("device", "int16")


def test_the_engines_time_is_the_devices(machine):
    """A kernel of the stand-in takes as many milliseconds as it has tiles."""
    with machine().model(SPEC, network()) as model:
        result = model.fuse(tiles_on="device", tile_batch=3, profile=True, **rasters())
    assert result.engine_seconds == pytest.approx(result.tiles * 1e-3)
    told = {(stage.thread, stage.name): stage for stage in result.profile if not stage.waiting}
    assert set(told) == {
        *(("reader", name) for name in ("read", "gather")),
        ("engine", "infer"),
        *(("writer", name) for name in ("blend", "finalise", "write")),
    }
    assert told["writer", "write"].bytes == result.array.nbytes


@pytest.mark.parametrize(("first", "then"), [("host", "device"), ("device", "host"), ("device", "device")])
def test_an_interrupted_run_goes_on_wherever_its_tiles_are(machine, monkeypatch, tmp_path, first, then):
    monkeypatch.setattr("stf_infer.output._CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr("stf_infer.output.BLOCK", 64)
    given = rasters(size=(300, 40))
    spec = make_spec(32, halo=4)
    with machine().model(spec, network()) as model:
        model.fuse(tmp_path / "whole.tif", tiles_on="host", **given)

    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with machine().model(spec, network()) as model, pytest.raises(KeyboardInterrupt):
        model.fuse(tmp_path / "out.tif", resume=True, tiles_on=first, progress=interrupt, **given)
    with machine().model(spec, network()) as model:
        result = model.fuse(tmp_path / "out.tif", resume=True, tiles_on=then, **given)
    assert 0 < result.pixels <= 300 * 40 * 0.6
    assert read_tif(tmp_path / "out.tif").tobytes() == read_tif(tmp_path / "whole.tif").tobytes()


def test_progress_grows_to_the_area(machine):
    steps = []
    with machine().model(SPEC, network()) as model:
        area = aoi(10, 70, 5, 60)
        model.fuse(tiles_on="device", aoi=area, tile_batch=1, progress=lambda *step: steps.append(step), **rasters())
    assert steps == sorted(steps)
    assert steps[-1] == (60 * 55, 60 * 55)
    assert len(steps) == 3
