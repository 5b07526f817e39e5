# SPDX-License-Identifier: Apache-2.0
"""The page of a bench: complete in one file, escaped, and true to the rasters."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import rasterio

import bench_examples as examples
from stf_infer.bench.report import page
from stf_infer.bench.report.page import charts, lanes
from stf_infer.bench.report.page.elements import Html, tag
from stf_infer.bench.report.page.images import data_uri
from stf_infer.bench.report.page.pictures import pictures
from stf_infer.bench.report.page.pixels import Density, against, like, reduced
from stf_infer.bench.report.page.plot import Axis, Plot, axis_for, mark
from stf_infer.bench.report.page.viewer import fitted_line
from stf_infer.bench.result import Span
from stf_infer.errors import GridError, RasterError
from stf_infer.raster import Raster

VOID = {"img", "input", "meta", "br"}


class Reader(HTMLParser):
    """Elements, addresses and text of a page; complains of elements that are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.elements, self.addresses, self.handlers, self.words, self.styles = [], [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        for key, value in attributes:
            if key in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                self.addresses.append(value)
            if key.startswith("on"):
                self.handlers.append((name, key, value))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        (self.styles if self.open and self.open[-1] in ("style", "script") else self.words).append(data)


def test_a_page_is_complete_in_one_file(tmp_path):
    text = page(examples.with_rasters(tmp_path), tmp_path)
    found = Reader(text)
    assert found.addresses
    assert all(address.startswith("data:image/") for address in found.addresses)
    assert found.handlers == []
    names = {name for name, _ in found.elements}
    assert names.isdisjoint({"link", "iframe", "object", "embed", "base", "form"})
    assert not any(attributes for name, attributes in found.elements if name == "script")
    code = "".join(found.styles)
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", code)
    assert "http" not in re.sub(r"http-equiv", "", re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "", text))
    policy = next(a["content"] for n, a in found.elements if n == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_names_are_text_whatever_they_hold(tmp_path):
    row = examples.engine_row(
        f"{examples.UGLY} | onnxruntime-cpu fp32",
        engine=examples.UGLY,
        budget=examples.UGLY,
        notes=(examples.UGLY, "</script><script>x</script>"),
    )
    scene = examples.scene(remark=examples.UGLY)
    machine = examples.machine(cpu=examples.UGLY, warnings=(examples.UGLY,))
    result = examples.result(row, *examples.whole().rows, scenes=(scene,), machine=machine, command=(examples.UGLY,))
    found = Reader(page(result, tmp_path))
    assert [name for name, _ in found.elements].count("script") == 1
    assert not any(attributes.get("src") == "x" for _, attributes in found.elements)
    assert found.handlers == []
    assert "".join(found.words).count(examples.UGLY) >= 5


def test_elements_are_escaped_once():
    made = tag(
        "p", "a < b", tag("b", "&"), None, ["x", tag("i")], class_="c", data_row=0, hidden=True, title='"<', no=None
    )
    assert made == ('<p class="c" data-row="0" hidden title="&quot;&lt;">a &lt; b<b>&amp;</b>x<i></i></p>')
    assert tag("img", alt="") == '<img alt="">'
    assert isinstance(made, Html)


@pytest.mark.parametrize(
    "result",
    [
        examples.result(),
        examples.result(scenes=()),
        examples.result(examples.engine_row(), scenes=()),
        examples.result(examples.engine_row(failure="no", **examples.NOTHING_FOUND)),
        examples.result(examples.engine_row(**examples.NOTHING_FOUND)),
        examples.result(examples.baseline_row()),
        examples.result(examples.engine_row(quality=()), scenes=(examples.scene(truth=None),)),
        examples.result(examples.engine_row(quality=(examples.quality(0.02, image="gone.tif"),))),
        examples.result(examples.engine_row(sweep=(), latency=examples.latency(0.01, n=1))),
        examples.result(examples.engine_row(quality=(examples.quality(0.0),))),
    ],
    ids=[
        "no row",
        "nothing",
        "no scene",
        "all failed",
        "not measured",
        "baseline",
        "no truth",
        "no image",
        "once",
        "exact",
    ],
)
def test_what_is_missing_stops_no_page(result, tmp_path):
    Reader(page(result, tmp_path))


def test_rasters_that_are_gone_are_told(tmp_path):
    result = examples.with_rasters(tmp_path)
    (tmp_path / "images" / "0.tif").unlink()
    (tmp_path / "c2.tif").write_bytes(b"no raster")
    text = "".join(Reader(page(result, tmp_path)).words)
    assert "Not shown: coarse_t2: " in text
    assert "Not shown: demo | openvino-cpu fp32: " in text
    assert "No picture of openvino-cpu fp32" in text


def test_every_row_has_its_pictures(tmp_path):
    seen = pictures(examples.with_rasters(tmp_path), tmp_path)["demo"]
    assert list(seen.shared) == ["fine_t1", "coarse_t2", "truth"]
    assert sorted(seen.rows) == [0, 1, 3]  # row 2 failed
    assert seen.size == (examples.SIDE, examples.SIDE)
    assert seen.factor == 1
    assert seen.highest == pytest.approx(0.04)  # row 3 is wrong by so much
    assert seen.shown == ("red", "green", "blue")
    assert [density.band for density, _ in seen.rows[1].densities] == list(examples.BANDS)
    for density, _ in seen.rows[1].densities:
        assert density.slope == pytest.approx(1, abs=1e-4)
        assert density.intercept == pytest.approx(0.02, abs=1e-4)
        assert density.correlation == pytest.approx(1)
        assert density.pixels == examples.SIDE**2


def test_integers_with_a_scale_are_shown_as_floats_are(tmp_path):
    floats, integers = tmp_path / "float", tmp_path / "integer"
    one = pictures(examples.with_rasters(floats), floats)["demo"]
    other = pictures(examples.with_rasters(integers, scale=1e-5), integers)["demo"]
    assert other.rows[0].densities[0][0].intercept == pytest.approx(one.rows[0].densities[0][0].intercept, abs=1e-4)
    assert other.highest == one.highest


def test_the_row_that_is_seen_first_has_a_result(tmp_path):
    result = examples.with_rasters(tmp_path)
    bare = examples.engine_row("demo | first fp32", quality=())
    found = Reader(page(result.model_copy(update={"rows": (bare, *result.rows)}), tmp_path))
    seen = {a["data-row"] for _, a in found.elements if "data-row" in a and "hidden" not in a}
    assert seen == {"1"}
    assert next(a["value"] for n, a in found.elements if n == "option" and "selected" in a) == "1"


def test_many_pictures_are_smaller(tmp_path):
    result = examples.with_rasters(tmp_path)
    many = [result.rows[0].model_copy(update={"name": f"demo | row {k}"}) for k in range(3)]
    scene = pictures(result.model_copy(update={"rows": tuple(many)}), tmp_path)["demo"]
    assert scene.factor == 1
    wide = (np.arange(4 * 40 * 1200) % 251 / 1000 + 0.1).reshape(4, 40, 1200)
    examples.raster(tmp_path / "wide.tif", wide)
    found = reduced(Raster(tmp_path / "wide.tif"), 1024)
    assert (found.factor, found.image.shape) == (2, (4, 20, 600))
    want = wide.astype(np.float32).reshape(4, 20, 2, 600, 2).mean((2, 4))
    np.testing.assert_allclose(found.image, want, rtol=1e-6)


def test_an_error_is_taken_before_pixels_are_joined(tmp_path):
    truth = np.full((1, 4, 6), 0.2, np.float32)
    signs = np.where(np.indices((4, 6)).sum(axis=0) % 2, 1, -1)
    prediction = (truth + 0.049 * signs).astype(np.float32)
    prediction[0, 0, 0] = np.nan
    examples.raster(tmp_path / "t.tif", truth)
    examples.raster(tmp_path / "p.tif", prediction)
    limits = (np.array([0.1]), np.array([0.3]))
    found = against(Raster(tmp_path / "p.tif"), Raster(tmp_path / "t.tif"), 3, limits)
    assert found.error.shape == (2, 3)
    np.testing.assert_allclose(found.error, 0.049, rtol=1e-5)
    (density,) = found.densities
    assert density.pixels == 23
    assert density.counts.sum() == 23
    assert set(np.flatnonzero(density.counts.sum(axis=1))) == {16, 47}  # 0.151 and 0.249 of 0.1 to 0.3, in 64 bins
    assert np.isnan(density.slope)  # of a constant truth


@pytest.mark.parametrize(
    ("slope", "intercept", "ends"),
    [
        (1.0, 0.0, [(0, 0), (1, 1)]), (2.0, 0.0, [(0, 0), (0.5, 1)]), (0.5, 0.25, [(0, 0.25), (1, 0.75)]),
        (-1.0, 1.0, [(0, 1), (1, 0)]), (0.0, 0.5, [(0, 0.5), (1, 0.5)]), (0.0, 2.0, []), (1.0, 2.0, []),
        (float("nan"), float("nan"), []),
    ],
)  # fmt: skip
def test_a_line_ends_where_the_axes_end(slope, intercept, ends):
    density = Density("red", np.zeros((64, 64)), 0.0, 1.0, slope, intercept, 1.0, 9)
    assert np.ravel(fitted_line(density)) == pytest.approx(np.ravel(ends))


def test_pixels_that_a_mask_leaves_out_do_not_count(tmp_path):
    rng = np.random.default_rng(2)
    truth = rng.random((2, 9, 7)).astype(np.float32)
    prediction = 0.5 * truth + np.float32(0.1)
    prediction[:, :3] = 9
    mask = np.ones((1, 9, 7), np.float32)
    mask[:, :3] = 0
    for name, values in {"t": truth, "p": prediction, "m": mask}.items():
        examples.raster(tmp_path / f"{name}.tif", values)
    t, p, m = (Raster(tmp_path / f"{name}.tif") for name in "tpm")
    found = against(p, t, 100, (np.zeros(2), np.ones(2)), m)
    assert np.isnan(found.error[:3]).all()
    assert np.isfinite(found.error[3:]).all()
    for density in found.densities:
        assert density.pixels == 42
        assert density.slope == pytest.approx(0.5, abs=1e-5)
        assert density.intercept == pytest.approx(0.1, abs=1e-5)


def test_rasters_of_different_grids_are_not_compared(tmp_path):
    examples.raster(tmp_path / "a.tif", np.ones((1, 4, 4)))
    examples.raster(tmp_path / "b.tif", np.ones((1, 4, 5)))
    with pytest.raises(GridError):
        against(Raster(tmp_path / "a.tif"), Raster(tmp_path / "b.tif"), 9, (np.zeros(1), np.ones(1)))
    with pytest.raises(RasterError):
        reduced(Raster(tmp_path / "none.tif"), 9)


def test_a_coarse_raster_lies_where_its_ground_is(tmp_path):
    examples.raster(tmp_path / "fine.tif", np.zeros((1, 8, 8)))
    coarse = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    examples.raster(tmp_path / "coarse.tif", coarse, pixel=40.0)
    found = like(Raster(tmp_path / "coarse.tif"), Raster(tmp_path / "fine.tif"), 1024)
    np.testing.assert_array_equal(found.image, coarse.repeat(4, axis=1).repeat(4, axis=2))


def test_pictures_keep_their_pixels_where_they_are_small():
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    kind, _, text = data_uri(picture).partition(";base64,")
    assert kind == "data:image/png"
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.MemoryFile(base64.b64decode(text)) as memory,
        memory.open() as image,
    ):
        np.testing.assert_array_equal(np.moveaxis(image.read(), 0, -1), picture)
    assert data_uri(np.zeros((300, 300, 4), np.uint8)).startswith("data:image/png")
    assert len(data_uri(np.zeros((300, 300, 3), np.uint8))) < 2000


