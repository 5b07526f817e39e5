# SPDX-License-Identifier: Apache-2.0
"""A bundle with an engine: opening, provenance, estimates, and what is refused before anything runs."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from affine import Affine

import stf_infer
from fakes import (
    ORIGIN,
    UTM,
    add_coarse_change,
    block_mean,
    grid_transform,
    make_model,
    make_spec,
    smooth_field,
    write_tif,
)
from stf_infer.errors import EngineUnavailableError, GridError, UsageError
from stf_infer.raster import Raster

GEO = {"transform": grid_transform(), "crs": UTM}


def inputs(height: int = 61, width: int = 83) -> dict[str, Any]:
    fine = smooth_field(2, height, width)
    coarse = block_mean(fine, 4)
    return {"fine_t1": Raster(fine, **GEO), "coarse_t1": coarse, "coarse_t2": coarse + 0.05}


# Opening -------------------------------------------------------------------------------------------------


def test_a_bundle_is_opened_and_its_engine_when_it_is_needed(blur_bundle):
    with stf_infer.open(blur_bundle, threads=1) as model:
        assert model.spec.network == "blur"
        assert model._engine is None
        engine = model.engine
        assert model.engine is engine
    assert model._engine is None
    model.close()


def test_arrays_go_through_a_real_engine(blur_bundle):
    fine = np.full((2, 64, 64), 0.3, np.float32)
    coarse = np.full((2, 16, 16), 0.2, np.float32)
    with stf_infer.open(blur_bundle, threads=1) as model:
        result = model.fuse(fine_t1=Raster(fine, **GEO), coarse_t1=coarse, coarse_t2=coarse + np.float32(0.1))
    np.testing.assert_allclose(result.array[:, 1:-1, 1:-1], 0.4, atol=1e-6)


def test_an_unknown_engine_is_refused_when_it_is_needed(blur_bundle):
    with pytest.raises(EngineUnavailableError, match="Got: abacus"):
        stf_infer.open(blur_bundle, engine="abacus").fuse(**inputs())


@pytest.mark.parametrize("threads", [0, -2])
def test_threads_are_counted_from_one(blur_bundle, threads):
    with pytest.raises(UsageError, match=f"number of threads.*Got: {threads}. Allowed: 1 or more"):
        stf_infer.open(blur_bundle, threads=threads)


def test_dataarrays_go_in(blur_bundle):
    pytest.importorskip("rioxarray")
    import xarray as xr

    def dataarray(pixels: np.ndarray, pixel: float) -> Any:
        y = ORIGIN[1] - pixel * (np.arange(pixels.shape[1]) + 0.5)
        x = ORIGIN[0] + pixel * (np.arange(pixels.shape[2]) + 0.5)
        coords = {"band": ["red", "nir"], "y": y, "x": x}
        return xr.DataArray(pixels, dims=("band", "y", "x"), coords=coords).rio.write_crs(UTM)

    given = inputs()
    fine, coarse, later = given["fine_t1"].data, given["coarse_t1"], given["coarse_t2"]
    model = make_model(make_spec(16), add_coarse_change)
    plain = model.fuse(**given).array
    again = model.fuse(
        fine_t1=dataarray(fine, 30),
        coarse_t1=dataarray(coarse, 120),
        coarse_t2=dataarray(later, 120).transpose("y", "x", "band"),
    )
    np.testing.assert_allclose(again.array, plain, rtol=1e-6)


def test_a_model_fuses_again_and_again(tmp_path):
    model = make_model(make_spec(16), add_coarse_change)
    first, second = model.fuse(**inputs()), model.fuse(tile_batch=4, **inputs())
    np.testing.assert_array_equal(first.array, second.array)


def test_a_model_may_be_used_in_another_thread(tmp_path):
    """GDAL's settings are of a thread."""
    model, results = make_model(make_spec(16), add_coarse_change), []
    thread = threading.Thread(target=lambda: results.append(model.fuse(tmp_path / "out.tif", **inputs())))
    thread.start()
    thread.join()
    assert results[0].valid_fraction == 1


