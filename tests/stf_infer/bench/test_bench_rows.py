# SPDX-License-Identifier: Apache-2.0
"""Which engines are measured, with backends that are made of functions."""

from __future__ import annotations

import pytest

from handmade_bundle import edit_item, make_bundle
from stf_infer.bench.rows import open_bundles, plan
from stf_infer.bench.settings import Settings
from stf_infer.bundle import Bundle
from stf_infer.demo import bundle_path
from stf_infer.engines import EngineInfo, build, registry
from stf_infer.errors import BundleError, EngineUnavailableError, UsageError
from toy_backend import ToyTarget


@pytest.fixture(autouse=True)
def only_toys(toys, monkeypatch):
    monkeypatch.setattr(registry, "BUILT_IN", {"tensorrt-smXX": ".tensorrt"})


@pytest.fixture
def place(tmp_path):
    return make_bundle(tmp_path / "net.stf")


def planned(*paths, **settings):
    asked = Settings(bundles=paths, **settings)
    rows, away = plan(open_bundles(asked), asked)
    return [one.row for one in rows], away


def names(*paths, **settings):
    return [row.name for row in planned(*paths, **settings)[0]]


def test_all_that_can_be_opened_and_why_the_rest_is_not(place):
    rows, away = planned(place)
    # The toy computes a graph of fp32 in bf16 by itself; the other one has to be built.
    assert [row.name for row in rows] == ["net | toy-open fp32", "net | toy-open bf16"]
    assert (rows[0].tile, rows[0].halo, rows[0].steps, rows[0].network) == ((32, 32), 2, None, "fake")
    assert rows[0].bundle_sha256 == Bundle.open(place).sha256
    assert away["tensorrt-smXX"] == "the package tensorrt is not installed"
    assert away["toy"] == f"nothing is built for it in net.stf; `stf-infer build {place} --target toy` builds it"


def test_what_is_built_is_measured_in_place_of_the_graph(place):
    build(Bundle.open(place), "toy", apart=False)
    build(Bundle.open(place), "toy", apart=False, tile_batch=2)
    build(Bundle.open(place), "toy-open", apart=False, options={"level": 1})
    assert names(place) == [
        "net | toy fp32 b4",
        "net | toy fp32 b2",
        "net | toy-open fp32 b4",
        "net | toy-open bf16",
    ]


def test_engines_and_precisions_that_are_asked_for(place):
    assert names(place, engines=("toy-open",), precisions=("bf16",)) == ["net | toy-open bf16"]
    assert names(place, precisions=("fp32",)) == ["net | toy-open fp32"]


def test_a_precision_that_the_target_or_the_bundle_does_not_have_is_a_row_that_says_so(place, monkeypatch):
    rows, _ = planned(place, engines=("toy-open",), precisions=("fp32", "int8"))
    assert [row.failure is None for row in rows] == [True, False]
    assert "toy-open does not compute in int8" in rows[1].failure
    monkeypatch.setattr(ToyTarget, "probe", lambda self: EngineInfo("toy", True, precisions=("fp32", "int8")))
    rows, _ = planned(place, precisions=("int8",))
    assert "The bundle holds no network in int8" in rows[0].failure
    assert "stf-infer reduce" in rows[0].failure


def test_nothing_that_computes_in_the_precision(place):
    with pytest.raises(EngineUnavailableError, match="Nothing can be measured in fp16"):
        planned(place, precisions=("fp16",))


def test_an_engine_that_was_built_for_something_else_is_a_row_that_says_so(place, monkeypatch):
    build(Bundle.open(place), "toy", apart=False)
    monkeypatch.setenv("TOY_DEVICE", "slide rule")
    rows, _ = planned(place, engines=("toy",))
    assert [row.name for row in rows] == ["net | toy fp32"]
    assert "was built for something else. Got: device abacus. Allowed: device slide rule" in rows[0].failure


def test_a_batch_that_a_built_engine_does_not_take_is_a_row_that_says_so(place):
    build(Bundle.open(place), "toy", apart=False)
    rows, _ = planned(place, engines=("toy",), batches=(8,))
    assert "Got: 8 tiles. Allowed: 1 to 4" in rows[0].failure


def test_bundles_of_one_name_are_told_apart_by_their_paths(tmp_path):
    paths = [make_bundle(tmp_path / part / "net.stf") for part in ("a", "b")]
    assert names(*paths, precisions=("fp32",)) == [f"{path} | toy-open fp32" for path in paths]


def test_engines_that_differ_in_options_only_have_names_of_their_own(place):
    for batch in (2, 4):
        build(Bundle.open(place), "toy", apart=False, tile_batch=batch)
    edit_item(place, lambda item: None)
    found = names(place, engines=("toy",))
    assert len(set(found)) == len(found) == 2


@pytest.mark.parametrize("asset", [None, "stored"])
def test_a_row_finds_its_engine_again(place, asset):
    if asset:
        build(Bundle.open(place), "toy-open", apart=False)
    asked = Settings(bundles=(place,), precisions=("fp32",))
    rows, _ = plan(open_bundles(asked), asked)
    for one in rows:
        found = one.find(Bundle.open(place), None)
        assert (found.stored is not None) == (one.asset is not None)
        assert one.row.name == f"net | {found}"


def test_other_numbers_of_steps_are_rows_of_their_own(monkeypatch):
    monkeypatch.undo()
    pytest.importorskip("onnxruntime")
    rows, _ = planned(bundle_path("diffusion"), engines=("onnxruntime-cpu",), precisions=("fp32",), steps=(1, 2, 4))
    base = "diffusion | onnxruntime-cpu fp32"
    assert [(row.name, row.steps) for row in rows] == [(base, 4), (f"{base} 1 step", 1), (f"{base} 2 steps", 2)]


def test_without_a_bundle_the_demo_is_taken():
    (bundle,) = open_bundles(Settings())
    assert bundle.path == bundle_path()


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"engines": ("abacus",)}, EngineUnavailableError, "no engine of that name. Got: abacus"),
        ({"engines": ("tensorrt-smXX",)}, EngineUnavailableError, "cannot be used here"),
        ({"tile": (64, 64)}, UsageError, r"Got: 32 x 32. Allowed: 64 x 64.*stf-infer export fake .* --tile 64"),
        ({"steps": (2,)}, UsageError, "No bundle can be sampled in another number of steps"),
    ],
)
def test_what_does_not_exist_here_is_refused(place, settings, error, says):
    with pytest.raises(error, match=says):
        planned(place, **settings)


def test_tiles_of_the_size_that_is_asked_for_are_fine(place):
    assert names(place, tile=(32, 32), precisions=("fp32",)) == ["net | toy-open fp32"]


def test_no_engine_at_all(place, monkeypatch):
    monkeypatch.setattr(registry, "plugins", lambda: ())
    with pytest.raises(EngineUnavailableError, match="No inference engine is installed"):
        planned(place)


def test_a_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="no bundle"):
        planned(tmp_path)