# Drawings ----------------------------------------------------------------------------------------------------------


def test_what_another_row_beats_in_both_is_faint():
    rows = [
        examples.engine_row("demo | a fp32", p50=0.010, rmse=0.020),
        examples.engine_row("demo | b bf16", p50=0.004, rmse=0.021),
        examples.engine_row("demo | c int8", p50=0.006, rmse=0.022),
    ]
    text = charts.pareto(examples.result(*rows, examples.baseline_row()), "demo", "rmse")
    marks = re.findall(r'<circle class="mark c(\d)( faint)?"', text)
    assert marks == [("0", ""), ("1", ""), ("2", " faint")]
    assert "copy fine_t1: 0.05" in text
    timed = examples.baseline_row("quick", throughput=(examples.throughput(tile_seconds=1e-5),))
    text = charts.pareto(examples.result(*rows, timed), "demo", "rmse")
    marks = re.findall(r'<circle class="mark c(\d)( faint| ring)?"', text)
    assert marks == [("0", ""), ("1", ""), ("2", " faint"), ("3", " ring")]  # no engine is faint for its sake
    assert charts.pareto(examples.result(examples.baseline_row()), "demo", "rmse") is None
    assert charts.pareto(examples.result(*rows), "another", "rmse") is None


def test_higher_is_better_where_it_is():
    rows = [
        examples.engine_row("demo | a fp32", p50=0.010, rmse=0.020),
        examples.engine_row("demo | b int8", p50=0.012, rmse=0.022),
    ]
    text = charts.pareto(examples.result(*rows), "demo", "ssim")
    assert re.findall(r'<circle class="mark c(\d)( faint)?"', text) == [("0", ""), ("1", " faint")]
    assert "higher is better" in text


