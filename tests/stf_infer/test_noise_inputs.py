# SPDX-License-Identifier: Apache-2.0
"""Noise as an input of a network: a pixel sees the same noise under any plan, batch, area and interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fakes import ORIGIN, UTM, FunctionEngine, block_mean, grid_transform, make_model, make_spec, read_tif, write_tif
from stf_infer.errors import EngineError, UsageError
from stf_infer.grid import Shape, TilePlan
from stf_infer.layout import BLOCK
from stf_infer.noise import TileNoise, noise
from stf_infer.raster import Raster
from stf_infer.spec import InputSpec, ModelSpec, Values

PLAIN = {"values": Values(unit="1")}


def inputs(height: int, width: int, ratio: int = 4) -> dict[str, Any]:
    fine = np.full((2, height, width), 0.25, np.float32)
    coarse = block_mean(fine, ratio)
    return {"fine_t1": Raster(fine, transform=grid_transform(), crs=UTM), "coarse_t1": coarse, "coarse_t2": coarse}


def only_noise(noise_0: np.ndarray, **_: np.ndarray) -> np.ndarray:
    return noise_0


def fuse(rasters: dict[str, Any], tile: int = 32, *, draws: tuple[int, ...] = (0,), **given: Any) -> np.ndarray:
    """What a network gives that returns its first noise."""
    call = {k: given.pop(k) for k in ("aoi", "tile_batch", "seed") if k in given}
    model = make_model(make_spec(tile, draws=draws, **PLAIN, **given), lambda **tensors: tensors[f"noise_{draws[0]}"])
    return model.fuse(**call, **rasters).array


# A pixel sees the same noise -----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    tile=st.sampled_from([8, 16, 24, 40]),
    halo=st.integers(0, 2),
    predicts=st.sampled_from(["tile", "core"]),
    ratio=st.sampled_from([1, 2, 4]),
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**64 - 1),
    draw=st.sampled_from([0, 1, 7, 2**32 - 1]),
)
def test_any_plan_gives_the_noise_of_the_scene_bit_by_bit(shape, tile, halo, predicts, ratio, batch, seed, draw):
    rule = {"halo": halo, "predicts": predicts, "ratio": ratio}
    result = fuse(inputs(*shape, ratio), tile, **rule, tile_batch=batch, seed=seed, draws=(draw,))
    assert result.tobytes() == noise(seed, draw, 0, 0, (2, *shape)).tobytes()


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    overlap=st.sampled_from([0, 4, 12]),
    batch=st.integers(1, 4),
)
def test_blended_tiles_see_it_too_past_the_border_as_well(shape, overlap, batch):
    """Tiles reach beyond a scene that is no multiple of anything; rasters are mirrored there, noise goes on."""
    seen: list[np.ndarray] = []

    def look(noise_0: np.ndarray, fine_t1: np.ndarray, **_: np.ndarray) -> np.ndarray:
        seen.extend(noise_0)
        return fine_t1

    spec = make_spec(16, draws=(0,), mode="blend", overlap=overlap)
    make_model(spec, look).fuse(seed=3, tile_batch=batch, **inputs(*shape))
    plan = TilePlan.for_scene(spec.tile, Shape(*shape))
    assert len(seen) == len(plan)
    for tile, got in zip(plan, seen, strict=True):
        assert got.tobytes() == noise(3, 0, tile.read.y0, tile.read.x0, (2, 16, 16)).tobytes()


def test_blended_noise_is_that_of_the_scene():
    result = fuse(inputs(61, 83), mode="blend", overlap=12, seed=3)
    np.testing.assert_allclose(result, noise(3, 0, 0, 0, (2, 61, 83)), atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.tuples(st.integers(0, 60), st.integers(1, 61)), columns=st.tuples(st.integers(0, 82), st.integers(1, 83))
)
def test_an_area_sees_the_noise_of_the_scene(rows, columns):
    y0, x0, y1, x1 = rows[0], columns[0], min(sum(rows), 61), min(sum(columns), 83)
    box = (ORIGIN[0] + 30 * x0, ORIGIN[1] - 30 * y1, ORIGIN[0] + 30 * x1, ORIGIN[1] - 30 * y0)
    result = fuse(inputs(61, 83), 16, aoi=box, seed=8)
    assert result.tobytes() == noise(8, 0, y0, x0, (2, y1 - y0, x1 - x0)).tobytes()


def test_each_input_is_its_own_draw():
    seen: dict[str, np.ndarray] = {}

    def look(**tensors: np.ndarray) -> np.ndarray:
        seen.update(tensors)
        return tensors["fine_t1"]

    make_model(make_spec(16, draws=(2, 0, 1)), look).fuse(seed=5, **inputs(16, 16))
    for draw in range(3):
        np.testing.assert_array_equal(seen[f"noise_{draw}"][0], noise(5, draw, 0, 0, (2, 16, 16)))


class DrawsLater(FunctionEngine):
    """Asks for draw 7 while it runs, as a loop on the host does for each of its steps."""

    def infer_tiles(self, inputs: Any, tiles: int, noise: Any = None) -> dict[str, np.ndarray]:
        return {"fine_t2": noise.draw(7, 2)}


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    tile=st.sampled_from([8, 16, 24]),
    halo=st.integers(0, 2),
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**64 - 1),
)
def test_what_an_engine_asks_for_later_is_that_of_the_scene_too(shape, tile, halo, batch, seed):
    spec = make_spec(tile, draws=(0,), halo=halo, **PLAIN)
    model = make_model(spec, only_noise)
    model._engine = DrawsLater(spec, only_noise)
    result = model.fuse(seed=seed, tile_batch=batch, **inputs(*shape)).array
    assert result.tobytes() == noise(seed, 7, 0, 0, (2, *shape)).tobytes()


def test_nothing_is_drawn_that_nobody_asks_for(monkeypatch):
    asked: list[int] = []
    draw = TileNoise.draw
    monkeypatch.setattr(TileNoise, "draw", lambda self, step, bands: asked.append(step) or draw(self, step, bands))
    fuse(inputs(16, 16), 16, draws=(0, 3))
    assert asked == [0, 3]
    make_model(make_spec(16), lambda fine_t1, **_: fine_t1).fuse(**inputs(16, 16))
    assert asked == [0, 3]


def test_the_seed_changes_it_and_0_is_what_nobody_states():
    rasters = inputs(20, 20)
    assert fuse(rasters).tobytes() == fuse(rasters, seed=0).tobytes()
    assert not np.any(fuse(rasters, seed=1) == fuse(rasters, seed=0))


def test_holes_do_not_move_it():
    rasters = inputs(61, 83)
    rasters["fine_t1"].data[:, 10:50, 5:60] = np.nan
    result = fuse(rasters, 16, seed=4)
    expected = noise(4, 0, 0, 0, (2, 61, 83))
    expected[:, 10:50, 5:60] = np.nan
    np.testing.assert_array_equal(result, expected)


# Runs ----------------------------------------------------------------------------------------------------


def test_a_seed_for_a_network_without_noise_is_refused():
    model = make_model(make_spec(16), lambda fine_t1, **_: fine_t1)
    with pytest.raises(UsageError, match=r"fake takes no noise: its result is always the same\. Got: seed 0"):
        model.fuse(seed=0, **inputs(16, 16))
    assert model.engine.batch_sizes == []


def test_noise_is_no_raster_to_give():
    model = make_model(make_spec(16, draws=(0,)), only_noise)
    with pytest.raises(UsageError, match=r"takes other inputs.*Leave noise_0 out"):
        model.fuse(noise_0=np.zeros((2, 16, 16)), **inputs(16, 16))


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    fine = np.random.default_rng(0).uniform(0, 1, (2, BLOCK + 200, 90)).astype(np.float32)
    coarse = block_mean(fine, 4)
    return {
        "fine_t1": write_tif(tmp_path / "fine_t1.tif", fine),
        "coarse_t1": write_tif(tmp_path / "coarse_t1.tif", coarse, pixel=120),
        "coarse_t2": write_tif(tmp_path / "coarse_t2.tif", coarse, pixel=120),
    }


def test_the_seed_is_stored_with_the_result(tmp_path, files):
    result = make_model(make_spec(64, draws=(0,)), only_noise).fuse(tmp_path / "out.tif", seed=2**64 - 1, **files)
    assert result.provenance["seed"] == str(2**64 - 1)
    with rasterio.open(tmp_path / "out.tif") as made:
        assert made.tags()["STF_SEED"] == str(2**64 - 1)
    quiet = make_model(make_spec(64), lambda fine_t1, **_: fine_t1).fuse(tmp_path / "quiet.tif", **files)
    assert "seed" not in quiet.provenance
    with rasterio.open(tmp_path / "quiet.tif") as made:
        assert "STF_SEED" not in made.tags()


def test_an_interrupted_run_goes_on_with_its_seed_only(tmp_path, files, monkeypatch):
    monkeypatch.setattr("stf_infer.output._CHECKPOINT_EVERY", 0.0)
    out = tmp_path / "out.tif"

    def run(seed: int, stop_at: int | None = None) -> int:
        calls: list[int] = []

        def function(noise_0: np.ndarray, **_: np.ndarray) -> np.ndarray:
            calls.append(1)
            if len(calls) == stop_at:
                raise EngineError("interrupted")
            return noise_0

        spec = make_spec(64, draws=(0,), mode="blend", overlap=8, **PLAIN)
        make_model(spec, function).fuse(out, seed=seed, resume=True, tile_batch=1, **files)
        return len(calls)

    with pytest.raises(EngineError, match="interrupted"):
        run(6, stop_at=23)
    assert run(6) < 26
    straight = read_tif(out).tobytes()
    out.unlink()
    everything = run(6)
    assert read_tif(out).tobytes() == straight
    with pytest.raises(EngineError, match="interrupted"):
        run(6, stop_at=23)
    assert run(7) == everything


# Contracts -----------------------------------------------------------------------------------------------


def one(**given: Any) -> InputSpec:
    return InputSpec(**{"role": "noise", "tensor": "noise", "bands": ("red",), "grid": "noise", **given})


def test_a_noise_input_is_no_raster_and_has_the_shape_of_a_fine_tile():
    spec = make_spec(32, ratio=4, draws=(0, 1))
    assert [i.role for i in spec.rasters] == ["coarse_t1", "fine_t1", "coarse_t2"]
    assert [i.role for i in spec.noises] == ["noise_0", "noise_1"]
    assert spec.scalars == ()
    assert spec.tensor_shape(spec.noises[0]) == (2, 32, 32)
    assert ModelSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"grid": "fine", "draw": 1}, "draw is for inputs on the grid noise"),
        ({"draw": -1}, "greater than or equal to 0"),
        ({"draw": 2**32}, "less than 4294967296"),
        ({"values": Values(unit="1", scale=2)}, "noise is standard normal and cannot be scaled"),
        ({"values": Values(minimum=0)}, "noise is standard normal and cannot be scaled"),
        ({"from_coarse": "half-pixel"}, "from_coarse is for inputs on the fine grid"),
        (
            {"statistic": {"rule": "switched-mean-change", "of": ["coarse_t1", "coarse_t2", "coarse_t3"]}},
            "no other grid has one",
        ),
    ],
)
def test_what_a_noise_input_cannot_be(given, message):
    with pytest.raises(ValidationError, match=message):
        one(**given)


@pytest.mark.parametrize("values", [Values(), Values(unit="1")])
def test_noise_has_no_unit_to_state(values):
    assert one(values=values).draw == 0


def test_two_inputs_are_two_draws_and_fine_t1_is_none():
    spec = make_spec(16, draws=(0,)).model_dump()
    spec["inputs"] += (one(draw=0).model_dump(),)
    with pytest.raises(ValidationError, match=r"two inputs are the same noise: draws \[0, 0\]"):
        ModelSpec.model_validate(spec)
    spec["inputs"] = (one(role="fine_t1").model_dump(),)
    with pytest.raises(ValidationError, match="fine_t1 is a raster"):
        ModelSpec.model_validate(spec)
