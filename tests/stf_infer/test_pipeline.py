# SPDX-License-Identifier: Apache-2.0
"""The stream: tiled equals untiled, areas equal crops, nodata stays where it is, and failures stop everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import (
    ORIGIN,
    UTM,
    add_coarse_change,
    block_mean,
    box_blur,
    grid_transform,
    make_model,
    make_spec,
    smooth_field,
)
from stf_infer.errors import EngineError, NodataError, RasterError, UsageError
from stf_infer.layer import Layer
from stf_infer.output import ArrayWriter
from stf_infer.raster import Raster
from stf_infer.spec import Values

GEO = {"transform": grid_transform(), "crs": UTM}
Function = Callable[..., np.ndarray]


def inputs(height: int, width: int, ratio: int = 4, seed: int = 0) -> dict[str, Any]:
    """Rough fields, so that a pixel that comes from the wrong place shows."""
    rng = np.random.default_rng(seed)
    fine = rng.uniform(0, 1, (2, height, width)).astype(np.float32)
    coarse = block_mean(fine, ratio)
    return {"fine_t1": Raster(fine, **GEO), "coarse_t1": coarse, "coarse_t2": coarse + 0.1 * rng.random(coarse.shape)}


def fuse(function: Function, rasters: dict[str, Any], tile: int = 32, **given: Any) -> Any:
    call = {k: given.pop(k) for k in ("aoi", "tile_batch", "progress") if k in given}
    model = make_model(make_spec(tile, **given), function)
    result = model.fuse(**call, **rasters)
    result.batches = model.engine.batch_sizes
    return result


def only_fine(function: Function) -> Function:
    return lambda fine_t1, **_: function(fine_t1)


# Tiled equals untiled ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tile", "stride"), [(11, 1), (32, 1), (16, 4), (64, 4)])
@pytest.mark.parametrize("shape", [(45, 61), (7, 30)])
@pytest.mark.parametrize("batch", [1, 5])
def test_a_network_that_predicts_its_core_only_sees_the_scene_mirrored(tile, stride, shape, batch):
    def core_only(image):
        blurred = box_blur(5)(image)
        out = np.full_like(blurred, np.nan)
        out[..., 5:-5, 5:-5] = blurred[..., 5:-5, 5:-5]
        return out

    given = inputs(*shape)
    rule = {"coarse_grid": "fine", "stride": stride, "halo": 5, "predicts": "core"}
    result = fuse(only_fine(core_only), given, tile, tile_batch=batch, **rule)
    around = np.pad(given["fine_t1"].data, ((0, 0), (5, 5), (5, 5)), mode="symmetric")
    np.testing.assert_allclose(result.array, box_blur(5)(around[None])[0, :, 5:-5, 5:-5], atol=1e-6)
    part = fuse(only_fine(core_only), given, tile, aoi=aoi(4, shape[0], 3, 20), **rule)
    np.testing.assert_array_equal(part.array, result.array[:, 4:, 3:20])


@pytest.mark.parametrize("tile", [16, 28, 52])
@pytest.mark.parametrize("shape", [(61, 83), (53, 131), (97, 40)])
@pytest.mark.parametrize("radius", [0, 2, 5])
def test_a_blur_is_that_of_the_whole_scene(tile, shape, radius):
    """No side is a multiple of anything; the network pads its own border as it would on the whole scene.

    Where the scene is narrower than a tile, its mirror image takes the place of that padding.
    """
    rasters = inputs(*shape)
    fine = rasters["fine_t1"].data
    padded = np.pad(fine, [(0, 0), *((0, max(tile - n, 0)) for n in shape)], mode="symmetric")
    whole = box_blur(radius)(padded[None])[0, :, : shape[0], : shape[1]]
    result = fuse(box_blur(radius), rasters, tile, coarse_grid="fine", halo=radius, stride=1)
    np.testing.assert_allclose(result.array, whole, atol=1e-6)
    assert result.valid_fraction == 1
    assert result.pixels == shape[0] * shape[1]


@pytest.mark.parametrize("tile", [16, 28, 52])
@pytest.mark.parametrize("shape", [(61, 83), (52, 130), (17, 200)])
def test_a_strided_network_with_coarse_inputs(tile, shape):
    rasters = inputs(*shape)
    ratio = 4
    change = (rasters["coarse_t2"] - rasters["coarse_t1"]).repeat(ratio, 1).repeat(ratio, 2)
    expected = rasters["fine_t1"].data + change[:, : shape[0], : shape[1]]
    result = fuse(add_coarse_change, rasters, tile, ratio=ratio)
    np.testing.assert_allclose(result.array, expected, atol=1e-6)


@pytest.mark.parametrize("tile", [16, 32, 64])
def test_a_network_that_pools_over_blocks_of_its_stride(tile):
    """Equivariant to shifts by 8 only, with a halo of a block: blocks must fall where they fall in the scene."""

    def neighbours(fine_t1: np.ndarray, **_: Any) -> np.ndarray:
        n, c, h, w = fine_t1.shape
        blocks = fine_t1.reshape(n, c, h // 8, 8, w // 8, 8).mean((3, 5))
        padded = np.pad(blocks, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        spread = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
        return spread.repeat(8, 2).repeat(8, 3)

    rasters = inputs(72, 104)
    whole = neighbours(rasters["fine_t1"].data[None])[0]
    given = {"coarse_grid": "fine", "stride": 8, "halo": 8}
    if tile == 16:
        with pytest.raises(Exception, match="at least 24"):
            fuse(neighbours, rasters, tile, **given)
        return
    np.testing.assert_allclose(fuse(neighbours, rasters, tile, **given).array, whole, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 7, 50])
def test_the_batch_does_not_change_the_result(batch):
    rasters = inputs(61, 83)
    one = fuse(box_blur(2), rasters, 16, coarse_grid="fine", halo=2, stride=1)
    many = fuse(box_blur(2), rasters, 16, coarse_grid="fine", halo=2, stride=1, tile_batch=batch)
    np.testing.assert_array_equal(many.array, one.array)
    assert max(many.batches) <= batch
    assert sum(many.batches) == many.tiles == one.tiles == 5 * 7


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    tile=st.sampled_from([8, 16, 24]),
    ratio=st.sampled_from([1, 2, 4]),
    mode=st.sampled_from(["exact", "blend"]),
    batch=st.integers(1, 4),
)
def test_the_identity_gives_fine_t1(shape, tile, ratio, mode, batch):
    rasters = inputs(*shape, ratio)
    rule = {"mode": mode, "overlap": 4} if mode == "blend" else {"halo": 2}
    result = fuse(only_fine(lambda x: x), rasters, tile, ratio=ratio, tile_batch=batch, **rule)
    np.testing.assert_allclose(result.array, rasters["fine_t1"].data, rtol=2e-6)


@pytest.mark.parametrize("overlap", [0, 4, 8, 12, 20])
def test_blended_tiles_that_agree_are_not_changed(overlap):
    rasters = inputs(61, 83)
    result = fuse(add_coarse_change, rasters, 32, mode="blend", overlap=overlap)
    exact = fuse(add_coarse_change, rasters, 64)
    np.testing.assert_allclose(result.array, exact.array, rtol=5e-6)


def test_blended_tiles_that_differ_are_mixed_without_a_step():
    """A network that gives each tile its own constant: the result is between them, and smooth."""
    counter = iter(range(100))

    def constant(fine_t1: np.ndarray, **_: Any) -> np.ndarray:
        return np.full_like(fine_t1, next(counter))

    rasters = inputs(32, 56)
    row = fuse(constant, rasters, 32, mode="blend", overlap=8).array[0, 10]
    assert (row[0], row[-1]) == (0, 1)
    assert (np.diff(row) >= 0).all()
    assert np.diff(row).max() <= 1 / 8 + 1e-6


def test_network_values_are_scaled_there_and_back():
    values = Values(scale=2.0, offset=-1.0, minimum=0.0, maximum=0.8)
    seen = []

    def look(fine_t1: np.ndarray, **_: Any) -> np.ndarray:
        seen.append((fine_t1.min(), fine_t1.max()))
        return fine_t1 * 3  # leaves the range on both sides

    rasters = inputs(20, 20)
    result = fuse(look, rasters, 32, values=values)
    assert min(s[0] for s in seen) >= -1
    assert max(s[1] for s in seen) <= np.float32(0.6)
    network = np.clip(rasters["fine_t1"].data, 0, 0.8) * 2 - 1
    np.testing.assert_allclose(result.array, np.clip((network * 3 + 1) / 2, 0, 0.8), atol=1e-6)


# Areas ---------------------------------------------------------------------------------------------------


def aoi(y0: int, y1: int, x0: int, x1: int) -> tuple[float, float, float, float]:
    return ORIGIN[0] + 30 * x0, ORIGIN[1] - 30 * y1, ORIGIN[0] + 30 * x1, ORIGIN[1] - 30 * y0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.tuples(st.integers(0, 60), st.integers(1, 61)),
    columns=st.tuples(st.integers(0, 82), st.integers(1, 83)),
    mode=st.sampled_from(["exact", "blend"]),
)
def test_an_area_is_the_crop_of_the_whole(rows, columns, mode):
    y0, x0 = rows[0], columns[0]
    y1, x1 = min(y0 + rows[1], 61), min(x0 + columns[1], 83)
    rule = {"halo": 2} if mode == "exact" else {"mode": "blend", "overlap": 6}
    rasters = inputs(61, 83)
    given = {"coarse_grid": "fine", "stride": 1, **rule}
    whole = fuse(box_blur(2), rasters, 16, **given)
    part = fuse(box_blur(2), rasters, 16, aoi=aoi(y0, y1, x0, x1), **given)
    np.testing.assert_array_equal(part.array, whole.array[:, y0:y1, x0:x1])
    assert part.pixels == (y1 - y0) * (x1 - x0)
    assert part.tiles <= whole.tiles


def test_an_area_runs_its_own_tiles_only():
    result = fuse(box_blur(0), inputs(64, 64), 16, aoi=aoi(0, 16, 16, 48), coarse_grid="fine")
    assert (result.tiles, sum(result.batches)) == (2, 2)


def test_the_seam_figure_of_an_area_does_not_see_its_border():
    """Tiles around the area are not run; a result without seams must not seem to have some."""
    rasters = {
        k: (v + 5 if isinstance(v, np.ndarray) else Raster(v.data + 5, **GEO)) for k, v in inputs(96, 96).items()
    }
    given = {"coarse_grid": "fine", "values": Values(unit="1")}
    whole = fuse(box_blur(0), rasters, 16, **given)
    part = fuse(box_blur(0), rasters, 16, aoi=aoi(20, 75, 21, 76), **given)
    assert whole.seam_ratio == pytest.approx(1, abs=0.1)
    assert part.seam_ratio == pytest.approx(1, abs=0.2)


def test_a_seam_is_seen():
    counter = iter(range(1000))
    steps = fuse(lambda fine_t1, **_: fine_t1 * 0.01 + next(counter), inputs(96, 96), 16, coarse_grid="fine")
    assert steps.seam_ratio > 50
    assert fuse(box_blur(0), inputs(10, 10), 16, coarse_grid="fine").seam_ratio is None


# Nodata --------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), mode=st.sampled_from(["exact", "blend"]), share=st.sampled_from([0.001, 0.05, 0.6]))
def test_the_result_is_nodata_exactly_where_an_input_is(seed, mode, share):
    rng = np.random.default_rng(seed)
    rasters = inputs(61, 83, seed=seed)
    fine, coarse = rasters["fine_t1"].data, rasters["coarse_t2"]
    holes = rng.random(fine.shape) < share
    fine[holes] = np.nan
    cells = rng.random(coarse.shape[1:]) < share
    coarse[0, cells] = np.nan
    expected = holes.any(0) | cells.repeat(4, 0).repeat(4, 1)[:61, :83]
    if expected.all():
        return
    rule = {"halo": 4, "stride": 4} if mode == "exact" else {"mode": "blend", "overlap": 8, "stride": 4}
    result = fuse(box_blur(3), rasters, 24, **rule)
    np.testing.assert_array_equal(np.isnan(result.array), np.broadcast_to(expected, fine.shape))
    assert result.valid_fraction == pytest.approx(1 - expected.mean())


def test_a_hole_does_not_poison_its_neighbours():
    """It is filled from its row before the network, so a blur of a constant stays the constant."""
    rasters = inputs(61, 83)
    fine = np.full((2, 61, 83), 0.25, np.float32)
    fine[:, 10:30, 20:60] = np.nan
    fine[0, 50, 5] = np.nan
    rasters["fine_t1"] = Raster(fine, **GEO)
    result = fuse(box_blur(4), rasters, 24, coarse_grid="fine", halo=4, stride=1)
    np.testing.assert_array_equal(np.isnan(result.array[0]), np.isnan(fine).any(0))
    np.testing.assert_allclose(result.array[~np.isnan(result.array)], 0.25, rtol=1e-6)


def test_the_fill_does_not_depend_on_the_tiles():
    rasters = inputs(61, 83)
    rasters["fine_t1"].data[:, 10:30, 20:60] = np.nan
    given = {"coarse_grid": "fine", "halo": 4, "stride": 1}
    small, large = fuse(box_blur(4), rasters, 16, **given), fuse(box_blur(4), rasters, 60, **given)
    np.testing.assert_allclose(small.array, large.array, atol=1e-6)


@pytest.mark.parametrize("rule", [{}, {"mode": "blend", "overlap": 4}])
def test_tiles_without_a_valid_pixel_are_not_run(rule):
    rasters = inputs(64, 64)
    rasters["fine_t1"].data[:, :, :40] = np.nan
    seen = []

    def look(fine_t1: np.ndarray, **_: Any) -> np.ndarray:
        seen.extend(fine_t1)
        return fine_t1

    result = fuse(look, rasters, 16, **rule)
    per_axis = 4 if not rule else 5
    assert result.tiles == len(seen) == per_axis * 2
    assert result.skipped_tiles == per_axis * per_axis - result.tiles
    np.testing.assert_allclose(result.array, rasters["fine_t1"].data, rtol=1e-6)


@pytest.mark.parametrize("role", ["fine_t1", "coarse_t2"])
def test_nothing_valid_is_an_error_and_the_engine_rests(role):
    rasters = inputs(61, 83)
    array = rasters[role].data if role == "fine_t1" else rasters[role]
    array[:] = np.nan
    model = make_model(make_spec(16), add_coarse_change)
    with pytest.raises(NodataError, match=r"Not one pixel is valid.*fine_t1: an array of 2 x 61 x 83"):
        model.fuse(**rasters)
    assert model.engine.batch_sizes == []


def test_what_the_network_makes_of_nothing_is_nodata(caplog):
    """NaN and infinity out of the network are no values, and the result says how many there were."""

    def odd(fine_t1: np.ndarray, **_: Any) -> np.ndarray:
        out = fine_t1.copy()
        out[:, 0, 3, 4], out[:, 1, 5, 6] = np.nan, np.inf
        return out

    result = fuse(odd, inputs(16, 16), 16)
    assert np.argwhere(np.isnan(result.array)).tolist() == [[0, 3, 4], [1, 5, 6]]
    assert result.not_finite == 2
    assert "2 of 512 values are not finite" in caplog.text


def test_a_network_that_gives_nothing_finite_has_failed():
    with pytest.raises(EngineError, match="no finite value"):
        fuse(lambda fine_t1, **_: fine_t1 * np.nan, inputs(40, 40), 16)


# Progress ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("area", [None, aoi(5, 50, 9, 30)])
@pytest.mark.parametrize("rule", [{"halo": 2}, {"mode": "blend", "overlap": 8}])
def test_progress_grows_to_the_total(area, rule):
    steps: list[tuple[int, int]] = []
    result = fuse(
        only_fine(lambda x: x),
        inputs(61, 83),
        16,
        aoi=area,
        progress=lambda done, total: steps.append((done, total)),
        **rule,
    )
    done = [d for d, _ in steps]
    assert done == sorted(done)
    assert {t for _, t in steps} == {result.pixels}
    assert done[-1] == result.pixels
    assert len(set(done)) > 2


def test_time_in_the_engine_is_part_of_the_time():
    def slow(fine_t1: np.ndarray, **_: Any) -> np.ndarray:
        time.sleep(0.01)
        return fine_t1

    result = fuse(slow, inputs(32, 32), 16, coarse_grid="fine")
    assert 0.04 <= result.engine_seconds <= result.seconds
    assert result.mpx_per_second == pytest.approx(32 * 32 / 1e6 / result.seconds)
    shown = result.as_dict()
    assert "array" not in shown
    assert (shown["tiles"], shown["path"]) == (4, None)


# Failures ------------------------------------------------------------------------------------------------


def stage_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name in ("stf-reader", "stf-writer")]


@pytest.mark.parametrize("error", [EngineError("the engine has failed"), RuntimeError("odd"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [0, 3])
def test_an_error_in_the_engine_stops_the_others(error, at):
    calls = []

    def fail(fine_t1: np.ndarray, **_: Any) -> np.ndarray:
        calls.append(1)
        if len(calls) > at:
            raise error
        return fine_t1

    with pytest.raises(type(error)):
        fuse(fail, inputs(200, 200), 16)
    assert len(calls) == at + 1
    assert stage_threads() == []


def test_an_error_while_reading_stops_the_others(monkeypatch):
    read = Layer.read

    def damaged(self: Layer, first: int, stop: int) -> Any:
        if first > 60:
            raise RasterError("fine_t1 is damaged")
        return read(self, first, stop)

    monkeypatch.setattr(Layer, "read", damaged)
    with pytest.raises(RasterError, match="damaged"):
        fuse(only_fine(lambda x: x), inputs(200, 200), 16)
    assert stage_threads() == []


def test_an_error_while_writing_stops_the_others(monkeypatch):
    def full(self: ArrayWriter, rows: np.ndarray, first: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(ArrayWriter, "write", full)
    calls = []
    with pytest.raises(OSError, match="no space"):
        fuse(lambda fine_t1, **_: calls.append(1) or fine_t1, inputs(400, 400), 16)
    assert len(calls) < 25 * 25
    assert stage_threads() == []


def test_an_error_in_progress_surfaces():
    def refuse(done: int, total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fuse(only_fine(lambda x: x), inputs(61, 83), 16, progress=refuse)


def test_ctrl_c_after_the_last_tile_stops_the_writer(monkeypatch):
    """The interrupt reaches the caller's thread while it waits for the others."""
    join, interrupted = threading.Thread.join, []

    def interrupt_once(self: threading.Thread, timeout: float | None = None) -> None:
        if self.name == "stf-reader" and not interrupted:
            interrupted.append(self)
            raise KeyboardInterrupt
        join(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        fuse(only_fine(lambda x: x), inputs(61, 83), 16)
    assert interrupted
    assert stage_threads() == []


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda x: x[:, :1], r"output fine_t2 is not what the contract says. Got: \(1, 1, 16, 16\)"),
        (lambda x: x[:, :, :8], r"Got: \(1, 2, 8, 16\). Allowed: \(1, 2, 16, 16\)"),
        (lambda x: x[0], r"Got: \(2, 16, 16\)"),
    ],
)
def test_an_engine_that_gives_another_shape_is_named(give, message):
    with pytest.raises(EngineError, match=message):
        fuse(only_fine(give), inputs(40, 40), 16)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_holds_a_tile(batch):
    model = make_model(make_spec(16), add_coarse_change)
    with pytest.raises(UsageError, match=f"tile batch.*Got: {batch}. Allowed: 1 or more"):
        model.fuse(tile_batch=batch, **inputs(40, 40))
    with pytest.raises(UsageError, match="tile batch"):
        model.estimate(tile_batch=batch, **inputs(40, 40))


def test_smooth_scenes_of_one_tile_and_less():
    for shape in ((32, 32), (31, 5), (1, 1), (1, 90), (90, 1)):
        rasters = {**inputs(*shape), "fine_t1": Raster(smooth_field(2, *shape), **GEO)}
        result = fuse(only_fine(lambda x: x), rasters, 32)
        np.testing.assert_allclose(result.array, smooth_field(2, *shape), rtol=1e-6)
