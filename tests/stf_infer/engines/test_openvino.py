# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: blobs in the bundle, precision by name, streams by measurement."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stf_infer import golden
from stf_infer.bundle import Bundle
from stf_infer.engines import build, growing, machine, open_engine
from stf_infer.engines import openvino as backend
from stf_infer.engines import openvino_tuning as tuning
from stf_infer.errors import EngineError

if importlib.util.find_spec("openvino") is None:
    pytest.skip("needs the extra openvino", allow_module_level=True)

BF16 = pytest.mark.skipif(not machine.cpu().has_bf16, reason="the processor does not compute in bf16")


def make(bundle, target="openvino-cpu", **more):
    more["options"] = {"streams": 1, **more.get("options", {})}
    return build(bundle, target, apart=False, **more)


def tiles(engine: Any, number: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {i.tensor: rng.random((number, *engine.spec.tensor_shape(i)), np.float32) for i in engine.spec.inputs}


def test_the_blob_is_what_openvino_wrote(blur):
    """OpenVINO itself opens it."""
    openvino = backend.runtime()

    report = make(blur)
    assert report.path.name == "model.blob"
    model = openvino.Core().import_model(io.BytesIO(report.path.read_bytes()), "CPU", {})
    assert {port.any_name for port in model.inputs} == {"coarse_t1", "fine_t1", "coarse_t2"}
    assert [tuple(port.shape) for port in model.outputs] == [(1, 2, 32, 32)]


def test_an_engine_that_was_built_compiles_nothing_when_it_is_opened(blur, monkeypatch):
    make(blur)
    monkeypatch.setattr(backend, "_compile", lambda *_: pytest.fail("compiled again"))
    with open_engine(blur, "openvino-cpu") as engine:
        assert golden.compare(blur, engine).relative < 1e-6


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("begun", [1, 2, 5])  # with one request for each of two batches ahead, and more than there are
def test_batches_that_are_begun_give_their_own_outputs(blur, streams, begun):
    make(blur, options={"streams": streams})
    with open_engine(blur, "openvino-cpu") as engine:
        given = [tiles(engine, 1 + seed % 3, seed) for seed in range(begun)]
        alone = [engine.infer(batch)["fine_t2"] for batch in given]
        outputs = [engine.start(batch) for batch in given]
        between = engine.infer(given[0])["fine_t2"]
        np.testing.assert_array_equal(between, alone[0])
        for output, expected in zip(outputs, alone, strict=True):
            np.testing.assert_array_equal(output()["fine_t2"], expected)


def test_an_engine_is_closed_while_it_computes(blur):
    """Arrays that are shared with it live until it is done, also where nobody waits for the outputs."""
    make(blur, options={"streams": 2})
    for _ in range(5):
        engine = open_engine(blur, "openvino-cpu")
        engine.start(tiles(engine, 8))
        engine.close()


def test_a_batch_that_does_not_fit_is_refused_when_it_is_begun(blur):
    make(blur)
    with open_engine(blur, "openvino-cpu") as engine, pytest.raises(EngineError, match="another shape"):
        engine.start({name: array[..., 1:] for name, array in tiles(engine, 1).items()})


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_any_number_of_tiles_in_any_number_of_streams(blur, batch, streams, number):
    make(blur, tile_batch=batch, options={"streams": streams})
    with open_engine(blur, "openvino-cpu") as engine, open_engine(blur, "onnxruntime-cpu") as plain:
        assert engine.preferred_batch == batch * streams
        given = tiles(engine, number)
        np.testing.assert_allclose(engine.infer(given)["fine_t2"], plain.infer(given)["fine_t2"], atol=1e-6)


@BF16
@pytest.mark.parametrize("built", [True, False])
def test_bf16_is_computed_where_it_is_asked_for(blur, built):
    """1 + 2^-12 becomes 1; but not in fp32."""
    if built:
        report = make(blur, precision="bf16")
        assert report.key.onnx == make(blur).key.onnx
        assert 0 < report.proof["relative"] < report.proof["tolerance"]
        assert all(0 < rmse <= 0.005 for rmse in report.accuracy["rmse"])
        assert 0 < report.accuracy["sam_deg"] <= 0.05
    for precision in ("bf16", "fp32"):
        with open_engine(blur, "openvino-cpu", precision=precision) as engine:
            assert engine.describe()["precision"] == precision
            given = {k: np.zeros_like(v) for k, v in tiles(engine, 1).items()}
            given["fine_t1"] += np.float32(1 + 2.0**-12)
            middle = engine.infer(given)["fine_t2"][0, 0, 16, 16]
            assert (abs(middle - given["fine_t1"][0, 0, 0, 0]) > 1e-4) == (precision == "bf16")


@BF16
@pytest.mark.parametrize("built", [True, False])
def test_what_a_bf16_graph_leaves_in_fp32_stays_there(blur, monkeypatch, built):
    """Here all of it: the bundle says that its graph, which is fp32, is what stands for bf16."""
    graphs = {"fp32": "model-fp32", "bf16": "model-fp32"}
    monkeypatch.setattr(Bundle, "precisions", property(lambda self: graphs))
    if built:
        make(blur, precision="bf16")
    with open_engine(blur, "openvino-cpu", precision="bf16") as engine:
        assert engine.describe()["precision"] == "bf16"
        given = {k: np.zeros_like(v) for k, v in tiles(engine, 1).items()}
        given["fine_t1"] += np.float32(1 + 2.0**-12)
        assert abs(engine.infer(given)["fine_t2"][0, 0, 16, 16] - given["fine_t1"][0, 0, 0, 0]) < 1e-6


def test_bf16_is_refused_where_the_processor_has_none(blur, monkeypatch):
    monkeypatch.setattr(backend, "cpu", lambda: machine.Cpu("old", ("avx2",)))
    with pytest.raises(EngineError, match=r"openvino-cpu does not compute in bf16 on this device.*Allowed: fp32, int8"):
        make(blur, precision="bf16")
    with pytest.raises(EngineError, match=r"openvino-cpu does not compute in fp16"):
        make(blur, precision="fp16")


def test_an_engine_of_another_processor_is_refused(blur, monkeypatch):
    make(blur)
    monkeypatch.setattr(backend, "cpu", lambda: machine.Cpu("old", ("avx2",)))
    with pytest.raises(EngineError, match=r"Got: device .*. Allowed: device old \(avx2\)"):
        open_engine(blur, "openvino-cpu")


@pytest.mark.parametrize("content", [b"", b"x" * 1000, "half"])
def test_a_blob_that_openvino_refuses_is_no_traceback(blur, content):
    report = make(blur)
    whole = report.path.read_bytes()
    report.path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    blur._verified |= set(blur.assets)  # as if its hash were right
    with pytest.raises(EngineError, match=r"OpenVINO cannot load the engine.*`stf-infer build .*--target openvino-cpu"):
        open_engine(blur, "openvino-cpu")


# How many tiles at once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cores", "counts"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 3]),
        (4, [1, 2, 4]),
        (8, [1, 2, 4, 8]),
        (16, [1, 2, 4, 8]),
        (64, [1, 2, 4, 8, 16, 32]),
    ],
)
def test_what_is_tried(cores, counts):
    assert tuning.stream_counts(cores) == counts


