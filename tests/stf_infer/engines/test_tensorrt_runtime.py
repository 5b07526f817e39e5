# SPDX-License-Identifier: Apache-2.0
"""The host side of running plans, with stand-ins for CUDA and TensorRT; and what the targets say of GPUs."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from dataclasses import replace

import numpy as np
import pytest

from fake_cuda import FakeCuda
from fake_trt import FakeTrt, plan_of
from fakes import add_coarse_change
from stf_infer.engines import machine, open_engine, registry, store
from stf_infer.engines import tensorrt as backend
from stf_infer.engines.target import Compiled
from stf_infer.engines.tensorrt_runtime import bindings
from stf_infer.errors import EngineError, EngineUnavailableError

ORIN, L4 = machine.Gpu("Orin", 87, (12, 6)), machine.Gpu("L4", 89, (13, 0))

# Not in the order of the contract: engines list tensors as they please.
TENSORS = {
    "fine_t2": ("output", [-1, 2, 32, 32], "float32"),
    "coarse_t2": ("input", [-1, 2, 8, 8], "float32"),
    "fine_t1": ("input", [-1, 2, 32, 32], "float32"),
    "coarse_t1": ("input", [-1, 2, 8, 8], "float32"),
}


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A machine with an Orin (and an L4 before it), the stand-ins installed as modules."""

    def do(*, rtx=False, function=add_coarse_change, limit=1 << 40, versions=("10.9.0",)):
        cuda = FakeCuda((8, 9), (8, 7), limit=limit)
        trt = FakeTrt(cuda, function, rtx=rtx)
        monkeypatch.setitem(sys.modules, "pycuda.driver", cuda)
        monkeypatch.setitem(sys.modules, trt.__name__, trt)
        real = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: object() if name in ("pycuda", trt.__name__) else real(name)
        )
        for module in (backend, registry):
            monkeypatch.setattr(module, "gpus", lambda: (L4, ORIN))
        monkeypatch.setattr(backend, "package_version", lambda *names: versions[0])
        monkeypatch.setenv("STF_CACHE", str(tmp_path / "cache"))
        return cuda, trt

    return do


def put(bundle, plan, *, name="tensorrt-sm87", settings=None, batch=4, **options):
    """Store a plan as a build would have."""
    target = registry.target(name)
    key = target.key(bundle, "fp32", batch, target.complete(options))
    with store.staging(bundle) as folder:
        (folder / "model.plan").write_bytes(plan)
        compiled = Compiled(("model.plan",), settings or {"weights": options.get("weights", "inside")})
        store.add(bundle, name, key, compiled, folder, proof={}, accuracy={}, built={})
    return target


