# SPDX-License-Identifier: Apache-2.0
"""Whole benches of engines that are made of functions, some of which fail."""

from __future__ import annotations

import os

import pytest

from handmade_bundle import make_bundle
from stf_infer.bench import environment, runner
from stf_infer.bench import result as results
from stf_infer.bench.runner import run
from stf_infer.bench.settings import Settings
from stf_infer.bench.worker import thread_counts
from stf_infer.bundle import Bundle
from stf_infer.demo import bundle_path
from stf_infer.engines import build, registry
from stf_infer.errors import OutputError
from toy_backend import ToyEngine


@pytest.fixture(autouse=True)
def only_toys(toys, monkeypatch):
    monkeypatch.setattr(registry, "BUILT_IN", {})
    monkeypatch.setattr(environment, "_LOOK", 0.0)


@pytest.fixture
def bench(tmp_path):
    """Measure a bundle briefly, in this process unless a test says otherwise."""
    place = make_bundle(tmp_path / "net.stf")
    build(Bundle.open(place), "toy", apart=False)

    def do(*, apart=False, progress=None, **settings):
        settings = {"bundles": (place,), "precisions": ("fp32",), "runs": 3, "seconds": 0.01, **settings}
        settings.setdefault("scene_part", False)
        asked = Settings(out=tmp_path / "out", **settings)
        return run(asked, command=("bench", "net.stf"), progress=progress, apart=apart)

    return do


def test_every_engine_has_its_figures(bench):
    found = bench()
    assert [row.name for row in found.rows] == ["net | toy fp32 b4", "net | toy-open fp32"]
    for row in found.rows:
        assert row.failure is None
        assert 0 < row.latency.tile.p50 <= row.latency.tile.maximum < 1
        assert row.latency.tile.n >= 3
        assert 0 < row.first_call < row.load + 1
        assert row.on_device is None
    assert [row.latency.batch for row in found.rows] == [1, 1]
    assert [[one.batch for one in row.sweep] for row in found.rows] == [[2, 4], [2, 4]]
    assert found.rows[0].engine == "toy 1 on abacus: built before, for 1 tile a call"
    assert found.unavailable == {}


def test_a_result_says_how_to_repeat_it_and_survives_its_file(bench):
    found = bench()
    assert found.command == ("bench", "net.stf")
    assert found.settings["runs"] == 3
    assert found.settings["engines"] == ["toy", "toy-open"]  # none was named
    assert found.settings["precisions"] == ["fp32"]
    assert found.machine.cores >= 1
    assert found.seconds > 0
    assert results.Result.model_validate_json(found.model_dump_json()) == found


def test_time_is_the_engines(bench, monkeypatch):
    monkeypatch.setattr(ToyEngine, "slowness", 0.02)
    (row,) = bench(engines=("toy-open",), sweep=False).rows
    assert 0.02 <= row.latency.tile.p50 < 0.2
    assert row.first_call >= 0.02
    assert row.sweep == ()


def test_a_device_with_a_clock_of_its_own_has_a_column_of_its_own(bench, monkeypatch):
    inner = ToyEngine.infer_impl

    def infer_impl(self, inputs):
        if self._device_log is not None:
            self._device_log.append(0.25)
        return inner(self, inputs)

    monkeypatch.setattr(ToyEngine, "has_device_clock", True)
    monkeypatch.setattr(ToyEngine, "infer_impl", infer_impl)
    (row,) = bench(engines=("toy-open",), sweep=False).rows
    assert row.on_device.clock == "cuda events"
    assert row.on_device.tile.p50 == 0.25
    assert row.latency.clock == "host"


def test_stated_batches_and_threads(bench):
    (row,) = bench(engines=("toy-open",), batches=(3, 1), threads=(1, 2)).rows
    assert (row.latency.batch, row.latency.threads) == (3, 1)
    assert [(one.batch, one.threads) for one in row.sweep] == [(1, 1), (3, 2)]


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (12, [1, 2, 8, 12]), (64, [1, 4, 16, 64])],
)
def test_a_few_numbers_of_threads_from_one_to_all_cores(cores, counts):
    assert thread_counts(cores) == counts


