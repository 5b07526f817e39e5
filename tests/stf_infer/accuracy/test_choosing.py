# SPDX-License-Identifier: Apache-2.0
"""Only what is known to be accurate is taken where nobody asked for it; graphs of less than fp32 take part."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from handmade_bundle import asset, edit_item
from stf_infer.accuracy import DEFAULT, Accuracy, Budget, record
from stf_infer.bundle import Bundle
from stf_infer.engines import build, open_engine, selection
from stf_infer.engines.opening import Candidate, candidates
from stf_infer.engines.registry import target
from toy_backend import ToyEngine, ToyTarget

pytestmark = pytest.mark.usefixtures("toys")

GOOD = Accuracy(("red", "nir"), (0.001, 0.001), (0.1, 0.1), 0.01, 4, 0, "real")
BAD = replace(GOOD, rmse=(0.001, 0.2))


@pytest.fixture(autouse=True)
def reduced_is_faster(monkeypatch):
    """What is not fp32 takes half the time."""

    def stated(bundle, engine, *_):
        return 1.0 if engine.describe()["precision"] == "fp32" else 0.5

    monkeypatch.setattr(selection, "seconds_a_tile", stated)


def make(bundle, **more):
    return build(bundle, "toy", precision="bf16", apart=False, **more)


def taken(bundle, *arguments, **more):
    with open_engine(bundle, *arguments, **more) as engine:
        return engine.name, engine.describe()["precision"]


def add_graph(bundle, precision="int8"):
    """A graph in another precision, as an export writes it."""
    path = bundle.path / f"model-{precision}.onnx"
    path.write_bytes(b"a smaller graph")
    entry = asset(path, title="The network in less", **{"stf:precision": precision})
    edit_item(bundle.path, lambda item: item["assets"].update({f"model-{precision}": entry}))
    bundle.reload()


# Engines ---------------------------------------------------------------------------------------------------------


def test_a_proven_engine_is_taken_where_it_is_faster(bundle):
    make(bundle)
    assert taken(bundle) == ("toy", "bf16")


def test_one_that_was_never_compared_is_passed_over_and_told(bundle, caplog):
    make(bundle, budget="none")
    assert taken(bundle) == ("toy-open", "fp32")
    assert "toy bf16 b4 is passed over: how far it is from fp32 is not proven" in caplog.text
    assert f"`stf-infer build {bundle.path} --target toy --precision bf16` finds out" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "more"), [(("toy",), {}), ((), {"precision": "bf16"}), (("toy",), {"precision": "bf16"})]
)
def test_it_is_taken_where_it_is_asked_for(bundle, arguments, more, caplog):
    make(bundle, budget="none")
    assert taken(bundle, *arguments, **more)[1] == "bf16"
    assert "passed over" not in caplog.text


def test_the_command_of_the_log_mends_it(bundle):
    make(bundle, budget="none")
    make(bundle)
    assert taken(bundle) == ("toy", "bf16")


def test_where_nothing_is_proven_what_there_is_is_taken(bundle, monkeypatch):
    """A device that has no fp32."""
    make(bundle, budget="none")
    monkeypatch.setattr(target("toy-open"), "opens_graph", False)
    assert taken(bundle) == ("toy", "bf16")


def test_an_accuracy_that_cannot_be_read_proves_nothing(bundle, caplog):
    report = make(bundle)
    sidecar = report.path.parent / "engine.json"
    data = json.loads(sidecar.read_text())
    data["accuracy"]["rmse"] = "small"
    sidecar.write_text(json.dumps(data))
    entry = {k: v for k, v in asset(sidecar).items() if k != "href"}
    edit_item(bundle.path, lambda item: item["assets"]["engine-toy-bf16-b4-sidecar"].update(entry))
    assert taken(Bundle.open(bundle.path)) == ("toy-open", "fp32")
    assert "states an accuracy that cannot be read" in caplog.text


# Graphs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def takes_int8(monkeypatch):
    plain = ToyTarget.probe
    monkeypatch.setattr(ToyTarget, "probe", lambda self: replace(plain(self), precisions=("fp32", "bf16", "int8")))


def found(bundle, name="toy-open", precision=None):
    home = target(name)
    listed = candidates(bundle, home, home.probe(), precision)
    return [(one.precision, one.stored is None) for one in listed if isinstance(one, Candidate)]


def test_graphs_of_a_bundle_can_be_opened_where_their_precision_is_known(bundle, takes_int8):
    add_graph(bundle)
    add_graph(bundle, "fp16")  # which the toy does not compute in
    assert found(bundle) == [("fp32", True), ("int8", True)]
    assert found(bundle, precision="int8") == [("int8", True)]
    assert found(bundle, "toy") == []  # it opens no graphs


def test_one_that_the_target_does_not_compute_in_is_no_candidate(bundle):
    add_graph(bundle)
    assert found(bundle) == [("fp32", True)]


def test_bf16_of_the_fp32_graph_is_no_candidate_unless_it_is_built_or_asked_for(bundle):
    """Its accuracy would be proven nowhere."""
    assert found(bundle) == [("fp32", True)]
    assert found(bundle, precision="bf16") == [("bf16", True)]
    build(bundle, "toy-open", precision="bf16", apart=False)
    assert found(bundle) == [("bf16", False), ("fp32", True)]


def test_a_built_engine_stands_for_its_graph(bundle, takes_int8):
    add_graph(bundle)
    build(bundle, "toy-open", precision="int8", apart=False)
    assert found(bundle) == [("int8", False), ("fp32", True)]


@pytest.mark.parametrize(
    ("accuracy", "budget", "precision"),
    [
        (GOOD, DEFAULT, "int8"),
        (BAD, Budget(rmse=0.3), "int8"),
        (BAD, DEFAULT, "fp32"),
        (GOOD, Budget(), "fp32"),
        (None, DEFAULT, "fp32"),
    ],
)
def test_a_graph_is_taken_where_the_export_has_proven_it(bundle, takes_int8, accuracy, budget, precision):
    add_graph(bundle)
    record(bundle, "int8", accuracy, budget)
    assert taken(bundle) == ("toy-open", precision)


def test_a_graph_that_nobody_spoke_of_is_passed_over(bundle, takes_int8, caplog):
    add_graph(bundle)
    assert taken(bundle) == ("toy-open", "fp32")
    assert "toy-open int8 is passed over" in caplog.text
    assert taken(bundle, precision="int8") == ("toy-open", "int8")


def test_an_engine_of_a_proven_graph_that_could_not_be_run_is_taken(bundle, takes_int8, monkeypatch):
    """A plan that was built on another machine."""
    add_graph(bundle)
    record(bundle, "int8", GOOD, DEFAULT)
    usable = ToyTarget.probe
    monkeypatch.setattr(ToyTarget, "probe", lambda self: replace(usable(self), usable=False, reason="no abacus"))
    build(bundle, "toy", precision="int8", apart=False)
    monkeypatch.setattr(ToyTarget, "probe", usable)
    monkeypatch.setattr(target("toy-open"), "executed", ())
    assert taken(bundle)[1] == "int8"
    assert taken(bundle, "toy") == ("toy", "int8")


# On this machine -------------------------------------------------------------------------------------------------


@pytest.fixture
def less_exact_here(monkeypatch):
    """What is not fp32 is off by 2 % on this machine; returns how often it was called."""
    calls = []
    plain = ToyEngine.infer_impl

    def off(self, inputs):
        found = plain(self, inputs)
        if self.precision != "fp32":
            calls.append(self.name)
            return {name: 1.02 * array for name, array in found.items()}
        return found

    monkeypatch.setattr(ToyEngine, "infer_impl", off)
    return calls


@pytest.fixture
def built_elsewhere(bundle, toys, takes_int8, monkeypatch):
    """An engine that could not be run where it was built, of a graph that was proven there."""
    add_graph(bundle)
    record(bundle, "int8", GOOD, DEFAULT)
    with monkeypatch.context() as patch:
        usable = ToyTarget.probe
        patch.setattr(ToyTarget, "probe", lambda self: replace(usable(self), usable=False, reason="no abacus"))
        build(bundle, "toy", precision="int8", apart=False)


def test_a_graph_that_is_less_exact_here_than_where_it_was_proven_makes_way(
    bundle, takes_int8, less_exact_here, caplog
):
    """It is found out once, and remembered with what was measured."""
    add_graph(bundle)
    record(bundle, "int8", GOOD, DEFAULT)
    assert taken(bundle) == ("toy-open", "fp32")
    assert "toy-open int8 is farther from fp32 here than its budget allows" in caplog.text
    assert less_exact_here
    less_exact_here.clear()
    assert taken(bundle) == ("toy-open", "fp32")
    assert not less_exact_here


def test_it_is_held_to_the_budget_that_it_was_written_with(bundle, takes_int8, less_exact_here):
    add_graph(bundle)
    record(bundle, "int8", GOOD, Budget(rmse=0.03))
    assert taken(bundle) == ("toy-open", "int8")


@pytest.mark.usefixtures("built_elsewhere", "less_exact_here")
def test_an_engine_that_could_not_be_compared_where_it_was_built_is_compared_here(bundle, caplog):
    assert taken(bundle) == ("toy-open", "fp32")
    assert "toy int8 b4 is farther from fp32 here than its budget allows" in caplog.text


@pytest.mark.usefixtures("built_elsewhere", "less_exact_here")
def test_where_all_are_over_the_fastest_is_taken(bundle, caplog):
    """Somebody asked for the precision, of whatever engine."""
    assert taken(bundle, precision="int8") == ("toy", "int8")
    for name in ("toy int8 b4", "toy-open int8"):
        assert f"{name} is farther from fp32 here" in caplog.text


def test_one_that_was_compared_when_it_was_built_is_not_compared_again(bundle, less_exact_here):
    make(bundle, budget="rmse=5%")
    less_exact_here.clear()
    assert taken(bundle) == ("toy", "bf16")
    assert not less_exact_here
