# SPDX-License-Identifier: Apache-2.0
"""Tiles on a device: every bit of a result is that of the host's, and what is copied is copied once.

PyCUDA and TensorRT are stand-ins, kernels are emulated. Nothing here has run on a GPU.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device_support import VALUES, check_equal, network, rasters
from fakes import grid_transform, make_spec, with_level, write_tif
from pipeline_support import aoi
from stf_infer.raster import Raster

# Streams in the order that they are made: the engine's, up, down. Which of them do their work as early as they may.
EARLY = {"late": (), "early": (0, 1, 2), "early copies": (1, 2), "early kernels": (0,), "early uploads": (1,)}


def on_both(machine, spec, given, function=None, *, fixed=None, **call):
    """The result of the host and that of the device, of the same engine."""
    results = []
    for where in ("host", "device"):
        with machine.model(spec, function or network(), fixed=fixed) as model:
            results.append(model.fuse(tiles_on=where, **call, **given))
        assert machine.cuda.memory == {}
        assert machine.cuda.stack == []
    return results


# Equal pixels --------------------------------------------------------------------------------------------------------


def in_low_blocks(given, folder):
    """The rasters as files whose blocks are 16 rows high: strips move on with every row of tiles."""
    files = {}
    for role, raster in given.items():
        blocks = {"tiled": True, "blockxsize": 16, "blockysize": 16}
        place = {"crs": raster.crs, "transform": raster.transform, "nodata": raster.nodata}
        files[role] = Raster(write_tif(folder / f"{role}.tif", raster.data, **place, **blocks), scale=raster.scale)
    return files


@pytest.mark.parametrize("early", EARLY.values(), ids=EARLY)
@pytest.mark.parametrize("batch", [1, 4])
def test_streams_wait_for_one_another(machine, early, batch, tmp_path):
    given = in_low_blocks(rasters(size=(150, 40)), tmp_path)
    check_equal(*on_both(machine(early=early), make_spec(32, halo=4, values=VALUES), given, tile_batch=batch))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
@pytest.mark.parametrize("rule", [{"halo": 4}, {"mode": "blend", "overlap": 12}], ids=["exact", "blend"])
def test_every_type_with_holes(machine, dtype, rule):
    check_equal(*on_both(machine(), make_spec(32, values=VALUES, **rule), rasters(dtype), tile_batch=4))


@pytest.mark.parametrize("holes", [True, False])
@pytest.mark.parametrize("how", ["align-corners", "half-pixel"])
def test_coarse_rasters_that_are_interpolated(machine, how, holes):
    spec = make_spec(32, coarse_grid="fine", from_coarse=how, stride=1, halo=3, values=VALUES)
    check_equal(*on_both(machine(), spec, rasters(holes=holes, size=(61, 75)), tile_batch=2))


def test_coarse_rasters_that_are_warped_to_the_fine_grid(machine):
    spec = make_spec(32, coarse_grid="fine", stride=1, halo=3, values=VALUES)
    given = rasters(size=(60, 76))
    given["coarse_t2"] = replace(given["coarse_t2"], transform=grid_transform(133))
    check_equal(*on_both(machine(), spec, given))


@pytest.mark.parametrize("size", [(9, 14), (32, 32), (33, 31), (20, 90)])
def test_scenes_smaller_than_a_tile(machine, size):
    check_equal(*on_both(machine(), make_spec(32, halo=4, values=VALUES), rasters(size=size), tile_batch=4))


def test_a_graph_that_predicts_its_core_only(machine):
    spec = make_spec(32, halo=5, predicts="core", stride=4, values=VALUES)
    check_equal(*on_both(machine(), spec, rasters(), tile_batch=3))


@pytest.mark.parametrize("area", [(10, 60, 20, 81), (0, 75, 40, 41), (70, 75, 0, 90)])
def test_areas(machine, area):
    spec = make_spec(32, halo=4, values=VALUES)
    check_equal(*on_both(machine(), spec, rasters(), tile_batch=2, aoi=aoi(*area)))


@pytest.mark.parametrize("early", [(), (0, 1, 2)])
def test_noise(machine, early):
    spec = make_spec(32, draws=(0, 3), halo=4, values=VALUES)
    check_equal(*on_both(machine(early=early), spec, rasters(), tile_batch=3, seed=2**40 + 5))


def test_numbers_of_the_scene(machine):
    given = rasters()
    check_equal(*on_both(machine(), with_level(make_spec(32, halo=4)), {**given, "fine_t3": given["fine_t1"]}))


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_a_plan_for_a_fixed_number_of_tiles(machine, batch):
    spec = make_spec(32, halo=4, values=VALUES)
    check_equal(*on_both(machine(), spec, rasters(), fixed=3, tile_batch=batch))


def test_values_that_are_not_finite(machine):
    def broken(**tensors: np.ndarray) -> np.ndarray:
        out = network()(**tensors)
        out[:, 0, 5, 3:9], out[:, 1, 9, 9] = np.nan, np.inf
        return out

    host, device = on_both(machine(), make_spec(32, halo=4), rasters(), broken, tile_batch=2)
    assert host.not_finite > 10
    assert np.isnan(host.seam_ratio) == np.isnan(device.seam_ratio)
    host.seam_ratio = device.seam_ratio = None
    check_equal(host, device)


@pytest.mark.parametrize("early", EARLY.values(), ids=EARLY)
def test_batches_that_span_many_rows_of_tiles(machine, early):
    given = rasters(size=(300, 20))
    check_equal(*on_both(machine(early=early), make_spec(32, halo=4), given, tile_batch=7))
    given["fine_t1"].data[:, 40:250] = -9999
    check_equal(*on_both(machine(early=early), make_spec(32, halo=4), given, tile_batch=7))
