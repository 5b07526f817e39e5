# SPDX-License-Identifier: Apache-2.0
"""Scenes as people really have them, from file to file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from fakes import (
    ORIGIN,
    UTM,
    add_coarse_change,
    block_mean,
    grid_transform,
    make_model,
    make_spec,
    read_tif,
    smooth_field,
    write_tif,
)
from stf_infer.errors import BandError, RasterError
from stf_infer.raster import Raster
from stf_infer.spec import Values
from support import shared_path

HEIGHT, WIDTH = 61, 83


def files(folder: Path, **changed: Any) -> dict[str, Any]:
    fine = smooth_field(2, HEIGHT, WIDTH)
    coarse = block_mean(fine, 4)
    return {
        "fine_t1": write_tif(folder / "fine_t1.tif", fine),
        "coarse_t1": write_tif(folder / "coarse_t1.tif", coarse, pixel=120),
        "coarse_t2": write_tif(folder / "coarse_t2.tif", coarse + np.float32(0.1), pixel=120),
        **changed,
    }


def fuse(rasters: dict[str, Any], out: Path, tile: int = 32, **given: Any) -> np.ma.MaskedArray:
    """``add_coarse_change`` of the rasters, read back as physical values."""
    options = {k: given.pop(k) for k in ("aoi", "any_ratio", "dtype") if k in given}
    make_model(make_spec(tile, **given), add_coarse_change).fuse(out, **options, **rasters)
    with rasterio.open(out) as made:
        return made.read(masked=True) * made.scales[0] + made.offsets[0]


def test_a_coarse_raster_that_covers_a_part(tmp_path):
    """Eight coarse rows and nine columns from (3, 5) on: the rest of the result is nodata."""
    rasters = files(tmp_path)
    part = read_tif(rasters["coarse_t2"])[:, 3:11, 5:14]
    at = grid_transform(120) * Affine.translation(5, 3)
    rasters["coarse_t2"] = write_tif(tmp_path / "part.tif", part, transform=at)
    result = fuse(rasters, tmp_path / "out.tif")
    covered = np.zeros((HEIGHT, WIDTH), bool)
    covered[12:44, 20:56] = True
    np.testing.assert_array_equal(result.mask[0], ~covered)
    np.testing.assert_allclose(result[:, covered], smooth_field(2, HEIGHT, WIDTH)[:, covered] + 0.1, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_fine_t1_with_an_alpha_band(tmp_path, dtype):
    alpha = np.full((1, HEIGHT, WIDTH), 255, dtype)
    alpha[0, 10:20, 30:40] = 0
    stored = np.rint(smooth_field(2, HEIGHT, WIDTH) * 250).astype(dtype)
    path = write_tif(tmp_path / "rgba.tif", np.concatenate([stored, alpha]), scale=1 / 250, photometric="MINISBLACK")
    with rasterio.open(path, "r+") as out:
        out.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha]
    result = fuse(files(tmp_path, fine_t1=path), tmp_path / "out.tif")
    np.testing.assert_array_equal(result.mask, np.broadcast_to(alpha == 0, (2, HEIGHT, WIDTH)))
    np.testing.assert_allclose(result.compressed(), (stored / 250 + 0.1)[~result.mask], atol=6e-5)


def test_a_rotated_fine_t1(tmp_path):
    """A coarse raster that runs north holds a plane; it is met at the right places of the rotated grid."""
    rotated = Affine.translation(*ORIGIN) * Affine.rotation(-20) * Affine.scale(30, -30)
    north = Affine(120, 0, ORIGIN[0] - 4000, 0, -120, ORIGIN[1] + 4000)
    rows, columns = np.mgrid[0:70, 0:70]
    x, y = north * (columns + 0.5, rows + 0.5)
    plane = np.stack([(x - ORIGIN[0]) * 1e-4, (ORIGIN[1] - y) * 1e-4]).astype(np.float32)
    rasters = {
        "fine_t1": write_tif(tmp_path / "f.tif", np.zeros((2, 60, 80), np.float32), transform=rotated),
        "coarse_t1": write_tif(tmp_path / "a.tif", np.zeros_like(plane), transform=north),
        "coarse_t2": write_tif(tmp_path / "b.tif", plane, transform=north),
    }
    result = fuse(rasters, tmp_path / "out.tif", values=Values(unit="1"))
    # A coarse pixel of the working grid holds the plane at its centre.
    rows, columns = np.mgrid[0:60, 0:80] // 4 * 4 + 2
    x, y = rotated * (columns, rows)
    assert not result.mask.any()
    np.testing.assert_allclose(result, np.stack([x - ORIGIN[0], ORIGIN[1] - y]) * 1e-4, atol=2e-5)
    with rasterio.open(tmp_path / "out.tif") as made:
        assert tuple(made.transform) == tuple(rotated)


def test_a_fine_t1_that_runs_south_up(tmp_path):
    south = Affine(30, 0, ORIGIN[0], 0, 30, ORIGIN[1] - 30 * 60)
    fine, coarse = smooth_field(2, 60, 80), block_mean(smooth_field(2, 60, 80), 4)
    rasters = {
        "fine_t1": write_tif(tmp_path / "f.tif", fine[:, ::-1], transform=south),
        "coarse_t1": write_tif(tmp_path / "a.tif", coarse, pixel=120),
        "coarse_t2": write_tif(tmp_path / "b.tif", coarse * 2, pixel=120),
    }
    result = fuse(rasters, tmp_path / "out.tif")
    change = coarse.repeat(4, 1).repeat(4, 2)
    np.testing.assert_allclose(result[:, ::-1], fine + change, atol=1e-5)


def test_every_raster_in_its_own_type_crs_and_pixel_size(tmp_path):
    """Constants, so that the answer is known wherever the pixels lie."""
    away = rasterio.warp.transform(UTM, "EPSG:4326", [ORIGIN[0] + 1200], [ORIGIN[1] - 900])
    degrees = Affine(0.0013, 0, away[0][0] - 0.04, 0, -0.0013, away[1][0] + 0.04)
    fine = np.full((2, HEIGHT, WIDTH), 16_364, np.uint16)  # 0.25001
    rasters = {
        "fine_t1": Raster(write_tif(tmp_path / "f.tif", fine), scale=0.0000275, offset=-0.2),
        "coarse_t1": write_tif(
            tmp_path / "a.tif", np.full((2, 60, 60), 2000, np.int16), crs="EPSG:4326", transform=degrees, scale=1e-4
        ),
        "coarse_t2": Raster(
            np.full((2, 100, 100), 0.3), transform=grid_transform(118) * Affine.translation(-5, -5), crs=UTM
        ),
    }
    result = fuse(rasters, tmp_path / "out.tif")
    assert not result.mask.any()
    np.testing.assert_allclose(result, 0.35, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(1, 90), (90, 1), (1, 1), (32, 32), (33, 32), (2, 31)])
def test_thin_scenes_and_scenes_of_one_tile(tmp_path, height, width):
    fine = smooth_field(2, height, width)
    coarse = block_mean(fine, 4)
    rasters = {
        "fine_t1": write_tif(tmp_path / "f.tif", fine),
        "coarse_t1": write_tif(tmp_path / "a.tif", coarse, pixel=120),
        "coarse_t2": write_tif(tmp_path / "b.tif", coarse + np.float32(0.1), pixel=120),
    }
    for rule in ({"halo": 4}, {"mode": "blend", "overlap": 8}):
        np.testing.assert_allclose(fuse(rasters, tmp_path / "out.tif", **rule), fine + 0.1, rtol=1e-5)


def test_zero_as_nodata_of_unsigned_integers(tmp_path):
    stored = np.rint(smooth_field(2, HEIGHT, WIDTH) * 1e4).astype(np.uint16)
    stored[:, :, :13] = 0
    stored[1, 30, 40] = 0
    path = write_tif(tmp_path / "f.tif", stored, nodata=0, scale=1e-4)
    result = fuse(files(tmp_path, fine_t1=path), tmp_path / "out.tif")
    np.testing.assert_array_equal(result.mask, np.broadcast_to((stored == 0).any(0), stored.shape))
    with rasterio.open(tmp_path / "out.tif") as made:
        assert (made.dtypes[0], made.nodata) == ("int16", -32768)


def test_more_bands_than_the_network_wants_by_name(tmp_path):
    """A full Sentinel-2 stack: the bands are found by their names."""
    names = ("coastal", "blue", "green", "red", "edge", "nir", "swir1")
    stack = np.stack([np.full((HEIGHT, WIDTH), i / 10, np.float32) for i in range(7)])
    path = write_tif(tmp_path / "f.tif", stack, names=names)
    result = fuse(files(tmp_path, fine_t1=path), tmp_path / "out.tif")
    np.testing.assert_allclose(result[0], 0.4, atol=1e-6)
    np.testing.assert_allclose(result[1], 0.6, atol=1e-6)
    with pytest.raises(BandError, match="swir2 not found"):
        fuse(files(tmp_path, fine_t1=path), tmp_path / "other.tif", bands=("red", "swir2"))


def test_a_file_cut_short_in_its_last_rows_fails_late_and_leaves_nothing(tmp_path):
    """The head of the file is whole: the damage shows when the stream gets there."""
    fine = np.random.default_rng(0).random((2, 1500, 200)).astype(np.float32)
    path = write_tif(tmp_path / "f.tif", fine, tiled=True, blockxsize=256, blockysize=256)
    with rasterio.open(path) as whole:
        end = int(whole.get_tag_item("BLOCK_OFFSET_0_5", "TIFF", 1))
    content = path.read_bytes()
    path.write_bytes(content[:end])
    coarse = np.zeros((2, 375, 50), np.float32)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RasterError, match=r"fine_t1 is damaged.*f\.tif"):
        fuse({"fine_t1": path, "coarse_t1": coarse, "coarse_t2": coarse}, out / "out.tif")
    assert list(out.iterdir()) == []


# Real scenes ---------------------------------------------------------------------------------------------


def test_landsat_with_clouds_and_modis_on_the_same_grid(tmp_path):
    """Kranj: Landsat times 10000 with gaps, MODIS as reflectance, both as floats with nodata -3.4e38."""
    folder = shared_path("data", "kranj_landsat_modis_2020")
    bands = ("blue", "green", "red", "nir", "swir1", "swir2")
    fine = next((folder / "landsat_unfilled").glob("2020068*.tif"))
    coarse = [next((folder / "modis_filled").glob(f"2020{day}*.tif")) for day in ("068", "077")]
    rasters = {"fine_t1": Raster(fine, scale=1e-4), "coarse_t1": coarse[0], "coarse_t2": coarse[1]}
    result = fuse(rasters, tmp_path / "out.tif", 16, bands=bands, ratio=1)
    arrays = []
    for path in (fine, *coarse):
        with rasterio.open(path) as source:
            arrays.append(source.read(masked=True).astype(np.float64))
    expected = arrays[0] * 1e-4 + arrays[2] - arrays[1]
    gaps = np.ma.getmaskarray(expected).any(axis=0)
    assert 0 < gaps.mean() < 0.2
    np.testing.assert_array_equal(result.mask, np.broadcast_to(gaps, result.shape))
    np.testing.assert_allclose(result[:, ~gaps], expected.data[:, ~gaps], atol=1e-5)


def test_kelvin_in_degrees(tmp_path):
    """Yanco: 0.001 degrees, MODIS repeated to the fine grid in blocks of 10: its means are its own pixels."""
    folder = shared_path("data", "yanco_lst_2016")
    rasters = {
        "fine_t1": folder / "Landsat_LST_cloudrm_20160205.tif",
        "coarse_t1": folder / "MOD11A1_LST_cloudrm_20160205.tif",
        "coarse_t2": folder / "MOD11A1_LST_cloudrm_20160218.tif",
    }
    result = fuse(
        rasters, tmp_path / "out.tif", 80, bands=("lst",), ratio=10, values=Values(unit="kelvin", offset=-300.0)
    )
    arrays = []
    for path in rasters.values():
        with rasterio.open(path) as source:
            arrays.append(source.read(masked=True).astype(np.float64))
    expected = arrays[0] + arrays[2] - arrays[1]
    agree = ~np.ma.getmaskarray(expected) & ~result.mask
    assert agree.mean() > 0.98
    np.testing.assert_allclose(result.data[agree], expected.data[agree], atol=1e-3)
    with rasterio.open(tmp_path / "out.tif") as made:
        assert made.units == ("kelvin",)
