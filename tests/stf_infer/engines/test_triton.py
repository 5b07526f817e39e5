# SPDX-License-Identifier: Apache-2.0
"""Model repositories for Triton, held against Triton's own schema."""

from __future__ import annotations

import json
import subprocess

import pytest
from google.protobuf.text_format import ParseError

from handmade_bundle import edit_item, make_bundle
from stf_infer.bundle import Bundle
from stf_infer.engines import build, open_engine, registry, store, triton
from stf_infer.engines.key import EngineKey
from stf_infer.engines.target import Compiled
from stf_infer.errors import EngineError, EngineUnavailableError, UsageError
from triton_schema import parse


def make(bundle, **more):
    return build(bundle, "triton", apart=False, **more)


def configured(bundle, **more):
    return parse(make(bundle, **more).path.read_text())


def put_plan(bundle, *, version="10.9.0.34", batch=16, target="tensorrt-sm87", **flags):
    """A plan in the bundle, as a device would have built it."""
    key = EngineKey("0" * 64, f"tensorrt {version}", "sm87 Orin", "fp32", "", batch, flags)
    with store.staging(bundle) as folder:
        (folder / "model.plan").write_bytes(b"a plan")
        compiled = Compiled(("model.plan",), {"weights": flags.get("weights", "inside")})
        store.add(bundle, target, key, compiled, folder, proof={}, accuracy={}, built={})


def test_the_schema_is_strict():
    """Otherwise the tests below prove nothing."""
    with pytest.raises(ParseError):
        parse('nome: "x"')
    with pytest.raises(ParseError):
        parse('input [ { name: "x" data_type: TYPE_FLOAT } ]')


def test_the_network_with_its_tensors_in_triton_s_words(bundle):
    config = configured(bundle)
    assert (config.name, config.platform, config.max_batch_size) == ("fake", "onnxruntime_onnx", 8)
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [
        ("coarse_t1", 11, [2, 8, 8]),
        ("fine_t1", 11, [2, 32, 32]),
        ("coarse_t2", 11, [2, 8, 8]),
    ]
    assert [(o.name, o.data_type, list(o.dims)) for o in config.output] == [("fine_t2", 11, [2, 32, 32])]
    assert list(config.dynamic_batching.preferred_batch_size) == [8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    assert list(config.version_policy.specific.versions) == [1]
    assert config.parameters["stf_bundle_sha256"].string_value == bundle.sha256


def test_the_layout_is_that_of_a_repository(bundle):
    report = make(bundle)
    home = report.path.parent.parent.parent
    files = sorted(p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file())
    assert files == [
        "engine.json",
        "model_repository/fake/1/model.onnx",
        "model_repository/fake/1/model.onnx.data",  # by the name that the graph knows it by
        "model_repository/fake/config.pbtxt",
        "serve.sh",
    ]
    assert (home / files[1]).read_bytes() == bundle.asset("model-fp32").read_bytes()
    Bundle.open(bundle.path).verify()
    assert make(bundle).seconds is None


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({"device": "cpu"}, lambda c: c.instance_group[0].kind == 2),
        ({"device": "gpu"}, lambda c: c.instance_group[0].kind == 1),
        ({"device": "auto"}, lambda c: c.instance_group[0].kind == 0),
        ({"instances": 3}, lambda c: c.instance_group[0].count == 3),
        ({"delay": 5000}, lambda c: c.dynamic_batching.max_queue_delay_microseconds == 5000),
        ({"version": 7}, lambda c: list(c.version_policy.specific.versions) == [7]),
        ({"container": "mine:1"}, lambda c: c.parameters["stf_container"].string_value == "mine:1"),
    ],
)
def test_every_option_reaches_the_configuration(bundle, options, check):
    report = make(bundle, options=options)
    assert check(parse(report.path.read_text()))
    assert (report.path.parent / str(options.get("version", 1)) / "model.onnx").is_file()


def test_one_tile_a_call_needs_no_batching(bundle):
    config = configured(bundle, tile_batch=1)
    assert config.max_batch_size == 1
    assert not config.HasField("dynamic_batching")


def test_a_fixed_batch_is_an_axis_like_any_other(bundle):
    edit_item(bundle.path, lambda i: i["properties"].update({"mlm:input": [{"input": {"shape": [2, 2, 32, 32]}}]}))
    config = configured(Bundle.open(bundle.path))
    assert config.max_batch_size == 0
    assert [list(i.dims) for i in config.input] == [[2, 2, 8, 8], [2, 2, 32, 32], [2, 2, 8, 8]]
    assert list(config.output[0].dims) == [2, 2, 32, 32]
    assert not config.HasField("dynamic_batching")


def test_samples_have_types_and_numbers_without_axes(tmp_path):
    from stf_infer.samples.spec import SampleInput, SampleOutput, SampleSpec, SampleValues, dims

    spec = SampleSpec(
        name='a "strange" näme',
        network="n",
        inputs=(
            SampleInput(role="past", tensor="past", dims=dims(time=5)),
            SampleInput(role="day", tensor="day", dtype="int64", values=SampleValues(minimum=0, maximum=365)),
        ),
        output=SampleOutput(tensor="next", dims=dims(ahead=2)),
    )
    folder = make_bundle(tmp_path / "samples.stf")
    edit_item(folder, lambda item: item["properties"].update({"stf:contract": spec.model_dump(mode="json")}))
    config = configured(Bundle.open(folder))
    assert config.name == "a__strange__n_me"
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("past", 11, [5]), ("day", 9, [1])]
    assert config.input[1].HasField("reshape")
    assert list(config.input[1].reshape.shape) == []


