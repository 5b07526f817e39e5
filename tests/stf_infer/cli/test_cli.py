# SPDX-License-Identifier: Apache-2.0
"""The command line's frame: lazy verbs, missing extras, JSON, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

import stf_infer
from stf_infer import cli
from stf_infer.cli import VERBS, _missing, main
from stf_infer.cli._verb import Report, plain, verb
from stf_infer.errors import CheckFailedError, UsageError


def call(*arguments: str, command: click.Command = main) -> Any:
    return CliRunner().invoke(command, list(arguments))


def command_of(function: Any) -> click.Command:
    return click.command("try")(verb(function))


# Verbs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_verb(flag):
    result = call(flag)
    assert result.exit_code == 0
    for name, (_, line) in VERBS.items():
        assert name in result.output
        assert line in result.output


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help_and_json(name):
    result = call(name, "--help")
    assert result.exit_code == 0, result.output
    assert "--json" in result.output


def test_the_version_is_told():
    assert call("--version").output.split()[-1] == stf_infer.__version__


def test_the_module_can_be_run():
    run = subprocess.run([sys.executable, "-m", "stf_infer", "engines", "--json"], capture_output=True, text=True)
    assert run.returncode == 0
    assert {e["name"] for e in json.loads(run.stdout)["engines"]} >= {"onnxruntime-cpu", "openvino-cpu"}


def test_engines_are_shown_to_a_person(monkeypatch):
    import stf_infer.engines as engines

    listed = [
        engines.EngineInfo("a", usable=True, version="1"),
        engines.EngineInfo("b", usable=False, reason="gone", extra="x"),
    ]
    monkeypatch.setattr(engines, "available", lambda: listed)
    result = CliRunner(env={"COLUMNS": "150"}).invoke(main, ["engines"])
    assert result.exit_code == 0
    assert "usable" in result.output
    assert "gone; pip install 'stf-infer[x]'" in result.output


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
@pytest.mark.parametrize(
    ("package", "extra"),
    [("torch", "export"), ("stf_export", "export"), ("onnxruntime.capi", "cpu"), ("xarray", "xarray")],
)
def test_a_verb_whose_package_is_missing_names_the_extra(monkeypatch, package, extra, json_flag):
    def absent(home: str, anchor: str) -> Any:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(cli.importlib, "import_module", absent)
    result = call("export", "edcstfn", "--weights", "a=b", "--tile", "256", *json_flag)
    assert result.exit_code == 2
    assert f"pip install 'stf-infer[{extra}]'" in result.stderr
    assert "Traceback" not in result.output
    if json_flag:
        told = json.loads(result.stdout)
        assert told["error"] == "MissingExtraError"
        assert told["fix"] == f"pip install 'stf-infer[{extra}]'"


def test_a_verb_that_is_not_there_at_all_says_so(monkeypatch):
    monkeypatch.setitem(cli.VERBS, "fly", (".no_such_module", "Fly."))
    result = call("fly", "--high")
    assert result.exit_code == 2
    assert "The verb fly is not part of this installation" in result.stderr


def test_without_torch_export_says_what_to_install():
    """In a fresh interpreter that finds no torch."""
    code = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnx", "onnxscript"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
from stf_infer.cli import main
main(["export", "edcstfn", "--weights", "nothing.pth", "-o", "x.stf", "--json"])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 2, run.stderr
    told = json.loads(run.stdout)
    assert told["error"] == "MissingExtraError"
    assert "pip install 'stf-infer[export" in told["fix"]
    assert "Traceback" not in run.stderr


def test_a_package_that_is_missing_later_is_named_too():
    def needs_torch() -> Report:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    result = call("--json", command=command_of(needs_torch))
    assert result.exit_code == 2
    assert json.loads(result.stdout)["fix"] == "pip install 'stf-infer[export]'"


def test_a_package_of_nobody_is_a_bug_and_stays_one():
    def broken() -> Report:
        raise ModuleNotFoundError("No module named 'stf_infer.typo'", name="stf_infer.typo")

    assert isinstance(call(command=command_of(broken)).exception, ModuleNotFoundError)
    assert _missing.missing_extra(ModuleNotFoundError("x")) is None


# Reports and errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1])
def test_a_report_becomes_json_or_words(code):
    def report() -> Report:
        return Report({"pixels": np.int64(3)}, lambda console: console.print("three pixels"), exit_code=code)

    result = call("--json", command=command_of(report))
    assert (result.exit_code, json.loads(result.stdout), result.stderr) == (code, {"pixels": 3}, "")
    result = call(command=command_of(report))
    assert (result.exit_code, result.stdout) == (code, "three pixels\n")


def test_nothing_to_report_is_success():
    result = call("--json", command=command_of(lambda: None))
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("Wrong", fix="Mend it"), 2), (CheckFailedError("Off", got=3), 1)]
)
def test_an_error_becomes_an_exit_code(error, code):
    def fail() -> Report:
        raise error

    result = call(command=command_of(fail))
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"Error: {error}\n")
    result = call("--json", command=command_of(fail))
    assert (result.exit_code, json.loads(result.stdout)) == (code, error.as_dict())


def test_ctrl_c_is_130():
    def interrupted() -> Report:
        raise KeyboardInterrupt

    result = call("--json", command=command_of(interrupted))
    assert result.exit_code == 130
    assert json.loads(result.stdout)["error"] == "Interrupted"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["run", "--bogus"], "NoSuchOption"),
        (["bogus"], "NoSuchCommand"),
        (["run"], "MissingParameter"),
        (["run", "x.stf", "--dtype", "int8"], "BadParameter"),
        (["engines", "extra"], "UsageError"),
    ],
)
def test_wrong_options_are_told_as_json_too(arguments, error):
    result = call(*arguments, "--json")
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert told["error"] == error
    assert set(told) == {"error", "what", "got", "allowed", "fix"}
    assert told["what"] in result.stderr
    assert call(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        (np.float32(0.5), 0.5),
        (np.array([1, 2]), [1, 2]),
        ({1: (np.nan, float("inf"), -1.0)}, {"1": [None, None, -1.0]}),
        (np.array([np.nan]), [None]),
        ([True, None, "x"], [True, None, "x"]),
        (UsageError, str(UsageError)),
    ],
)
def test_values_become_what_json_can_hold(value, becomes):
    assert plain(value) == becomes
    json.dumps(plain(value), allow_nan=False)
