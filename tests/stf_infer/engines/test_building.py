# SPDX-License-Identifier: Apache-2.0
"""Engines are compiled, proven and stored; whatever fails, the bundle is what it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import stf_infer
from stf_infer import item_file
from stf_infer.bundle import Bundle, sha256_of
from stf_infer.engines import build, isolation, open_engine, store, update
from stf_infer.errors import (
    AssetError,
    CheckFailedError,
    EngineError,
    EngineUnavailableError,
    OutputError,
    UsageError,
)
from toy_backend import FILE, ToyTarget

pytestmark = pytest.mark.usefixtures("toys")


def make(bundle, target="toy", **more):
    return build(bundle, target, apart=False, **more)


def engine_of(bundle, target="toy"):
    (asset,) = store.entries(bundle, target)
    return store.read(bundle, asset)


# What is stored ------------------------------------------------------------------------------------------------


def test_it_is_the_package_s_own_verb(bundle):
    assert stf_infer.build is build


def test_an_engine_lies_in_the_bundle_as_the_backend_wrote_it(bundle):
    report = make(bundle)
    assert report.path.relative_to(bundle.path).parts[:2] == ("engines", "toy")
    assert report.path.read_bytes() == b'{"factor": 1}'
    assert (report.path.parent / "deep" / "weights").read_bytes() == b"weights"
    assert (report.target, report.precision, report.batch) == ("toy", "fp32", 4)
    assert report.bytes == len(b'{"factor": 1}') + len(b"weights")
    assert report.seconds >= 0
    assert sorted(p.name for p in bundle.path.parent.iterdir()) == ["net.stf"]


def test_its_sidecar_says_what_it_was_built_from_and_for(bundle):
    report = make(bundle, options={"level": 3})
    sidecar = json.loads((report.path.parent / "engine.json").read_text())
    assert sidecar["format"] == "1.0"
    assert sidecar["key"] == {
        "onnx": report.key.onnx,
        "backend": "toy 1",
        "device": "abacus",
        "precision": "fp32",
        "tile": "coarse_t1 2x8x8, fine_t1 2x32x32, coarse_t2 2x8x8",
        "batch": 4,
        "flags": {"level": 3},
    }
    assert [f["name"] for f in sidecar["files"]] == [FILE, "deep/weights"]
    assert sidecar["files"][0]["sha256"] == sha256_of(report.path)
    assert sidecar["proof"]["relative"] == 0
    assert sidecar["built"]["by"] == f"stf-infer {stf_infer.__version__}"
    assert sidecar["built"]["peak_bytes"] > 1e6


def test_the_item_states_every_file_with_its_hash(bundle):
    report = make(bundle)
    fresh = Bundle.open(bundle.path)
    fresh.verify()
    mine = {key: asset for key, asset in fresh.assets.items() if asset.target == "toy"}
    assert list(mine) == ["engine-toy-fp32-b4", "engine-toy-fp32-b4-1", "engine-toy-fp32-b4-sidecar"]
    assert mine["engine-toy-fp32-b4"].sha256 == sha256_of(report.path)
    assert mine["engine-toy-fp32-b4"].needs == ("engine-toy-fp32-b4-1", "engine-toy-fp32-b4-sidecar")
    assert bundle.assets == fresh.assets  # the one that was open knows it too


def test_an_engine_makes_no_other_bundle_of_it(bundle):
    before = Bundle.open(bundle.path)
    make(bundle)
    after = Bundle.open(bundle.path)
    assert after.sha256 == before.sha256 == bundle.sha256
    assert after.precisions == before.precisions
    assert {k: a for k, a in after.assets.items() if a.target is None} == before.assets


def test_a_bundle_holds_many_engines(bundle):
    make(bundle)
    make(bundle, precision="bf16")
    make(bundle, tile_batch=8)
    make(bundle, "toy-open")
    labels = [(a.target, a.precision, store.batch_of(a)) for a in store.entries(Bundle.open(bundle.path))]
    assert labels == [("toy", "fp32", 4), ("toy", "bf16", 4), ("toy", "fp32", 8), ("toy-open", "fp32", 4)]
    Bundle.open(bundle.path).verify()


def test_builds_at_the_same_time_lose_nothing(bundle):
    """Each reads the item again before it replaces it, one after the other."""
    sizes = range(1, 5)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda size: make(bundle.path, tile_batch=size), sizes))
    fresh = Bundle.open(bundle.path)
    fresh.verify()
    assert sorted(store.batch_of(a) for a in store.entries(fresh)) == list(sizes)
    assert fresh.sha256 == bundle.sha256


# When something is done ----------------------------------------------------------------------------------------


def test_nothing_is_compiled_where_nothing_has_changed(bundle):
    first = make(bundle)
    again = make(bundle)
    assert ToyTarget.compiled == ["fp32"]
    assert again.seconds is None
    assert again.path == first.path
    make(bundle, rebuild="always")
    assert ToyTarget.compiled == ["fp32", "fp32"]
    Bundle.open(bundle.path).verify()


@pytest.mark.parametrize("change", ["device", "version", "option", "damage", "loss", "network"])
def test_what_does_not_fit_any_more_is_built_again(bundle, monkeypatch, change):
    first = make(bundle)
    options = {}
    if change in ("device", "version"):
        monkeypatch.setenv(f"TOY_{change.upper()}", "another")
    elif change == "option":
        options = {"fast": "yes"}
    elif change == "damage":
        first.path.write_bytes(b'{"factor": 9}')
    elif change == "loss":
        first.path.unlink()
    else:
        (bundle.path / "model.onnx").write_bytes(b"another graph")
        item = json.loads((bundle.path / "item.json").read_text())
        entry = item["assets"]["model-fp32"]
        entry["file:size"], entry["file:checksum"] = 13, "1220" + sha256_of(bundle.path / "model.onnx")
        (bundle.path / "item.json").write_text(json.dumps(item))
    bundle.reload()
    again = make(bundle, options=options)
    assert again.seconds is not None
    assert ToyTarget.compiled == ["fp32", "fp32"]
    Bundle.open(bundle.path).verify()
    # The old files are gone, and only the new ones are left.
    assert [p.name for p in (bundle.path / "engines" / "toy").iterdir()] == [again.path.parent.name]


def test_all_engines_can_be_brought_up_to_date_at_once(bundle, monkeypatch):
    make(bundle, options={"level": 2})
    make(bundle, "toy-open", precision="bf16", tile_batch=2)
    ToyTarget.compiled.clear()
    assert [r.seconds for r in update(bundle, apart=False)] == [None, None]
    monkeypatch.setenv("TOY_VERSION", "2")
    reports = update(bundle, apart=False)
    assert [(r.target, r.precision, r.batch, r.key.flags) for r in reports] == [
        ("toy", "fp32", 4, {"level": 2}),
        ("toy-open", "bf16", 2, {}),
    ]
    assert all(r.key.backend == "toy 2" for r in reports)
    assert len(ToyTarget.compiled) == 2


def test_engines_of_targets_that_are_not_here_are_left(bundle, monkeypatch, caplog):
    from stf_infer.engines import registry

    make(bundle)
    monkeypatch.setattr(registry, "plugins", lambda: ())
    assert update(bundle, apart=False) == []
    assert "toy is left as it is: it cannot be built here" in caplog.text


# What is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ("refused", EngineError, r"refuses the operator Gear. Got: Gear. Use Wheel"),
        ("memory", EngineError, r"Building toy ran out of memory. Build with a smaller --tile-batch"),
        ("wrong", CheckFailedError, r"toy in fp32 does not compute what the network computes.*Allowed: 0.0001"),
        ("killed", EngineError, r"killed by the system: it ran out of memory, or.*Got: signal 9.*smaller --tile-batch"),
        ("crash", EngineError, r"Building toy crashed; the bundle is as it was. Got: signal 6"),
    ],
)
def test_a_failure_leaves_the_bundle_as_it_was(bundle, snapshot, how, error, says, apart):
    if not apart and how in ("killed", "crash"):
        pytest.skip("it would end the test too")
    make(bundle, options={"level": 1})
    before = snapshot(bundle.path.parent)
    with pytest.raises(error, match=says):
        build(bundle, "toy", options={"how": how}, apart=apart)
    assert snapshot(bundle.path.parent) == before
    assert engine_of(bundle).key.flags == {"level": 1}


def test_a_stated_tolerance_goes_with_the_engine(bundle):
    """It is what ``check`` and the choice of an engine go by, and what it is built again with."""
    from stf_infer import golden

    report = make(bundle, options={"how": "wrong"}, tolerance=10.0)
    assert 0.1 < report.proof["relative"] < report.proof["tolerance"] == 10.0
    (proof,) = golden.prove(bundle, ["toy"])
    assert (proof.passed, proof.tolerance) == (True, 10.0)
    assert golden.prove(bundle, ["toy"], tolerance=1e-3)[0].passed is False
    (again,) = update(bundle, rebuild="always", apart=False)
    assert again.proof["tolerance"] == 10.0


def test_what_the_backend_writes_to_stdout_disturbs_nothing(bundle):
    report = build(bundle, "toy", options={"how": "noisy"})
    assert report.proof["relative"] == 0


def test_every_step_is_told_and_told_again_while_it_goes_on(bundle, monkeypatch):
    monkeypatch.setattr(isolation, "_STILL", 0.2)
    told = []

    def say(step):
        told.append(step)
        if told.count("carving") > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(bundle, "toy", options={"how": "slow"}, progress=say)
    assert told[0] in ("starting", "carving")
    assert not list(bundle.path.parent.glob(".*"))  # the child is gone, and what it had written


def test_a_build_that_is_killed_leaves_the_bundle_as_it_was(bundle, snapshot):
    before = snapshot(bundle.path)
    code = f"from stf_infer.engines import build; build({str(bundle.path)!r}, 'toy', options={{'how': 'slow'}})"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=env)
    staged = bundle.path.parent
    deadline = time.monotonic() + 60
    while not list(staged.glob(".net.stf.*.building/half")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert snapshot(bundle.path) == before
    # What it left beside the bundle goes when it is old.
    (left,) = staged.glob(".net.stf.*.building")
    os.utime(left, (0, 0))
    make(bundle)
    assert sorted(p.name for p in staged.iterdir()) == ["net.stf"]


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        ({"target": "abacus"}, EngineUnavailableError, "no engine of that name. Got: abacus. Allowed: onnxruntime-cpu"),
        ({"target": "onnxruntime-cuda"}, EngineUnavailableError, r"No engine can be built for onnxruntime-cuda here: "),
        (
            {"precision": "fp16"},
            EngineError,
            "toy does not compute in fp16 on this device.*Allowed: fp32, bf16.*stf-infer engines",
        ),
        ({"tile_batch": 0}, UsageError, "tile batch cannot be used. Got: 0. Allowed: 1 or more"),
        ({"options": {"levle": 1}}, UsageError, "no option of that name. Got: levle.*Did you mean level"),
        ({"options": {"level": "high"}}, UsageError, "option level is no number. Got: high. Allowed: 0 or more"),
        ({"options": {"fast": "perhaps"}}, UsageError, "option fast cannot be understood.*Allowed: yes, no"),
        ({"options": {"how": "softly"}}, UsageError, "option how has no such value.*Allowed: well, refused"),
        ({"rebuild": "sometimes"}, UsageError, "no such way to rebuild. Got: sometimes. Allowed: auto, always"),
    ],
)
def test_wrong_wishes_are_named(bundle, snapshot, more, error, says):
    before = snapshot(bundle.path)
    with pytest.raises(error, match=says):
        make(bundle, **more)
    assert snapshot(bundle.path) == before
    assert ToyTarget.compiled == []


def test_a_precision_that_the_bundle_does_not_hold(bundle, monkeypatch):
    """bf16 is fine: the toy computes the fp32 graph in it."""
    make(bundle, precision="bf16")
    monkeypatch.setattr(ToyTarget, "executed", ())
    with pytest.raises(EngineError, match=r"holds no network in bf16. Got: net.stf. Allowed: fp32"):
        make(bundle, precision="bf16", options={"level": 1})


def test_a_plug_in_without_a_compiler_has_nothing_to_build(bundle, monkeypatch):
    monkeypatch.setattr(
        ToyTarget, "probe", lambda self: stf_infer.engines.EngineInfo("toy", usable=True, precisions=("fp32",))
    )
    with pytest.raises(
        EngineUnavailableError, match="No engine can be built for toy here: it opens bundles as they are"
    ):
        make(bundle)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_bundle_is_named_before_anything_is_compiled(bundle):
    bundle.path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written to"):
        make(bundle)
    assert ToyTarget.compiled == []


def test_a_bundle_that_cannot_be_written_to(bundle, monkeypatch, snapshot):
    before = snapshot(bundle.path)
    monkeypatch.setattr(store.os, "access", lambda *_: False)
    with pytest.raises(OutputError, match=r"bundle cannot be written to.*Copy it to a folder of your own"):
        make(bundle)
    assert ToyTarget.compiled == []
    assert snapshot(bundle.path) == before


def test_a_disk_that_is_full_at_the_last_step(bundle, monkeypatch, snapshot):
    before = snapshot(bundle.path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(item_file, "item_text", full)
    with pytest.raises(OutputError, match="No space left on device"):
        make(bundle)
    assert snapshot(bundle.path.parent) == {f"net.stf/{name}": content for name, content in before.items()}


def test_a_damaged_network_is_not_compiled(bundle):
    (bundle.path / "model.onnx").write_bytes(b"?")
    with pytest.raises(AssetError, match="is not the file that was exported"):
        make(bundle)
    assert ToyTarget.compiled == []


# What is loaded ------------------------------------------------------------------------------------------------


def test_a_file_that_the_item_does_not_state_is_not_loaded(bundle, snapshot):
    report = make(bundle)
    stray = report.path.parent.parent / "fp32-b8-00000000"
    stray.mkdir()
    for name, content in snapshot(report.path.parent).items():
        (stray / name).parent.mkdir(parents=True, exist_ok=True)
        (stray / name).write_bytes(content)
    fresh = Bundle.open(bundle.path)
    assert [store.batch_of(a) for a in store.entries(fresh)] == [4]
    with open_engine(fresh, "toy") as engine:
        assert engine.stored.files[0] == report.path


@pytest.mark.parametrize("change", ["truncated", "replaced", "sidecar", "second file"])
def test_a_changed_engine_is_refused_with_the_command(bundle, change):
    report = make(bundle)
    path = {"sidecar": report.path.parent / "engine.json", "second file": report.path.parent / "deep" / "weights"}.get(
        change, report.path
    )
    content = path.read_bytes()
    path.write_bytes(content[:-3] if change == "truncated" else content[:-1] + b"?")
    with pytest.raises(AssetError, match=r"is not the file that was built.*stf-infer build NAME.stf --target toy"):
        open_engine(Bundle.open(bundle.path), "toy")


def test_a_truncated_engine_with_a_right_hash_is_refused_with_the_command(bundle):
    """As a build leaves it whose disk was full and said nothing."""
    report = make(bundle)
    report.path.write_bytes(b'{"fac')
    item = json.loads((bundle.path / "item.json").read_text())
    item["assets"]["engine-toy-fp32-b4"] |= {"file:size": 5, "file:checksum": "1220" + sha256_of(report.path)}
    (bundle.path / "item.json").write_text(json.dumps(item))
    with pytest.raises(EngineError, match=r"cannot read its engine.*`stf-infer build .*net.stf --target toy --tile-b"):
        open_engine(Bundle.open(bundle.path), "toy")