def tiles(number, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {name: tuple(shape[1:]) for name, (mode, shape, _) in TENSORS.items() if mode == "input"}
    return {name: rng.random((number, *shape), np.float32) for name, shape in shapes.items()}


# Running -------------------------------------------------------------------------------------------------------------


def test_the_device_says_how_long_it_computed_without_copies_where_somebody_asks(bundle, gpu):
    gpu()
    put(bundle, plan_of(TENSORS))
    log = []
    with open_engine(bundle, "tensorrt-sm87") as engine:
        assert engine.has_device_clock
        engine.infer(tiles(3))
        engine.log_device_time(log)
        engine.infer(tiles(3))
        engine.infer(tiles(1))
        engine.log_device_time(None)
        engine.infer(tiles(2))
    assert log == pytest.approx([0.003, 0.001])


@pytest.mark.parametrize("rtx", [False, True])
def test_any_number_of_tiles_up_to_the_profile(bundle, gpu, rtx):
    cuda, _ = gpu(rtx=rtx)
    put(bundle, plan_of(TENSORS), name="tensorrt-rtx-sm89" if rtx else "tensorrt-sm87")
    with open_engine(bundle, "tensorrt-rtx-sm89" if rtx else "tensorrt-sm87") as engine:
        assert (engine.max_batch, engine.preferred_batch) == (4, 4)
        results = []
        for number in (4, 1, 3, 2):
            given = tiles(number, number)
            out = engine.infer(given)["fine_t2"]
            np.testing.assert_array_equal(out, add_coarse_change(**given))
            results.append((out, out.copy()))
        for out, kept in results:  # what was handed out is not overwritten
            np.testing.assert_array_equal(out, kept)
        assert cuda.stack == []  # no context stays current between calls
    assert (cuda.memory, cuda.stack, cuda.detached) == ({}, [], 1)


def test_the_gpu_of_the_capability_is_taken(bundle, gpu):
    gpu()
    put(bundle, plan_of(TENSORS))
    with open_engine(bundle, "tensorrt-sm87") as engine:
        assert engine._context.device == 1
        assert engine.describe() == {
            "engine": "tensorrt-sm87",
            "version": "10.9.0",
            "precision": "fp32",
            "device": "sm87 Orin",
        }


def test_a_batch_larger_than_the_profile_names_the_command(bundle, gpu):
    gpu()
    put(bundle, plan_of(TENSORS))
    with open_engine(bundle, "tensorrt-sm87") as engine, pytest.raises(EngineError) as caught:
        engine.infer(tiles(5))
    assert caught.value.allowed == "1 to 4"
    assert f"`stf-infer build {bundle.path} --target tensorrt-sm87 --tile-batch N`" in caught.value.fix


def test_the_profile_of_the_plan_counts(bundle, gpu):
    gpu()
    put(bundle, plan_of(TENSORS, profile=[1, 2, 2]))
    with open_engine(bundle, "tensorrt-sm87") as engine:
        assert engine.max_batch == 2


def test_a_static_batch_is_filled_up(bundle, gpu):
    gpu()
    fixed = {name: (mode, [2, *shape[1:]], kind) for name, (mode, shape, kind) in TENSORS.items()}
    put(bundle, plan_of(fixed), batch=2)
    with open_engine(bundle, "tensorrt-sm87") as engine:
        assert (engine.fixed_batch, engine.max_batch) == (2, None)
        given = tiles(5)
        np.testing.assert_array_equal(engine.infer(given)["fine_t2"], add_coarse_change(**given))


def test_types_are_those_of_the_engine():
    cuda = FakeCuda((8, 7))
    trt = FakeTrt(cuda, add_coarse_change)
    cuda.stack.append(None)
    engine = trt.Runtime(None).deserialize_cuda_engine(
        plan_of({"n": ("input", [-1], "int64"), "x": ("output", [3, 2], "float16")}, profile=[1, 6, 8])
    )
    number, x = bindings(trt, engine, 4)
    assert (number.shape, number.dtype, number.free, number.batch) == ((), np.dtype("int64"), True, 8)
    assert (x.shape, x.dtype, x.free, x.batch) == ((2,), np.dtype("float16"), False, 3)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fine_t1": None}, r"does not take what the contract gives. Got: coarse_t2 2x8x8 float32, coarse_t1"),
        (
            {"fine_t1": ("input", [-1, 2, 64, 64], "float32")},
            r"Got: .*fine_t1 2x64x64 float32.*Allowed: .*fine_t1 2x32x32",
        ),
        ({"fine_t1": ("input", [-1, 2, 32, 32], "float16")}, r"Got: .*fine_t1 2x32x32 float16"),
        ({"mask": ("input", [-1, 1, 32, 32], "float32")}, r"Got: .*mask 1x32x32"),
        (
            {"fine_t2": ("output", [-1, 3, 32, 32], "float32")},
            r"does not give what the contract says. Got: .*\(3, 32, 32\)",
        ),
    ],
)
def test_tensors_are_compared_with_the_contract_by_name(bundle, gpu, change, says):
    cuda, _ = gpu()
    tensors = {name: facts for name, facts in {**TENSORS, **change}.items() if facts is not None}
    put(bundle, plan_of(tensors))
    with pytest.raises(EngineError, match=says):
        open_engine(bundle, "tensorrt-sm87")
    assert (cuda.memory, cuda.stack, cuda.detached) == ({}, [], 1)


def test_a_truncated_plan_names_the_command(bundle, gpu):
    cuda, _ = gpu()
    put(bundle, plan_of(TENSORS)[:-5])
    with pytest.raises(EngineError) as caught:
        open_engine(bundle, "tensorrt-sm87")
    assert caught.value.what == "TensorRT cannot load the plan"
    assert "header.size" in caught.value.got
    assert caught.value.fix == f"`stf-infer build {bundle.path} --target tensorrt-sm87 --tile-batch 4` builds it again"
    assert (cuda.memory, cuda.stack, cuda.detached) == ({}, [], 1)


def test_too_little_memory_is_no_traceback(bundle, gpu):
    cuda, _ = gpu(limit=40_000)
    put(bundle, plan_of(TENSORS))
    with pytest.raises(EngineError, match=r"GPU has too little memory.*smaller --tile-batch"):
        open_engine(bundle, "tensorrt-sm87")
    assert (cuda.memory, cuda.stack, cuda.detached) == ({}, [], 1)


@pytest.mark.parametrize(
    ("fail", "says"),
    [
        ("shape", r"engine refuses the shape of .*Got: \(2, 2,"),
        ("execute", "TensorRT failed on a batch"),
        ("cuda", "TensorRT failed on a batch. Got: an illegal memory access"),
    ],
)
def test_a_batch_that_fails_is_no_traceback(bundle, gpu, fail, says):
    cuda, trt = gpu()
    put(bundle, plan_of(TENSORS))
    with open_engine(bundle, "tensorrt-sm87") as engine:
        trt.fail = fail
        with pytest.raises(EngineError, match=says):
            engine.infer(tiles(2))
        assert cuda.stack == []


