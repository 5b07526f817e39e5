# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner

from dataset_folders import DAYS, SHAPE, make_folder
from fakes import block_mean, grid_transform, smooth_field, write_tif
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

    def call(*more, bundle=place, scenes=False):
        arguments = ["bench", bundle, *QUICK, "--out", tmp_path / "out", *more]
        arguments += [] if scenes else ["--no-scenes"]
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


def test_what_has_been_measured_when_somebody_interrupts_is_written(bench, tmp_path, monkeypatch):
    kept, calls = runner.measure, []

    def measure(task, say):
        calls.append(task)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return kept(task, say)

    monkeypatch.setattr(runner, "measure", measure)
    ran = bench()
    assert ran.exit_code == 130
    first, second = json.loads((tmp_path / "out" / "bench.json").read_text())["rows"]
    assert first["failure"] is None
    assert second["failure"] == "Not measured: the bench was interrupted"


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


@pytest.fixture
def scene(tmp_path):
    """A folder with the rasters of the toys' network, and the truth that they predict."""
    folder = tmp_path / "place"
    folder.mkdir()
    fine = smooth_field(2, 64, 96)
    coarse = block_mean(fine, 4)
    files = {"fine_t1": fine, "fine_t2_truth": fine + np.float32(0.05)}
    for name, image in files.items():
        write_tif(folder / f"{name}.tif", image, names=("red", "nir"))
    for name, image in {"coarse_t1": coarse, "coarse_t2": coarse + np.float32(0.05)}.items():
        write_tif(folder / f"{name}.tif", image, pixel=120, names=("red", "nir"))
    return folder


def test_a_folder_with_a_scene_is_fused_and_measured_beside_baselines(bench, scene, tmp_path):
    ran = bench("--scene", scene, "--repeats", "2", "--json", scenes=True)
    assert ran.exit_code == 0, ran.output
    data = json.loads(ran.stdout)
    assert [one["name"] for one in data["scenes"]] == ["place"]
    assert data["scenes"][0]["truth"] == str(scene / "fine_t2_truth.tif")
    rows = {row["name"]: row for row in data["rows"]}
    names = ["net | toy-open fp32", "net | toy-open bf16", "baseline | copy", "baseline | change", "baseline | starfm"]
    assert list(rows) == names
    for name in names:
        assert len(rows[name]["throughput"][0]["seconds"]) == 2
        assert (tmp_path / "out" / rows[name]["quality"][0]["image"]).exists()
    # The network is the change itself, and copying misses all of it.
    assert rows[names[0]]["quality"][0]["truth"]["pooled"]["rmse"] == pytest.approx(0, abs=1e-6)
    assert rows["baseline | copy"]["quality"][0]["truth"]["pooled"]["rmse"] == pytest.approx(0.05, abs=1e-6)
    assert rows[names[0]]["quality"][0]["fp32"] is None
    assert rows[names[1]]["quality"][0]["fp32"]["pooled"]["rmse"] == 0
    assert rows[names[0]]["throughput"][0]["peak_memory"] > 0


def test_the_truth_of_a_folder_may_be_stated(bench, scene, tmp_path):
    truth = (scene / "fine_t2_truth.tif").rename(tmp_path / "elsewhere.tif")
    ran = bench("--scene", scene, "--truth", truth, "--no-baselines", "--json", scenes=True)
    assert ran.exit_code == 0, ran.output
    (found,) = json.loads(ran.stdout)["scenes"]
    assert (found["name"], found["truth"]) == ("place", str(truth))


def test_two_scenes_do_not_share_files(bench, scene, tmp_path):
    twins = [tmp_path / "the place", tmp_path / "the-place"]
    for twin in twins:
        shutil.copytree(scene, twin)
    ran = bench("--scene", twins[0], "--scene", twins[1], scenes=True)
    assert ran.exit_code == 2
    assert "too much alike" in " ".join(ran.stderr.split())


