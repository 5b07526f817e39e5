# SPDX-License-Identifier: Apache-2.0
"""Scenes: roles, grids of bare arrays, tiles in network values, and interpolation that sees the whole scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint

from fakes import UTM, block_mean, grid_transform, make_spec, smooth_field, write_tif
from stf_infer.errors import GridError, RasterError, ScaleError, UsageError
from stf_infer.grid import Shape, TilePlan, Window
from stf_infer.raster import Raster
from stf_infer.scene import Scene
from stf_infer.spec import Values

GEO = {"transform": grid_transform(), "crs": UTM}
PLAIN = Values(unit="1")


def rasters(height: int, width: int, ratio: int = 4, **changed: Any) -> dict[str, Any]:
    fine = smooth_field(2, height, width)
    coarse = block_mean(fine, ratio)
    return {"fine_t1": Raster(fine, **GEO), "coarse_t1": coarse, "coarse_t2": coarse + 0.01, **changed}


def tiles_of(scene: Scene, role: str) -> dict[tuple[int, int], np.ndarray]:
    """Every tile of a plan, gathered as the pipeline does it."""
    plan, spec = scene.plan(), scene.spec.input(role)
    reader = scene.readers[role]
    found = {}
    for iy in range(len(plan.y)):
        first = plan.y.origins[iy]
        reader.move_to((first, first + plan.y.size))
        for ix in range(len(plan.x)):
            found[iy, ix] = np.full(scene.spec.tensor_shape(spec), np.nan, np.float32)
            reader.gather(plan[iy, ix].read, found[iy, ix])
    return found


def assembled(plan: TilePlan, tiles: dict[tuple[int, int], np.ndarray], divisor: int = 1) -> np.ndarray:
    """The scene (padded to whole strides) from the tiles' pixels."""
    channels = next(iter(tiles.values())).shape[0]
    out = np.full((channels, plan.padded.height // divisor, plan.padded.width // divisor), np.nan, np.float32)
    for (iy, ix), tile in tiles.items():
        y, x = plan.y.origins[iy] // divisor, plan.x.origins[ix] // divisor
        out[:, y : y + tile.shape[1], x : x + tile.shape[2]] = tile
    return out


# Roles ---------------------------------------------------------------------------------------------------


def test_a_missing_role_is_named_with_its_flag():
    given = rasters(40, 40)
    del given["coarse_t2"]
    with pytest.raises(UsageError, match=r"Allowed: coarse_t1, fine_t1, coarse_t2. Give --coarse-t2"):
        Scene(make_spec(), given)


def test_a_role_that_is_none_is_missing():
    with pytest.raises(UsageError, match="Give --coarse-t2"):
        Scene(make_spec(), rasters(40, 40, coarse_t2=None))


def test_an_unknown_role_is_named():
    with pytest.raises(UsageError, match=r"Got: .*fine_t3.*Leave fine_t3 out"):
        Scene(make_spec(), rasters(40, 40, fine_t3=np.zeros((2, 40, 40))))


def test_a_role_of_the_networks_own_has_another_flag():
    spec = make_spec(roles=("fine_t1", "elevation"))
    with pytest.raises(UsageError, match=r"Give --input elevation=FILE"):
        Scene(spec, {"fine_t1": smooth_field(2, 40, 40)})


# Grids ---------------------------------------------------------------------------------------------------


def test_bare_arrays_take_the_grid_whose_shape_they_have():
    with Scene(make_spec(ratio=4), rasters(41, 30)) as scene:
        assert scene.shape == Shape(41, 30)
        assert scene.layers["coarse_t1"].grid.shape == Shape(11, 8)
        assert scene.layers["coarse_t1"].grid.transform.a == 120
    with Scene(make_spec(ratio=4), rasters(41, 30, coarse_t1=smooth_field(2, 41, 30))) as scene:
        assert scene.layers["coarse_t1"].placement.resampling.name == "average"


def test_arrays_without_any_georeference_work():
    given = rasters(40, 40)
    given["fine_t1"] = given["fine_t1"].data
    with Scene(make_spec(), given) as scene:
        assert scene.grid.crs is None
        assert scene.grid.transform.is_identity


def test_a_bare_array_of_another_shape_is_refused():
    with pytest.raises(
        GridError, match=r"coarse_t1 fits neither grid. Got: 7 x 9. Allowed: 40 x 40 \(fine\) or 10 x 10"
    ):
        Scene(make_spec(), rasters(40, 40, coarse_t1=np.zeros((2, 7, 9), np.float32)))


def test_ground_control_points_are_no_grid(tmp_path):
    array = smooth_field(2, 40, 40)
    points = [GroundControlPoint(r, c, 500_000 + 30 * c, 5_300_000 - 30 * r) for r in (0, 40) for c in (0, 40)]
    path = tmp_path / "points.tif"
    profile = {"count": 2, "height": 40, "width": 40, "dtype": "float32"}
    with rasterio.open(path, "w", driver="GTiff", gcps=points, crs=UTM, **profile) as out:
        out.write(array)
    with pytest.raises(GridError, match=r"fine_t1 has ground control points and no grid.*points\.tif.*gdalwarp"):
        Scene(make_spec(), rasters(40, 40, fine_t1=path))
    with pytest.raises(GridError, match=r"coarse_t1 lies on another grid.*ground control points only.*gdalwarp"):
        Scene(make_spec(), rasters(40, 40, coarse_t1=path))


def test_a_refused_scene_closes_what_it_has_opened(tmp_path, monkeypatch):
    path = write_tif(tmp_path / "fine.tif", smooth_field(2, 40, 40))
    opened = []
    monkeypatch.setattr(
        rasterio, "open", lambda *a, _open=rasterio.open, **k: opened.append(_open(*a, **k)) or opened[-1]
    )
    with pytest.raises(RasterError):
        Scene(make_spec(), rasters(40, 40, coarse_t1=path, coarse_t2=tmp_path / "missing.tif"))
    assert opened
    assert all(dataset.closed for dataset in opened)


# Tiles in network values ---------------------------------------------------------------------------------


def test_landsat_collection_2_becomes_reflectance():
    """uint16 with scale 0.0000275 and offset -0.2, clipped to [0, 1], times 2 minus 1 for the network."""
    stored = np.array([[[7273, 10_000, 43_636, 65_535]] * 4] * 2, np.uint16)
    values = Values(scale=2.0, offset=-1.0, minimum=0.0, maximum=1.0)
    spec = make_spec(4, values=values, roles=("fine_t1",), ratio=1)
    fine = Raster(stored, scale=0.0000275, offset=-0.2, **GEO)
    with Scene(spec, {"fine_t1": fine}) as scene:
        tile = tiles_of(scene, "fine_t1")[0, 0]
    physical = np.clip(stored * 0.0000275 - 0.2, 0, 1)
    np.testing.assert_allclose(tile, physical * 2 - 1, atol=2e-6)


def test_a_negative_network_scale_turns_the_limits():
    values = Values(unit="1", scale=-1.0, minimum=2.0, maximum=5.0)
    spec = make_spec(4, values=values, roles=("fine_t1",), ratio=1)
    array = np.tile(np.array([0, 2, 4, 9], np.float32), (2, 4, 1))
    with Scene(spec, {"fine_t1": array}) as scene:
        assert tiles_of(scene, "fine_t1")[0, 0][0, 0].tolist() == [-2, -2, -4, -5]


def test_each_date_may_have_its_own_type_and_scale():
    reflectance = block_mean(smooth_field(2, 40, 40), 4)
    given = rasters(
        40,
        40,
        coarse_t1=Raster(np.rint(reflectance * 10_000).astype(np.int16), scale=1e-4),
        coarse_t2=Raster(np.rint(reflectance * 255).astype(np.uint8), scale=1 / 255),
    )
    with Scene(make_spec(16), given) as scene:
        first, second = (assembled(scene.plan(), tiles_of(scene, role), 4) for role in ("coarse_t1", "coarse_t2"))
    np.testing.assert_allclose(first, reflectance, atol=6e-5)
    np.testing.assert_allclose(second, reflectance, atol=3e-3)


def test_reflectance_times_10000_in_floats_is_noticed():
    with pytest.raises(ScaleError, match=r"coarse_t1 does not hold reflectance.*--scale coarse_t1=0\.0001"):
        Scene(make_spec(), rasters(40, 40, coarse_t1=block_mean(smooth_field(2, 40, 40), 4) * 10_000))


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    tile=st.sampled_from([8, 16, 32]),
    halo=st.integers(0, 3),
)
def test_tiles_are_windows_of_the_mirrored_scene(shape, tile, halo):
    """Also of scenes smaller than a tile, and one pixel high."""
    spec = make_spec(tile, ratio=4, stride=4, halo=0 if tile == 8 else halo)
    with Scene(spec, rasters(*shape)) as scene:
        plan = scene.plan()
        fine, coarse = assembled(plan, tiles_of(scene, "fine_t1")), assembled(plan, tiles_of(scene, "coarse_t1"), 4)
    array = smooth_field(2, *shape)
    # The far mirror stands at the end of the last coarse pixel: first to there, then beyond.
    whole = np.pad(array, ((0, 0), (0, -shape[0] % 4), (0, -shape[1] % 4)), mode="symmetric")
    pad = ((0, 0), (0, plan.padded.height - whole.shape[1]), (0, plan.padded.width - whole.shape[2]))
    np.testing.assert_array_equal(fine, np.pad(whole, pad, mode="symmetric"))
    small = block_mean(array, 4)
    pad = (
        (0, 0),
        *((0, n // 4 - m) for n, m in zip((plan.padded.height, plan.padded.width), small.shape[1:], strict=True)),
    )
    np.testing.assert_array_equal(coarse, np.pad(small, pad, mode="symmetric"))


@pytest.mark.parametrize("tile", [16, 32, 64])
@pytest.mark.parametrize("shape", [(96, 80), (97, 83), (33, 130), (5, 5)])
@pytest.mark.parametrize(("rule", "align"), [("align-corners", True), ("half-pixel", False)])
def test_from_coarse_is_torchs_interpolation_of_the_whole_scene(tile, shape, rule, align):
    """Tile by tile, and where the scene's sides are no multiple of the ratio."""
    torch = pytest.importorskip("torch")
    ratio = 8
    spec = make_spec(tile, ratio=ratio, coarse_grid="fine", from_coarse=rule, stride=1, halo=3)
    coarse = np.random.default_rng(1).random((2, -(-shape[0] // ratio), -(-shape[1] // ratio))).astype(np.float32)
    size = (coarse.shape[1] * ratio, coarse.shape[2] * ratio)
    truth = torch.nn.functional.interpolate(torch.from_numpy(coarse)[None], size, mode="bilinear", align_corners=align)
    with Scene(spec, rasters(*shape, ratio, coarse_t1=coarse)) as scene:
        found = assembled(scene.plan(), tiles_of(scene, "coarse_t1"))
    np.testing.assert_allclose(found[:, : shape[0], : shape[1]], truth[0, :, : shape[0], : shape[1]], atol=2e-6)


def test_an_input_on_the_fine_grid_is_warped_straight_to_it():
    coarse = np.full((2, 30, 30), 0.3, np.float32)
    spec = make_spec(16, coarse_grid="fine", stride=1)
    with Scene(spec, rasters(40, 40, coarse_t1=Raster(coarse, transform=grid_transform(120), crs=UTM))) as scene:
        assert scene.layers["coarse_t1"].grid == scene.grid
        np.testing.assert_allclose(assembled(scene.plan(), tiles_of(scene, "coarse_t1")), 0.3, rtol=1e-6)


# Which fine pixels an input can serve --------------------------------------------------------------------


def valid_of(scene: Scene, role: str) -> np.ndarray:
    plan, reader = scene.plan(), scene.readers[role]
    out = np.full((scene.shape.height, scene.shape.width), 9, np.uint8)
    for first in plan.y.origins:
        reader.move_to((first, first + plan.y.size))
        stop = min(first + plan.y.size, scene.shape.height)
        out[first:stop] = reader.valid(first, stop)
    return out


def test_a_hole_of_fine_t1_is_one_fine_pixel():
    fine = smooth_field(2, 41, 30)
    fine[1, 20, 7] = np.nan
    with Scene(make_spec(16), rasters(41, 30, fine_t1=Raster(fine, **GEO))) as scene:
        assert np.argwhere(valid_of(scene, "fine_t1") == 0).tolist() == [[20, 7]]
        assert np.isfinite(assembled(scene.plan(), tiles_of(scene, "fine_t1"))).all()


@pytest.mark.parametrize("how", ["coarse", "align-corners", "half-pixel"])
def test_a_hole_of_a_coarse_raster_is_its_fine_pixels(how):
    coarse = block_mean(smooth_field(2, 41, 30), 4)
    coarse[0, 10, 7] = np.nan  # the last row and column: cut off by the scene
    coarse[1, 2, 3] = np.nan
    grids = {"coarse_grid": "coarse"} if how == "coarse" else {"coarse_grid": "fine", "from_coarse": how}
    expected = np.ones((41, 30), np.uint8)
    expected[40:, 28:] = expected[8:12, 12:16] = 0
    with Scene(make_spec(16, **grids), rasters(41, 30, coarse_t1=coarse)) as scene:
        np.testing.assert_array_equal(valid_of(scene, "coarse_t1"), expected)
        assert np.isfinite(assembled(scene.plan(), tiles_of(scene, "coarse_t1"), 4 if how == "coarse" else 1)).all()


def test_a_window_may_be_gathered_twice():
    with Scene(make_spec(16), rasters(41, 30)) as scene:
        reader = scene.readers["fine_t1"]
        reader.move_to((16, 32))
        first, second = np.empty((2, 16, 16), np.float32), np.empty((2, 16, 16), np.float32)
        reader.gather(Window(16, 32, 8, 24), first)
        reader.gather(Window(16, 32, 8, 24), second)
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, smooth_field(2, 41, 30)[:, 16:32, 8:24])
