# SPDX-License-Identifier: Apache-2.0
"""A wide scene in panels of columns: bit by bit the result of the whole, in memory that does not grow with it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_support import network, rasters
from fakes import make_model, make_spec, read_tif, write_tif
from pipeline_support import aoi
from stf_infer import kept_tiles, panels
from stf_infer.errors import EngineError, NodataError, OutputError
from stf_infer.grid import Shape, TilePlan, Window
from stf_infer.layout import BLOCK
from stf_infer.panels import Panel, cut
from stf_infer.strip import Strip

EXACT, BLEND = {"halo": 4, "stride": 4}, {"mode": "blend", "overlap": 12, "stride": 4}
CORE_ONLY = {"halo": 4, "stride": 4, "predicts": "core"}
RULES = {"exact": EXACT, "blend": BLEND, "core only": CORE_ONLY}
FIGURES = ("pixels", "valid_fraction", "not_finite", "tiles", "skipped_tiles")


def cut_at(monkeypatch: pytest.MonkeyPatch, *edges: int) -> None:
    """Have areas cut at these columns of the scene."""

    def panels_of(_: Any, area: Window) -> list[Window]:
        cuts = [area.x0, *(edge for edge in sorted(set(edges)) if area.x0 < edge < area.x1), area.x1]
        return [replace(area, x0=start, x1=stop) for start, stop in pairwise(cuts)]

    monkeypatch.setattr("stf_infer.model.panels_of", panels_of)


def fuse(out: Path | None, given: dict[str, Any], tile: int = 32, radius: int = 4, **options: Any) -> Any:
    spec = {k: options.pop(k) for k in ("coarse_grid", "from_coarse", "draws", "rule") if k in options}
    rule = spec.pop("rule", EXACT)
    return make_model(make_spec(tile, **spec, **rule), network(radius)).fuse(out, **options, **given)


def check_equal(out: Path, result: Any, whole: Any) -> None:
    """A float32 file beside the array of a run in one panel."""
    assert read_tif(out).tobytes() == whole.array.tobytes()
    for figure in FIGURES:
        assert getattr(result, figure) == pytest.approx(getattr(whole, figure), rel=1e-12), figure


# Where a scene is cut --------------------------------------------------------------------------------------


@given(start=st.integers(0, 500), width=st.integers(1, 5000), widest=st.integers(1, 20), block=st.integers(1, 600))
def test_panels_cover_an_area_in_whole_blocks(start, width, widest, block):
    area = Window(3, 9, start, start + width)
    made = cut(area, widest * block, block)
    assert (made[0].x0, made[-1].x1) == (area.x0, area.x1)
    assert all(here.x1 == following.x0 for here, following in pairwise(made))
    assert all(panel.shape.width % block == 0 for panel in made[:-1])
    assert max(panel.shape.width for panel in made) <= widest * block
    assert len(made) <= -(-width // (widest * block))


@pytest.mark.parametrize(
    ("width", "widths"),
    [(4096, [4096]), (10980, [4096, 4096, 2788]), (21960, [4096] * 5 + [1480])],
)
def test_panels_are_of_nearly_the_same_width(width, widths):
    assert [one.shape.width for one in cut(Window(0, 1, 0, width), panels.WIDEST, BLOCK)] == widths


def test_a_panel_reads_what_its_own_tiles_need_and_no_more():
    plan = TilePlan.for_scene(make_spec(32, **EXACT).tile, Shape(100, 300))
    whole = Panel.of(plan, Window(0, 100, 0, 300))
    assert whole.runs == tuple(range(len(plan.x)))
    assert whole.within(plan.scene) == (0, 300)
    touching = plan.x.touching(100, 200)
    panel = Panel.of(plan, Window(0, 100, 100, 200), known=touching[:1])
    assert panel.runs == tuple(touching[1:])
    assert panel.reads[0] == min(100, plan.x.origins[touching[1]])
    assert panel.reads[1] == plan.x.origins[touching[-1]] + 32


# The same result -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_types(tmp_path, monkeypatch, rule, dtype):
    given, out = rasters(dtype, (300, 190)), tmp_path / "out.tif"
    whole = fuse(None, given, rule=RULES[rule], tile_batch=3)
    cut_at(monkeypatch, 64, 128)
    result = fuse(out, given, rule=RULES[rule], tile_batch=3, dtype="float32")
    check_equal(out, result, whole)
    assert result.panels == 3
    assert result.skipped_tiles > 0
    assert result.seam_ratio == pytest.approx(whole.seam_ratio, rel=0.1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "grid",
    [
        {"coarse_grid": "coarse"},
        {"coarse_grid": "fine", "from_coarse": "half-pixel"},
        {"coarse_grid": "fine", "from_coarse": "align-corners"},
    ],
    ids=["coarse", "half-pixel", "align-corners"],
)
def test_grids(tmp_path, monkeypatch, rule, grid):
    given, out = rasters(size=(70, 190)), tmp_path / "out.tif"
    whole = fuse(None, given, rule=RULES[rule], **grid)
    cut_at(monkeypatch, 50, 121)
    check_equal(out, fuse(out, given, rule=RULES[rule], dtype="float32", **grid), whole)


@pytest.mark.parametrize("rule", RULES)
def test_rasters_that_are_warped(tmp_path, monkeypatch, rule):
    """Blocks of columns that are warped at once lie where they lie, whatever a panel asks for."""
    monkeypatch.setattr("stf_infer.layer._WARP_COLUMNS", 40)
    given, out = rasters(size=(70, 190)), tmp_path / "out.tif"
    for role, shift in (("coarse_t1", 13), ("coarse_t2", 50)):
        moved = given[role].transform * given[role].transform.translation(shift / 120, -shift / 120)
        given[role] = replace(given[role], transform=moved)
    whole = fuse(None, given, rule=RULES[rule])
    cut_at(monkeypatch, 64, 128)
    check_equal(out, fuse(out, given, rule=RULES[rule], dtype="float32"), whole)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_samples(tmp_path, monkeypatch, samples, batch):
    given, out = rasters(size=(70, 190)), tmp_path / "out.tif"
    options = {"draws": (0,), "samples": samples, "seed": 5, "tile_batch": batch, "rule": BLEND}
    whole = fuse(None, given, **options)
    cut_at(monkeypatch, 64, 128)
    check_equal(out, fuse(out, given, dtype="float32", **options), whole)


@pytest.mark.parametrize("rule", RULES)
def test_areas(tmp_path, monkeypatch, rule):
    given, out = rasters(size=(90, 190)), tmp_path / "out.tif"
    area = aoi(11, 83, 37, 171)
    whole = fuse(None, given, rule=RULES[rule], aoi=area)
    cut_at(monkeypatch, 64, 100, 130)
    check_equal(out, fuse(out, given, rule=RULES[rule], aoi=area, dtype="float32"), whole)


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    width = draw(st.integers(20, 150))
    return {
        "size": (draw(st.integers(8, 90)), width),
        "edges": draw(st.lists(st.integers(1, width - 1), min_size=1, max_size=6)),
        "rule": draw(st.sampled_from(list(RULES))),
        "tile": draw(st.sampled_from([24, 28, 48, 80])),
        "tile_batch": draw(st.integers(1, 7)),
        "holes": draw(st.booleans()),
    }


@given(run=runs())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cut_gives_the_same_result(tmp_path, monkeypatch, run):
    """Narrow panels and tiles over several of them too."""
    given, out = rasters(size=run["size"], holes=run["holes"]), tmp_path / "out.tif"
    options = {"tile": run["tile"], "tile_batch": run["tile_batch"], "rule": RULES[run["rule"]]}
    with monkeypatch.context() as patch:
        whole = fuse(None, given, **options)
        cut_at(patch, *run["edges"])
        result = fuse(out, given, dtype="float32", **options)
    check_equal(out, result, whole)
    assert result.panels == 1 + len({edge for edge in run["edges"] if 0 < edge < run["size"][1]})


def test_values_that_are_not_finite_are_counted_once(tmp_path, monkeypatch):
    def broken(**tensors: np.ndarray) -> np.ndarray:
        out = tensors["fine_t1"].copy()
        out[..., ::7, ::5] = np.nan
        return out

    given, out = rasters(size=(70, 190)), tmp_path / "out.tif"
    model = make_model(make_spec(32, **EXACT), broken)
    whole = model.fuse(None, **given)
    cut_at(monkeypatch, 64, 128)
    result = model.fuse(out, dtype="float32", **given)
    check_equal(out, result, whole)
    assert result.not_finite > 0


# Real panels -----------------------------------------------------------------------------------------------

TILED = {"tiled": True, "blockxsize": 256, "blockysize": 256}


@pytest.fixture
def narrow(monkeypatch):
    """Panels of one block column."""
    monkeypatch.setattr(panels, "WIDEST", BLOCK)


def files(folder: Path, width: int = 3 * BLOCK + 100, height: int = BLOCK + 88, **layout: Any) -> dict[str, Any]:
    fine = np.random.default_rng(0).integers(1, 9999, (2, height, width)).astype(np.int16)
    fine[:, 100:300, 400:1100] = -1
    common = {"scale": 1e-4, "nodata": -1, "compress": "deflate"}
    coarse = fine[:, ::4, ::4]
    return {
        "fine_t1": write_tif(folder / "fine.tif", fine, **common, **(layout or TILED)),
        "coarse_t1": write_tif(folder / "c1.tif", coarse, pixel=120, **common),
        "coarse_t2": write_tif(folder / "c2.tif", coarse, pixel=120, **common),
    }


def test_a_scene_in_real_panels(tmp_path, narrow):
    given, out = files(tmp_path), tmp_path / "out.tif"
    steps: list[tuple[int, int]] = []
    whole = fuse(None, given, tile=112)
    result = fuse(out, given, tile=112, dtype="float32", progress=lambda *step: steps.append(step))
    check_equal(out, result, whole)
    assert result.panels == 4
    assert steps[-1][0] == steps[-1][1] == whole.pixels
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c1.tif", "c2.tif", "fine.tif", "out.tif"]


@pytest.mark.parametrize("format", ["gtiff", "cog"])
@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_files_are_like_those_of_a_single_panel(tmp_path, monkeypatch, format, compress):
    given = files(tmp_path)
    options = {"tile": 112, "format": format, "compress": compress}
    fuse(tmp_path / "whole.tif", given, **options)
    monkeypatch.setattr(panels, "WIDEST", BLOCK)
    fuse(tmp_path / "out.tif", given, **options)
    with rasterio.open(tmp_path / "whole.tif") as a, rasterio.open(tmp_path / "out.tif") as b:
        assert a.read().tobytes() == b.read().tobytes()
        assert str(a.profile) == str(b.profile)
        assert a.overviews(1) == b.overviews(1)
        assert a.tags() == b.tags()


def test_what_is_held_depends_on_the_width_of_a_panel(tmp_path, narrow, monkeypatch):
    widths, move = set(), Strip.move_to
    monkeypatch.setattr(Strip, "move_to", lambda strip, *rows: (widths.add(strip.width), move(strip, *rows))[1])
    fuse(tmp_path / "out.tif", files(tmp_path), tile=112)
    assert max(widths) <= BLOCK + 112


def test_rasters_whose_blocks_are_rows_are_not_read_again_and_again(tmp_path, narrow):
    given = files(tmp_path, blockysize=16)
    assert fuse(tmp_path / "out.tif", given, tile=112).panels == 1
    assert fuse(None, files(tmp_path), tile=112).panels == 1  # the array is in memory anyway


def test_an_estimate_knows_panels(tmp_path, narrow):
    model = make_model(make_spec(112, **EXACT), network(4))
    tiled = model.estimate(**files(tmp_path))
    rows = model.estimate(**files(tmp_path, blockysize=256))
    assert (tiled.panels, rows.panels) == (4, 1)
    assert tiled.peak_bytes < rows.peak_bytes


def test_nothing_valid_in_any_panel_is_refused(tmp_path, narrow):
    given = files(tmp_path)
    write_tif(given["fine_t1"], np.full((2, 600, 3 * BLOCK), -1, np.int16), scale=1e-4, nodata=-1, **TILED)
    with pytest.raises(NodataError):
        fuse(tmp_path / "out.tif", given, tile=112)
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("full", ["write", "seek"])
def test_a_full_disk_leaves_nothing(tmp_path, narrow, monkeypatch, full):
    make = kept_tiles.tempfile.TemporaryFile

    def small(**given: Any) -> Any:
        file = make(buffering=0, **given)

        def fail(*_: Any) -> int:
            raise OSError(28, "No space left on device")

        class Full:
            close, read, write, seek = file.close, file.read, file.write, file.seek

        setattr(Full, full, staticmethod(fail))
        return Full()

    given = files(tmp_path)
    monkeypatch.setattr(kept_tiles.tempfile, "TemporaryFile", small)
    with pytest.raises(OutputError, match="No space left"):
        fuse(tmp_path / "out.tif", given, tile=112)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c1.tif", "c2.tif", "fine.tif"]


# Going on --------------------------------------------------------------------------------------------------


def interrupt(out: Path, given: dict[str, Any], stop_at: int, rule: dict[str, Any]) -> None:
    """A run that fails at its nth tile."""
    calls: list[int] = []

    def function(**inputs: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == stop_at:
            raise EngineError("interrupted")
        return network(4)(**inputs)

    with pytest.raises(EngineError, match="interrupted"):
        make_model(make_spec(112, **rule), function).fuse(out, resume=True, **given)


@pytest.fixture
def noted(monkeypatch):
    """Every row of blocks is noted in the journal."""
    monkeypatch.setattr("stf_infer.output._CHECKPOINT_EVERY", 0.0)


def test_an_interrupted_run_goes_on_in_its_panel(tmp_path, narrow, noted):
    given, straight, out = files(tmp_path), tmp_path / "straight.tif", tmp_path / "out.tif"
    tiles = fuse(straight, given, tile=112, rule=BLEND).tiles
    left = []
    for stop_at in (5, 20, 45, 70, tiles - 2):
        interrupt(out, given, stop_at, BLEND)
        result = fuse(out, given, tile=112, rule=BLEND, resume=True)
        assert read_tif(out).tobytes() == read_tif(straight).tobytes()
        assert result.panels == 4
        left.append(result.tiles)
    assert left == sorted(left, reverse=True)
    assert left[0] == tiles
    assert left[-1] < tiles / 2


def test_other_panels_are_no_ground_to_go_on_from(tmp_path, noted, monkeypatch):
    given, out = files(tmp_path), tmp_path / "out.tif"
    interrupt(out, given, 90, EXACT)
    monkeypatch.setattr(panels, "WIDEST", BLOCK)
    result = fuse(out, given, tile=112, resume=True)
    assert result.pixels == (BLOCK + 88) * (3 * BLOCK + 100)
