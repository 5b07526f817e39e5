# SPDX-License-Identifier: Apache-2.0
"""Plans: built for real with TensorRT-RTX, which needs no GPU for it, and what every builder is told."""

from __future__ import annotations

import json
import logging
import types

import numpy as np
import pytest

from stf_infer.bundle import Bundle, sha256_of
from stf_infer.engines import build, open_engine, tensorrt_build
from stf_infer.engines.tensorrt import RTX_CAPABILITIES, RtxTarget, TensorRtTarget
from stf_infer.engines.tensorrt_build import PlanOptions, build_plan, options_from, profile_shapes
from stf_infer.errors import EngineError, EngineUnavailableError, UsageError

trt = pytest.importorskip("tensorrt_rtx")
onnx = pytest.importorskip("onnx")

MALFORMED = 32


def verdict(content: bytes) -> int:
    """What TensorRT-RTX's own loader says of a plan, looking at its header."""
    return int(trt.Runtime(tensorrt_build.logger(trt)).get_engine_validity(content)[1])


def loaded(content: bytes) -> str:
    """What the loader says when it is to load a plan; without a GPU it always fails, but it says at what."""
    log = tensorrt_build.logger(trt)
    trt.Runtime(log).deserialize_cuda_engine(content)
    return "; ".join(log.errors)


# Ahead of time, without a GPU ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sm", RTX_CAPABILITIES)
def test_a_plan_for_every_capability(blur, sm):
    report = build(blur, f"tensorrt-rtx-sm{sm}", apart=False)
    assert report.path.name == "model.plan"
    assert report.proof == {}  # it cannot be run here
    assert (report.key.device, report.key.batch) == (f"sm{sm}", 4)
    assert report.key.backend.startswith("tensorrt_rtx ")
    assert not verdict(report.path.read_bytes()) & MALFORMED
    stated = Bundle.open(blur.path).assets[f"engine-tensorrt-rtx-sm{sm}-fp32-b4"]
    assert stated.sha256 == sha256_of(report.path)


def test_in_a_process_of_its_own_with_the_steps_told(blur):
    said = []
    report = build(blur, "tensorrt-rtx-sm89", progress=said.append)
    assert report.bytes > 1000
    assert "reading the graph" in said


def test_the_file_is_what_the_builder_gave(blur, monkeypatch):
    """Byte by byte: nothing stands before or after it, and the vendor's loader takes it for what it is."""
    from stf_infer.engines import tensorrt as backend

    given = []
    monkeypatch.setattr(backend, "build_plan", lambda *more: given.append(build_plan(*more)) or given[-1])
    content = build(blur, "tensorrt-rtx-sm86", apart=False).path.read_bytes()
    assert given == [content]
    assert not verdict(content) & MALFORMED
    assert verdict(b'{"metadata": 1}' + content) & MALFORMED
    # The loader compares the length in the header with the bytes, and only then asks for a GPU.
    assert "header.size" not in loaded(content)
    assert "header.size" in loaded(content[:-1])
    assert "header.size" in loaded(content + b"?")


def test_it_cannot_be_run_here_and_says_so(blur):
    build(blur, "tensorrt-rtx-sm89", apart=False)
    with pytest.raises(
        EngineUnavailableError, match=r"runs on an NVIDIA GPU of capability 8.9, and there is none here"
    ):
        open_engine(blur, "tensorrt-rtx-sm89")
    with open_engine(blur, threads=1) as engine:
        assert not engine.name.startswith("tensorrt")


@pytest.mark.parametrize("name", ["tensorrt-rtx-sm87", "tensorrt-rtx-sm90"])
def test_a_capability_that_is_not_offered(blur, name):
    with pytest.raises(EngineUnavailableError, match=r"TensorRT-RTX builds for sm75, sm80, sm86, sm89, sm120, sm121"):
        build(blur, name)


def save_graph(blur, node, *, initializers=(), shape=("n", 2, 32, 32)):
    """Replace the bundle's network."""
    from onnx import TensorProto, helper

    path = blur.path / "model.onnx"
    old = onnx.load(path)
    inputs = list(old.graph.input)
    output = helper.make_tensor_value_info("fine_t2", TensorProto.FLOAT, list(shape))
    graph = helper.make_graph(node, "odd", inputs, [output], list(initializers))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    item = json.loads((blur.path / "item.json").read_text())
    stated = {"file:size": path.stat().st_size, "file:checksum": "1220" + sha256_of(path)}
    item["assets"]["model-fp32"] |= stated
    (blur.path / "item.json").write_text(json.dumps(item))
    return Bundle.open(blur.path)