def test_steps_are_drawn_where_there_are_several():
    rows = [examples.engine_row(f"demo {n} | onnx fp32", rmse=0.05 / n, steps=n, network="demo") for n in (4, 8, 16)]
    text = charts.steps(examples.result(*rows), "demo")
    assert text.count("<polyline class=") + text.count("polyline points") >= 1
    assert text.count("<title>demo") == 3
    assert charts.steps(examples.result(rows[0]), "demo") is None


def test_sweeps_have_a_line_a_row():
    drawn = charts.sweeps(examples.result(examples.engine_row(), examples.engine_row("demo | b int8")))
    assert len(drawn) == 1  # one number of threads is no line
    assert drawn[0].count('class="line') == 2
    assert charts.sweeps(examples.result(examples.engine_row(sweep=()))) == []


def test_lanes_tell_what_lies_beyond_them():
    samples = examples.latency(0.01)
    slow = samples.tile.model_copy(update={"samples": (*samples.tile.samples, 0.5), "maximum": 0.5})
    text = lanes.latency_lanes(examples.result(examples.engine_row(latency=samples.model_copy(update={"tile": slow}))))
    assert "max 500.0 ms" in text
    assert "1 beyond" in text
    assert text.count("<circle") == 60
    many = examples.engine_row(latency=examples.latency(0.01, n=500))
    text = lanes.latency_lanes(examples.result(many))
    assert "<circle" not in text
    assert 'class="area' in text


