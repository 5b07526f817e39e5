# SPDX-License-Identifier: Apache-2.0
"""The stream: tiled equals untiled, areas equal crops, nodata stays where it is, and failures stop everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import FunctionEngine, add_coarse_change, box_blur, make_model, make_spec, smooth_field
from pipeline_support import GEO, Function, aoi, fuse, inputs, only_fine
from stf_infer.raster import Raster
from stf_infer.spec import ModelSpec, Values

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


def test_smooth_scenes_of_one_tile_and_less():
    for shape in ((32, 32), (31, 5), (1, 1), (1, 90), (90, 1)):
        rasters = {**inputs(*shape), "fine_t1": Raster(smooth_field(2, *shape), **GEO)}
        result = fuse(only_fine(lambda x: x), rasters, 32)
        np.testing.assert_allclose(result.array, smooth_field(2, *shape), rtol=1e-6)


# Batches ahead -------------------------------------------------------------------------------------------


class Ahead(FunctionEngine):
    """Computes a batch when it is waited for, and watches how many were begun."""

    def __init__(self, spec: ModelSpec, function: Function, ahead: int) -> None:
        super().__init__(spec, function)
        self.ahead, self.begun, self.most = ahead, 0, 0

    def start(self, inputs: Any, noise: Any = None) -> Any:
        self.begun += 1
        self.most = max(self.most, self.begun)

        def outputs() -> Any:
            self.begun -= 1
            return self.infer(inputs, noise)

        return outputs


@pytest.mark.parametrize("ahead", [0, 1, 3])
@pytest.mark.parametrize("samples", [1, 2])
def test_batches_are_given_ahead_and_come_out_in_order(ahead, samples):
    rasters, draws = inputs(61, 83), (0,) if samples > 1 else ()
    spec = make_spec(16, halo=2, stride=4, draws=draws)
    expected = make_model(spec, box_blur(2)).fuse(tile_batch=2, samples=samples, **rasters)
    model = make_model(spec, box_blur(2))
    model._engine = engine = Ahead(spec, box_blur(2), ahead)
    result = model.fuse(tile_batch=2, samples=samples, **rasters)
    assert result.array.tobytes() == expected.array.tobytes()
    assert (engine.most, engine.begun) == (ahead + 1, 0)
    assert result.tiles == expected.tiles