def test_an_operator_that_is_refused_is_named(blur, snapshot):
    from onnx import TensorProto, helper

    sizes = helper.make_tensor("sizes", TensorProto.INT64, [2], [32, 32])
    block = helper.make_tensor("block", TensorProto.INT64, [2], [3, 3])
    odd = [helper.make_node("Col2Im", ["fine_t1", "sizes", "block"], ["fine_t2"], name="fold")]
    bundle = save_graph(blur, odd, initializers=(sizes, block))
    before = snapshot(bundle.path)
    with pytest.raises(
        EngineError, match=r"TensorRT-RTX refuses the graph. Got: operator Col2Im.*Build for another tar"
    ):
        build(bundle, "tensorrt-rtx-sm89")
    assert snapshot(bundle.path) == before


def test_a_file_that_is_no_graph_is_no_traceback(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match="TensorRT-RTX refuses the graph"):
        build_plan(trt, tmp_path / "model.onnx", PlanOptions(sm=89))


def test_too_small_a_workspace_names_the_option(blur):
    with pytest.raises(
        EngineError, match=r"cannot build the network.*workspace.*Allow more with --option workspace=MIB"
    ):
        build(blur, "tensorrt-rtx-sm89", options={"workspace": 1}, apart=False)


def test_weights_stay_inside_where_there_is_no_gpu(blur, snapshot):
    before = snapshot(blur.path)
    with pytest.raises(EngineError, match=r"cannot leave weights out of a plan that it builds without a GPU"):
        build(blur, "tensorrt-rtx-sm89", options={"weights": "stripped"}, apart=False)
    assert snapshot(blur.path) == before
    with pytest.raises(EngineError, match="Plans without weights cannot be built without a GPU"):
        build_plan(trt, blur.asset("model-fp32"), PlanOptions(sm=89, flags=("STRIP_PLAN", "REFIT_IDENTICAL")))


def test_another_precision_has_to_be_in_the_bundle(blur):
    with pytest.raises(EngineError, match=r"holds no network in fp16.*Allowed: fp32"):
        build(blur, "tensorrt-rtx-sm89", precision="fp16", apart=False)
    with pytest.raises(EngineError, match=r"tensorrt-rtx-sm75 does not compute in bf16.*Allowed: fp32, fp16, int8"):
        build(blur, "tensorrt-rtx-sm75", precision="bf16", apart=False)


def test_the_profile_comes_from_the_graph_and_the_batch(blur):
    log = tensorrt_build.logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(blur.asset("model-fp32")))
    assert profile_shapes(network, 8) == {
        "fine_t1": ((1, 2, 32, 32), (8, 2, 32, 32), (8, 2, 32, 32)),
        "coarse_t1": ((1, 2, 8, 8), (8, 2, 8, 8), (8, 2, 8, 8)),
        "coarse_t2": ((1, 2, 8, 8), (8, 2, 8, 8), (8, 2, 8, 8)),
    }


# What a builder is told ------------------------------------------------------------------------------------------


def network_of(**shapes):
    tensors = [types.SimpleNamespace(name=name, shape=shape) for name, shape in shapes.items()]
    return types.SimpleNamespace(num_inputs=len(tensors), get_input=lambda index: tensors[index])


def test_a_fixed_batch_needs_no_profile():
    assert profile_shapes(network_of(a=(1, 2, 8, 8), b=()), 4) == {}


def test_a_free_side_is_refused():
    with pytest.raises(EngineError, match=r"input a has an axis without a size besides the batch"):
        profile_shapes(network_of(a=(-1, 2, -1, 8)), 4)