def test_a_context_that_cannot_be_made(bundle, gpu):
    _, trt = gpu()
    put(bundle, plan_of(TENSORS))
    trt.fail = "context"
    with pytest.raises(EngineError, match="TensorRT cannot prepare the plan on this device"):
        open_engine(bundle, "tensorrt-sm87")


# Weights outside of the plan -----------------------------------------------------------------------------------------


def test_weights_that_were_left_out_come_from_the_network(bundle, gpu):
    _, trt = gpu()
    put(bundle, plan_of(TENSORS), weights="stripped")
    with open_engine(bundle, "tensorrt-sm87"):
        assert trt.refitted == [str(bundle.path / "model.onnx")]


def test_weights_inside_are_left_alone(bundle, gpu):
    _, trt = gpu()
    put(bundle, plan_of(TENSORS))
    with open_engine(bundle, "tensorrt-sm87"):
        assert trt.refitted == []


@pytest.mark.parametrize(
    ("fail", "missing", "says"),
    [
        (
            "parse",
            [],
            r"weights cannot be read from the network. Got: operator Conv \(node n7\): its weights are another",
        ),
        ("", ["a", "b"], r"lacks weights that the engine needs. Got: a, b\."),
        ("", list("abcdefg"), r"Got: a, b, c, d, e and 2 more"),
        ("refit", [], "engine refuses the weights of the network"),
    ],
)
def test_weights_that_do_not_fit_are_named(bundle, gpu, fail, missing, says):
    _, trt = gpu()
    put(bundle, plan_of(TENSORS), weights="stripped")
    trt.fail, trt.missing = fail, missing
    with pytest.raises(EngineError, match=says):
        open_engine(bundle, "tensorrt-sm87")


# Host code and kernels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compatible", [False, True])
def test_host_code_runs_only_where_the_plan_was_built_to_have_some(bundle, gpu, compatible):
    _, trt = gpu()
    put(bundle, plan_of(TENSORS), version_compatible=compatible)
    open_engine(bundle, "tensorrt-sm87").close()
    assert trt.host_code == [compatible]


def test_kernels_of_tensorrt_rtx_are_compiled_once(bundle, gpu, tmp_path):
    _, trt = gpu(rtx=True)
    put(bundle, plan_of(TENSORS), name="tensorrt-rtx-sm89")
    for _ in range(2):
        open_engine(bundle, "tensorrt-rtx-sm89").close()
    assert trt.kernels == [b"", b"compiled"]
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 1


def test_kernels_that_cannot_be_kept_only_cost_time(bundle, gpu, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.INFO, "stf_infer")
    gpu(rtx=True)
    put(bundle, plan_of(TENSORS), name="tensorrt-rtx-sm89")
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("STF_CACHE", str(tmp_path / "file"))
    open_engine(bundle, "tensorrt-rtx-sm89").close()
    assert "compiled kernels cannot be kept" in caplog.text


# Plans of another version or device ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("compatible", "fits"), [(False, False), (True, True)])
def test_a_version_compatible_plan_outlives_an_update(bundle, gpu, monkeypatch, compatible, fits):
    gpu()
    put(bundle, plan_of(TENSORS), version_compatible=compatible)
    monkeypatch.setattr(backend, "package_version", lambda *names: "10.13.2")
    if fits:
        open_engine(bundle, "tensorrt-sm87").close()
    else:
        with pytest.raises(EngineError, match=r"Got: backend tensorrt 10.9.0. Allowed: backend tensorrt 10.13.2"):
            open_engine(bundle, "tensorrt-sm87")


def test_a_plan_of_another_gpu_is_refused(bundle, gpu, monkeypatch):
    gpu()
    put(bundle, plan_of(TENSORS))
    monkeypatch.setattr(backend, "gpus", lambda: (replace(ORIN, name="Orin Nano"),))
    with pytest.raises(EngineError, match=r"Got: device sm87 Orin. Allowed: device sm87 Orin Nano"):
        open_engine(bundle, "tensorrt-sm87")


def test_a_machine_without_the_gpu_says_so(bundle, gpu, monkeypatch):
    gpu()
    put(bundle, plan_of(TENSORS))
    monkeypatch.setattr(backend, "gpus", lambda: ())
    with pytest.raises(EngineUnavailableError, match=r"no NVIDIA GPU of capability sm87 \(none here\)"):
        open_engine(bundle, "tensorrt-sm87")


def test_a_driver_that_sees_other_gpus_than_cuda_does(bundle, gpu, monkeypatch):
    cuda, _ = gpu()
    put(bundle, plan_of(TENSORS))
    cuda.Device.compute_capability = lambda self: (7, 5)
    with pytest.raises(EngineError, match=r"No GPU of this machine runs tensorrt-sm87. Got: 2 GPUs"):
        open_engine(bundle, "tensorrt-sm87")