def test_a_timeline_has_a_lane_a_thread_and_few_boxes():
    run = examples.throughput()
    spans = [
        Span(thread="engine", name="infer", waiting=False, start=k * 1e-5, end=(k + 0.9) * 1e-5) for k in range(2000)
    ]
    text = lanes.timeline(run.model_copy(update={"spans": (*run.spans, *spans)}))
    for thread in ("reader", "engine", "writer"):
        assert f">{thread}</text>" in text
    assert len(re.findall(r"M[\d.]+ ", text)) < 100
    assert lanes.timeline(run.model_copy(update={"spans": ()})) is None


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.001, 1000.0], [3.2, 3.4], [1e-9, 2e-9]])
def test_axes_hold_all_values_and_have_ticks(values, logarithmic):
    axis = axis_for(values, 100, 500, logarithmic=logarithmic)
    assert all(100 < axis(value) < 500 for value in values)
    assert 2 <= len(axis.ticks) <= 12
    assert all(99.9 <= axis(tick) <= 500.1 for tick in axis.ticks)


def test_labels_cover_neither_marks_nor_one_another():
    plot = Plot(600, 400, "x")
    for k in range(12):
        plot.mark(300, 200 + k, k, "")
    marks = list(plot._taken)
    for k in range(12):
        plot.label(300, 200 + k, f"a name of a row {k}")
    labels = plot._taken[len(marks) :]
    assert len(labels) >= 8
    for i, one in enumerate(labels):
        for other in [*marks, *labels[:i]]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_rows_have_marks_that_differ():
    drawn = [mark(0, 0, row) for row in range(40)]
    assert len(set(drawn)) == 40


def test_an_axis_maps_ends_to_ends():
    axis = Axis(10, 1000, 0, 200, logarithmic=True)
    assert [axis(value) for value in (10, 100, 1000)] == pytest.approx([0, 100, 200])