class Recorder:
    """A builder configuration that notes what it is told; and everything else of a module that builds."""

    def __init__(self, *, plan=b"plan", typed=True, fits=True):
        self.flags, self.cleared, self.limits, self.capabilities, self.timing = [], [], {}, {}, []
        self.builder_optimization_level = self.hardware_compatibility_level = None
        self.profiles, self.created, self._fits = [], [], fits
        config = self

        class Builder:
            def __init__(self, log):
                self.log = log

            def create_network(self, flags):
                config.created.append(flags)
                return network_of(fine_t1=(-1, 2, 8, 8))

            def create_builder_config(self):
                return config

            def create_optimization_profile(self):
                return types.SimpleNamespace(set_shape=lambda *shape: config.profiles.append(shape))

            def build_serialized_network(self, network, _):
                if isinstance(plan, str):
                    self.log.log(self.log.Severity.ERROR, plan)
                    return None
                config.progress_monitor.phase_start("Building engine", None, 6)
                config.progress_monitor.phase_start("Tactics", "Building engine", 30)
                assert config.progress_monitor.step_complete("Tactics", 2)
                config.progress_monitor.phase_finish("Tactics")
                return plan

        class ILogger:
            Severity = types.SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

        enum = types.SimpleNamespace
        self.module = types.SimpleNamespace(
            __name__="tensorrt",
            Builder=Builder,
            ILogger=ILogger,
            IProgressMonitor=object,
            OnnxParser=lambda network, log: types.SimpleNamespace(parse_from_file=lambda path: True),
            NetworkDefinitionCreationFlag=enum(STRONGLY_TYPED=1) if typed else enum(),
            BuilderFlag=enum(TF32="tf32", STRIP_PLAN="strip", REFIT_IDENTICAL="refit", VERSION_COMPATIBLE="version"),
            HardwareCompatibilityLevel=enum(AMPERE_PLUS="ampere", SAME_COMPUTE_CAPABILITY="same"),
            MemoryPoolType=enum(WORKSPACE="workspace"),
            ComputeCapability=enum(SM89="cc89"),
        )

    def set_flag(self, flag):
        self.flags.append(flag)

    def clear_flag(self, flag):
        self.cleared.append(flag)

    def set_memory_pool_limit(self, pool, size):
        self.limits[pool] = size

    def set_compute_capability(self, value, index):
        self.capabilities[index] = value

    def add_optimization_profile(self, profile):
        pass

    def create_timing_cache(self, content):
        return bytes(content)

    def set_timing_cache(self, cache, ignore):
        self.timing.append((cache, ignore))
        return self._fits or cache == b""

    def get_timing_cache(self):
        return types.SimpleNamespace(serialize=lambda: b"timed")


DEFAULTS = {"workspace": 0, "weights": "inside", "level": 3, "tf32": False}


def told(given, **more):
    recorder = Recorder(**more.pop("recorder", {}))
    plan = build_plan(recorder.module, more.pop("path", "g.onnx"), options_from({**DEFAULTS, **given}, **more))
    assert plan == b"plan"
    return recorder


def test_networks_are_strongly_typed():
    assert told({}, batch=1, sm=None, timing=None).created == [2]
    # TensorRT 11 knows no other networks.
    assert told({}, batch=1, sm=None, timing=None, recorder={"typed": False}).created == [0]


def test_fp32_is_fp32_unless_tf32_is_asked_for():
    assert told({}, batch=1, sm=None, timing=None).cleared == ["tf32"]
    assert told({"tf32": True}, batch=1, sm=None, timing=None).cleared == []


def test_nothing_is_set_that_was_not_asked_for():
    recorder = told({}, batch=3, sm=None, timing=None)
    assert (recorder.flags, recorder.limits, recorder.capabilities, recorder.timing) == ([], {}, {}, [])
    assert recorder.builder_optimization_level is None
    assert recorder.hardware_compatibility_level is None
    assert recorder.profiles == [("fine_t1", (1, 2, 8, 8), (3, 2, 8, 8), (3, 2, 8, 8))]


@pytest.mark.parametrize(
    ("given", "check"),
    [
        ({"workspace": 64}, lambda r: r.limits == {"workspace": 64 << 20}),
        ({"weights": "stripped"}, lambda r: r.flags == ["strip", "refit"]),
        ({"version_compatible": True}, lambda r: r.flags == ["version"]),
        ({"hardware": "ampere"}, lambda r: r.hardware_compatibility_level == "ampere"),
        ({"hardware": "same"}, lambda r: r.hardware_compatibility_level == "same"),
        ({"level": 5}, lambda r: r.builder_optimization_level == 5),
    ],
)
def test_every_option_reaches_the_builder(given, check):
    assert check(told(given, batch=1, sm=None, timing=None))


