# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from handmade_bundle import make_bundle
from stf_infer.bench import environment, runner
from stf_infer.cli import main
from stf_infer.engines import registry

QUICK = ("--runs", "2", "--seconds", "0", "--no-sweep")


@pytest.fixture
def bench(toys, tmp_path, monkeypatch):
    """Call the verb with a bundle of the toys, in this process and not for long."""
    monkeypatch.setattr(registry, "BUILT_IN", {})
    monkeypatch.setattr(environment, "_LOOK", 0.0)
    kept = runner.run
    monkeypatch.setattr(runner, "run", lambda *given, **more: kept(*given, **more, apart=False))
    place = make_bundle(tmp_path / "net.stf")

    def call(*more, bundle=place):
        arguments = ["bench", *([] if bundle is None else [bundle]), *QUICK, "--out", tmp_path / "out", *more]
        return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(a) for a in arguments])

    return call


def test_a_person_sees_tables_and_where_the_files_are(bench, tmp_path):
    ran = bench()
    assert ran.exit_code == 0, ran.output
    assert "toy-open fp32" in ran.stdout
    assert "p50" in ran.stdout
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"bench.json", "bench.md"} <= written
    for name in written:
        assert str(tmp_path / "out" / name) in ran.stdout


def test_json_is_the_result_that_is_written(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stf-infer", "bench", "net.stf", "--runs", "2"])
    ran = bench("--json", "--engine", "toy-open", "--precision", "bf16", "--threads", "2", "--batch", "3,1")
    assert ran.exit_code == 0, ran.output
    data = json.loads(ran.stdout)
    assert data == json.loads((tmp_path / "out" / "bench.json").read_text())
    assert [row["name"] for row in data["rows"]] == ["net | toy-open bf16"]
    assert data["rows"][0]["latency"]["batch"] == 3
    assert data["rows"][0]["latency"]["threads"] == 2
    assert data["command"] == ["python", "-m", "stf_infer.bench", "net.stf", "--runs", "2"]
    assert data["settings"]["batches"] == [3, 1]


def test_an_engine_that_fails_is_exit_code_1_and_the_files_are_there(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_FAILS", "toy-open:refused")
    ran = bench("--precision", "fp32")
    assert ran.exit_code == 1
    assert "The toy is tired" in " ".join(ran.stdout.split())
    assert "The toy is tired" in (tmp_path / "out" / "bench.json").read_text()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--engine", "abacus"], "no engine of that name. Got: abacus"),
        (["--precision", "fp8"], "no such precision. Got: fp8. Allowed: fp32, fp16, bf16, int8"),
        (["--precision", "int8"], "Nothing can be measured in int8"),
        (["--tile", "64"], "Got: 32 x 32. Allowed: 64 x 64"),
        (["--tile", "64x"], "--tile cannot be read. Got: 64x"),
        (["--batch", "one"], "--batch cannot be read. Got: one"),
        (["--threads", "0"], "--threads cannot be used. Got: 0"),
        (["--runs", "0"], "--runs cannot be used"),
        (["--steps", "2"], "No bundle can be sampled in another number of steps"),
    ],
)
def test_bad_arguments_are_exit_code_2_and_leave_nothing(bench, tmp_path, more, says):
    ran = bench("--json", *more)
    assert ran.exit_code == 2
    assert says in " ".join(ran.stderr.split())
    assert set(json.loads(ran.stdout)) == {"error", "what", "got", "allowed", "fix"}
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_is_none(bench, tmp_path):
    ran = bench(bundle=tmp_path / "nothing.stf")
    assert ran.exit_code == 2
    assert "no bundle at this path" in ran.stderr


def test_a_folder_that_cannot_be_written_to(bench, tmp_path):
    (tmp_path / "out").write_text("a file")
    ran = bench()
    assert ran.exit_code == 2
    assert "Results cannot be written here" in ran.stderr


@pytest.mark.parametrize("word", ["compare", "report"])
def test_words_in_place_of_a_bundle_do_something_with_results(tmp_path, word):
    ran = CliRunner().invoke(main, ["bench", word, "--help"])
    assert ran.exit_code == 0, ran.output
    assert f"bench {word}" in ran.stdout
    ran = CliRunner().invoke(main, ["bench", word, *([str(tmp_path / "a.json")] * (2 if word == "compare" else 1))])
    assert ran.exit_code == 2
    assert "cannot be read" in ran.stderr


def test_the_module_is_the_same_command():
    ran = subprocess.run(
        [sys.executable, "-m", "stf_infer.bench", "--help"], capture_output=True, text=True, check=True
    )
    assert "Usage: python -m stf_infer.bench [OPTIONS] [NAME.stf]..." in ran.stdout
