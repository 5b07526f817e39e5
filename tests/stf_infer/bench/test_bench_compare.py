# SPDX-License-Identifier: Apache-2.0
"""Verdicts of a comparison of two benches, and the command that gives them."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import bench_examples as examples
from stf_infer.bench import commands
from stf_infer.bench.bootstrap import ratio_of_medians
from stf_infer.bench.compare import compare
from stf_infer.bench.report.changes import changes_as_markdown
from stf_infer.bench.result import Distribution, Latency
from stf_infer.bench.tolerance import KINDS, tolerances
from stf_infer.errors import UsageError

NAME = "demo | openvino-cpu fp32"


def bench(p50=0.01, rmse=0.02, *, seed=0, **more):
    """A bench of one row whose calls take so long and whose result is so far off."""
    known = {"latency": examples.latency(p50, seed=seed), "throughput": (examples.throughput(tile_seconds=p50),)}
    return examples.result(examples.engine_row(NAME, rmse=rmse, **{**known, **more}))


def verdicts(before, after, *texts):
    found = compare(before, after, tolerance=tolerances(texts))
    return {change.figure: change.verdict for change in found.changes}


def timed(samples):
    points = np.percentile(samples, (50, 90, 99))
    found = Distribution(
        n=len(samples), p50=points[0], p90=points[1], p99=points[2], maximum=max(samples), mean=np.mean(samples),
        samples=tuple(samples),
    )  # fmt: skip
    return Latency(batch=1, threads=None, warm_up=1, stable=True, tile=found)


positive = st.floats(1e-5, 1e3)
series = st.lists(positive, min_size=2, max_size=60)


@settings(max_examples=40, deadline=None)
@given(series, st.sampled_from(["0%", "1%", "5%"]))
def test_equal_runs_never_regress(samples, tolerance):
    one = bench(latency=timed(samples))
    found = compare(one, one, tolerance=tolerances([tolerance]))
    assert found.passed
    assert {change.ratio for change in found.changes} == {1.0}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1.0, 1.4), min_size=20, max_size=60), st.floats(1e-5, 10.0))
def test_twice_as_slow_always_regresses(samples, scale):
    before = bench(latency=timed([s * scale for s in samples]))
    after = bench(latency=timed([2 * s * scale for s in samples]))
    assert verdicts(before, after, "30%")["p50 ms/tile"] == "worse"
    assert verdicts(after, before, "30%")["p50 ms/tile"] == "better"


@settings(max_examples=40, deadline=None)
@given(series)
def test_the_interval_of_a_series_against_itself_holds_one(samples):
    low, high = ratio_of_medians(samples, samples)
    assert low <= 1 <= high


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        low, high = ratio_of_medians(1.2 * rng.gamma(20, 1, 60), rng.gamma(20, 1, 60))
        held += low <= 1.2 <= high
    assert 180 <= held <= 200  # 190 wanted; a binomial of 200 leaves this range once in 1000


def test_neighbours_that_are_alike_widen_the_interval():
    rng = np.random.default_rng(6)
    drift = 1 + 0.2 * np.repeat(rng.random(50), 12)
    shuffled = rng.permutation(drift)
    steady = np.ones(600)
    wide, narrow = (np.ptp(ratio_of_medians(one, steady)) for one in (drift, shuffled))
    assert wide > 1.5 * narrow


def test_equal_input_gives_the_equal_interval():
    one = examples.distribution(0.01).samples
    assert ratio_of_medians(one, one) == ratio_of_medians(one, one)


@pytest.mark.parametrize("samples", [(), (1.0,), (0.0, 0.0), (1.0, math.nan)])
def test_too_few_measurements_have_no_interval(samples):
    assert ratio_of_medians(samples, (1.0, 1.0)) is None
    assert ratio_of_medians((1.0, 1.0), samples) is None


def test_a_scene_that_ran_once_is_unclear_not_worse():
    once = [examples.throughput(tile_seconds=t).model_copy(update={"seconds": (t,)}) for t in (0.01, 0.03)]
    assert verdicts(bench(throughput=(once[0],)), bench(throughput=(once[1],)))["Mpx/s"] == "unclear"


def test_every_kind_is_judged_in_its_own_direction():
    before, after = bench(), bench(0.02, 0.03)
    found = compare(before, after)
    worse = {change.figure: change.ratio for change in found.regressions}
    assert worse["p50 ms/tile"] == pytest.approx(2)
    assert worse["Mpx/s"] == pytest.approx(0.5)
    assert worse["RMSE"] == pytest.approx(1.5)
    assert worse["SAM deg"] == pytest.approx(1.5)
    assert worse["ERGAS"] == pytest.approx(1.5)
    assert "SSIM" not in worse  # 0.98 to 0.97
    back = {change.figure: change.verdict for change in compare(after, before).changes}
    assert {figure: back[figure] for figure in worse} == dict.fromkeys(worse, "better")


def test_memory_and_accuracy_count_beyond_the_tolerance():
    heavy = examples.throughput().model_copy(update={"peak_memory": 320 << 20})
    before, after = bench(), bench(rmse=0.0206, throughput=(heavy,))
    assert verdicts(before, after)["peak MiB"] == "worse"
    assert verdicts(before, after, "7%")["peak MiB"] == "same"
    assert verdicts(before, after)["RMSE"] == "same"
    found = verdicts(before, after, "memory=10%,rmse=2%")
    assert (found["peak MiB"], found["RMSE"], found["SAM deg"]) == ("same", "worse", "same")
    assert verdicts(before, bench(rmse=0.022), "ssim=0.1%")["SSIM"] == "worse"


def test_without_a_truth_the_distance_from_fp32_is_judged_but_not_its_rounding():
    def of(rmse):
        return bench(quality=(examples.quality(0.1, fp32=rmse).model_copy(update={"truth": None}),))

    assert verdicts(of(0.001), of(0.002))["RMSE to fp32"] == "worse"
    assert verdicts(of(1e-9), of(5e-8))["RMSE to fp32"] == "same"
    assert "RMSE to fp32" not in verdicts(bench(), bench())


def test_a_row_that_fails_now_is_a_regression_one_that_failed_before_is_not():
    works, broken = bench(), bench(failure="out of memory", **examples.NOTHING_FOUND)
    found = compare(works, broken)
    assert not found.passed
    assert found.newly_failed == {NAME: "out of memory"}
    assert compare(broken, works).passed
    assert compare(broken, broken).passed


def test_unmatched_rows_are_listed_and_no_common_row_is_an_error():
    other = examples.result(*bench().rows, examples.baseline_row("starfm"))
    found = compare(bench(), other)
    assert (found.only_before, found.only_after) == ((), ("starfm",))
    assert found.passed
    with pytest.raises(UsageError, match="no row in common"):
        compare(bench(), examples.result(examples.baseline_row("starfm")))
    with pytest.raises(UsageError, match="not unique"):
        compare(bench(), examples.result(*bench().rows, *bench().rows))


def test_another_machine_is_a_warning_or_an_error():
    other = bench().model_copy(
        update={"machine": examples.machine(cpu="Another", features=("avx2", "amx"), gpus=("G",))}
    )
    found = compare(bench(), other)
    told = " ".join(found.warnings)
    for part in ("An Example of a CPU before, Another after", "GPUs none before, G after", "missing after: fma", "amx"):
        assert part in told
    with pytest.raises(UsageError, match="different machines"):
        compare(bench(), other, same_machine=True)
    assert compare(bench(), bench(), same_machine=True).passed


def test_another_bundle_is_a_warning():
    found = compare(bench(bundle_sha256="a"), bench(bundle_sha256="b"))
    assert any("bundle is not the same" in warning for warning in found.warnings)
    assert compare(bench(), bench(bundle_sha256="b")).warnings == compare(bench(), bench()).warnings
    assert compare(bench(bundle_sha256="a"), bench(bundle_sha256="a")).warnings == compare(bench(), bench()).warnings


def test_other_tiles_and_other_scenes_are_not_compared():
    found = compare(bench(), bench(0.05, tile=(64, 64)))
    assert "p50 ms/tile" not in {change.figure for change in found.changes}
    assert any("tiles differ" in warning for warning in found.warnings)
    wider = examples.throughput().model_copy(update={"width": 99})
    larger = examples.result(*bench(throughput=(wider,)).rows, scenes=(examples.scene(width=99),))
    found = compare(bench(), larger)
    assert "Mpx/s" not in {change.figure for change in found.changes}
    assert any("48 x 48 pixels of 4 bands before, 48 x 99" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("texts", "kind", "share"),
    [
        ((), "rmse", 0.05), (("10%",), "latency", 0.1), (("0.02",), "memory", 0.02), (("latency=10%",), "rmse", 0.05),
        (("latency=10%, rmse=1%",), "rmse", 0.01), (("rmse=1%", "20%"), "rmse", 0.01), (("rmse=1%,20%",), "sam", 0.2),
    ],
)  # fmt: skip
def test_tolerances(texts, kind, share):
    found = tolerances(texts)
    assert found[kind] == pytest.approx(share)
    assert set(found) == set(KINDS)


@pytest.mark.parametrize("text", ["", "five", "-1%", "nan", "inf", "speed=5%", "latency=", "=5%"])
def test_wrong_tolerances_are_refused(text):
    with pytest.raises(UsageError):
        tolerances([text])


# The command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    paths = {}
    for name, found in {"a": bench(), "b": bench(0.02, seed=1)}.items():
        paths[name] = tmp_path / f"{name}.json"
        paths[name].write_text(found.model_dump_json())
    return {name: str(path) for name, path in paths.items()}


def test_exit_codes(stored, tmp_path):
    run = CliRunner().invoke
    assert run(commands.compare, [stored["a"], stored["a"]]).exit_code == 0
    assert run(commands.compare, [stored["b"], stored["a"]]).exit_code == 0
    slower = run(commands.compare, [stored["a"], stored["b"]])
    assert slower.exit_code == 1
    assert "Regression: 2 worse" in slower.stdout
    assert (
        run(commands.compare, [stored["a"], stored["b"], "--tolerance", "latency=150%,throughput=1.5"]).exit_code == 0
    )
    for wrong in (str(tmp_path / "none.json"), str(tmp_path)):
        assert run(commands.compare, [stored["a"], wrong]).exit_code == 2
    (tmp_path / "text.json").write_text("{}")
    told = run(commands.compare, [stored["a"], str(tmp_path / "text.json")])
    assert told.exit_code == 2
    assert "no bench result" in told.output
    assert run(commands.compare, [stored["a"], stored["b"], "--tolerance", "x"]).exit_code == 2


def test_json_says_what_the_table_says(stored):
    told = CliRunner().invoke(commands.compare, [stored["a"], stored["b"], "--json"])
    assert told.exit_code == 1
    data = json.loads(told.stdout)
    assert data["passed"] is False
    latency = next(change for change in data["changes"] if change["kind"] == "latency")
    assert latency["verdict"] == "worse"
    assert latency["low"] < latency["ratio"] < latency["high"]
    assert data["confidence"] == 0.95


def test_markdown_for_a_comment(stored, tmp_path):
    path = tmp_path / "comment.md"
    CliRunner().invoke(commands.compare, [stored["a"], stored["b"], "--markdown", str(path)])
    text = path.read_text()
    assert text.startswith("**Regression: 2 worse, 0 better")
    moved, rest = text.split("<details>")
    assert "p50 ms/tile" in moved
    assert "Mpx/s" in moved
    assert "RMSE" in rest
    assert "demo \\| openvino-cpu fp32" in moved
    wrong = CliRunner().invoke(commands.compare, [stored["a"], stored["a"], "--markdown", str(tmp_path)])
    assert wrong.exit_code == 2


def test_markdown_lists_what_was_not_compared():
    before = examples.result(*bench().rows, examples.baseline_row("gone"), examples.engine_row("x"))
    after = examples.result(*bench().rows, examples.engine_row("x", failure="no <memory>", **examples.NOTHING_FOUND))
    text = changes_as_markdown(compare(before, after))
    assert "Only before: gone" in text
    assert "Failed after, not before: x: no \\<memory\\>" in text
    assert "1 newly failed" in text


def test_reports_are_written_again(tmp_path):
    path = tmp_path / "may.json"
    path.write_text(examples.whole().model_dump_json())
    told = CliRunner().invoke(commands.report, [str(path), "--out", str(tmp_path / "made")])
    assert told.exit_code == 0, told.output
    assert "Speed" in told.stdout
    assert (tmp_path / "made" / "may.md").exists()
    assert not (tmp_path / "made" / "may.json").exists()
    told = CliRunner().invoke(commands.report, [str(path), "--json"])
    assert json.loads(told.stdout)["files"]["markdown"] == str(tmp_path / "may.md")
    assert CliRunner().invoke(commands.report, [str(tmp_path / "none.json")]).exit_code == 2