# What a result tells -------------------------------------------------------------------------------------


def test_a_result_tells_what_made_it(tmp_path):
    files = {
        role: write_tif(
            tmp_path / f"{role}.tif", r.data if isinstance(r, Raster) else r, pixel=30 if role == "fine_t1" else 120
        )
        for role, r in inputs().items()
    }
    model = make_model(make_spec(16, halo=4, stride=4), add_coarse_change)
    told = model.fuse(**files).provenance
    assert told == {
        "version": stf_infer.__version__,
        "bundle": "fake",
        "bundle_sha256": "0" * 64,
        "network": "fake",
        "engine": "function",
        "precision": "fp32",
        "tile_plan": "16 x 16 mode=exact halo=4 stride=4 overlap=0 tiles=70",
        "ratio": "4",
        "inputs": "fine_t1=fine_t1.tif; coarse_t1=coarse_t1.tif; coarse_t2=coarse_t2.tif",
    }
    assert model.fuse(**inputs()).provenance["inputs"] == "fine_t1=array; coarse_t1=array; coarse_t2=array"


# Estimates -----------------------------------------------------------------------------------------------


def test_an_estimate_is_the_plan_of_the_run():
    model = make_model(make_spec(16, halo=4, stride=4), add_coarse_change)
    told = model.estimate(**inputs())
    result = model.fuse(**inputs())
    assert told.tiles == result.tiles
    assert (told.scene, told.area, told.tile) == ((61, 83), (61, 83), (16, 16))
    assert (told.mode, told.halo, told.stride) == ("exact", 4, 4)
    assert told.overlap_cost == pytest.approx(told.tiles * 16 * 16 / (61 * 83))
    assert told.grids == {"fine_t1": "aligned", "coarse_t1": "aligned", "coarse_t2": "aligned"}
    assert told.as_dict()["peak_bytes"] == told.peak_bytes


def test_an_estimate_knows_areas_and_warps():
    shifted = Affine(121, 0, ORIGIN[0] - 50, 0, -121, ORIGIN[1] + 50)
    given = {**inputs(), "coarse_t2": Raster(smooth_field(2, 20, 25), transform=shifted, crs=UTM)}
    area = (ORIGIN[0], ORIGIN[1] - 600, ORIGIN[0] + 300, ORIGIN[1])
    told = make_model(make_spec(16), add_coarse_change).estimate(aoi=area, **given)
    assert told.area == (20, 10)
    assert told.grids["coarse_t2"] == "warped, bilinear"


def test_an_estimate_of_memory_grows_with_what_is_held():
    """With width, batch and bands; a longer scene adds the cache of blocks only."""
    rows = np.zeros((2, 64, 64), np.float32)
    wide, long = np.zeros((2, 64, 4096), np.float32), np.zeros((2, 4096, 64), np.float32)

    def peak(fine: np.ndarray, tile_batch: int = 1) -> int:
        model = make_model(make_spec(64, roles=("fine_t1",), ratio=1), lambda fine_t1: fine_t1)
        return model.estimate(fine_t1=Raster(fine, **GEO), tile_batch=tile_batch).peak_bytes

    small = peak(rows)
    assert peak(wide) > small + 20 * (4096 - 64) * 64
    assert peak(rows, tile_batch=64) > small + 60 * 64 * 64 * 2 * 4
    assert peak(long) < small + long.size * 2 + 64 * 1024 * 1024


# Refused before anything runs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"coarse_t2": None}, UsageError, "Give --coarse-t2"),
        ({"aoi": (0, 0, 1, 1)}, GridError, "does not touch"),
        ({"coarse_t1": np.zeros((2, 3, 3), np.float32)}, GridError, "fits neither grid"),
    ],
)
def test_the_engine_is_not_run_for_what_is_refused(change, kind, message):
    model = make_model(make_spec(16), add_coarse_change)
    with pytest.raises(kind, match=message):
        model.fuse(**{**inputs(), **change})
    assert model.engine.batch_sizes == []
