# SPDX-License-Identifier: Apache-2.0
"""Tiles on a device: every bit of a result is that of the host's, and what is copied is copied once.

PyCUDA and TensorRT are stand-ins, kernels are emulated. Nothing here has run on a GPU.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from device_support import Machine
from fakes import UTM, box_blur, grid_transform, make_spec, with_level
from pipeline_support import GEO, aoi
from stf_infer.raster import Raster
from stf_infer.spec import Values

# Streams in the order that they are made: the engine's, up, down. Which of them do their work as early as they may.
EARLY = {"late": (), "early": (0, 1, 2), "early copies": (1, 2), "early kernels": (0,), "early uploads": (1,)}
VALUES = Values(scale=2.0, offset=-0.3, minimum=-0.05, maximum=1.1)


@pytest.fixture
def machine(monkeypatch, tmp_path, emulated_cuda):
    return lambda **given: Machine(monkeypatch, tmp_path, given.pop("emulated", emulated_cuda), **given)


def network(radius=1):
    """Looks at everything that a tile holds, and at its neighbours."""
    blur = box_blur(radius)

    def compute(**tensors: np.ndarray) -> np.ndarray:
        fine = tensors["fine_t1"]
        out = blur(fine)
        for name, array in sorted(tensors.items()):
            if name != "fine_t1":
                ratio = fine.shape[-1] // array.shape[-1]
                out = out + array.repeat(ratio, -1).repeat(ratio, -2) * (0.1 + len(name) / 100)
        return out

    return compute


def stored(dtype: str, shape: tuple[int, ...], seed: int, *, holes: bool, **geo: Any) -> Raster:
    """Reflectance from 0 to 1.2 as numbers of a type, with holes of nodata."""
    rng = np.random.default_rng(seed)
    physical = rng.uniform(0, 1.2, shape)
    scale = {"uint8": 5e-3, "int16": 1e-4, "uint16": 2e-5, "float32": 1.0}[dtype]
    pixels = (physical / scale).astype(dtype)
    nodata = {"uint8": 255, "int16": -9999, "uint16": 0, "float32": -5}[dtype]
    if holes:
        empty = rng.random(shape[1:]) < 0.1
        empty[shape[1] // 3 : shape[1] // 2] = True
        empty[:3, :2] = True
        pixels[:, empty] = nodata
    return Raster(pixels, scale=scale, offset=0.0, nodata=nodata, **geo)


def rasters(dtype: str = "int16", size: tuple[int, int] = (75, 90), *, holes: bool = True, ratio: int = 4) -> Any:
    coarse = tuple(-(-side // ratio) for side in size)
    geo = {"transform": grid_transform(30 * ratio), "crs": UTM}
    return {
        "fine_t1": stored(dtype, (2, *size), 1, holes=holes, **GEO),
        "coarse_t1": stored(dtype, (2, *coarse), 2, holes=holes, **geo),
        "coarse_t2": stored(dtype, (2, *coarse), 3, holes=False, **geo),
    }


def on_both(machine, spec, given, function=None, *, fixed=None, **call):
    """The result of the host and that of the device, of the same engine."""
    results = []
    for where in ("host", "device"):
        with machine.model(spec, function or network(), fixed=fixed) as model:
            results.append(model.fuse(tiles_on=where, **call, **given))
        assert machine.cuda.memory == {}
        assert machine.cuda.stack == []
    return results


def check_equal(host, device):
    assert device.array.tobytes() == host.array.tobytes()
    for figure in ("pixels", "valid_fraction", "not_finite", "tiles", "skipped_tiles", "seam_ratio", "bands"):
        assert getattr(device, figure) == getattr(host, figure), figure
    assert np.isfinite(host.array).any()
    assert (host.provenance["tiles_on"], device.provenance["tiles_on"]) == ("host, as stated", "device")


# Equal pixels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", EARLY.values(), ids=EARLY)
@pytest.mark.parametrize("batch", [1, 4])
def test_streams_wait_for_one_another(machine, early, batch):
    check_equal(*on_both(machine(early=early), make_spec(32, halo=4, values=VALUES), rasters(), tile_batch=batch))


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
