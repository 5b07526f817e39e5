# SPDX-License-Identifier: Apache-2.0
"""Tables on a terminal, Markdown and JSON of a bench."""

import io
import os

import pytest
from rich.console import Console

import bench_examples as examples
from stf_infer.bench import report
from stf_infer.bench.report import metric_tables, numbers, tables
from stf_infer.bench.report.files import write_all
from stf_infer.bench.result import Result, read
from stf_infer.errors import OutputError


def shown(result: Result, width: int = 140) -> str:
    stream = io.StringIO()
    report.show(result, Console(file=stream, width=width))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (float("nan"), "-"), (float("inf"), "∞"), (0.0, "0"), (1.0, "1.000"), (12.3456, "12.35"),
        (1234.56, "1,235"), (123456.0, "123,456"), (0.0123456, "0.01235"), (-2.5, "-2.500"), (1e-7, "1.000e-07"),
        (999.96, "1,000"), (0.99996, "1.000"),
    ],
)  # fmt: skip
def test_figures_have_four_digits(value, text):
    assert numbers.figure(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (2e-5, "20.0 us"), (0.0123, "12.3 ms"), (4.56, "4.56 s"), (125.0, "2 min 5 s"), (179.9, "3 min 0 s")],
)
def test_durations_have_the_unit_that_fits(seconds, text):
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(None, "-"), (512, "512 B"), (1536, "1.50 KiB"), (8 << 30, "8.00 GiB")])
def test_sizes_have_binary_units(count, text):
    assert numbers.size(count) == text


def test_a_network_that_all_engines_share_is_left_out_of_names():
    rows = examples.whole().rows
    assert list(numbers.labels(rows).values())[:2] == ["openvino-cpu fp32", "openvino-cpu int8"]
    other = examples.engine_row("other | openvino-cpu fp32")
    assert numbers.labels([*rows, other])["other | openvino-cpu fp32"] == "other | openvino-cpu fp32"
    one = examples.engine_row("demo | openvino-cpu fp32")
    assert numbers.labels([one]) == {one.name: one.name}


def test_speed_and_accuracy_stand_side_by_side():
    table = tables.speed(examples.whole())
    cells = {line[0].text: dict(zip(table.headings, line, strict=True)) for line in table.lines}
    assert cells["openvino-cpu fp32"]["p50 ms/tile"].text == "10.00"
    assert cells["openvino-cpu fp32"]["first ms"].text == "30.00"
    assert cells["openvino-cpu fp32"]["end/engine"].text == "1.20"
    assert cells["openvino-cpu int8"]["p50 ms/tile"].best
    assert not cells["openvino-cpu fp32"]["p50 ms/tile"].best
    assert "copy fine_t1" not in cells  # which was not timed
    found = tables.accuracy(examples.whole())
    cells = {line[0].text: dict(zip(found.headings, line, strict=True)) for line in found.lines}
    assert cells["openvino-cpu int8"]["RMSE to fp32"].text == "0.002"
    assert cells["openvino-cpu fp32"]["RMSE ↓"].best
    assert cells["copy fine_t1"]["SSIM ↑"].text == "0.9500"


def test_the_best_is_what_reads_best_and_baselines_are_no_rivals_in_speed():
    rows = [
        examples.engine_row("demo | a fp32", p50=0.02, rmse=0.02),
        examples.engine_row("demo | b fp32", p50=0.01, rmse=0.0200000001),
        examples.baseline_row(throughput=(examples.throughput(tile_seconds=1e-4),)),
    ]
    found = tables.accuracy(examples.result(*rows))
    assert [line[found.headings.index("RMSE ↓")].best for line in found.lines] == [True, True, False]
    table = tables.speed(examples.result(*rows))
    assert [line[table.headings.index("Mpx/s")].best for line in table.lines] == [False, True, False]


def test_columns_that_nobody_filled_are_left_out_and_come_when_measured():
    assert "J/Mpx" not in tables.speed(examples.whole()).headings
    metered = examples.engine_row(throughput=(examples.throughput(joules=0.5),))
    table = tables.speed(examples.result(metered))
    assert table.headings[-1] == "J/Mpx"
    assert table.lines[0][-1].text == numbers.figure(0.5 / (48 * 48 / 1e6))
    on_device = examples.engine_row(on_device=examples.latency(0.002))
    assert "device p50" in tables.speed(examples.result(on_device)).headings


def test_rows_without_a_figure_are_left_out_and_notes_follow_columns():
    timed = examples.baseline_row(throughput=(examples.throughput().model_copy(update={"engine_seconds": None}),))
    engine = examples.engine_row(throughput=(), quality=())
    table = tables.speed(examples.result(timed, engine))
    assert [line[0].text for line in table.lines] == ["copy fine_t1", engine.name]
    assert [cell.text for cell in table.lines[0][1:3]] == ["-", "-"]
    assert (table.note, "end/engine" in table.headings) == ("", False)
    assert [line[0].text for line in tables.accuracy(examples.result(timed, engine)).lines] == ["copy fine_t1"]


def test_every_scene_has_a_line_of_its_own():
    scenes = (examples.scene("a"), examples.scene("b"))
    runs = (examples.throughput("b", tile_seconds=0.02), examples.throughput("a"))
    row = examples.engine_row(throughput=runs, quality=(examples.quality(0.01, scene="a"),))
    table = tables.speed(examples.result(row, scenes=scenes))
    assert [line[1].text for line in table.lines] == ["a", "b"]
    assert [line[0].text for line in table.lines] == [row.name, ""]
    assert [line[2].text for line in table.lines] == ["10.00", ""]


