# SPDX-License-Identifier: Apache-2.0
"""``stf-infer steps``: options, what is printed, what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from handmade_bundle import make_bundle
from step_bundle import make_step_bundle
from stf_export.samplers import Sampler
from stf_infer.bundle import Bundle
from stf_infer.cli import main


class Call:
    """What a call of the verb gave."""

    def __init__(self, *arguments: Any) -> None:
        words = ["steps", *(str(a) for a in arguments)]
        result = CliRunner(env={"COLUMNS": "200"}).invoke(main, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr

    @property
    def data(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


@pytest.fixture
def files(scene) -> list[Any]:
    """Rasters by option; the truth too."""
    roles = ("fine_t1", "coarse_t1", "coarse_t2")
    return [word for role in roles for word in (f"--{role.replace('_', '-')}", scene / f"{role}.tif")]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_scene_is_a_folder_or_a_raster_for_each_role(step_bundle, scene, files, here):
    from_folder = Call(step_bundle, "--scene", scene, "--data-range", 1, "--steps", "1,4", "--json")
    assert from_folder.code == 0
    given = [*files, "--truth", scene / "fine_t2_truth.tif", "--data-range", 1, "--steps", "1,4", "--json"]
    one_by_one = Call(step_bundle, *given)
    for one, other in zip(from_folder.data["points"], one_by_one.data["points"], strict=True):
        assert {**one, "seconds_per_mpx": 0} == {**other, "seconds_per_mpx": 0}
    assert [p["steps"] for p in one_by_one.data["points"]] == [1, 4, 16]
    assert all(p["to_truth"] for p in one_by_one.data["points"])
    assert (here / "toy-steps.svg").exists()


def test_what_a_person_reads(step_bundle, scene, tmp_path):
    call = Call(step_bundle, "--scene", scene, "--data-range", 1, "--plot", tmp_path / "curve.svg")
    assert call.code == 0
    for words in ("RMSE", "SSIM", "SAM", "to truth", "s / Mpx", "trailing: 15, 7", "ddim, 4 steps of 16", "curve.svg"):
        assert words in call.out
    assert "fusing with 16 steps" in call.err
    assert (tmp_path / "curve.svg").exists()


def test_a_role_that_is_given_stands_before_the_folder(step_bundle, scene, tmp_path):
    call = Call(step_bundle, "--scene", scene, "--coarse-t2", tmp_path / "missing.tif")
    assert call.code == 2
    assert "missing.tif" in call.err


def test_tuned_time_steps_are_stored(step_bundle, scene, tmp_path):
    copy = shutil.copytree(step_bundle, tmp_path / "toy.stf")
    call = Call(copy, "--scene", scene, "--tune", 2, "--tiles", 1, "--json")
    assert call.code == 0
    assert Bundle.open(copy).spec.sampler.timesteps == tuple(call.data["timesteps"])
    assert call.data["rmse_to_all_steps"] < call.data["spaced_rmse_to_all_steps"]
    assert call.data["sha256"] == Bundle.open(copy).sha256
    curve = Call(copy, "--scene", scene, "--steps", "1,2", "--data-range", 1, "--json").data
    assert [p["spacing"] for p in curve["points"]] == ["trailing", "trailing", "tuned", "all"]
    spaced, tuned = curve["points"][1:3]
    assert tuned["to_all_steps"]["rmse"] < spaced["to_all_steps"]["rmse"]


def test_tuned_time_steps_in_a_new_bundle(step_bundle, scene, tmp_path):
    before = (step_bundle / "item.json").read_bytes()
    call = Call(step_bundle, "--scene", scene, "--tune", 1, "-o", tmp_path / "new.stf", "--spacing", "linspace")
    assert call.code == 0
    assert "tuned" in call.out
    assert len(Bundle.open(tmp_path / "new.stf").spec.sampler.timesteps) == 1
    assert (step_bundle / "item.json").read_bytes() == before
    again = Call(step_bundle, "--scene", scene, "--tune", 1, "-o", tmp_path / "new.stf")
    assert again.code == 2
    assert "--force" in again.err
    assert "running" not in again.err  # refused before the work, not after it
    assert Call(step_bundle, "--scene", scene, "--tune", 1, "-o", tmp_path / "new.stf", "--force").code == 0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--steps", "1,17"], "1 to 16"),
        (["--steps", "1,,2"], "--steps cannot be read"),
        (["--steps", "all"], "--steps cannot be read"),
        (["--tune", "17"], "1 to 16"),
        (["--tune", "2", "--tiles", "0"], "1 or more"),
        (["--tune", "2", "--steps", "1,2"], "--steps has no meaning with --tune"),
        (["--tune", "2", "--aoi", "0,0,1,1"], "--aoi has no meaning with --tune"),
        (["--tune", "2", "--plot", "p.svg"], "--plot has no meaning with --tune"),
        (["-o", "new.stf"], "--output has no meaning without --tune"),
        (["--force"], "--force has no meaning without --tune"),
        (["--plot", "curve.png"], "FILE.svg"),
        (["--spacing", "guided", "--steps", "7", "--data-range", "1"], "No whole stride"),
        (["--engine", "abacus"], "There is no engine of that name"),
        (["--seed", "-1", "--data-range", "1"], "seed"),
        (["--truth", "missing.tif"], "missing.tif"),
    ],
)
def test_refused(step_bundle, scene, extra, message):
    call = Call(step_bundle, "--scene", scene, *extra)
    assert call.code == 2
    assert message in call.err


def test_a_role_is_missing(step_bundle, files):
    call = Call(step_bundle, *files[2:])
    assert call.code == 2
    assert "--fine-t1" in call.err


def test_a_scene_that_is_no_folder(step_bundle, scene):
    call = Call(step_bundle, "--scene", scene / "fine_t1.tif")
    assert call.code == 2
    assert "a folder" in call.err


def test_a_truth_on_another_grid(step_bundle, scene, files):
    call = Call(step_bundle, *files, "--truth", scene / "coarse_t2.tif", "--json")
    assert call.code == 2
    assert call.data["error"] == "GridError"
    assert call.data["fix"]


def test_a_bundle_without_a_sampler(scene, tmp_path):
    call = Call(make_bundle(tmp_path / "plain.stf"), "--scene", scene)
    assert call.code == 2
    assert "has no sampler" in call.err


def test_a_bundle_whose_steps_are_one_graph(scene, tmp_path):
    bundle = make_step_bundle(tmp_path / "toy.stf", Sampler(steps=2, loop="graph"))
    for extra in ([], ["--tune", "2"]):
        call = Call(bundle, "--scene", scene, *extra)
        assert call.code == 2
        assert "--loop host" in call.err


def test_neither_torch_nor_onnx_is_imported(step_bundle, scene, tmp_path):
    copy = shutil.copytree(step_bundle, tmp_path / "toy.stf")
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript', 'pystac'): sys.modules[name] = None\n"
        "from stf_infer.cli import main\n"
        "main(sys.argv[1:])"
    )
    for words in (["--steps", "1", "--data-range", "1"], ["--tune", "1", "--tiles", "1"]):
        call = [sys.executable, "-c", code, "steps", str(copy), "--scene", str(scene), *words]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
