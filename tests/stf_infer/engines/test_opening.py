# SPDX-License-Identifier: Apache-2.0
"""Which engine is opened: the one asked for if it fits, else the fastest that does."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from handmade_bundle import edit_item, make_bundle
from stf_infer.bundle import Bundle
from stf_infer.engines import build, building, open_engine, registry, selection, store
from stf_infer.errors import EngineError, OutputError, UsageError
from toy_backend import ToyEngine, ToyTarget


@pytest.fixture(autouse=True)
def only_toys(toys, monkeypatch, tmp_path):
    """No backend but the toys, and nothing measured yet."""
    monkeypatch.setattr(registry, "BUILT_IN", {})
    monkeypatch.setenv("STF_CACHE", str(tmp_path / "cache"))


def make(bundle, target="toy", **more):
    return build(bundle, target, apart=False, **more)


# An engine that does not fit -------------------------------------------------------------------------------------


def copied(bundle, tmp_path):
    """The engine of one bundle in another, with what the item says of it."""
    other = make_bundle(tmp_path / "place" / "other.stf")
    (other / "model.onnx").write_bytes(b"another network")
    item, mine = (json.loads((p / "item.json").read_text()) for p in (other, bundle.path))
    import handmade_bundle

    item["assets"]["model-fp32"] |= handmade_bundle.asset(other / "model.onnx")
    item["assets"] |= {k: a for k, a in mine["assets"].items() if k.startswith("engine-")}
    (other / "item.json").write_text(json.dumps(item))
    shutil.copytree(bundle.path / "engines", other / "engines")
    return Bundle.open(other)


@pytest.mark.parametrize("change", ["device", "version", "bundle"])
def test_a_mismatch_names_both_sides_and_the_command(bundle, monkeypatch, tmp_path, change):
    make(bundle, precision="bf16")
    if change == "device":
        monkeypatch.setenv("TOY_DEVICE", "slide rule")
        got, allowed = "device abacus", "device slide rule"
    elif change == "version":
        monkeypatch.setenv("TOY_VERSION", "2")
        got, allowed = "backend toy 1", "backend toy 2"
    else:
        theirs = make(bundle, precision="bf16").key.onnx
        bundle = copied(bundle, tmp_path)
        got, allowed = f"network {theirs[:12]}", "network "
    with pytest.raises(EngineError) as caught:
        open_engine(bundle, "toy")
    error = caught.value
    assert error.what == "The engine toy bf16 in the bundle was built for something else"
    assert error.got == got
    assert error.allowed.startswith(allowed)
    assert error.fix == f"`stf-infer build {bundle.path} --target toy --precision bf16 --tile-batch 4` builds it again"


def test_the_command_mends_it(bundle, monkeypatch):
    from click.testing import CliRunner

    from stf_infer.cli import main

    make(bundle)
    monkeypatch.setenv("TOY_DEVICE", "slide rule")
    with pytest.raises(EngineError) as caught:
        open_engine(bundle, "toy")
    command = caught.value.fix.split("`")[1].split()
    assert command[0] == "stf-infer"
    result = CliRunner().invoke(main, command[1:])
    assert result.exit_code == 0, result.output
    open_engine(Bundle.open(bundle.path), "toy").close()


def test_it_is_built_again_where_that_is_allowed(bundle, monkeypatch, caplog):
    make(bundle, options={"level": 2})
    monkeypatch.setenv("TOY_DEVICE", "slide rule")
    with open_engine(bundle, "toy", rebuild="auto") as engine:
        assert engine.stored.key.device == "slide rule"
        assert engine.stored.key.flags == {"level": 2}
    assert "toy is built again: The engine toy fp32 in the bundle was built for something else" in caplog.text
    ToyTarget.compiled.clear()
    with open_engine(Bundle.open(bundle.path), "toy", rebuild="auto"):
        assert ToyTarget.compiled == []


def test_a_damaged_one_is_built_again_too(bundle):
    report = make(bundle)
    report.path.write_bytes(b"?")
    with open_engine(Bundle.open(bundle.path), "toy", rebuild="auto") as engine:
        assert engine.factor == 1


def test_a_rebuild_that_fails_is_told(bundle, monkeypatch):
    make(bundle)
    monkeypatch.setenv("TOY_DEVICE", "slide rule")

    def fails(*_):
        raise OutputError("The bundle cannot be written to")

    monkeypatch.setattr(store, "staging", fails)
    with pytest.raises(OutputError, match="cannot be written to"):
        open_engine(bundle, "toy", rebuild="auto")


def test_a_rebuild_that_is_not_accurate_enough_makes_way(bundle, monkeypatch, caplog):
    """On this device it is farther from fp32 than its budget allows."""
    make(bundle, precision="bf16", options={"off": 2})
    monkeypatch.setenv("TOY_DEVICE", "slide rule")
    monkeypatch.setattr(ToyTarget, "_off", staticmethod(lambda job: {"off": 0.02}))
    monkeypatch.setattr(building, "run_apart", lambda errand, request, say: building.compile_here(request, say))
    with open_engine(bundle, rebuild="auto") as engine:
        assert engine.name == "toy-open"
    assert "farther from fp32 than its budget allows" in caplog.text


def test_another_one_is_taken_where_none_was_asked_for(bundle, monkeypatch, caplog):
    make(bundle)
    monkeypatch.setenv("TOY_DEVICE", "slide rule")
    with open_engine(bundle) as engine:
        assert (engine.name, engine.stored) == ("toy-open", None)
        assert engine.choice == "the only one that can be used here"
    assert "The engine toy fp32 in the bundle was built for something else" in caplog.text


def test_a_target_that_is_asked_for_is_not_replaced_by_its_graph(bundle, monkeypatch):
    make(bundle, "toy-open")
    monkeypatch.setenv("TOY_DEVICE", "slide rule")
    with pytest.raises(EngineError, match="was built for something else"):
        open_engine(bundle, "toy-open")


def test_nothing_built_names_the_command(bundle):
    with pytest.raises(
        EngineError, match=r"Nothing is built for toy in bf16.*build .*--target toy --precision bf16` bu"
    ):
        open_engine(bundle, "toy", precision="bf16")


def test_a_precision_that_the_target_does_not_have_is_told_before_a_build_is_advised(bundle):
    with pytest.raises(
        EngineError, match=r"toy does not compute in fp16 on this device. Got: fp16.*Allowed: fp32, bf16"
    ):
        open_engine(bundle, "toy", precision="fp16")


def test_a_precision_can_be_asked_for(bundle):
    make(bundle)
    make(bundle, precision="bf16")
    with open_engine(bundle, "toy", precision="bf16") as engine:
        assert engine.describe()["precision"] == "bf16"
    with open_engine(bundle, "toy-open", precision="bf16") as engine:
        assert (engine.describe()["precision"], engine.stored) == ("bf16", None)
    with pytest.raises(EngineError, match=r"Nothing in the bundle can be run here in int8"):
        open_engine(bundle, precision="int8")


# Batches -----------------------------------------------------------------------------------------------------------


def feed(engine, tiles):
    return {i.tensor: np.zeros((tiles, *engine.spec.tensor_shape(i)), np.float32) for i in engine.spec.inputs}


def test_a_batch_beyond_the_profile_names_the_command(bundle):
    make(bundle)
    with open_engine(bundle, "toy") as engine:
        engine.infer(feed(engine, 4))
        with pytest.raises(
            EngineError, match=r"larger than the engine toy was built for. Got: 5 tiles. Allowed: 1 to 4"
        ):
            engine.infer(feed(engine, 5))
    with pytest.raises(EngineError) as caught:
        open_engine(bundle, "toy", tile_batch=9)
    assert caught.value.fix == f"`stf-infer build {bundle.path} --target toy --tile-batch 9`, or a smaller --tile-batch"


def test_an_engine_for_the_batch_is_found_among_several(bundle, caplog):
    make(bundle)
    make(bundle, tile_batch=16)
    with open_engine(bundle, "toy", tile_batch=9) as engine:
        assert engine.max_batch == 16
    assert "larger than the engine toy was built for" in caplog.text


def test_there_is_no_other_way_to_rebuild(bundle):
    with pytest.raises(UsageError, match=r"Got: always. Allowed: never, auto"):
        open_engine(bundle, "toy", rebuild="always")


# The fastest -------------------------------------------------------------------------------------------------------


@pytest.fixture
def times(monkeypatch):
    """Say how long a tile takes on each engine, by name and precision; returns which were measured."""

    def do(**seconds):
        measured = []

        def stated(bundle, engine, tile_batch=None, tolerance=None, beside=None):
            measured.append((engine.name, engine.describe()["precision"]))
            value = seconds[f"{engine.name}_{engine.describe()['precision']}".replace("-", "_")]
            if isinstance(value, Exception):
                raise value
            return value

        monkeypatch.setattr(selection, "seconds_a_tile", stated)
        return measured

    return do


def test_the_fastest_is_taken_and_remembered(bundle, times):
    make(bundle)
    make(bundle, precision="bf16")
    measured = times(toy_fp32=0.02, toy_bf16=0.01, toy_open_fp32=0.03)
    for _ in range(2):
        with open_engine(bundle) as engine:
            assert (engine.name, engine.describe()["precision"]) == ("toy", "bf16")
            assert engine.choice == (
                "the fastest of 3 on the golden tile: toy bf16 b4 10 ms, toy fp32 b4 20 ms, toy-open fp32 30 ms"
            )
    assert measured == [("toy", "fp32"), ("toy", "bf16"), ("toy-open", "fp32")]


def test_the_choice_is_logged(bundle, times, caplog):
    make(bundle)
    times(toy_fp32=0.02, toy_open_fp32=0.01)
    caplog.set_level("INFO", "stf_infer")
    open_engine(bundle).close()
    assert "engine toy-open fp32: the fastest of 2 on the golden tile: toy-open fp32 10 ms" in caplog.text


@pytest.mark.parametrize("change", ["engine", "version", "threads", "batch", "bundle"])
def test_it_is_measured_anew_where_something_has_changed(bundle, times, monkeypatch, tmp_path, change):
    make(bundle)
    measured = times(toy_fp32=0.02, toy_bf16=0.03, toy_open_fp32=0.01)
    open_engine(bundle).close()
    more = {}
    if change == "engine":
        make(bundle, precision="bf16")
    elif change == "version":
        monkeypatch.setenv("TOY_VERSION", "2")
        make(bundle)
    elif change == "threads":
        more = {"threads": 2}
    elif change == "batch":
        more = {"tile_batch": 2}
    else:
        folder = make_bundle(tmp_path / "other" / "net.stf")
        edit_item(folder, lambda item: item.update(id="another"))
        bundle = Bundle.open(folder)
        make(bundle)
    before = len(measured)
    open_engine(bundle, **more).close()
    assert len(measured) >= before + 2


def test_another_machine_measures_anew(bundle, times, monkeypatch):
    make(bundle)
    measured = times(toy_fp32=0.02, toy_open_fp32=0.01)
    open_engine(bundle).close()
    monkeypatch.setattr(selection.machine, "cores", lambda: 99)
    open_engine(bundle).close()
    assert len(measured) == 4


def test_the_bundle_is_not_written_to(bundle, times, snapshot):
    make(bundle)
    times(toy_fp32=0.02, toy_open_fp32=0.01)
    before = snapshot(bundle.path)
    open_engine(bundle).close()
    assert snapshot(bundle.path) == before


def test_a_cache_that_cannot_be_written_only_costs_time(bundle, times, monkeypatch, tmp_path):
    make(bundle)
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("STF_CACHE", str(tmp_path / "file"))
    measured = times(toy_fp32=0.02, toy_open_fp32=0.01)
    for _ in range(2):
        open_engine(bundle).close()
    assert len(measured) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seconds": [1]}', '{"seconds": [null, null]}', '{"seconds": 3}'])
def test_a_damaged_cache_is_measured_anew(bundle, times, tmp_path, content):
    make(bundle)
    measured = times(toy_fp32=0.02, toy_open_fp32=0.01)
    open_engine(bundle).close()
    (path,) = (tmp_path / "cache" / "fastest").glob("*.json")
    path.write_text(content)
    open_engine(bundle).close()
    assert len(measured) == 4


def test_one_that_fails_is_never_taken(bundle, times, caplog):
    make(bundle)
    times(toy_fp32=EngineError("The driver is gone"), toy_open_fp32=0.01)
    for _ in range(2):
        with open_engine(bundle) as engine:
            assert engine.name == "toy-open"
            assert engine.choice == "the fastest of 2 on the golden tile: toy-open fp32 10 ms"
    assert "toy fp32 b4 fails: The driver is gone" in caplog.text


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_one_that_computes_something_else_is_never_taken(bundle, monkeypatch, caplog, factor):
    """However fast it is."""
    make(bundle)
    real = ToyEngine.open_impl

    def wrong(self, bundle, threads):
        real(self, bundle, threads)
        self.factor = factor if self.stored is not None else 1

    monkeypatch.setattr(ToyEngine, "open_impl", wrong)
    with open_engine(bundle) as engine:
        assert engine.name == "toy-open"
    assert "toy fp32 b4 fails: The engine toy does not give the golden output" in caplog.text


def test_one_that_cannot_be_opened_any_more_makes_way(bundle, times, monkeypatch):
    make(bundle)
    times(toy_fp32=0.01, toy_open_fp32=0.02)
    open_engine(bundle).close()
    real = ToyTarget.open

    def gone(self, bundle, stored, precision, threads):
        if stored is not None:
            raise EngineError("The card was pulled")
        return real(self, bundle, stored, precision, threads)

    monkeypatch.setattr(ToyTarget, "open", gone)
    with open_engine(bundle) as engine:
        assert engine.name == "toy-open"


def test_none_that_works_is_an_error(bundle, times):
    make(bundle)
    times(toy_fp32=EngineError("no card"), toy_open_fp32=EngineError("no driver"))
    with pytest.raises(EngineError, match="no driver"):
        open_engine(bundle)


@pytest.mark.parametrize(
    ("seconds", "order"),
    [
        ([1.0, 2.0, 3.0], [0, 1, 2]),
        ([3.0, 2.0, 1.0], [2, 1, 0]),
        ([1.0, 0.97, 0.96], [0, 2, 1]),  # faster by less than noise: the first one stays
        ([1.0, 0.94, 0.95], [1, 2, 0]),
        ([float("inf"), 2.0], [1]),
        ([float("nan"), float("inf")], []),
    ],
)
def test_what_is_equally_fast_keeps_its_place(seconds, order):
    assert selection.rank(seconds) == order


def test_a_bundle_without_a_golden_tile_takes_the_first(bundle):
    make(bundle)
    item = json.loads((bundle.path / "item.json").read_text())
    del item["assets"]["golden"]
    (bundle.path / "item.json").write_text(json.dumps(item))
    with open_engine(Bundle.open(bundle.path)) as engine:
        assert engine.name == "toy"
        assert "no golden tile" in engine.choice


def test_an_engine_is_measured_with_the_tiles_of_a_run(bundle, monkeypatch):
    make(bundle)
    sizes = []
    real = ToyEngine.infer_impl
    monkeypatch.setattr(
        ToyEngine, "infer_impl", lambda self, inputs: sizes.append(len(inputs["fine_t1"])) or real(self, inputs)
    )
    with open_engine(bundle, "toy") as engine:
        engine.preferred_batch = 4
        assert selection.seconds_a_tile(bundle, engine) > 0
        assert set(sizes) == {4}
        sizes.clear()
        selection.seconds_a_tile(bundle, engine, 3)
        assert set(sizes) == {3}
        assert len(sizes) >= 3


def test_an_engine_is_measured_in_turns_with_the_fastest_so_far(bundle, monkeypatch):
    """Each with as many tiles as it is given in a run."""
    make(bundle)
    calls = []
    real = ToyEngine.infer_impl
    monkeypatch.setattr(
        ToyEngine,
        "infer_impl",
        lambda self, inputs: calls.append((self.stored is None, len(inputs["fine_t1"]))) or real(self, inputs),
    )
    monkeypatch.setattr(selection.turns, "seconds", lambda call: call() or 1.0)
    with open_engine(bundle, "toy") as built, open_engine(bundle, "toy-open") as plain:
        built.preferred_batch, plain.preferred_batch = 4, 2
        assert selection.seconds_a_tile(bundle, built, beside=(plain, 0.5)) == 0.5 * 2 / 4
    first, *timed = calls
    assert first == (False, 4)
    assert timed[:4] == [(True, 2), (False, 4), (False, 4), (True, 2)]


@pytest.mark.parametrize(
    ("environment", "folder"),
    [({"STF_CACHE": "/a"}, "/a"), ({"XDG_CACHE_HOME": "/b"}, "/b/stf-infer"), ({"HOME": "/c"}, "/c/.cache/stf-infer")],
)
def test_the_cache_is_the_user_s(monkeypatch, environment, folder):
    for name in ("STF_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(selection.cache_folder()) == folder