def test_rasters_by_role_with_what_is_stated_about_them(bench, scene):
    roles = [
        part
        for role in ("fine_t1", "coarse_t1", "coarse_t2")
        for part in (f"--{role.replace('_', '-')}", scene / f"{role}.tif")
    ]
    more = ["--truth", scene / "fine_t2_truth.tif", "--nodata", "-1", "--bands", "truth=red,nir", "--no-baselines"]
    ran = bench(*roles, *more, "--precision", "fp32", "--json", scenes=True)
    assert ran.exit_code == 0, ran.output
    data = json.loads(ran.stdout)
    assert [row["name"] for row in data["rows"]] == ["net | toy-open fp32"]
    assert data["settings"]["scenes"][0]["truth"] == {
        "data": str(scene / "fine_t2_truth.tif"),
        "bands": ["red", "nir"],
        "nodata": -1.0,
    }
    assert data["rows"][0]["quality"][0]["truth"]["pooled"]["rmse"] == pytest.approx(0, abs=1e-6)


def test_a_truth_on_another_grid_is_refused_before_anything_is_measured_and_warped_where_asked(bench, scene):
    truth = smooth_field(2, 64, 96)
    write_tif(
        scene / "fine_t2_truth.tif",
        truth,
        names=("red", "nir"),
        transform=grid_transform() @ Affine.translation(0.5, 0),
    )
    ran = bench("--scene", scene, scenes=True)
    assert ran.exit_code == 2
    assert "--warp-truth" in ran.stderr
    ran = bench("--scene", scene, "--warp-truth", "--no-baselines", scenes=True)
    assert ran.exit_code == 0, ran.output


def test_the_tuples_of_a_benchmark_dataset(bench, tmp_path):
    root = make_folder(tmp_path / "data", "CIA")
    ran = bench("--dataset", "cia", "--root", root, "--precision", "fp32", "--json", scenes=True)
    assert ran.exit_code == 0, ran.output
    data = json.loads(ran.stdout)
    names = [f"CIA {a} to {b}" for a, b in pairwise(DAYS)]
    assert [(one["name"], one["ratio"], one["height"], one["width"]) for one in data["scenes"]] == [
        (name, 20.0, *SHAPE) for name in names
    ]
    rows = {row["name"]: row for row in data["rows"]}
    assert [one["scene"] for one in rows["net | toy-open fp32"]["quality"]] == names
    for one in rows["net | toy-open fp32"]["quality"]:  # a network that adds the coarse change predicts the truth
        assert one["truth"]["pooled"]["rmse"] == pytest.approx(0, abs=1e-6)
        assert set(one["truth"]["per_band"]) == {"red", "nir"}
    # Baselines are of the bands that the network predicts, out of six.
    assert set(rows["baseline | copy"]["quality"][0]["truth"]["per_band"]) == {"red", "nir"}
    assert data["scenes"][0]["bands"] == ["red", "nir"]
    ran = bench("--dataset", "CIA", "--root", root, "--limit", "1", "--precision", "fp32", "--json", scenes=True)
    assert [one["name"] for one in json.loads(ran.stdout)["scenes"]] == names[:1]


def test_an_engine_that_fails_while_it_fuses_is_a_row_with_its_reason(bench, scene, monkeypatch):
    monkeypatch.setenv("TOY_FAILS", "toy-open:late")
    ran = bench("--scene", scene, "--repeats", "3", "--no-baselines", "--precision", "fp32", "--json", scenes=True)
    assert ran.exit_code == 1
    (row,) = json.loads(ran.stdout)["rows"]
    assert "The toy is tired" in row["failure"]
    assert row["latency"] is None


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--scene", "nowhere"], "A scene is a folder with a raster for each role"),
        (["--coarse-t1", "c.tif"], "A scene has a fine_t1"),
        (["--scale", "0.1"], "Values are stated, and no scene is"),
        (["--dataset", "CIB"], "No dataset of that name"),
        (["--dataset", "CIA"], "CIA is read from a folder"),
        (["--root", "."], "--root is the folder of a dataset, and none is named"),
        (["--side", "8"], "procedural scene is larger"),
    ],
)
def test_scenes_that_are_none(bench, more, says):
    ran = bench(*more, scenes=True)
    assert ran.exit_code == 2
    assert says in " ".join(ran.stderr.split())


def test_what_was_measured_is_written_even_where_the_pages_fail(bench, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no font")

    monkeypatch.setattr("stf_infer.bench.report.rewrite", broken)
    ran = bench("--precision", "fp32")
    assert ran.exit_code == 1
    assert "The pages could not be written: no font" in ran.stdout
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["rows"][0]["failure"] is None


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