@pytest.fixture
def times(monkeypatch):
    """Say how long a tile takes by tiles of a batch and streams, and how long a call; any other takes for ever."""

    def do(seconds, call=0.01):
        def each(setting):
            tried.append((setting.tiles, setting.streams))
            return seconds.get(tried[-1], 1e9) * setting.tiles * setting.streams

        tried = []
        monkeypatch.setattr(growing.turns, "ratio", lambda one, two: each(two.__self__) / each(one.__self__))
        monkeypatch.setattr(growing.turns, "least_seconds", lambda _: call)
        return tried

    return do


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        ({1: 1.0, 2: 0.5, 4: 0.6}, 2),
        ({1: 1.0, 2: 0.98, 4: 0.98}, 1),
        ({1: 1.0, 2: 0.9, 4: 0.5}, 4),
        ({1: 0.1, 2: 1, 4: 1}, 1),
    ],
)
def test_the_fastest_number_of_streams_is_taken_if_it_is_worth_it(blur, monkeypatch, times, seconds, taken):
    monkeypatch.setattr(backend, "cores", lambda: 4)
    times({(1, streams): value for streams, value in seconds.items()})
    build(blur, "openvino-cpu", apart=False)
    with open_engine(blur, "openvino-cpu") as engine:
        assert engine.preferred_batch == taken
    # Stated threads, or another number of cores: what was measured does not hold.
    with open_engine(blur, "openvino-cpu", threads=1) as engine:
        assert engine.preferred_batch == 1
    monkeypatch.setattr(backend, "cores", lambda: 3)
    with open_engine(blur, "openvino-cpu") as engine:
        assert engine.preferred_batch == 1