def test_a_capability_is_set_for_builds_without_a_gpu():
    recorder = told({}, batch=1, sm=89, timing=None)
    assert (recorder.num_compute_capabilities, recorder.capabilities) == (1, {0: "cc89"})


def test_what_was_timed_is_kept_and_used_again(tmp_path):
    path = tmp_path / "timing" / "x.cache"
    assert told({}, batch=1, sm=None, timing=path).timing == [(b"", False)]
    assert path.read_bytes() == b"timed"
    assert told({}, batch=1, sm=None, timing=path).timing == [(b"timed", False)]


def test_what_was_timed_on_another_gpu_is_thrown_away(tmp_path):
    path = tmp_path / "x.cache"
    path.write_bytes(b"of another")
    recorder = told({}, batch=1, sm=None, timing=path, recorder={"fits": False})
    assert recorder.timing == [(b"of another", False), (b"", False)]


def test_a_cache_that_cannot_be_kept_only_costs_time(tmp_path, caplog):
    caplog.set_level(logging.INFO, "stf_infer")
    (tmp_path / "file").write_text("x")
    told({}, batch=1, sm=None, timing=tmp_path / "file" / "x.cache")
    assert "timing cache cannot be kept" in caplog.text


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("no tactics within workspace limit", "--option workspace=MIB, or leave the limit out"),
        ("CUDA error: out of memory", "a smaller --tile-batch, or limit memory"),
        ("something else", ""),
    ],
)
def test_a_builder_that_gives_nothing_says_why(reason, fix):
    recorder = Recorder(plan=reason)
    with pytest.raises(EngineError) as caught:
        build_plan(recorder.module, "g.onnx", PlanOptions())
    assert caught.value.got == reason
    assert fix in (caught.value.fix or "")


def test_the_outer_phases_are_told_but_not_too_often(monkeypatch):
    said, now = [], [10.0]
    monkeypatch.setattr(tensorrt_build.time, "monotonic", lambda: now[0])
    monitor = tensorrt_build._monitor(types.SimpleNamespace(IProgressMonitor=object), said.append)
    monitor.phase_start("Building engine", None, 6)
    monitor.step_complete("Building engine", 0)
    now[0] += 1
    monitor.step_complete("Building engine", 1)
    for depth, parent in enumerate(["Building engine", "b", "c"]):
        now[0] += 1
        monitor.phase_start("bcd"[depth], parent, 3)
    assert said == ["building engine, 0 of 6", "building engine, 2 of 6", "b, 0 of 3", "c, 0 of 3"]


# Targets -----------------------------------------------------------------------------------------------------------


def test_the_names_say_what_is_built_for():
    from stf_infer.engines.tensorrt import target

    assert (type(target("tensorrt-sm87")), target("tensorrt-sm87").sm) == (TensorRtTarget, 87)
    assert (type(target("tensorrt-rtx-sm121")), target("tensorrt-rtx-sm121").sm) == (RtxTarget, 121)
    assert target("tensorrt-smXX").sm is None


def test_a_network_with_a_fixed_batch_is_built_for_it(tmp_path):
    from fakes import write_onnx
    from stf_export import Contract, export_onnx
    from stf_infer.spec import InputSpec, OutputSpec

    path = write_onnx(tmp_path / "one.onnx")
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(path))
    bands = ("red", "nir")
    inputs = tuple(
        InputSpec(role=r, tensor=r, bands=bands, grid="fine" if r == "fine_t1" else "coarse")
        for r in ("coarse_t1", "fine_t1", "coarse_t2")
    )
    contract = Contract(network="one", ratio=4, inputs=inputs, output=OutputSpec(tensor="fine_t2", bands=bands))
    bundle = export_onnx(path, contract, tile=32, out=tmp_path / "one.stf")
    assert build(bundle, "tensorrt-rtx-sm89", apart=False).batch == 1
    with pytest.raises(UsageError, match=r"takes another number of tiles in a call. Got: 4. Allowed: 1"):
        build(bundle, "tensorrt-rtx-sm89", tile_batch=4, apart=False)
    assert np.isfinite(build(bundle, "openvino-cpu", options={"streams": 1}, apart=False).proof["relative"])
