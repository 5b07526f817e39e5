# SPDX-License-Identifier: Apache-2.0
"""Backends: which are there, which one is taken, and what each must do with a real bundle."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import stf_infer.engines as engines
from fakes import FunctionEngine, add_coarse_change, box_blur, export_blur, make_spec
from handmade_bundle import make_bundle
from stf_infer.bundle import Bundle
from stf_infer.engines import EngineInfo, open_engine, registry
from stf_infer.errors import EngineError, EngineUnavailableError

REAL = ["onnxruntime-cpu", "openvino-cpu"]


class Plugin:
    """An entry point; its module is itself."""

    def __init__(self, name: str, info: EngineInfo | Exception, engine: Any = None) -> None:
        self.name, self.info, self.engine = name, info, engine

    def load(self) -> Plugin:
        return self

    def probe(self) -> EngineInfo:
        if isinstance(self.info, Exception):
            raise self.info
        return self.info

    def open_engine(self, bundle: Any, threads: int | None) -> Any:
        return self.engine(bundle, threads)


class Counting(FunctionEngine):
    """Knows the threads it was given."""

    def __init__(self, spec: Any, threads: int | None) -> None:
        super().__init__(spec, add_coarse_change)
        self.threads = threads


@pytest.fixture
def plugins(monkeypatch):
    def install(*given: Plugin) -> None:
        monkeypatch.setattr(registry, "plugins", lambda: given)

    return install


@pytest.fixture
def bundle(tmp_path):
    return Bundle.open(make_bundle(tmp_path / "net.stf"))


# Which backends there are --------------------------------------------------------------------------------


def test_built_in_backends_come_first(plugins):
    plugins(Plugin("mine", EngineInfo("mine", usable=True, version="3")))
    listed = engines.available()
    assert [i.name for i in listed] == [*registry.BUILT_IN, "mine"]
    assert listed[-1].version == "3"


def test_listing_imports_no_backend():
    code = "import sys, stf_infer.engines as e; e.available(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"} & set(run.stdout.split()) == set()


def test_a_broken_plug_in_is_listed_with_its_reason(plugins):
    plugins(Plugin("broken", RuntimeError("no driver")), Plugin("fine", EngineInfo("fine", usable=True)))
    broken, fine = engines.available()[-2:]
    assert (broken.name, broken.usable, broken.reason) == ("broken", False, "RuntimeError: no driver")
    assert fine.usable


def test_a_plug_in_goes_by_the_name_it_is_registered_under(plugins, bundle):
    plugins(Plugin("mine", EngineInfo("another name", usable=True), lambda b, threads: Counting(b.spec, threads)))
    with open_engine(bundle, "mine", 3) as engine:
        assert engine.threads == 3
        assert engine.choice == "asked for"


def test_an_entry_point_of_the_package_index_is_found(monkeypatch):
    """As importlib.metadata gives them, each looked for once."""
    asked = []
    monkeypatch.setattr(
        registry, "entry_points", lambda group: asked.append(group) or (Plugin("x", EngineInfo("x", True)),)
    )
    registry.plugins.cache_clear()
    try:
        assert [i.name for i in (*registry.available(), *registry.available())].count("x") == 2
    finally:
        registry.plugins.cache_clear()
    assert asked == ["stf_infer.engines"]


def test_a_plug_in_does_not_replace_a_built_in_one(plugins):
    plugins(Plugin("onnxruntime-cpu", EngineInfo("onnxruntime-cpu", usable=False, reason="hijacked")))
    assert "hijacked" not in [i.reason for i in engines.available()]


def test_the_only_usable_one_is_taken(plugins, monkeypatch, bundle):
    plugins(
        Plugin("away", EngineInfo("away", usable=False)),
        Plugin("here", EngineInfo("here", usable=True), lambda b, t: Counting(b.spec, t)),
    )
    monkeypatch.setattr(registry, "BUILT_IN", {})
    with open_engine(bundle) as engine:
        assert engine.choice == "the only one that can be used here"
        assert engine.batch_sizes == []


def test_an_unknown_one_is_refused_with_the_known_ones(plugins, bundle):
    plugins()
    with pytest.raises(EngineUnavailableError, match=r"Got: abacus. Allowed: onnxruntime-cpu, .*openvino-cpu"):
        open_engine(bundle, "abacus")


def test_none_at_all_names_the_extras(plugins, monkeypatch, bundle):
    plugins()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        EngineUnavailableError, match=r"No inference engine is installed. pip install 'stf-infer\[cpu\]' or"
    ):
        open_engine(bundle)
    with pytest.raises(EngineUnavailableError, match=r"onnxruntime is not installed. pip install 'stf-infer\[cpu\]'"):
        open_engine(bundle, "onnxruntime-cpu")


@pytest.mark.parametrize("name", REAL)
def test_a_package_that_cannot_be_imported_is_no_traceback(name, blur_bundle, monkeypatch, tmp_path):
    """It is there, and one of its libraries is not."""
    package = name.partition("-")[0]
    pytest.importorskip(package)
    (tmp_path / package).mkdir()
    reason = "libsomething.so: cannot open shared object file"
    (tmp_path / package / "__init__.py").write_text(f"raise ImportError({reason!r})\n")
    monkeypatch.delitem(sys.modules, package)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EngineUnavailableError, match=rf"{name} is installed and cannot be imported. Got: libsomething"):
        open_engine(Bundle.open(blur_bundle), name)


# What every engine does ----------------------------------------------------------------------------------


@pytest.fixture
def function_engine():
    return FunctionEngine(make_spec(16), add_coarse_change)


def zeros(engine: Any, tiles: int = 1) -> dict[str, np.ndarray]:
    return {i.tensor: np.zeros((tiles, *engine.spec.tensor_shape(i)), np.float32) for i in engine.spec.inputs}


def test_a_closed_engine_refuses(function_engine):
    with function_engine as engine:
        engine.infer(zeros(engine))
    function_engine.close()  # closing twice does no harm
    with pytest.raises(EngineError, match=r"closed\. Got: function\. Open it again"):
        function_engine.infer(zeros(function_engine))


def test_a_missing_input_is_named(function_engine):
    given = zeros(function_engine)
    del given["coarse_t2"]
    with pytest.raises(EngineError, match=r"input is missing. Got: coarse_t1, fine_t1. Allowed: coarse_t2"):
        function_engine.infer(given)


@pytest.mark.parametrize("shape", [(0, 2, 16, 16), (1, 3, 16, 16), (1, 2, 16, 17), (2, 16, 16)])
def test_an_input_of_another_shape_is_named(function_engine, shape):
    given = {**zeros(function_engine), "fine_t1": np.zeros(shape, np.float32)}
    with pytest.raises(EngineError, match=r"fine_t1 has another shape.*Allowed: \('N', 2, 16, 16\)"):
        function_engine.infer(given)


def test_an_output_that_is_missing_is_named():
    class Mute(FunctionEngine):
        def infer_impl(self, inputs: Any) -> dict[str, np.ndarray]:
            return {"something": inputs["fine_t1"]}

    engine = Mute(make_spec(16), add_coarse_change)
    with pytest.raises(EngineError, match=r"output fine_t2.*Got: only something"):
        engine.infer(zeros(engine))


@pytest.mark.parametrize(
    ("fixed", "tiles", "calls"), [(None, 5, [5]), (5, 5, [5]), (1, 3, [1, 1, 1]), (4, 6, [4, 4]), (4, 1, [4])]
)
def test_a_graph_with_a_fixed_batch_takes_any_number(function_engine, fixed, tiles, calls):
    """The last batch is filled up, and what fills it is cut off."""
    function_engine.fixed_batch = fixed
    given = {k: np.random.default_rng(0).random(v.shape, np.float32) for k, v in zeros(function_engine, tiles).items()}
    out = function_engine.infer(given)["fine_t2"]
    np.testing.assert_array_equal(out, add_coarse_change(**given))
    assert function_engine.batch_sizes == calls


# Real ones -----------------------------------------------------------------------------------------------


@pytest.fixture(params=REAL)
def real(request, blur_bundle):
    pytest.importorskip(request.param.partition("-")[0])
    with open_engine(Bundle.open(blur_bundle), request.param, threads=1) as engine:
        yield engine


def padded_blur(fine: np.ndarray) -> np.ndarray:
    return box_blur(1)(np.pad(fine, ((0, 0), (0, 0), (1, 1), (1, 1))))[..., 1:-1, 1:-1]


@pytest.mark.parametrize("tiles", [1, 3, 2])
def test_it_computes_what_the_graph_says(real, tiles):
    rng = np.random.default_rng(tiles)
    given = {k: rng.random(v.shape, np.float32) for k, v in zeros(real, tiles).items()}
    out = real.infer(given)["fine_t2"]
    change = (given["coarse_t2"] - given["coarse_t1"]).repeat(4, -1).repeat(4, -2)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, padded_blur(given["fine_t1"]) + change, atol=1e-6)


def test_a_result_is_not_overwritten_by_the_next(real):
    first = real.infer({k: v + 1 for k, v in zeros(real).items()})["fine_t2"]
    kept = first.copy()
    real.infer({k: v + 2 for k, v in zeros(real).items()})
    np.testing.assert_array_equal(first, kept)


def test_a_batch_that_fails_is_no_traceback(real):
    class Broken:
        def start_async(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("the driver is gone")

        def run(self, *_: Any) -> None:
            raise RuntimeError("the driver is gone")

        def get_outputs(self) -> list[Any]:
            return []

    real._session, real._requests = Broken(), [Broken()]
    with pytest.raises(EngineError, match=r"failed on a batch. Got: the driver is gone"):
        real.infer(zeros(real))


def test_it_says_what_it_is(real):
    told = real.describe()
    assert told["engine"] == real.name
    assert told["precision"] == "fp32"
    assert told["device"] == "cpu"
    assert told["version"][0].isdigit()
    assert told["version"] in [i.version for i in engines.available()]


def test_it_computes_in_fp32(real):
    """OpenVINO would take bf16 where the CPU has it: 1 + 2^-12 would become 1."""
    tiny = np.float32(1 + 2.0**-12)
    given = zeros(real)
    given["coarse_t2"] += tiny
    assert (real.infer(given)["fine_t2"] == tiny).all()


@pytest.mark.parametrize("name", REAL)
def test_a_graph_that_fixes_its_batch_is_seen(name, tmp_path):
    import onnx

    pytest.importorskip(name.partition("-")[0])
    folder = export_blur(tmp_path / "one.stf")
    graph = next(folder.glob("*.onnx"))
    model = onnx.load(graph)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    bundle = Bundle.open(folder)
    bundle._verified.add("model-fp32")  # the graph is changed on purpose
    onnx.save(model, str(graph))
    with open_engine(bundle, name, threads=1) as engine:
        given = {k: np.random.default_rng(0).random(v.shape, np.float32) for k, v in zeros(engine, 3).items()}
        out = engine.infer(given)["fine_t2"]
        change = (given["coarse_t2"] - given["coarse_t1"]).repeat(4, -1).repeat(4, -2)
        np.testing.assert_allclose(out, padded_blur(given["fine_t1"]) + change, atol=1e-6)
