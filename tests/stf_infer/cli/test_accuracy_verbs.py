# SPDX-License-Identifier: Apache-2.0
"""What ``build``, ``check`` and ``info`` say of the distance from fp32, and ``tiles``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import toy_backend
from fakes import block_mean, smooth_field, write_tif
from handmade_bundle import edit_item, make_bundle
from stf_infer.accuracy import DEFAULT, Accuracy, record, tiles_of
from stf_infer.bundle import Bundle
from stf_infer.cli import main
from stf_infer.engines import registry


@pytest.fixture
def rasters(tmp_path):
    """Options that name three files."""
    fine = smooth_field(2, 96, 96)
    coarse = block_mean(fine, 4)
    given = []
    for role, array, pixel in (
        ("fine-t1", fine, 30.0),
        ("coarse-t1", coarse, 120.0),
        ("coarse-t2", coarse + np.float32(0.01), 120.0),
    ):
        given += [f"--{role}", write_tif(tmp_path / f"{role}.tif", array, pixel=pixel)]
    return given


def call(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def told(*arguments, code=0):
    result = call(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def shown(*arguments, code=0):
    result = call(*arguments)
    assert result.exit_code == code, result.output
    return " ".join(result.stdout.split())


def built(folder, off=2, *more):
    return ("build", folder, "--target", "toy", "--precision", "bf16", "--option", f"off={off}", *more)


# tiles -----------------------------------------------------------------------------------------------------------


def test_tiles_are_stored(folder, rasters):
    data = told("tiles", folder, *rasters, "--count", 3)
    assert (data["tiles"], data["source"]) == (3, "real")
    assert data["from"] == ["coarse_t1=coarse-t1.tif", "fine_t1=fine-t1.tif", "coarse_t2=coarse-t2.tif"]
    opened = Bundle.open(folder)
    opened.verify()
    assert [list(origin) for origin in tiles_of(opened).origins] == data["origins"]
    assert data["sha256"] == opened.assets["tiles"].sha256
    text = shown("tiles", folder, *rasters, "--count", 2, "--seed", 4)
    assert "2 tiles, of rows and columns" in text
    assert f"next: stf-infer build {folder}" in text
    assert len(tiles_of(Bundle.open(folder))) == 2


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        (["--count", "0"], "UsageError", "number of tiles cannot be used"),
        (["--seed", "-1"], "UsageError", "seed cannot be used"),
        (["--dims", "fine_t1=a,b"], "UsageError", "--dims has no meaning for rasters"),
        (["--bands", "fine_t1=1"], "BandError", "fine_t1 needs another number of bands"),
        (["--nodata", "fine_t3=0"], "UsageError", "speaks of an input that is not given"),
        (["--scale", "fine_t1=nothing"], "UsageError", "--scale cannot be read"),
        (["--input", "guide=x.tif"], "UsageError", "takes other inputs"),
    ],
)
def test_bad_input_is_one_error_and_changes_nothing(folder, rasters, more, error, says):
    before = (folder / "item.json").read_bytes()
    data = told("tiles", folder, *rasters, *more, code=2)
    assert data["error"] == error
    assert says in data["what"]
    assert (folder / "item.json").read_bytes() == before
    assert not list(folder.glob("*tiles*"))


def test_a_scene_of_nodata_gives_none(folder, rasters):
    data = told("tiles", folder, *rasters, "--nodata", "coarse_t2=0.5", code=0)
    path = rasters[rasters.index("--coarse-t2") + 1]
    write_tif(path, np.full((2, 24, 24), np.nan, np.float32), pixel=120.0)
    assert told("tiles", folder, *rasters, code=2)["error"] == "NodataError"
    assert Bundle.open(folder).assets["tiles"].sha256 == data["sha256"]


def test_samples_are_stored_too(tmp_path):
    import sample_support

    spec = sample_support.make_spec()
    folder = make_bundle(tmp_path / "net.stf")
    edit_item(folder, lambda item: item["properties"].update({"stf:contract": spec.model_dump(mode="json")}))
    np.savez(tmp_path / "in.npz", history=sample_support.histories(5), bias=np.zeros(5, np.float32))
    given = [f"--input=history={tmp_path}/in.npz:history", f"--input=bias={tmp_path}/in.npz:bias"]
    assert "4 samples" in shown("tiles", folder, *given, "--count", 4)
    assert len(tiles_of(Bundle.open(folder))) == 4
    for wrong in (["--any-ratio"], ["--bands", "history=1"]):
        assert "has no meaning for persistence" in told("tiles", folder, *given, *wrong, code=2)["what"]


# build -----------------------------------------------------------------------------------------------------------


def test_a_person_is_told_how_far_an_engine_is_from_fp32(folder, rasters):
    text = shown(*built(folder))
    assert "accuracy: off fp32 by 0.2% (red), 0.03" in text
    assert " deg; rmse=0.5%,sam=0.05deg allowed; on 4 procedural tiles" in text
    assert f"`stf-infer tiles {folder} ...` stores real tiles" in text
    call("tiles", folder, *rasters, "--count", 3)
    text = shown("build", folder)
    assert "on 3 real tiles" in text
    assert "stf-infer tiles" not in text


def test_over_budget_is_a_failed_check(folder):
    before = (folder / "item.json").read_bytes()
    data = told(*built(folder, 8), code=1)
    assert data["error"] == "CheckFailedError"
    assert "red: rmse 0.8%, allowed 0.5%" in data["got"]
    assert (folder / "item.json").read_bytes() == before
    (engine,) = told(*built(folder, 8, "--budget", "rmse=1%"))["engines"]
    assert engine["accuracy"]["budget"] == "rmse=1%"
    assert engine["accuracy"]["bands"] == ["red", "nir"]


def test_no_budget_is_told(folder):
    assert "accuracy: not compared with fp32: nobody asked for it" in shown(*built(folder, 2, "--budget", "none"))


def test_a_budget_needs_a_target_and_sense(folder):
    assert "Nothing says what to build for" in told("build", folder, "--budget", "rmse=1%", code=2)["what"]
    data = told(*built(folder, 2, "--budget", "small"), code=2)
    assert (data["error"], data["got"]) == ("UsageError", "small")
    assert "rmse=0.5%,sam=0.05deg" in data["allowed"]


def test_an_engine_that_cannot_be_run_here_shows_what_is_known_of_its_graph(folder, monkeypatch):
    from dataclasses import replace

    good = Accuracy(("red", "nir"), (0.001, 0.002), (0.1, 0.1), 0.01, 4, 0, "real")
    record(Bundle.open(folder), "bf16", good, DEFAULT)
    plain = toy_backend.ToyTarget.probe
    monkeypatch.setattr(toy_backend.ToyTarget, "probe", lambda self: replace(plain(self), usable=False, reason="no"))
    text = shown(*built(folder))
    assert "accuracy: not compared with fp32: it could not be run" in text
    assert "the bf16 network itself: off fp32 by 0.2% (nir), 0.01 deg;" in text


# check -----------------------------------------------------------------------------------------------------------


def test_check_compares_with_fp32_again(folder):
    call(*built(folder))
    mine, _ = told("check", folder)["engines"]
    assert mine["passed"]
    assert mine["accuracy"]["rmse"][0] == pytest.approx(0.002, rel=1e-3)
    assert mine["accuracy"]["budget"] == "rmse=0.5%,sam=0.05deg"
    text = shown("check", folder)
    for words in (
        "off fp32",
        "0.2% (red), 0.03",
        "rmse=0.5%,sam=0.05deg",
        "on 4 procedural tiles",
        f"stf-infer tiles {folder}",
    ):
        assert words in text


def test_fp32_alone_has_no_such_columns(folder):
    text = shown("check", folder)
    assert "budget" not in text
    assert told("check", folder)["engines"][0]["accuracy"] is None


def test_check_fails_where_an_engine_is_over_its_budget_here(folder, monkeypatch):
    """The device computes something else than the machine where it was built."""
    call(*built(folder))
    plain = toy_backend.ToyEngine.open_impl

    def worse(self, bundle, threads):
        plain(self, bundle, threads)
        self.off *= 4

    monkeypatch.setattr(toy_backend.ToyEngine, "open_impl", worse)
    mine, other = told("check", folder, code=1)["engines"]
    assert (mine["passed"], other["passed"]) == (False, True)
    assert "red: rmse 0.8%, allowed 0.5%" in mine["reason"]
    assert "toy bf16: red: rmse 0.8%, allowed 0.5%" in shown("check", folder, code=1)
    assert told("check", folder, "--budget", "rmse=1%,sam=1deg")["passed"]


def test_another_budget_can_be_asked_for(folder):
    call(*built(folder))
    data = told("check", folder, "--budget", "rmse=0.1%", code=1)
    assert data["engines"][0]["reason"] == "red: rmse 0.2%, allowed 0.1%"
    assert data["engines"][0]["accuracy"]["budget"] == "rmse=0.1%"
    assert told("check", folder, "--budget", "much", code=2)["error"] == "UsageError"


def test_an_engine_without_a_budget_is_measured_and_passes(folder):
    call(*built(folder, 20, "--budget", "none"))
    mine, _ = told("check", folder)["engines"]
    assert (mine["passed"], mine["accuracy"]["budget"]) == (True, "none")
    assert mine["accuracy"]["rmse"][0] == pytest.approx(0.02, rel=1e-3)


def test_check_uses_the_real_tiles_and_finds_them_damaged(folder, rasters):
    call("tiles", folder, *rasters, "--count", 3)
    call(*built(folder))
    assert "compared with fp32 on 3 real tiles" in shown("check", folder)
    (path,) = folder.glob("tiles-*.npz")
    path.write_bytes(path.read_bytes()[:-1])
    data = told("check", folder, code=2)
    assert data["error"] == "AssetError"
    assert "stf-infer tiles" in data["fix"]


def test_check_without_fp32_compares_nothing_and_says_so(folder, monkeypatch):
    call(*built(folder))
    monkeypatch.setattr(registry.target("toy-open"), "opens_graph", False)
    (mine,) = told("check", folder)["engines"]
    assert (mine["passed"], "rmse" in mine["accuracy"]) == (True, False)
    assert "no engine here opens the network in fp32" in shown("check", folder)


# info ------------------------------------------------------------------------------------------------------------


def test_info_shows_the_accuracy_of_graphs_and_engines(folder):
    assert told("info", folder)["accuracy"] == []
    good = Accuracy(("red", "nir"), (0.001, 0.0025), (0.1, 0.1), None, 4, 0, "real")
    record(Bundle.open(folder), "int8", good, DEFAULT)
    call(*built(folder))
    call(*built(folder, 2, "--budget", "none", "--tile-batch", "2"))
    graph, engine, other = told("info", folder)["accuracy"]
    assert (graph["engine"], graph["precision"], graph["batch"], graph["proven"]) == ("network", "int8", None, True)
    assert (engine["engine"], engine["precision"], engine["batch"], engine["proven"]) == ("toy", "bf16", 4, True)
    assert (other["batch"], other["proven"], other["budget"]) == (2, False, "none")
    text = shown("info", folder)
    for words in (
        "network int8 0.25% (nir) rmse=0.5%,sam=0.05deg 4 real",
        "toy bf16 b4 0.2% (red), 0.03",
        "4 procedural",
        "toy bf16 b2 not compared none",
    ):
        assert words in text


def test_info_needs_no_engine_files_for_it(folder):
    call(*built(folder))
    Bundle.open(folder).asset("engine-toy-bf16-b4").unlink()
    assert told("info", folder)["accuracy"][0]["proven"]
    Bundle.open(folder).asset("engine-toy-bf16-b4-sidecar").unlink()
    assert told("info", folder)["accuracy"] == []