def test_an_engine_takes_no_more_tiles_than_it_was_built_for(bench):
    (row,) = bench(engines=("toy",), batches=(1, 4, 8)).rows
    assert [one.batch for one in row.sweep] == [4]


@pytest.mark.parametrize(
    ("how", "apart", "says"),
    [
        ("refused", False, "The toy is tired. Got: a batch. Wind it up."),
        ("refused", True, "The toy is tired. Got: a batch. Wind it up."),
        ("memory", False, "Measuring net | toy fp32 b4 ran out of memory. Take fewer tiles in a call"),
        ("wrong", False, "does not give the golden output of the bundle. Got: a difference of"),
        ("crash", True, "Measuring net | toy fp32 b4 crashed. Got: signal 6"),
        ("killed", True, "was killed by the system: it ran out of memory, or somebody ended it"),
    ],
)
def test_an_engine_that_fails_is_a_row_with_its_reason_and_the_rest_goes_on(bench, monkeypatch, how, says, apart):
    monkeypatch.setenv("TOY_FAILS", f"toy:{how}")
    bad, good = bench(apart=apart, sweep=False).rows
    assert says in bad.failure
    assert bad.latency is bad.load is bad.first_call is None
    assert good.failure is None
    assert good.latency.tile.n >= 3


def test_a_bundle_that_was_changed_is_a_row_with_its_reason(bench, tmp_path):
    place = make_bundle(tmp_path / "other.stf")
    (place / "golden.npz").write_bytes(b"something else")
    bad, good = bench(bundles=(place, tmp_path / "net.stf"), engines=("toy-open",), sweep=False).rows
    assert "Asset golden (golden.npz) is not the file that was exported" in bad.failure
    assert good.failure is None


def test_what_is_being_done_is_told(bench):
    told = []
    bench(engines=("toy-open",), progress=lambda *one: told.append(one))
    assert told[0] == ("net | toy-open fp32: loading", 0, 1)
    assert [what.rpartition(": ")[2] for what, _, _ in told] == [
        "loading",
        "the first call",
        "calls",
        "2 tiles in a call",
        "4 tiles in a call",
    ]


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_measured(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "measure", lambda *_: pytest.fail("measured"))
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match=r"Results cannot be written here.*--out DIR"):
        bench()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else(bench, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="Results cannot be written here"):
        bench()


def test_a_network_that_takes_samples_has_its_calls_measured(tmp_path, monkeypatch):
    monkeypatch.undo()
    pytest.importorskip("onnxruntime")
    sample_graphs = pytest.importorskip("sample_graphs")
    place = sample_graphs.make_bundle(tmp_path).path
    settings = Settings(
        bundles=(place,), engines=("onnxruntime-cpu",), runs=2, seconds=0.0, batches=(64, 1), out=tmp_path / "out"
    )
    found = run(settings, apart=False)
    (row,) = found.rows
    assert row.failure is None
    assert (row.latency.batch, row.tile) == (64, None)
    assert [one.batch for one in row.sweep if one.threads is None] == [1]
    assert "takes samples and no rasters" in row.notes[0]
    assert found.scenes == ()


def test_real_engines_of_the_diffusion_demo_with_fewer_steps(tmp_path, monkeypatch):
    monkeypatch.undo()
    pytest.importorskip("onnxruntime")
    settings = Settings(
        bundles=(bundle_path("diffusion"),),
        engines=("onnxruntime-cpu",),
        runs=1,
        seconds=0.0,
        steps=(1,),
        sweep=False,
        scene_part=False,
        out=tmp_path / "out",
    )
    four, one = run(settings, apart=False).rows
    assert four.failure is one.failure is None
    assert (four.steps, one.steps) == (4, 1)
    assert one.latency.tile.p50 < four.latency.tile.p50
