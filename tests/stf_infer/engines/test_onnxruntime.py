# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: which providers a module has, what is built, tensors bound to a device."""

from __future__ import annotations

import importlib.util
import types
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from stf_infer import golden
from stf_infer.engines import build, growing, machine, open_engine
from stf_infer.engines import onnxruntime as backend
from stf_infer.errors import EngineError, EngineUnavailableError

pytest.importorskip("onnxruntime")

GPU = machine.Gpu("L4", 89, (13, 0))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A module with the libraries of some providers, and the packages that brought it."""

    def do(*libraries, packages=("onnxruntime",), gpus=()):
        folder = tmp_path / "onnxruntime" / "capi"
        folder.mkdir(parents=True)
        for library in libraries:
            (folder / f"libonnxruntime_providers_{library}.so").touch()
        spec = ModuleSpec("onnxruntime", None, is_package=True)
        spec.submodule_search_locations = [str(folder.parent)]
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
        monkeypatch.setattr(
            backend, "package_version", lambda *names: next(("1.2" for n in names if n in packages), "")
        )
        monkeypatch.setattr(backend, "gpus", lambda: gpus)

    return do


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("onnxruntime-cpu", "onnxruntime", "cpu"),
        ("onnxruntime-cuda", "onnxruntime-gpu", "gpu"),
        ("onnxruntime-tensorrt", "onnxruntime-gpu", "gpu"),
        ("onnxruntime-openvino", "onnxruntime-openvino", "onnxruntime-openvino"),
    ],
)
def test_none_is_installed(name, package, extra, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    info = backend.target(name).probe()
    assert (info.usable, info.reason, info.extra) == (False, f"the package {package} is not installed", extra)


def test_a_provider_is_seen_by_its_library(installed):
    installed("cuda", packages=("onnxruntime-gpu",), gpus=(GPU,))
    cuda = backend.target("onnxruntime-cuda").probe()
    assert (cuda.usable, cuda.builds, cuda.devices) == (True, False, ("L4 (sm89, CUDA 13)",))
    assert not backend.target("onnxruntime-tensorrt").probe().usable
    assert backend.target("onnxruntime-cpu").probe().usable


def test_a_gpu_provider_needs_a_gpu(installed):
    installed("cuda", packages=("onnxruntime-gpu",))
    assert backend.target("onnxruntime-cuda").probe().reason == "no NVIDIA GPU, or no driver for it"


def test_the_package_that_has_the_provider_is_named(installed):
    installed()
    reason = backend.target("onnxruntime-openvino").probe().reason
    assert reason == "the installed onnxruntime has no such provider; onnxruntime-openvino has it"


def test_packages_that_overwrite_each_other_are_named(installed):
    installed(packages=("onnxruntime", "onnxruntime-gpu"), gpus=(GPU,))
    reason = backend.target("onnxruntime-cuda").probe().reason
    assert reason == (
        "onnxruntime and onnxruntime-gpu overwrite each other; uninstall all, then install onnxruntime-gpu alone"
    )


@pytest.mark.parametrize("level", ["all", "extended", "basic"])
def test_the_optimised_graph_is_kept(blur, level):
    import onnxruntime

    report = build(blur, "onnxruntime-cpu", options={"optimisation": level}, apart=False)
    assert report.key.flags == ({} if level == "all" else {"optimisation": level})
    session = onnxruntime.InferenceSession(str(report.path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["fine_t1", "coarse_t1", "coarse_t2"]
    with open_engine(blur, "onnxruntime-cpu") as engine:
        assert golden.compare(blur, engine).relative < 1e-6


def test_an_engine_that_was_built_is_not_optimised_again(blur, monkeypatch):
    import onnxruntime

    build(blur, "onnxruntime-cpu", apart=False)
    levels = []
    real = backend._session
    monkeypatch.setattr(
        backend, "_session", lambda g, o, *more: levels.append(o.graph_optimization_level) or real(g, o, *more)
    )
    open_engine(blur, "onnxruntime-cpu").close()
    assert levels == [onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL]


def test_a_graph_is_opened_for_one_tile_and_takes_any_number(blur):
    rng = np.random.default_rng(0)
    with open_engine(blur, "onnxruntime-cpu") as engine:
        assert (engine.fixed_batch, engine.preferred_batch, engine.max_batch) == (1, 1, None)
        given = {i.tensor: rng.random((3, *engine.spec.tensor_shape(i)), np.float32) for i in engine.spec.inputs}
        together = engine.infer(given)["fine_t2"]
        for k in range(3):
            alone = engine.infer({name: array[k : k + 1] for name, array in given.items()})
            np.testing.assert_array_equal(together[k : k + 1], alone["fine_t2"])


@pytest.mark.parametrize(("faster_up_to", "call", "taken"), [(1, 0.01, 1), (4, 0.01, 4), (64, 0.01, 8), (64, 0.2, 1)])
def test_tiles_of_a_call_are_as_many_as_are_measured_to_be_fastest(blur, monkeypatch, faster_up_to, call, taken):
    def each(setting):
        return 1.0 if setting.at_once <= faster_up_to else setting.at_once

    monkeypatch.setattr(growing.turns, "ratio", lambda one, two: each(two.__self__) / each(one.__self__))
    monkeypatch.setattr(growing.turns, "least_seconds", lambda _: call)
    said = []
    report = build(blur, "onnxruntime-cpu", apart=False, progress=said.append)
    assert report.batch == 1
    assert [path.name for path in report.path.parent.iterdir() if path.suffix == ".onnx"] == ["model.onnx"]
    assert ("measuring 2 tiles at once" in said) == (call < 0.1)
    with open_engine(blur, "onnxruntime-cpu") as engine:
        assert engine.preferred_batch == engine.fixed_batch == taken
        assert golden.compare(blur, engine).relative < 1e-6


def test_a_number_of_tiles_that_is_stated_is_kept(blur, monkeypatch):
    monkeypatch.setattr(growing.turns, "least_seconds", lambda _: pytest.fail("measured"))
    build(blur, "onnxruntime-cpu", tile_batch=3, apart=False)
    with open_engine(blur, "onnxruntime-cpu") as engine:
        assert engine.preferred_batch == engine.fixed_batch == 3


def test_tensors_are_bound_to_the_device_and_keep_their_place(blur, monkeypatch):
    """The way of the GPU providers, with the memory of the CPU in place of theirs."""
    monkeypatch.setattr(backend.CpuTarget, "tiles", lambda self, bundle: None)
    with open_engine(blur, "onnxruntime-cpu") as plain, open_engine(blur, "onnxruntime-cpu") as bound:
        monkeypatch.setattr(bound._session, "run", lambda *_: pytest.fail("not bound"))
        rng = np.random.default_rng(0)
        places = []
        for tiles in (2, 2, 3):
            given = {i.tensor: rng.random((tiles, *plain.spec.tensor_shape(i)), np.float32) for i in plain.spec.inputs}
            given["fine_t1"] = np.asfortranarray(given["fine_t1"])
            out = dict(zip(["fine_t2"], bound._run_bound(given, ["fine_t2"]), strict=True))
            np.testing.assert_array_equal(out["fine_t2"], plain.infer(given)["fine_t2"])
            places.append(bound._held["coarse_t1"].data_ptr())
        assert places[0] == places[1]


def test_a_gpu_provider_runs_bound(blur, monkeypatch):
    with open_engine(blur, "onnxruntime-cpu") as engine:
        engine._memory = "cuda"
        monkeypatch.setattr(engine, "_run_bound", lambda inputs, names: ["bound"])
        assert engine.infer_impl({}) == {"fine_t2": "bound"}


def test_a_provider_that_falls_back_is_refused(blur, monkeypatch):
    """ONNX Runtime goes on with the CPU where CUDA's libraries are missing; nobody asked for that."""
    session = types.SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(backend, "_session", lambda *_: session)
    target = backend.target("onnxruntime-cuda")
    with pytest.raises(EngineError, match=r"cannot start its CUDAExecutionProvider. Got: only CPUExecutionProvider"):
        target.open(blur, None, "fp32", None)