# Containers and plans ----------------------------------------------------------------------------------------------


def test_the_script_serves_with_the_container(bundle, tmp_path, monkeypatch):
    """Run with a docker that only says what it was told."""
    report = make(bundle, options={"device": "cpu"})
    assert report.settings["container"] == "nvcr.io/nvidia/tritonserver:26.08-py3"
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    home = report.path.parent.parent.parent
    run = subprocess.run(
        ["sh", str(home / "serve.sh"), "--log-verbose=1"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert run.stdout.split() == [
        *["run", "--rm", "-p", "8000:8000", "-p", "8001:8001", "-p", "8002:8002", "-v"],
        f"{home}/model_repository:/models:ro",
        "nvcr.io/nvidia/tritonserver:26.08-py3",
        *["tritonserver", "--model-repository=/models", "--log-verbose=1"],
    ]


@pytest.mark.parametrize("version", ["10.9.0.34", "10.9.0"])
def test_a_plan_is_served_by_the_container_that_holds_its_tensorrt(bundle, version):
    put_plan(bundle, version=version)
    report = make(bundle, options={"engine": "tensorrt-sm87"})
    config = parse(report.path.read_text())
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 8)
    assert (report.path.parent / "1" / "model.plan").read_bytes() == b"a plan"
    assert report.settings["container"] == "nvcr.io/nvidia/tritonserver:25.03-py3"
    assert "--gpus all" in (report.path.parent.parent.parent / "serve.sh").read_text()


def test_a_version_compatible_plan_says_so_to_the_server(bundle):
    put_plan(bundle, version_compatible=True)
    report = make(bundle, options={"engine": "tensorrt-sm87"})
    script = (report.path.parent.parent.parent / "serve.sh").read_text()
    assert "--backend-config=tensorrt,version-compatible=true" in script


def test_the_repository_is_written_again_when_the_plan_changes(bundle):
    put_plan(bundle)
    first = make(bundle, options={"engine": "tensorrt-sm87"})
    assert make(bundle, options={"engine": "tensorrt-sm87"}).seconds is None
    key = json.loads((first.path.parent.parent.parent / "engine.json").read_text())["key"]
    assert key["device"].startswith("auto, tensorrt-sm87 ")
    put_plan(bundle, batch=32)
    assert make(bundle, options={"engine": "tensorrt-sm87"}, tile_batch=8).seconds is None  # the same bytes
    (bundle.asset("engine-tensorrt-sm87-fp32-b32")).write_bytes(b"another plan")
    edit_item(bundle.path, lambda i: i["assets"]["engine-tensorrt-sm87-fp32-b32"].update(_asset(b"another plan")))
    assert make(Bundle.open(bundle.path), options={"engine": "tensorrt-sm87"}).seconds is not None


def _asset(content):
    import hashlib

    return {"file:size": len(content), "file:checksum": "1220" + hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize(
    ("plan", "more", "error", "says"),
    [
        (None, {}, EngineError, r"holds no plan of tensorrt-sm87 in fp32.*build .*--target tensorrt-sm87` on a device"),
        (
            {"version": "10.4.0"},
            {},
            EngineError,
            r"No Triton container is known to hold TensorRT 10.4.0.*container=IMAGE",
        ),
        ({"weights": "stripped"}, {}, EngineError, "cannot serve a plan without weights"),
        ({"batch": 4}, {}, EngineError, r"batch is larger than the plan was built for. Got: 8. Allowed: 1 to 4"),
        (
            {},
            {"engine": "tensorrt-rtx-sm89"},
            UsageError,
            r"does not serve such an engine.*Allowed: onnx, tensorrt-smXX",
        ),
    ],
)
def test_what_cannot_be_served_is_named(bundle, snapshot, plan, more, error, says):
    if plan is not None:
        put_plan(bundle, **plan)
    before = snapshot(bundle.path)
    with pytest.raises(error, match=says):
        make(bundle, options={"engine": "tensorrt-sm87", **more})
    assert snapshot(bundle.path) == before


def test_an_unknown_tensorrt_is_served_by_the_container_that_is_named(bundle):
    put_plan(bundle, version="11.3.0")
    report = make(bundle, options={"engine": "tensorrt-sm87", "container": "mine:11.3"})
    assert report.settings["container"] == "mine:11.3"


def test_it_is_written_everywhere_and_run_nowhere_here(bundle):
    info = next(i for i in registry.available() if i.name == "triton")
    assert (info.usable, info.builds) == (False, True)
    make(bundle)
    with pytest.raises(EngineUnavailableError, match="it is served by a Triton Inference Server"):
        open_engine(bundle, "triton")
    with pytest.raises(EngineError, match="is served, not opened"):
        triton.TritonTarget().open(bundle, None, "fp32", None)
