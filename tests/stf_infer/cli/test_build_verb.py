# SPDX-License-Identifier: Apache-2.0
"""``stf-infer build``, and what ``engines``, ``info`` and ``check`` say of engines that were built."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import toy_backend
from handmade_bundle import edit_item
from stf_infer.bundle import Bundle
from stf_infer.cli import main


def call(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def told(*arguments, code=0):
    result = call(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_an_engine_is_built_and_found(folder):
    data = told("build", folder, "--target", "toy", "--tile-batch", 2, "--option", "level=3", "--option", "fast=yes")
    (engine,) = data["engines"]
    assert (engine["target"], engine["precision"], engine["batch"], engine["built"]) == ("toy", "fp32", 2, True)
    assert engine["key"]["flags"] == {"level": 3, "fast": True}
    assert engine["proof"]["relative"] == 0
    again = told("build", folder, "--target", "toy", "--tile-batch", 2, "--option", "level=3", "--option", "fast=yes")
    assert (again["engines"][0]["built"], again["engines"][0]["seconds"]) == (False, None)
    assert told("build", folder, "--target", "toy", "--rebuild", "always")["engines"][0]["built"]


def test_a_person_is_told_size_time_proof_and_what_comes_next(folder):
    text = call("build", folder, "--target", "toy").stdout
    for words in (
        "toy fp32, 4 tiles a call: built in",
        "golden tile: 0.0e+00 of the range off",
        "next: stf-infer check",
    ):
        assert words in text
    assert "toy fp32, 4 tiles a call: is up to date" in call("build", folder, "--target", "toy").stdout


def test_an_engine_that_cannot_be_run_here_says_so(folder, monkeypatch):
    info = toy_backend.ToyTarget().probe()
    from dataclasses import replace

    monkeypatch.setattr(toy_backend.ToyTarget, "probe", lambda self: replace(info, usable=False, reason="no abacus"))
    assert "not proven: it cannot be run on this machine" in call("build", folder, "--target", "toy").stdout
    text = call("engines").stdout
    assert "can be built here; no abacus" in text


def test_without_a_target_all_are_brought_up_to_date(folder, monkeypatch):
    assert "holds no engine that can be built here" in call("build", folder).stdout
    call("build", folder, "--target", "toy")
    call("build", folder, "--target", "toy-open", "--precision", "bf16")
    monkeypatch.setenv("TOY_VERSION", "2")
    engines = told("build", folder)["engines"]
    assert [(e["target"], e["precision"], e["built"]) for e in engines] == [
        ("toy", "fp32", True),
        ("toy-open", "bf16", True),
    ]
    assert [e["built"] for e in told("build", folder)["engines"]] == [False, False]


@pytest.mark.parametrize(
    ("arguments", "code", "error", "says"),
    [
        (["--target", "abacus"], 2, "EngineUnavailableError", "no engine of that name"),
        (["--target", "toy", "--option", "level"], 2, "UsageError", "option cannot be understood"),
        (["--target", "toy", "--option", "depth=1"], 2, "UsageError", "has no option of that name"),
        (["--precision", "bf16"], 2, "UsageError", "Nothing says what to build for"),
        (["--target", "toy", "--precision", "fp16"], 2, "EngineError", "does not compute in fp16"),
        (["--target", "toy", "--option", "how=refused"], 2, "EngineError", "refuses the operator"),
        (["--target", "toy", "--option", "how=wrong"], 1, "CheckFailedError", "does not compute what the network"),
        (["--target", "toy", "--rebuild", "never"], 2, "BadParameter", "'never' is not one of"),
    ],
)
def test_bad_input_is_one_error(folder, arguments, code, error, says):
    data = told("build", folder, *arguments, code=code)
    assert data["error"] == error
    assert says in data["what"]


def test_the_steps_and_the_time_are_logged_where_there_is_no_terminal(folder):
    log = call("build", folder, "--target", "toy").stderr
    for step in ("carving", "proving it with the golden tile", "storing the engine"):
        assert f"toy: {step} (0 s)" in log


def test_on_a_terminal_one_line_changes(folder, monkeypatch):
    """A pseudo-terminal shows the step beside the elapsed time."""
    import os
    import pty
    import subprocess
    import sys

    place = os.pathsep.join(p for p in sys.path if p)
    main_fd, terminal = pty.openpty()
    command = [sys.executable, "-m", "stf_infer", "build", str(folder), "--target", "toy"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=terminal, env={**os.environ, "PYTHONPATH": place, "TERM": "xterm"}
    ) as run:
        os.close(terminal)
        seen = b""
        while True:
            try:
                part = os.read(main_fd, 4096)
            except OSError:
                break
            if not part:
                break
            seen += part
    os.close(main_fd)
    assert run.returncode == 0
    assert b"toy: storing the engine" in seen  # the last step stays until the end
    assert b"0:00:0" in seen


def test_engines_can_be_removed(folder, tmp_path):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for more in ([], ["--precision", "bf16"], ["--tile-batch", "2"]):
        told("build", folder, "--target", "toy", *more)
    assert told("build", folder, "--target", "toy", "--tile-batch", "2", "--remove")["removed"] == ["toy fp32 b2"]
    assert [(e["precision"], e["batch"]) for e in told("info", folder)["engines"]] == [("fp32", 4), ("bf16", 4)]
    Bundle.open(folder).verify()
    assert "removed: toy fp32 b4, toy bf16 b4" in call("build", folder, "--target", "toy", "--remove").stdout
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert not (folder / "engines").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--target", "toy", "--precision", "bf16"], "The bundle holds no such engine"),
        (["--target", "abacus"], "The bundle holds no such engine"),
        ([], "Nothing says what to remove"),
    ],
)
def test_what_is_not_there_cannot_be_removed(folder, arguments, says):
    told("build", folder, "--target", "toy")
    assert told("build", folder, *arguments, "--remove", code=2)["what"] == says


# Other verbs -------------------------------------------------------------------------------------------------


def test_info_names_the_engines(folder):
    call("build", folder, "--target", "toy")
    assert told("info", folder)["engines"] == [
        {"target": "toy", "precision": "fp32", "batch": 4, "asset": "engine-toy-fp32-b4"}
    ]
    assert "toy fp32 b4" in call("info", folder).stdout


def test_check_proves_every_engine(folder, monkeypatch):
    call("build", folder, "--target", "toy")
    call("build", folder, "--target", "toy", "--precision", "bf16")
    data = told("check", folder)
    assert [(e["engine"], e["precision"], e["batch"], e["passed"]) for e in data["engines"]] == [
        ("toy", "fp32", 4, True),
        ("toy", "bf16", 4, True),
        ("toy-open", "fp32", None, True),
    ]
    assert "fp32, built for 4" in call("check", folder).stdout
    monkeypatch.setenv("TOY_VERSION", "2")
    data = told("check", folder, code=1)
    assert [e["passed"] for e in data["engines"]] == [False, False, True]
    assert f"`stf-infer build {folder} --target toy --tile-batch 4` builds it again" in data["engines"][0]["reason"]


def test_check_lists_engines_of_other_machines_without_failing(folder, monkeypatch):
    from dataclasses import replace

    call("build", folder, "--target", "toy")
    real = toy_backend.ToyTarget.probe
    monkeypatch.setattr(
        toy_backend.ToyTarget,
        "probe",
        lambda self: real(self) if self.opens_graph else replace(real(self), usable=False, reason="no abacus"),
    )
    (mine, other) = told("check", folder)["engines"]
    assert (mine["engine"], mine["batch"], mine["passed"], mine["reason"]) == ("toy", 4, None, "no abacus")
    assert other["passed"]


def test_check_lists_engines_of_targets_that_are_not_here(folder, monkeypatch):
    """A plan of another machine's GPU, and an engine of a plug-in that is not installed."""
    told("build", folder, "--target", "toy")
    edit_item(
        folder, lambda i: [a.update({"stf:target": "tensorrt-sm87"}) for k, a in i["assets"].items() if "toy" in k]
    )
    (plan, other) = sorted(told("check", folder)["engines"], key=lambda e: e["engine"] == "toy-open")
    assert (plan["engine"], plan["passed"], other["passed"]) == ("tensorrt-sm87", None, True)
    edit_item(folder, lambda i: [a.update({"stf:target": "abacus"}) for k, a in i["assets"].items() if "toy" in k])
    listed = {e["engine"]: e for e in told("check", folder)["engines"]}
    assert listed["abacus"]["reason"] == "There is no engine of that name"


def test_check_finds_a_changed_engine(folder):
    told("build", folder, "--target", "toy")
    path = Bundle.open(folder).asset("engine-toy-fp32-b4")
    path.write_bytes(b'{"factor": 9}')
    data = told("check", folder, code=2)
    assert data["error"] == "AssetError"
    assert "--target toy" in data["fix"]


def test_engines_tells_devices_and_options(folder):
    data = told("engines")
    (engine, _) = data["engines"]
    assert engine["name"] == "toy"
    assert (engine["usable"], engine["builds"], engine["devices"]) == (True, True, ["abacus"])
    assert [o["name"] for o in engine["options"]] == ["how", "off", "level", "fast"]
    assert "abacus" in call("engines").stdout
