# SPDX-License-Identifier: Apache-2.0
"""Tile plans over their whole parameter space: cores, origins, weights, and what does not exist."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stf_infer.errors import TilePlanError
from stf_infer.grid import Shape, TileAxis, TilePlan, Window, ceil_to
from stf_infer.spec import TileRule

MODES = ("exact", "blend")
PREDICTS = ("tile", "core")


@st.composite
def axes(draw: Any, mode: str | None = None) -> TileAxis:
    """An axis of any size that exists."""
    mode = mode or draw(st.sampled_from(MODES))
    stride = draw(st.integers(1, 9))
    size = stride * draw(st.integers(1, 12))
    halo = draw(st.integers(0, 12)) if mode == "exact" else 0
    overlap = draw(st.integers(0, size)) if mode == "blend" else 0
    predicts = draw(st.sampled_from(PREDICTS)) if mode == "exact" else "tile"
    length = draw(st.integers(1, 300))
    try:
        return TileAxis(length, size, stride, halo, mode, overlap, predicts)
    except TilePlanError:
        assume(False)
        raise


many = settings(max_examples=300, deadline=None)


@many
@given(axes())
def test_cores_partition_the_scene(axis):
    cores = axis.cores
    assert len(cores) == len(axis)
    assert cores[0][0] == 0
    assert cores[-1][1] == axis.length
    for (_, stop), (start, _) in pairwise(cores):
        assert stop == start
    assert all(start < stop for start, stop in cores)


@many
@given(axes())
def test_origins_are_multiples_of_the_stride_and_cover_the_scene(axis):
    origins = axis.origins
    assert origins[0] == -axis.margin
    assert all(o % axis.stride == 0 for o in origins)
    assert all(0 < b - a <= axis.step for a, b in pairwise(origins))
    assert origins[-1] + axis.size == axis.padded - axis.margin
    beyond = axis.halo if axis.predicts == "core" else 0
    needed = axis.margin + axis.length + beyond
    assert 0 <= axis.margin - beyond < axis.stride
    assert axis.padded >= needed
    assert axis.padded == axis.size or axis.padded - needed < axis.stride


@many
@given(axes(mode="exact"))
def test_every_core_pixel_has_its_halo(axis):
    """Towards the tile's inner edges; at the scene's own border only where the graph predicts its core only."""
    for index, (origin, (start, stop)) in enumerate(zip(axis.origins, axis.cores, strict=True)):
        assert origin <= start
        assert stop <= origin + axis.size
        if index > 0 or axis.predicts == "core":
            assert start - origin >= axis.halo
        if index + 1 < len(axis) or axis.predicts == "core":
            assert origin + axis.size - stop >= axis.halo


@many
@given(axes(mode="blend"))
def test_neighbours_share_at_least_the_overlap(axis):
    for here, following in pairwise(axis.origins):
        assert here + axis.size - following >= axis.overlap


@many
@given(axes())
def test_weights_of_all_tiles_sum_to_one_at_every_pixel(axis):
    total = np.zeros(axis.padded)
    for index, origin in enumerate(axis.origins):
        weights = axis.weights(index)
        assert weights.shape == (axis.size,)
        assert weights.dtype == np.float32
        assert (weights >= 0).all()
        first = origin + axis.margin
        total[first : first + axis.size] += weights
    np.testing.assert_allclose(total[axis.margin :][: axis.length], 1, atol=1e-6)


@many
@given(axes(mode="exact"))
def test_exact_weights_are_one_in_the_core_and_zero_elsewhere(axis):
    for index, (origin, (start, stop)) in enumerate(zip(axis.origins, axis.cores, strict=True)):
        weights = axis.weights(index)
        assert np.flatnonzero(weights).tolist() == list(range(start - origin, stop - origin))
        assert set(weights.tolist()) <= {0.0, 1.0}


def test_blend_weights_are_ramps_with_no_ramp_at_the_border():
    """Two tiles of 6 that share 4: eighths, odd ones, and full weight outside of the overlap."""
    axis = TileAxis(8, 6, mode="blend", overlap=4)
    assert axis.origins == (0, 2)
    np.testing.assert_allclose(axis.weights(0), [1, 1, 7 / 8, 5 / 8, 3 / 8, 1 / 8])
    np.testing.assert_allclose(axis.weights(1), [1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1])


def test_the_drawing_of_the_module():
    """Tile 8, halo 2, scene 20: the plan that the module draws."""
    axis = TileAxis(20, 8, halo=2)
    assert axis.origins == (0, 4, 8, 12)
    assert axis.cores == ((0, 6), (6, 10), (10, 14), (14, 20))
    assert TileAxis(19, 8, halo=2).origins == (0, 4, 8, 11)  # shifted back


def test_tiles_of_a_graph_that_predicts_its_core_reach_past_the_scene():
    """Tile 8, halo 3, scene 5: cores of two pixels; with a stride of 2 the margin is a whole stride."""
    axis = TileAxis(5, 8, halo=3, predicts="core")
    assert axis.origins == (-3, -1, 0)
    assert axis.cores == ((0, 2), (2, 4), (4, 5))
    assert TileAxis(5, 8, stride=2, halo=3, predicts="core").origins == (-4, -2, 0)
    assert TilePlan(axis, axis).overlap_cost == 9 * 4 / 25


@settings(max_examples=150, deadline=None)
@given(axes())
def test_final_rows_grow_and_nothing_above_them_changes(y):
    plan = TilePlan(y, TileAxis(1, 1))
    final = [plan.final_rows(iy) for iy in range(len(y))]
    assert final == sorted(final)
    assert final[-1] == y.length
    first_touched = [origin + int(np.flatnonzero(y.weights(iy))[0]) for iy, origin in enumerate(y.origins)]
    for iy, done in enumerate(final[:-1]):
        assert min(first_touched[iy + 1 :]) >= done
        assert first_touched[iy + 1] == done  # no row is held back longer than it must


@settings(max_examples=50, deadline=None)
@given(axes(), st.data())
def test_tiles_that_touch_a_range_have_a_weight_in_it(axis, data):
    start = data.draw(st.integers(0, axis.length - 1))
    stop = data.draw(st.integers(start + 1, axis.length))
    touching = []
    for index, origin in enumerate(axis.origins):
        weighted = origin + np.flatnonzero(axis.weights(index))
        weighted = weighted[weighted < axis.length]
        if weighted.size:
            assert (weighted[0], weighted[-1] + 1) == axis.reach(index)
        if np.any((weighted >= start) & (weighted < stop)):
            touching.append(index)
    assert axis.touching(start, stop) == touching


@settings(max_examples=50, deadline=None)
@given(axes(), st.integers(1, 9), st.integers(1, 5))
def test_no_more_rows_are_open_than_is_said(y, batch, columns):
    """Full batches over all tiles: a row of tiles is open until the batch of its last tile has been blended."""
    plan, most = TilePlan(y, TileAxis(columns, 1)), 0
    for iy, origin in enumerate(y.origins):
        waiting = iy * columns % batch  # tiles of the rows of tiles before, in the batch that is not full yet
        complete = iy - -(-waiting // columns)
        assert iy - complete < plan.rows_of_batch(batch, columns)
        final = plan.final_rows(complete - 1) if complete else max(y.origins[0], 0)
        most = max(most, min(origin + y.size, y.length) - final)
    assert most <= plan.most_open_rows(batch, columns) <= y.length


@settings(max_examples=60, deadline=None)
@given(axes(), axes())
def test_a_plan_is_the_product_of_its_axes(y, x):
    plan = TilePlan(y, x)
    tiles = list(plan)
    assert len(tiles) == len(plan) == len(y) * len(x)
    owners = np.zeros((plan.scene.height, plan.scene.width), int)
    for tile in tiles:
        assert plan[tile.iy, tile.ix] == tile
        assert tile.read.shape == plan.tile
        assert tile.read.intersects(tile.core)
        owners[tile.core.y0 : tile.core.y1, tile.core.x0 : tile.core.x1] += 1
    assert (owners == 1).all()
    assert [t.iy for t in tiles] == sorted(t.iy for t in tiles)
    assert plan.padded == Shape(y.padded, x.padded)
    computed = [axis.size - 2 * axis.halo * (axis.predicts == "core") for axis in (y, x)]
    assert plan.overlap_cost == pytest.approx(len(plan) * np.prod(computed) / plan.scene.pixels)
    assert plan.overlap_cost >= 1


def test_a_plan_from_a_rule_takes_both_sides_of_the_tile():
    rule = TileRule(height=32, width=48, stride=16, halo=3)
    plan = TilePlan.for_scene(rule, Shape(100, 30))
    assert (plan.y.size, plan.x.size, plan.y.stride, plan.x.halo) == (32, 48, 16, 3)
    assert (len(plan.y), len(plan.x)) == (6, 1)
    assert plan.padded == Shape(112, 48)


@pytest.mark.parametrize(("length", "size"), [(8, 8), (5, 8), (1, 8), (1, 1)])
@pytest.mark.parametrize("mode", MODES)
def test_one_tile_serves_a_scene_that_is_not_larger(length, size, mode):
    """Even with a halo and an overlap that no two tiles could share."""
    axis = TileAxis(length, size, halo=50, mode=mode, overlap=50)
    assert axis.origins == (0,)
    assert axis.cores == ((0, length),)
    assert (axis.weights(0)[:length] == 1).all()


# What does not exist -------------------------------------------------------------------------------------


@many
@given(
    length=st.integers(2, 200),
    tiles=st.integers(1, 10),
    stride=st.integers(1, 8),
    shared=st.integers(0, 60),
    mode=st.sampled_from(MODES),
)
def test_a_tile_that_is_too_small_names_the_smallest_that_works(length, tiles, stride, shared, mode):
    given = {"stride": stride, "halo": shared, "mode": mode, "overlap": shared}
    try:
        TileAxis(length, tiles * stride, **given)
    except TilePlanError as error:
        smallest = int(re.search(r"at least (\d+)", str(error)).group(1))
        assert smallest > tiles * stride
        assert smallest % stride == 0
        for longer in (length, 10 * length + 1000):
            TileAxis(longer, smallest, **given)
        with pytest.raises(TilePlanError, match=f"at least {smallest}"):
            TileAxis(10 * length + 1000, smallest - stride, **given)


@pytest.mark.parametrize("length", [0, -3])
def test_an_empty_scene_has_no_plan(length):
    with pytest.raises(TilePlanError, match=rf"at least one pixel.*Got: {length}"):
        TileAxis(length, 8)


@pytest.mark.parametrize(("size", "stride"), [(10, 4), (0, 1), (-8, 4), (8, 0), (8, -1)])
def test_a_tile_is_a_multiple_of_the_stride(size, stride):
    with pytest.raises(TilePlanError, match=f"multiple of the stride. Got: {size} / {stride}"):
        TileAxis(100, size, stride)


def test_the_modes_tested_here_are_all_there_are():
    annotation = TileRule.model_fields["mode"].annotation
    assert get_args(annotation) == get_args(Literal["exact", "blend"]) == MODES
    assert get_args(TileRule.model_fields["predicts"].annotation) == PREDICTS


# Small things --------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(1, 50))
def test_ceil_to(value, multiple):
    result = ceil_to(value, multiple)
    assert result % multiple == 0
    assert 0 <= result - value < multiple


def test_windows_share_a_pixel_or_do_not():
    window = Window(2, 5, 10, 12)
    assert window.shape == Shape(3, 2)
    assert window.shape.pixels == 6
    assert str(window.shape) == "3 x 2"
    assert window.intersects(Window(4, 9, 11, 20))
    assert not window.intersects(Window(5, 9, 10, 12))
    assert not window.intersects(Window(2, 5, 12, 13))