@pytest.mark.parametrize(
    ("seconds", "call", "taken"),
    [
        ({(1, 1): 1.0, (1, 2): 0.8, (2, 2): 0.7, (4, 2): 0.6, (8, 2): 0.5, (16, 2): 0.1}, 0.01, 16),
        ({(1, 1): 1.0, (1, 2): 0.8, (2, 2): 0.79, (4, 2): 0.1}, 0.01, 2),
        ({(1, 1): 1.0, (2, 1): 0.5}, 0.01, 2),
        ({(1, 1): 1.0, (1, 2): 0.8, (2, 2): 0.1}, 1.0, 2),  # a long call has nothing to gain
    ],
)
def test_tiles_go_through_together_where_that_is_faster(blur, monkeypatch, times, seconds, call, taken):
    monkeypatch.setattr(backend, "cores", lambda: 2)
    times(seconds, call)
    build(blur, "openvino-cpu", apart=False)
    with open_engine(blur, "openvino-cpu") as engine, open_engine(blur, "onnxruntime-cpu") as plain:
        assert engine.preferred_batch == taken
        given = tiles(engine, 3)
        np.testing.assert_allclose(engine.infer(given)["fine_t2"], plain.infer(given)["fine_t2"], atol=1e-6)


def test_a_stated_batch_is_taken_as_it_is(blur, monkeypatch, times):
    monkeypatch.setattr(backend, "cores", lambda: 2)
    tried = times({(3, 1): 1.0, (3, 2): 0.5, (6, 2): 0.1})
    build(blur, "openvino-cpu", tile_batch=3, apart=False)
    assert {count for count, _ in tried} == {3}
    with open_engine(blur, "openvino-cpu") as engine:
        assert engine.preferred_batch == 6


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_a_hint_measures_nothing(blur, monkeypatch, hint):
    monkeypatch.setattr(backend, "fastest", lambda *_: pytest.fail("measured"))
    build(blur, "openvino-cpu", options={"hint": hint}, apart=False)
    with open_engine(blur, "openvino-cpu") as engine:
        assert engine.preferred_batch == 1 if hint == "latency" else engine.preferred_batch >= 1
        assert golden.compare(blur, engine).relative < 1e-6


def test_they_are_really_timed(blur, monkeypatch):
    monkeypatch.setattr(growing.turns, "_MOST", 3)
    said = []
    build(blur, "openvino-cpu", progress=said.append, apart=False)
    assert "measuring 1 tile at once" in said
    assert "measuring 2 tiles at once" in said
    with open_engine(blur, "openvino-cpu") as engine:
        assert engine.preferred_batch in {s * t for s in tuning.stream_counts(machine.cores()) for t in (1, 2, 4, 8)}


# Other devices -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("openvino-gpu", "GPU"), ("openvino-npu", "NPU")])
def test_a_device_that_is_not_there_is_named(name, kind, monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda self: False)
    info = backend.target(name).probe()
    assert (info.usable, info.builds, info.reason) == (False, False, f"no {kind} that OpenVINO could use")


def test_a_gpu_is_seen_by_its_node(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda self: str(self) == "/dev/dri/renderD128")
    assert backend.target("openvino-gpu").probe().usable
    assert not backend.target("openvino-npu").probe().usable


@pytest.mark.parametrize(
    ("name", "precision", "told"),
    [
        ("openvino-gpu", "fp16", {"INFERENCE_PRECISION_HINT": "f16"}),
        ("openvino-npu", "fp16", {"INFERENCE_PRECISION_HINT": "f16"}),
        ("openvino-cpu", "int8", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}),
    ],
)
def test_what_openvino_is_told(name, precision, told):
    assert backend.target(name).config(precision, 1, None) == told


def test_an_npu_takes_fp16_where_nothing_is_said(blur, monkeypatch):
    """It has no fp32; the name of the missing device is all that can be tested here."""
    from stf_infer.engines.building import _usual

    assert _usual(backend.target("openvino-npu")) == "fp16"


def test_a_graph_with_another_fixed_batch_is_refused(tmp_path, blur):
    import onnx

    graph = Bundle.open(blur.path).asset("model-fp32")
    model = onnx.load(graph)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(graph))
    blur._verified.add("model-fp32")
    openvino = backend.runtime()

    with pytest.raises(EngineError, match=r"takes another number of tiles. Got: 4. Allowed: 1"):
        backend._compile(openvino.Core(), graph, 4, "CPU", {})


def test_nothing_is_reported_when_openvino_is_imported():
    """In a fresh interpreter: here it may have been imported by somebody else."""
    code = "from stf_infer.engines.openvino import runtime; runtime().Core(); import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = run.stdout.splitlines()[-1].split()
    assert "openvino" in loaded
    assert not [name for name in loaded if name.startswith("openvino_telemetry")]