def test_there_is_nothing_to_build_for_cuda(blur, installed):
    installed("cuda", packages=("onnxruntime-gpu",), gpus=(GPU,))
    with pytest.raises(EngineUnavailableError, match=r"for onnxruntime-cuda here: it opens bundles as they are"):
        build(blur, "onnxruntime-cuda", apart=False)


def test_the_profile_of_the_tensorrt_provider_comes_from_the_tile_rule(blur, tmp_path, installed, monkeypatch):
    from stf_infer.engines.target import Job

    installed("tensorrt", packages=("onnxruntime-gpu",), gpus=(GPU,))
    target = backend.target("onnxruntime-tensorrt")
    job = Job(blur, blur.asset("model-fp32"), "fp32", 4, {"workspace": 64}, tmp_path, print)
    options = target.compile_options(job)
    assert options["trt_profile_min_shapes"] == "coarse_t1:1x2x8x8,fine_t1:1x2x32x32,coarse_t2:1x2x8x8"
    assert options["trt_profile_max_shapes"] == "coarse_t1:4x2x8x8,fine_t1:4x2x32x32,coarse_t2:4x2x8x8"
    assert options["trt_max_workspace_size"] == 64 * 2**20
    assert target.key(blur, "fp32", 4, {"workspace": 64}).device == "L4 (sm89, CUDA 13)"
    assert target.bounded


def test_a_compiling_provider_stores_a_graph_with_its_engine_inside(blur, tmp_path, monkeypatch):
    """What the provider is told, and that nothing written is an error; the provider itself is not here."""
    from stf_infer.engines.target import Job

    told = {}

    def session(graph, options, provider, provider_options):
        told.update(provider_options, provider=provider)
        told["file"] = options.get_session_config_entry("ep.context_file_path")

    monkeypatch.setattr(backend, "_session", session)
    target = backend.target("onnxruntime-tensorrt")
    job = Job(blur, blur.asset("model-fp32"), "fp32", 1, {"workspace": 0}, tmp_path, lambda step: None)
    with pytest.raises(EngineError, match="TensorrtExecutionProvider wrote no engine"):
        target.compile(job)
    assert told["file"] == told["trt_ep_context_file_path"] == str(tmp_path / "model_ctx.onnx")
    assert told["provider"] == "TensorrtExecutionProvider"
    (tmp_path / "model_ctx.onnx").touch()
    assert target.compile(job).files == ("model_ctx.onnx",)


def test_the_openvino_provider_is_told_its_precision():
    """It would take another one by itself."""
    target = backend.target("onnxruntime-openvino")
    assert target.provider_options(None) == {"device_type": "CPU", "precision": "FP32"}
    assert target.provider_options(3)["num_of_threads"] == 3


@pytest.mark.skipif(
    not backend.target("onnxruntime-openvino").probe().usable, reason="onnxruntime-openvino is not installed"
)
def test_the_openvino_provider_computes_the_golden_tile(blur):
    with open_engine(blur, "onnxruntime-openvino") as engine:
        assert golden.compare(blur, engine).relative < 1e-5


def test_the_version_is_that_of_the_module():
    import onnxruntime

    assert backend.version() == onnxruntime.__version__
