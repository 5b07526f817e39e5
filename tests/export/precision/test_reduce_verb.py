# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from stf_infer.bundle import Bundle
from stf_infer.cli import main


def call(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["reduce", *map(str, arguments)])


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle.path, tmp_path / "net.stf")


def test_several_precisions_at_once(bundle):
    done = call(bundle, "--precision", "fp16,bf16", "--budget", "rmse=5%", "--json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert [one["precision"] for one in data["reduced"]] == ["fp16", "bf16"]
    assert data["reduced"][0]["accuracy"]["bands"] == ["red", "nir"]
    assert "procedural" in data["notes"][0]
    assert Bundle.open(bundle).precisions.keys() == {"fp32", "fp16", "bf16"}


def test_what_a_person_reads(bundle):
    done = call(bundle, "--precision", "fp16", "--budget", "rmse=5%", "--calibration", "entropy", "--trials", 1)
    assert done.exit_code == 0, done.output
    assert "fp16: rmse" in done.stdout
    assert "100% of the multiply-adds reduced" in done.stdout
    assert "stf-infer tiles" in done.stdout
    assert "fp16: trial 1 of at most 1: all layers" in done.stderr


def test_info_shows_how_a_graph_was_made(bundle):
    from stf_export import reduce

    layers = json.loads(call(bundle, "--precision", "fp16", "--budget", "none", "--json").stdout)["reduced"][0]
    assert layers["share"] == 1
    reduce(bundle, "fp16", budget="none", keep=["out"])
    done = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["info", str(bundle)])
    assert "of the multiply-adds reduced, 1 to be kept" in done.stdout
    data = json.loads(CliRunner().invoke(main, ["info", str(bundle), "--json"]).stdout)
    assert data["reduced"]["fp16"]["kept"] == ["out"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--precision", "fp8"), "fp16, bf16, int8"),
        (("--precision", ","), "fp16, bf16, int8"),
        (("--precision", "fp16", "--budget", "rmse=1e-7"), "worst"),
        (("--precision", "int8", "--calibration", "mse"), "minmax, percentile, entropy"),
        (("--precision", "fp16", "--keep", "nothing"), "no such layer"),
        (("--precision", "fp16", "--trials", "0"), "1 or more"),
    ],
)
def test_what_is_refused(bundle, arguments, words):
    before = (bundle / "item.json").read_bytes()
    done = call(bundle, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert (bundle / "item.json").read_bytes() == before


def test_reducing_loads_no_torch(bundle):
    code = "import sys; from stf_export import reduce; reduce(sys.argv[1], 'fp16'); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False"]
