# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import rasterio
from click.testing import CliRunner

from stf_infer.cli import main

FILES = {"fine_t1.tif", "coarse_t1.tif", "coarse_t2.tif", "fine_t2_truth.tif", "fine_t2.tif", "demo.png"}


def test_a_person_sees_a_table_and_where_the_files_are(tmp_path):
    ran = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    for word in ("RMSE", "MAE", "CC", "SSIM", "SAM", "ERGAS", "fine_t1", "fine_t1 + change", "deltaweave", "*"):
        assert word in ran.stdout
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES


def test_json_is_one_object(tmp_path):
    ran = CliRunner().invoke(main, ["demo", "--out", str(tmp_path), "--json", "--seed", "3050"])
    assert ran.exit_code == 0, ran.output
    data = json.loads(ran.stdout)
    assert data["seed"] == 3050
    assert set(data["reports"]) == {"fine_t1", "fine_t1 + coarse change", "fused"}
    assert data["winner"]["rmse"] == "fused"
    with rasterio.open(data["files"]["fine_t2"]) as fused:
        assert fused.shape == tuple(data["size"])


def test_default_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["demo", "--json"]).exit_code == 0
    assert {p.name for p in (tmp_path / "stf-demo").iterdir()} == FILES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "1000"], "was trained on this scene"),
        (["--engine", "abacus"], "abacus"),
        (["--seed", "-1"], "-1"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    ran = CliRunner().invoke(main, ["demo", "--out", str(tmp_path), *arguments])
    assert ran.exit_code == 2
    assert message in ran.stderr


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("no folder")
    ran = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "file")])
    assert ran.exit_code == 2
    assert "cannot be written" in ran.stderr