def test_scenes_of_a_dataset_are_averaged_and_rows_of_fewer_scenes_do_not_compete():
    scenes = tuple(examples.scene(name) for name in "abc")

    def row(name, **errors):
        found = tuple(examples.quality(rmse, scene=scene) for scene, rmse in errors.items())
        return examples.engine_row(name, throughput=(), quality=found)

    result = examples.result(
        row("n | x fp32", a=0.01, b=0.02, c=0.06), row("n | y fp32", a=0.02, b=0.03, c=0.07), row("n | z fp32", a=0.01),
        scenes=scenes,
    )  # fmt: skip
    table = metric_tables.over_scenes(result)
    assert table.title == "Accuracy, means of 3 scenes"
    cells = [dict(zip(table.headings, line, strict=True)) for line in table.lines]
    assert [(c["scenes"].text, c["RMSE ↓"].text, c["RMSE ↓"].best) for c in cells] == [
        ("3", "0.03", True), ("3", "0.04", False), ("1", "0.01", False),
    ]  # fmt: skip
    assert "means of 3 scenes" in report.markdown(result)
    assert "means of 3 scenes" in shown(result)
    assert metric_tables.over_scenes(examples.whole()) is None


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_terminal_shows_all_whatever_its_width(width):
    text = shown(examples.whole(), width)
    assert max(map(len, text.splitlines())) <= width
    for table in (tables.speed(examples.whole()), tables.accuracy(examples.whole())):
        for words in (*table.headings, *(cell.text for line in table.lines for cell in line)):
            for word in words.split():
                assert word in text
    text = " ".join(text.split())
    for part in (
        "openvino-cpu int8",
        "copy fine_t1",
        "Warning: Another process",
        "not readable",
        "An Example of a CPU",
    ):
        assert part in text
    assert "Failed: demo | tensorrt-sm89 fp16: no GPU <img" in text
    assert "Coarse images are simulated." in text


@pytest.mark.parametrize(
    "result",
    [
        examples.result(),
        examples.result(examples.engine_row(), scenes=()),
        examples.result(examples.engine_row(failure="no", **examples.NOTHING_FOUND)),
        examples.result(examples.engine_row(**examples.NOTHING_FOUND)),
        examples.result(examples.baseline_row()),
        examples.result(examples.engine_row(quality=()), scenes=(examples.scene(truth=None, remark=""),)),
    ],
    ids=["no row", "no scene", "all failed", "nothing measured", "baseline", "no truth"],
)
def test_what_is_missing_stops_no_report(result, tmp_path):
    assert shown(result)
    paths = report.write(result, tmp_path)
    assert all(path.stat().st_size > 0 for path in paths.values())


def test_json_comes_back_as_it_was(tmp_path):
    result = examples.whole()
    paths = report.write(result, tmp_path / "made" / "here")
    assert read(paths["json"]) == result
    assert sorted(p.name for p in paths["json"].parent.iterdir()) == sorted(p.name for p in paths.values())


def test_markdown_holds_all_and_takes_names_literally(tmp_path):
    ugly = examples.engine_row(f"{examples.UGLY} | onnxruntime-cpu fp32")
    text = report.markdown(examples.result(ugly, *examples.whole().rows))
    assert "python -m stf_infer.bench --out 'my results'" in text
    assert "> **Warning:** Another process took 40 % of a core." in text
    assert '\\<img src=x onerror=alert(1)\\> & "it\'s" \\| \\`co\\` \\*de\\*' in text
    assert "<img" not in text.replace("\\<img", "")
    tables_found = [line for line in text.splitlines() if line.startswith("|")]
    for line in tables_found:
        assert line.endswith("|")
    for name in (
        "2026-11-25T12:00:00Z",
        "An Example of a CPU",
        "openvino 2025.1",
        "clock mhz before",
        "latency seconds",
    ):
        assert name in text


def test_engines_that_are_not_here_are_named_once_a_reason_and_in_short_on_a_terminal():
    away = {"engine-a": "no package", "engine-b": "no device", "engine-c": "no package"}
    found = examples.result(examples.engine_row(), unavailable=away)
    told = "- Not measured: engine-a, engine-c: no package\n- Not measured: engine-b: no device"
    assert told in report.markdown(found)
    assert "Not measured: engine-a, engine-b, engine-c; `stf-infer engines` says why" in shown(found)


def test_where_energy_was_read_is_said_as_well_as_why_it_was_not():
    read_of = examples.engine_row(throughput=(examples.throughput(joules=3.0),))
    assert "Energy: package, RAPL" in report.markdown(examples.result(read_of))
    assert "Energy: not readable: no counter here" in report.markdown(examples.result(examples.engine_row()))


def test_a_command_with_backticks_stays_in_its_block():
    text = report.markdown(examples.result(command=("python", "a```b")))
    assert "````\npython 'a```b'\n````" in text


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError, match="cannot be written"):
        report.write(examples.whole(), tmp_path / "file")
    (tmp_path / "bench.md").mkdir()
    with pytest.raises(OutputError, match=r"bench\.md"):
        report.write(examples.whole(), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bench.md", "file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError):
        report.write(examples.whole(), tmp_path)


def test_files_are_replaced_together(tmp_path):
    write_all(tmp_path, {"a": "1", "b": "2"})
    assert write_all(tmp_path, {"a": "3", "b": "4"}) == [tmp_path / "a", tmp_path / "b"]
    assert [(tmp_path / name).read_text() for name in "ab"] == ["3", "4"]
    with pytest.raises(UnicodeEncodeError):
        write_all(tmp_path, {"a": "5", "b": "\ud800"})
    assert [p.read_text() for p in sorted(tmp_path.iterdir())] == ["3", "4"]
