# SPDX-License-Identifier: Apache-2.0
"""Result files: the exact grid, what is written with the pixels, overviews, COG, and destinations left alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Compression
from rio_cogeo import cog_validate

from fakes import ORIGIN, UTM, add_coarse_change, block_mean, grid_transform, make_model, make_spec, read_tif, write_tif
from stf_infer.errors import EngineError, OutputError, UsageError
from stf_infer.fusion import FusionResult
from stf_infer.layout import FileOptions
from stf_infer.output import SceneWriter
from stf_infer.raster import Raster
from stf_infer.spec import Values
from stf_infer.storage import CompressName, DTypeName, FormatName
from support import shared_path

SINUSOIDAL = CRS.from_proj4("+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs")


def rough(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (2, height, width)).astype(np.float32)


def fuse_identity(
    path: Path, fine: Any, tile: int = 128, *, bands: tuple[str, ...] = ("red", "nir"), **options: Any
) -> FusionResult:
    """A result that holds what fine_t1 holds."""
    spec = make_spec(tile, roles=("fine_t1",), bands=bands, ratio=1, values=options.pop("values", None))
    return make_model(spec, lambda fine_t1: fine_t1).fuse(path, fine_t1=fine, **options)


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# The grid is that of fine_t1 -----------------------------------------------------------------------------

TRANSFORMS = {
    "north-up": grid_transform(),
    "rotated": Affine.translation(*ORIGIN) * Affine.rotation(17.3) * Affine.scale(30, -30),
    "sheared": Affine(30.1, 2.7, ORIGIN[0], -1.3, -29.9, ORIGIN[1]),
    "south-up": Affine(30, 0, ORIGIN[0], 0, 30, ORIGIN[1]),
    "uneven": Affine(29.933173, 0, 1_084_217.7700012, 0, -30.0000001, 5_138_600.3),
}


@pytest.mark.parametrize("format", get_args(FormatName))
@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_transform_is_kept_to_the_bit(tmp_path, name, format):
    fine = write_tif(tmp_path / "fine.tif", rough(40, 50), transform=TRANSFORMS[name])
    fuse_identity(tmp_path / "out.tif", fine, format=format)
    with rasterio.open(fine) as a, rasterio.open(tmp_path / "out.tif") as b:
        assert tuple(b.transform) == tuple(a.transform)
        assert (b.width, b.height) == (a.width, a.height)
    assert left_in(tmp_path) == ["fine.tif", "out.tif"]


@pytest.mark.parametrize("format", get_args(FormatName))
@pytest.mark.parametrize(
    "crs",
    [
        UTM,
        "EPSG:4326",
        "EPSG:3035",
        "EPSG:2056",
        SINUSOIDAL,
        "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +x_0=0 +y_0=0 +datum=NAD83 +units=m",
        "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +to_meter=0.0174532925199433",
        "ESRI:54009",
        "EPSG:32633+5773",
    ],
)
def test_the_wkt_is_kept_letter_by_letter(tmp_path, crs, format):
    crs = CRS.from_user_input(crs)
    fine = write_tif(tmp_path / "fine.tif", rough(40, 50), crs=crs)
    before = left_in(tmp_path)
    fuse_identity(tmp_path / "out.tif", fine, format=format)
    with rasterio.open(fine) as a, rasterio.open(tmp_path / "out.tif") as b:
        assert b.crs.to_wkt() == a.crs.to_wkt()
    # A CRS that GeoTIFF cannot express lies beside the file, as it does beside fine.tif.
    assert left_in(tmp_path) == sorted([*before, *(name.replace("fine", "out") for name in before)])


def test_a_scene_without_a_place_has_none_afterwards(tmp_path):
    fuse_identity(tmp_path / "out.tif", rough(40, 50))
    with rasterio.open(tmp_path / "out.tif") as out:
        assert out.crs is None
        assert out.transform.is_identity
    np.testing.assert_array_equal(read_tif(tmp_path / "out.tif"), rough(40, 50))


@pytest.mark.parametrize("format", get_args(FormatName))
def test_real_landsat_on_the_modis_projection(tmp_path, format):
    """Kranj: a sinusoidal CRS on a sphere without a code, and pixels of 29.9 x 30.0 m."""
    fine = next(shared_path("data", "kranj_landsat_modis_2020", "landsat_filled").glob("2020068*.tif"))
    bands = ("blue", "green", "red", "nir", "swir1", "swir2")
    fuse_identity(tmp_path / "out.tif", Raster(fine, scale=1e-4), bands=bands, format=format)
    with rasterio.open(fine) as a, rasterio.open(tmp_path / "out.tif") as b:
        assert b.crs.to_wkt() == a.crs.to_wkt()
        assert tuple(b.transform) == tuple(a.transform)
        np.testing.assert_allclose(b.read(), a.read() * 1e-4, rtol=1e-5)
    assert left_in(tmp_path) == ["out.tif"]


def test_real_jpeg_2000(tmp_path):
    fine = shared_path("data", "sentinel2_t33uuu_20170216", "T33UUU_20170216T102101_B02.jp2")
    fuse_identity(tmp_path / "out.tif", Raster(fine, scale=1e-4), 512, bands=("blue",))
    with rasterio.open(fine) as a, rasterio.open(tmp_path / "out.tif") as b:
        assert b.crs.to_wkt() == a.crs.to_wkt()
        assert tuple(b.transform) == tuple(a.transform)
        assert b.dtypes == ("int16",)
        np.testing.assert_array_equal(b.read(), a.read())


def test_an_area_has_its_part_of_the_grid(tmp_path):
    fine = write_tif(tmp_path / "fine.tif", rough(60, 50))
    west, north = ORIGIN[0] + 30 * 7, ORIGIN[1] - 30 * 11
    fuse_identity(tmp_path / "out.tif", fine, 16, aoi=(west, north - 30 * 20, west + 30 * 33, north))
    with rasterio.open(tmp_path / "out.tif") as out:
        assert out.transform == Affine(30, 0, west, 0, -30, north)
        assert (out.height, out.width) == (20, 33)
        np.testing.assert_array_equal(out.read(), rough(60, 50)[:, 11:31, 7:40])


# What is written with the pixels -------------------------------------------------------------------------


@pytest.mark.parametrize("format", get_args(FormatName))
@pytest.mark.parametrize("compress", get_args(CompressName))
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_every_layout_tells_what_it_holds(tmp_path, format, compress, dtype):
    array = rough(700, 300)
    array[:, 5, 6] = np.nan
    fine = write_tif(tmp_path / "fine.tif", array)
    result = fuse_identity(tmp_path / "out.tif", fine, format=format, compress=compress, dtype=dtype)
    with rasterio.open(tmp_path / "out.tif") as out:
        assert out.dtypes == (dtype, dtype)
        assert out.descriptions == ("red", "nir")
        assert out.units == ("reflectance", "reflectance")
        scale = 1e-4 if dtype == "int16" else 1.0
        assert out.scales == (scale, scale)
        assert out.offsets == (0, 0)
        np.testing.assert_equal(out.nodata, -32768 if dtype == "int16" else np.nan)
        expected = {"none": None, "zstd": Compression.zstd, "deflate": Compression.deflate, "lzw": Compression.lzw}
        assert out.compression == expected[compress]
        assert out.block_shapes == [(512, 512)] * 2
        assert out.overviews(1) == [2]
        physical = out.read(masked=True) * scale
        assert physical.mask[:, 5, 6].all()
        assert physical.mask.sum() == 2
        np.testing.assert_allclose(physical.filled(np.nan), array, atol=0.51 * scale if dtype == "int16" else 0)
        tags = out.tags()
        assert {f"STF_{k.upper()}": v for k, v in result.provenance.items()}.items() <= tags.items()
        assert tags["STF_INPUTS"] == "fine_t1=fine.tif"
        assert tags["TIFFTAG_SOFTWARE"].startswith("stf-infer ")
    if format == "cog":
        valid, errors, warnings = cog_validate(tmp_path / "out.tif", strict=True)
        assert (valid, errors, warnings) == (True, [], [])
    assert left_in(tmp_path) == ["fine.tif", "out.tif"]


@pytest.mark.parametrize(
    ("held", "nodata", "dtype", "stored_nodata"),
    [
        ("int16", -9999, "int16", -9999),
        ("int16", None, "int16", -32768),
        ("int16", 0, "int16", -32768),
        ("uint16", 0, "int16", -32768),
        ("uint16", 65535, "int16", -32768),
        ("int32", -99999, "int16", -32768),
        ("uint8", 255, "int16", -32768),
        ("float32", -9999.0, "float32", np.nan),
        ("float64", None, "float32", np.nan),
    ],
)
def test_auto_follows_fine_t1(tmp_path, held, nodata, dtype, stored_nodata):
    scale = 1.0 if held.startswith("float") else 1e-4 if held != "uint8" else 1 / 255
    array = np.clip(rough(20, 30) / scale, 1, 30_000).astype(held)
    if nodata is not None:
        array[0, 3, 4] = nodata
    fine = write_tif(tmp_path / "fine.tif", array, nodata=nodata, scale=scale)
    fuse_identity(tmp_path / "out.tif", fine)
    with rasterio.open(tmp_path / "out.tif") as out:
        assert out.dtypes == (dtype, dtype)
        np.testing.assert_equal(out.nodata, stored_nodata)
        holes = out.read_masks(1) == 0
    assert np.argwhere(holes).tolist() == ([[3, 4]] if nodata is not None else [])


def test_a_unit_that_int16_cannot_hold_is_written_as_floats(tmp_path):
    """Kelvin with a storage scale for reflectance: 300 would be 3,000,000."""
    kelvin = Values(unit="kelvin")
    stored = np.full((2, 20, 20), 15_000, np.uint16)
    fine = write_tif(tmp_path / "fine.tif", stored, scale=0.02)
    fuse_identity(tmp_path / "out.tif", fine, values=kelvin)
    with rasterio.open(tmp_path / "out.tif") as out:
        assert out.dtypes == ("float32", "float32")
        assert out.units == ("kelvin", "kelvin")
    np.testing.assert_allclose(read_tif(tmp_path / "out.tif"), 300, rtol=1e-6)
    with pytest.raises(UsageError, match=r"int16 cannot hold kelvin.*--dtype float32"):
        fuse_identity(tmp_path / "other.tif", fine, values=kelvin, dtype="int16")


@pytest.mark.parametrize(("name", "value"), [("dtype", "int8"), ("format", "png"), ("compress", "jpeg")])
def test_a_choice_that_does_not_exist_lists_the_others(tmp_path, name, value):
    allowed = {"dtype": DTypeName, "format": FormatName, "compress": CompressName}[name]
    with pytest.raises(
        UsageError, match=rf"{name} has no such choice. Got: {value}. Allowed: {', '.join(get_args(allowed))}"
    ):
        fuse_identity(tmp_path / "out.tif", rough(20, 20), **{name: value})
    assert left_in(tmp_path) == []


# Overviews, blocks, empty areas --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "factors"), [(1, 1, []), (511, 20, []), (513, 20, [2]), (20, 1100, [2, 4]), (1, 600, [2])]
)
def test_overviews_halve_down_to_256(tmp_path, height, width, factors):
    fine = write_tif(tmp_path / "fine.tif", rough(height, width))
    fuse_identity(tmp_path / "out.tif", fine)
    with rasterio.open(tmp_path / "out.tif") as out:
        assert out.overviews(1) == factors
        np.testing.assert_array_equal(out.read(), rough(height, width))


@pytest.mark.parametrize("format", get_args(FormatName))
def test_an_overview_averages_and_leaves_nodata_out(tmp_path, format):
    array = np.full((2, 600, 600), 0.5, np.float32)
    array[:, ::2, ::2] = np.nan
    array[:, :64, :64] = np.nan
    fine = write_tif(tmp_path / "fine.tif", array)
    fuse_identity(tmp_path / "out.tif", fine, format=format)
    with rasterio.open(tmp_path / "out.tif", overview_level=0) as reduced:
        small = reduced.read(1)
    assert small.shape == (300, 300)
    assert np.isnan(small[:32, :32]).all()
    assert (small[33:, 33:] == 0.5).all()


def test_overviews_can_be_left_out(tmp_path):
    fine = write_tif(tmp_path / "fine.tif", rough(600, 600))
    fuse_identity(tmp_path / "out.tif", fine, overviews=False)
    with rasterio.open(tmp_path / "out.tif") as out:
        assert out.overviews(1) == []


@pytest.mark.parametrize("format", get_args(FormatName))
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_many_blocks_with_large_empty_areas(tmp_path, format, dtype):
    """Blocks without data take no place and are read as nodata; all the others are what was put in."""
    array = rough(1300, 1700)
    array[:, :600] = np.nan
    array[:, :, 1100:] = np.nan
    fine = write_tif(tmp_path / "fine.tif", array)
    result = fuse_identity(tmp_path / "out.tif", fine, 256, format=format, dtype=dtype)
    assert result.skipped_tiles > 0
    with rasterio.open(tmp_path / "out.tif") as out:
        masked = out.read(masked=True)
        np.testing.assert_array_equal(masked.mask, np.isnan(array))
        tolerance = 5.1e-5 if dtype == "int16" else 0
        np.testing.assert_allclose(masked.filled(0) * out.scales[0], np.nan_to_num(array), atol=tolerance)
        empty = out.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", 1)
        full = out.get_tag_item("BLOCK_OFFSET_0_1", "TIFF", 1)
        assert empty is None
        assert full is not None
    assert result.valid_fraction == pytest.approx(700 * 1100 / (1300 * 1700))


def test_numbers_of_int16_are_rounded_and_kept_off_nodata(tmp_path):
    array = np.array([0.0, 0.12344, 0.12346, -0.00006, 9.0, -9.0], np.float32)
    array = np.broadcast_to(array, (2, 4, 6)).copy()
    fine = Raster(array, transform=grid_transform(), crs=UTM, scale=1.0)
    fuse_identity(tmp_path / "out.tif", fine, dtype="int16")
    assert read_tif(tmp_path / "out.tif")[0, 0].tolist() == [0, 1234, 1235, -1, 32767, -32767]


# Destinations --------------------------------------------------------------------------------------------


def failing(at: int, error: BaseException) -> Any:
    """A network that fails at its nth tile."""
    calls = iter(range(10_000))

    def function(fine_t1: np.ndarray) -> np.ndarray:
        if next(calls) == at:
            raise error
        return fine_t1

    return make_model(make_spec(64, roles=("fine_t1",), ratio=1), function)


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("at", [0, 40, 143])
@pytest.mark.parametrize("error", [EngineError("failed"), KeyboardInterrupt()])
def test_a_failed_run_leaves_the_destination_alone(tmp_path, existing, at, error, monkeypatch):
    monkeypatch.setattr("stf_infer.output._CHECKPOINT_EVERY", 0.0)
    destination = tmp_path / "out.tif"
    if existing:
        destination.write_bytes(b"something else")
    before = left_in(tmp_path)
    with pytest.raises(type(error)):
        failing(at, error).fuse(destination, fine_t1=rough(768, 768))
    assert left_in(tmp_path) == before
    if existing:
        assert destination.read_bytes() == b"something else"


def test_a_finished_run_replaces_what_was_there(tmp_path):
    destination = write_tif(tmp_path / "out.tif", np.zeros((1, 5, 5), np.uint8))
    for sidecar in (".aux.xml", ".ovr", ".msk"):
        (tmp_path / f"out.tif{sidecar}").write_text("of the old file")
    fuse_identity(destination, rough(20, 30))
    np.testing.assert_array_equal(read_tif(destination), rough(20, 30))
    assert left_in(tmp_path) == ["out.tif"]


def test_nothing_is_written_where_nothing_is_valid(tmp_path):
    with pytest.raises(Exception, match="Not one pixel"):
        fuse_identity(tmp_path / "out.tif", np.full((2, 40, 40), np.nan, np.float32))
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("where", "message"),
    [("missing/out.tif", r"folder of the destination is missing. Got: .*missing"), ("", "destination is a folder")],
)
def test_a_destination_that_cannot_be(tmp_path, where, message):
    with pytest.raises(OutputError, match=message):
        fuse_identity(tmp_path / where, rough(20, 20))
    assert left_in(tmp_path) == []


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OutputError, match="folder of the destination cannot be written"):
        fuse_identity(tmp_path / "out.tif", rough(20, 20))


def test_a_file_that_cannot_be_begun_leaves_nothing(tmp_path, monkeypatch):
    def half(self: SceneWriter) -> None:
        self._partial.write_bytes(b"II")
        raise rasterio.errors.RasterioIOError("no space")

    monkeypatch.setattr(SceneWriter, "_create", half)
    with pytest.raises(OutputError, match=r"cannot be written.*no space"):
        fuse_identity(tmp_path / "out.tif", rough(20, 20))
    assert left_in(tmp_path) == []


def test_a_file_that_is_not_what_was_written_is_not_given_its_name(tmp_path, monkeypatch):
    """Every row of blocks is compared, not only the last one."""
    overviews = FileOptions.build_overviews

    def spoil(self: FileOptions, path: Path) -> None:
        overviews(self, path)
        with rasterio.open(path, "r+") as out:
            out.write(np.zeros((1, 1), np.float32), 2, window=rasterio.windows.Window(7, 3, 1, 1))

    monkeypatch.setattr(FileOptions, "build_overviews", spoil)
    with pytest.raises(OutputError, match="the file on disk is not what was written"):
        fuse_identity(tmp_path / "out.tif", rough(1200, 40))
    assert left_in(tmp_path) == []


def test_a_folder_that_is_gone_meanwhile(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()

    def remove(done: int, total: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    with pytest.raises(OutputError, match=r"cannot be written"):
        fuse_identity(folder / "out.tif", rough(1200, 40), progress=remove)
    assert not folder.exists()


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="folder of the destination is missing"):
        fuse_identity(tmp_path / "file" / "out.tif", rough(20, 20))


@pytest.mark.parametrize("role", ["fine_t1", "coarse_t2"])
def test_an_input_is_not_overwritten(tmp_path, role):
    fine = rough(40, 40)
    rasters = {
        "fine_t1": write_tif(tmp_path / "fine_t1.tif", fine),
        "coarse_t1": write_tif(tmp_path / "coarse_t1.tif", block_mean(fine, 4), pixel=120),
        "coarse_t2": write_tif(tmp_path / "coarse_t2.tif", block_mean(fine, 4), pixel=120),
    }
    content = rasters[role].read_bytes()
    link = tmp_path / "link.tif"
    link.symlink_to(rasters[role])
    for destination in (rasters[role], link):
        with pytest.raises(UsageError, match=f"would overwrite an input. Got: {role}"):
            make_model(make_spec(16), add_coarse_change).fuse(destination, **rasters)
    assert rasters[role].read_bytes() == content


def test_the_name_of_the_destination_may_be_anything(tmp_path):
    for name in ("no_suffix", "with space.tiff", "ünïcödé.tif", "a.b.c"):
        fuse_identity(tmp_path / name, rough(20, 30))
        np.testing.assert_array_equal(read_tif(tmp_path / name), rough(20, 30))
