# SPDX-License-Identifier: Apache-2.0
"""Engines that are farther from fp32 than their budget are not built, and the bundle is what it was."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from stf_infer.accuracy import Budget, Record, procedural_tiles, record, store_tiles, tiles_of
from stf_infer.accuracy.comparison import Accuracy
from stf_infer.accuracy.gate import Gate, record_of, references
from stf_infer.bundle import Bundle
from stf_infer.engines import build, store, update
from stf_infer.engines.opening import candidates
from stf_infer.engines.registry import target
from stf_infer.errors import AssetError, CheckFailedError, EngineError, UsageError
from toy_backend import ToyTarget

pytestmark = pytest.mark.usefixtures("toys")


def make(bundle, precision="bf16", off=0, **more):
    return build(bundle, "toy", precision=precision, options={"off": off}, apart=False, **more)


def files(bundle):
    return {p: p.read_bytes() for p in sorted(bundle.path.parent.rglob("*")) if p.is_file()}


def real(bundle, count=3):
    store_tiles(bundle, replace(procedural_tiles(bundle.spec, seed=5).first(count), source="real"))


# The build -----------------------------------------------------------------------------------------------------


def test_what_was_found_stands_in_report_and_sidecar(bundle):
    report = make(bundle, off=2)
    found = Record.from_dict(report.accuracy)
    assert found.accuracy.rmse == pytest.approx((0.002, 0.0), rel=1e-3)
    assert (found.accuracy.tiles, found.accuracy.source, str(found.budget)) == (
        4,
        "procedural",
        "rmse=0.5%,sam=0.05deg",
    )
    assert found.proven
    assert json.loads((report.path.parent / "engine.json").read_text())["accuracy"] == report.accuracy
    assert make(bundle, off=2).accuracy == report.accuracy
    assert report.as_dict()["accuracy"]["rmse"][0] == pytest.approx(0.002, rel=1e-3)


def test_fp32_is_compared_with_nothing(bundle):
    assert make(bundle, "fp32", off=0).accuracy == {}


@pytest.mark.parametrize("apart", [False, True])
def test_over_budget_nothing_is_built_and_bands_and_figures_are_named(bundle, apart):
    make(bundle, off=1)
    before = files(bundle)
    with pytest.raises(CheckFailedError) as caught:
        build(bundle, "toy", precision="bf16", options={"off": 7}, apart=apart)
    assert files(bundle) == before
    error = caught.value
    assert error.what == "The engine toy in bf16 is farther from fp32 than its budget allows"
    assert error.got.startswith("red: rmse 0.7%, allowed 0.5%; spectral angle 0.1")
    assert error.got.endswith("on 4 procedural tiles")
    assert error.allowed == "rmse=0.5%,sam=0.05deg"
    assert "--budget" in error.fix
    assert f"`stf-infer tiles {bundle.path} ...`" in error.fix
    assert error.exit_code == 1


def test_an_engine_of_a_reduced_graph_is_mended_by_one_that_is_held_to_less(bundle):
    """Which the bundle may have been given on a machine that computes it more exactly."""
    item = json.loads((bundle.path / "item.json").read_text())
    item["assets"]["model-bf16"] = {**item["assets"]["model-fp32"], "stf:precision": "bf16"}
    (bundle.path / "item.json").write_text(json.dumps(item))
    bundle.reload()
    with pytest.raises(CheckFailedError) as caught:
        make(bundle, off=7)
    command = f"`stf-infer reduce {bundle.path} --precision bf16 --budget rmse=0.25%,sam=0.025deg`"
    assert command in caught.value.fix


def test_real_tiles_are_judged_by_where_there_are_some(bundle):
    real(bundle)
    with pytest.raises(CheckFailedError) as caught:
        make(bundle, off=7)
    assert caught.value.got.endswith("on 3 real tiles")
    assert "stf-infer tiles" not in caught.value.fix
    assert "stf-infer reduce" not in caught.value.fix, "the bundle holds no graph in bf16"
    found = Record.from_dict(make(bundle, off=2).accuracy)
    assert (found.accuracy.source, found.accuracy.tiles) == ("real", 3)
    assert found.tiles == bundle.assets["tiles"].sha256


@pytest.mark.parametrize("budget", ["rmse=1%", Budget(rmse=0.01), "sam=0.5deg"])
def test_another_budget_can_be_stated_and_goes_with_the_engine(bundle, budget):
    report = make(bundle, off=7, budget=budget)
    assert report.accuracy["budget"] == str(Budget.of(budget))
    assert make(bundle, off=7, budget=budget).seconds is None
    (again,) = update(bundle, rebuild="always", apart=False)
    assert again.accuracy == report.accuracy
    with pytest.raises(CheckFailedError):  # what stands there is not what the default budget allows
        make(bundle, off=7)
    assert update(bundle, apart=False)[0].seconds is None


def test_without_a_budget_nothing_is_compared_and_the_sidecar_says_so(bundle):
    report = make(bundle, off=40, budget="none")
    assert report.accuracy == {"budget": "none"}
    assert not Record.from_dict(report.accuracy).proven
    with pytest.raises(CheckFailedError, match=r"red: rmse 4%, allowed 0.5%"):
        make(bundle, off=40)


@pytest.mark.parametrize("text", ["rmse", "", "mae=1%"])
def test_a_budget_that_cannot_be_read_is_named_before_anything_is_compiled(bundle, text):
    before = files(bundle)
    with pytest.raises(UsageError, match="budget cannot be understood"):
        make(bundle, budget=text)
    assert ToyTarget.compiled == []
    assert files(bundle) == before


def test_it_is_built_again_for_other_tiles(bundle):
    make(bundle, off=2)
    real(bundle)
    assert make(bundle, off=2).accuracy["source"] == "real"
    assert make(bundle, off=2).seconds is None
    real(bundle, 2)
    assert update(bundle, apart=False)[0].accuracy["tiles"] == 2


def test_damaged_tiles_judge_nothing(bundle):
    real(bundle)
    path = bundle.path / bundle.assets["tiles"].href
    path.write_bytes(b"?" + path.read_bytes()[1:])
    before = files(bundle)
    with pytest.raises(AssetError, match=r"tiles .* is not the file that was stored.*stf-infer tiles"):
        make(Bundle.open(bundle.path))
    assert files(bundle) == before


def test_an_engine_that_loses_values_is_over_any_budget(bundle, monkeypatch):
    from toy_backend import ToyEngine

    plain, golden = ToyEngine.infer_impl, bundle.golden()[0]["fine_t1"]

    def loses(self, inputs):
        found = plain(self, inputs)
        if self.stored is not None and not np.array_equal(inputs["fine_t1"][0], golden):
            found["fine_t2"][0, 1, 3, 3] = np.nan
        return found

    monkeypatch.setattr(ToyEngine, "infer_impl", loses)
    with pytest.raises(CheckFailedError, match="4 values are not finite, and are in fp32"):
        make(bundle, budget="rmse=100%")


# Where it cannot be run ------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(monkeypatch):
    """The toy builds here and runs elsewhere."""
    plain = ToyTarget.probe
    monkeypatch.setattr(
        ToyTarget,
        "probe",
        lambda self: plain(self) if self.opens_graph else replace(plain(self), usable=False, reason="no abacus"),
    )
    return lambda: monkeypatch.setattr(ToyTarget, "probe", plain)


def test_an_engine_that_cannot_be_run_is_stored_with_its_budget_and_proven_later(bundle, elsewhere):
    report = make(bundle, off=2, budget="rmse=2%")
    assert (report.proof, report.accuracy) == ({}, {"budget": "rmse=2%"})
    assert make(bundle, off=2, budget="rmse=2%").seconds is None
    elsewhere()
    assert make(bundle, off=2, budget="rmse=2%").accuracy["rmse"][0] == pytest.approx(0.002, rel=1e-3)


def test_nothing_that_opens_fp32_leaves_it_unproven(bundle, monkeypatch, caplog):
    monkeypatch.setattr(ToyTarget, "opens_graph", False, raising=False)
    target("toy-open").opens_graph = False
    try:
        report = make(bundle, off=2)
        assert report.accuracy == {"budget": "rmse=0.5%,sam=0.05deg"}
        assert make(bundle, off=2).seconds is None
    finally:
        target("toy-open").opens_graph = True
    assert "nothing here opens the network in fp32" in caplog.text


def test_what_opens_fp32_is_tried_in_turn(bundle, monkeypatch):
    plain = ToyTarget.open

    def refuses(self, bundle, stored, precision, threads):
        raise EngineError("The toy refuses the graph")

    with Gate(bundle) as gate:
        assert gate.reference.name == "toy-open"
    assert [one.target.name for one in references(bundle)] == ["toy-open"]
    monkeypatch.setattr(ToyTarget, "open", refuses)
    with Gate(bundle) as gate:
        assert gate.reference is None
    monkeypatch.setattr(ToyTarget, "open", plain)


# What is known of an engine --------------------------------------------------------------------------------------


def only(bundle, precision="bf16"):
    home = target("toy")
    return next(c for c in candidates(bundle, home, home.probe()) if c.precision == precision)


GRAPH = Accuracy(("red", "nir"), (0.001, 0.001), (0.1, 0.1), 0.0, 4, 0, "real")


def test_an_engine_knows_its_own_accuracy_else_that_of_its_graph(bundle, elsewhere):
    make(bundle, off=2)
    elsewhere()
    one = only(bundle)
    assert record_of(bundle, one).accuracy is None
    record(bundle, "bf16", GRAPH, Budget(rmse=0.01))
    assert record_of(bundle, only(bundle)).accuracy is None  # the bundle has no such graph: it was made from fp32
    item = json.loads((bundle.path / "item.json").read_text())
    item["assets"]["model-bf16"] = {**item["assets"]["model-fp32"], "stf:precision": "bf16"}
    (bundle.path / "item.json").write_text(json.dumps(item))
    bundle.reload()
    stored = replace(one.stored, accuracy={"budget": "rmse=0.5%"})
    assert record_of(bundle, replace(one, stored=stored)).accuracy == GRAPH
    # Who wanted nothing to be compared gets no proof from elsewhere.
    stored = replace(one.stored, accuracy={"budget": "none"})
    assert record_of(bundle, replace(one, stored=stored)) == Record(Budget())


def test_an_engine_of_before_is_not_proven(bundle):
    """Its sidecar has no word of its accuracy."""
    report = make(bundle)
    sidecar = report.path.parent / "engine.json"
    data = json.loads(sidecar.read_text())
    del data["accuracy"]
    sidecar.write_text(json.dumps(data))
    from handmade_bundle import asset, edit_item

    entry = {k: v for k, v in asset(sidecar).items() if k != "href"}
    edit_item(bundle.path, lambda item: item["assets"]["engine-toy-bf16-b4-sidecar"].update(entry))
    fresh = Bundle.open(bundle.path)
    assert record_of(fresh, only(fresh)) is None
    assert make(fresh).seconds is not None


def test_the_tiles_of_a_long_loop_are_one(bundle, monkeypatch):
    from stf_infer.accuracy import gate as module

    monkeypatch.setattr(module, "is_looped", lambda _: True)
    with Gate(bundle) as gate:
        assert len(gate.tiles) == 1
    assert len(tiles_of(bundle)) == 4


def test_store_reads_the_accuracy_of_a_sidecar_alone(bundle):
    report = make(bundle, off=2)
    (asset,) = store.entries(bundle)
    report.path.unlink()
    fresh = Bundle.open(bundle.path)
    assert store.accuracy_of(fresh, asset) == report.accuracy
    (report.path.parent / "engine.json").write_text("{}")
    assert store.accuracy_of(Bundle.open(bundle.path), asset) == {}
