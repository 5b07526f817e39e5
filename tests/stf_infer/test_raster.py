# SPDX-License-Identifier: Apache-2.0
"""Opening rasters, choosing their bands, and turning their numbers into a unit."""

from __future__ import annotations

import gc
import sys
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from fakes import UTM, grid_transform, write_tif
from stf_infer.errors import BandError, MissingExtraError, RasterError, ScaleError
from stf_infer.raster import Raster, check_plausible, chosen_bands, scaling_of
from stf_infer.spec import InputSpec, Values

RGBN = ("blue", "green", "red", "nir")


def spec(*bands: str, unit: str = "reflectance", role: str = "fine_t1") -> InputSpec:
    return InputSpec(role=role, tensor=role, bands=bands, values=Values(unit=unit))


def bands_of(raster: Any, *wanted: str) -> list[int]:
    raster = Raster.of(raster)
    with raster.open() as dataset:
        return chosen_bands(raster, dataset, spec(*wanted))


def scaling(raster: Any, *wanted: str, unit: str = "reflectance") -> Any:
    raster = Raster.of(raster)
    with raster.open() as dataset:
        numbers = chosen_bands(raster, dataset, spec(*wanted))
        return scaling_of(raster, dataset, numbers, spec(*wanted, unit=unit))


def counting(bands: int, dtype: Any = np.int16) -> np.ndarray:
    return np.arange(bands * 6).reshape(bands, 2, 3).astype(dtype)


# Opening files -------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RasterError, match=r"missing.*nothing\.tif"):
        Raster(tmp_path / "nothing.tif").open()


@pytest.mark.parametrize("content", [b"", b"hello", b"II*\x00garbage"])
def test_a_file_that_is_no_raster_is_named(tmp_path, content):
    path = tmp_path / "broken.tif"
    path.write_bytes(content)
    with pytest.raises(RasterError, match=r"cannot be read.*broken\.tif"):
        Raster(path).open()


def test_a_folder_is_no_raster(tmp_path):
    with pytest.raises(RasterError, match="cannot be read"):
        Raster(tmp_path).open()


@pytest.mark.parametrize(
    "name", ["/vsizip/no.zip/a.tif", "s3://bucket/key.tif", "NETCDF:no.nc:red", "GTIFF_DIR:1:no.tif"]
)
def test_what_gdal_opens_is_left_to_gdal(name, monkeypatch):
    """URLs and subdatasets reach GDAL letter by letter; a local path with a colon would have been looked for."""
    asked = []

    def refuse(given: Any) -> None:
        asked.append(given)
        raise rasterio.errors.RasterioIOError("offline")

    monkeypatch.setattr(rasterio, "open", refuse)
    with pytest.raises(RasterError, match=r"cannot be read.*offline"):
        Raster(name).open()
    assert asked == [name]


def test_a_subdataset_is_read_by_its_name(tmp_path):
    path = write_tif(tmp_path / "a.tif", counting(2))
    with Raster(f"GTIFF_DIR:1:{path}").open() as dataset:
        assert dataset.count == 2


def test_a_container_without_bands_names_its_parts(tmp_path):
    two = tmp_path / "two.gpkg"
    for name in ("one", "two"):
        extra = {"APPEND_SUBDATASET": "YES"} if two.exists() else {}
        profile = {"count": 1, "height": 2, "width": 3, "dtype": "uint8", "crs": UTM, "transform": grid_transform()}
        with rasterio.open(two, "w", driver="GPKG", RASTER_TABLE=name, **profile, **extra) as out:
            out.write(counting(1, np.uint8))
    with pytest.raises(RasterError, match=r"no band of its own.*two.*subdatasets"):
        Raster(two).open()


def test_any_path_like_is_a_path(tmp_path):
    class Somewhere:
        def __fspath__(self) -> str:
            return str(tmp_path / "a.tif")

    write_tif(tmp_path / "a.tif", counting(1))
    raster = Raster(Somewhere())
    assert not raster.is_array
    assert raster.label.endswith("a.tif")
    assert raster.file == tmp_path / "a.tif"
    with raster.open() as dataset:
        assert dataset.count == 1


# Arrays --------------------------------------------------------------------------------------------------

KEPT = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


@pytest.mark.parametrize(
    ("dtype", "held"),
    [*((d, d) for d in KEPT), ("float16", "float32"), ("int64", "float64"), ("uint64", "float64"), (">i2", "int16")],
)
def test_an_array_of_any_type_is_read_back(dtype, held):
    array = counting(4, dtype)
    with Raster(array, transform=grid_transform(), crs=UTM, names=RGBN).open() as dataset:
        assert dataset.dtypes == (held,) * 4
        assert dataset.descriptions == RGBN
        assert dataset.transform == grid_transform()
        assert dataset.crs.to_string() == UTM
        np.testing.assert_array_equal(dataset.read(), array)


def test_four_bands_of_bytes_are_four_bands():
    """GDAL would take the fourth one for alpha."""
    with Raster(counting(4, np.uint8)).open() as dataset:
        assert ColorInterp.alpha not in dataset.colorinterp
        assert dataset.read_masks().min() == 255


def test_a_flat_array_is_one_band():
    with Raster(np.ones((3, 5), np.float32)).open() as dataset:
        assert (dataset.count, dataset.height, dataset.width) == (1, 3, 5)


def test_a_masked_array_keeps_its_mask():
    array = np.ma.masked_equal(counting(2), 3)
    with Raster(array).open() as dataset:
        mask = dataset.read_masks(1)
    assert mask.tolist() == [[255, 255, 255], [0, 255, 255]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4, 5)), r"shape \(2, 3, 4, 5\).*\(C, H, W\)"),
        (np.zeros(4), r"shape \(4,\)"),
        (np.zeros((0, 3, 4)), r"shape \(0, 3, 4\)"),
        (np.zeros((1, 3, 4), bool), "dtype bool"),
        (np.zeros((1, 3, 4), complex), "dtype complex128"),
        (np.array([["a", "b"]]), "dtype <U1"),
    ],
)
def test_what_is_no_raster_is_refused(array, message):
    with pytest.raises(RasterError, match=message), Raster(array).open():
        pass


def test_names_and_crs_of_an_array_are_checked():
    with pytest.raises(BandError, match="names than of bands"), Raster(counting(2), names=("a",)).open():
        pass
    with pytest.raises(RasterError, match=r"CRS.*EPSG:99999999"), Raster(counting(2), crs="EPSG:99999999").open():
        pass


def test_the_memory_of_an_array_is_freed():
    """The copy that GDAL reads lives as long as the dataset is open."""
    with Raster(counting(1)).open() as dataset:
        name = dataset.name
        with rasterio.open(name) as again:
            assert again.count == 1
    gc.collect()
    with pytest.raises(rasterio.errors.RasterioIOError):
        rasterio.open(name)


def test_a_nodata_value_that_the_type_cannot_hold_is_no_error():
    with Raster(counting(1, np.uint8), nodata=-9999).open() as dataset:
        assert dataset.nodata is None


class TestDataArray:
    @pytest.fixture(autouse=True)
    def _needs_xarray(self) -> None:
        pytest.importorskip("rioxarray")

    def array(self, pixels: np.ndarray, dims: tuple[str, ...] = ("band", "y", "x"), **coords: Any) -> Any:
        import xarray as xr

        lengths = dict(zip(dims, pixels.shape, strict=True))
        y = 5_300_000 - 30 * (np.arange(lengths["y"]) + 0.5)
        x = 500_000 + 30 * (np.arange(lengths["x"]) + 0.5)
        return xr.DataArray(pixels, dims=dims, coords={"y": y, "x": x, **coords}).rio.write_crs(UTM)

    def test_grid_names_and_nodata_come_along(self):
        data = self.array(counting(2), band=["red", "nir"]).rio.write_nodata(-1)
        raster = Raster(data)
        assert raster.is_array
        assert raster.has_georeference
        with raster.open() as dataset:
            assert dataset.transform.almost_equals(grid_transform())
            assert dataset.crs.to_string() == UTM
            assert dataset.descriptions == ("red", "nir")
            assert dataset.nodata == -1
            np.testing.assert_array_equal(dataset.read(), counting(2))

    def test_dimensions_may_come_in_any_order(self):
        data = self.array(counting(4).transpose(1, 2, 0), ("y", "x", "band"))
        with Raster(data).open() as dataset:
            np.testing.assert_array_equal(dataset.read(), counting(4))

    def test_two_dimensions_are_one_band(self):
        with Raster(self.array(counting(1)[0], ("y", "x"))).open() as dataset:
            assert dataset.count == 1

    def test_scale_and_names_as_rioxarray_reads_them(self, tmp_path):
        import rioxarray

        path = write_tif(tmp_path / "a.tif", counting(2), scale=0.001, offset=-0.1, names=("red", "nir"))
        with rioxarray.open_rasterio(path) as data, Raster(data).open() as dataset:
            assert dataset.scales == (0.001, 0.001)
            assert dataset.offsets == (-0.1, -0.1)
            assert dataset.descriptions == ("red", "nir")

    def test_one_without_a_place_is_refused(self):
        import xarray as xr

        data = xr.DataArray(counting(2), dims=("a", "b", "c"))
        with pytest.raises(RasterError, match="does not say where it lies"), Raster(data).open():
            pass

    def test_without_rioxarray_the_extra_is_named(self, monkeypatch):
        data = self.array(counting(2))
        monkeypatch.setitem(sys.modules, "rioxarray", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'stf-infer\[xarray\]'"), Raster(data).open():
            pass

    def test_a_time_axis_is_refused(self):
        data = self.array(counting(2)[None], ("time", "band", "y", "x"))
        with pytest.raises(RasterError, match=r"shape \(1, 2, 2, 3\)"), Raster(data).open():
            pass


# Bands ---------------------------------------------------------------------------------------------------


def test_bands_without_names_are_taken_in_order(tmp_path):
    assert bands_of(write_tif(tmp_path / "a.tif", counting(2)), "red", "nir") == [1, 2]


@pytest.mark.parametrize("names", [("NIR", " red", "Blue", "green"), ("nir", "Red ", "blue", "GREEN")])
def test_names_are_matched_whatever_their_order_and_case(tmp_path, names):
    path = write_tif(tmp_path / "a.tif", counting(4), names=names)
    assert bands_of(path, *RGBN) == [3, 4, 2, 1]
    assert bands_of(path, "nir") == [1]


def test_names_that_do_not_match_show_both_sides(tmp_path):
    path = write_tif(tmp_path / "a.tif", counting(2), names=("SR_B4", "SR_B5"))
    with pytest.raises(BandError, match=r"red, nir not found.*sr_b4, sr_b5.*Allowed: red, nir.*--bands fine_t1="):
        bands_of(path, "red", "nir")


@pytest.mark.parametrize("names", [("Band 1", "Band 2"), ("band_1", "band_2"), ("1", "2"), ("red", None), ("a", "a")])
def test_names_that_say_nothing_are_not_matched(tmp_path, names):
    assert bands_of(write_tif(tmp_path / "a.tif", counting(2), names=names), "red", "nir") == [1, 2]


def test_a_network_may_name_its_bands_by_numbers(tmp_path):
    path = write_tif(tmp_path / "a.tif", counting(2), names=("band_2", "band_1"))
    assert bands_of(path, "band_1", "band_2") == [2, 1]


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_bands_is_refused(tmp_path, count):
    path = write_tif(tmp_path / "a.tif", counting(count))
    with pytest.raises(BandError, match=rf"number of bands of fine_t1.*: {count}. Allowed: 2 \(red, nir\).*--bands"):
        bands_of(path, "red", "nir")


@pytest.mark.parametrize(
    ("stated", "numbers"),
    [((3, 1), [3, 1]), (("3", "1"), [3, 1]), (("nir", "red"), [4, 3]), (("NIR", 1), [4, 1]), ((2, 2), [2, 2])],
)
def test_stated_bands_win(tmp_path, stated, numbers):
    path = write_tif(tmp_path / "a.tif", counting(4), names=RGBN)
    assert bands_of(Raster(path, bands=stated), "red", "nir") == numbers


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ((1, 5), r"no such band. Got: \[5\]. Allowed: 1 to 4"),
        ((0, 1), r"no such band. Got: \[0\]"),
        (("red", "swir"), r"no band of that name. Got: swir. Allowed: blue, green, red, nir"),
        (("-1", "1"), r"no band of that name. Got: -1"),
        ((1,), r"another number of bands. Got: 1 \(1\). Allowed: 2 \(red, nir\)"),
    ],
)
def test_stated_bands_that_cannot_be(tmp_path, stated, message):
    path = write_tif(tmp_path / "a.tif", counting(4), names=RGBN)
    with pytest.raises(BandError, match=message):
        bands_of(Raster(path, bands=stated), "red", "nir")


def test_an_alpha_band_is_no_data_unless_the_count_says_so(tmp_path):
    path = write_tif(tmp_path / "rgba.tif", counting(4, np.uint8), photometric="RGB", alpha="YES")
    assert bands_of(path, "red", "green", "blue") == [1, 2, 3]
    assert bands_of(path, *RGBN) == [1, 2, 3, 4]
    assert bands_of(Raster(path, bands=(4,)), "red") == [4]
    with pytest.raises(BandError, match=r": 3. Allowed: 2"):
        bands_of(path, "red", "nir")


# Scaling -------------------------------------------------------------------------------------------------


def test_the_scale_of_the_file_is_used_band_by_band(tmp_path):
    path = write_tif(tmp_path / "a.tif", counting(2))
    with rasterio.open(path, "r+") as out:
        out.scales, out.offsets = (0.0000275, 0.0001), (-0.2, 0)
    found = scaling(Raster(path, bands=(2, 1)), "red", "nir")
    assert found.scale.tolist() == [0.0001, 0.0000275]
    assert found.offset.tolist() == [0, -0.2]
    assert found.stated


def test_what_the_user_states_wins(tmp_path):
    path = write_tif(tmp_path / "a.tif", counting(1), scale=0.5, offset=7)
    found = scaling(Raster(path, scale=0.1), "red")
    assert (found.scale.item(), found.offset.item(), found.stated) == (0.1, 0.0, True)
    found = scaling(Raster(path, offset=3), "red")
    assert (found.scale.item(), found.offset.item()) == (1.0, 3.0)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32"])
def test_integers_without_a_scale_are_not_guessed(tmp_path, dtype):
    path = write_tif(tmp_path / "a.tif", counting(2, dtype))
    with pytest.raises(ScaleError, match=rf"integers and no scale.*{dtype}.*--scale fine_t1=0\.0001"):
        scaling(path, "red", "nir")
    assert not scaling(path, "red", "nir", unit="1").stated


def test_floats_need_no_scale(tmp_path):
    found = scaling(write_tif(tmp_path / "a.tif", counting(1, np.float32)), "red")
    assert (found.scale.item(), found.offset.item(), found.stated) == (1, 0, False)


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_a_scale_that_cannot_be_used_is_refused(tmp_path, scale):
    path = write_tif(tmp_path / "a.tif", counting(1, np.float32))
    with pytest.raises(ScaleError, match="cannot be used"):
        scaling(Raster(path, scale=scale), "red")


def test_a_file_that_states_a_scale_of_zero_is_refused(tmp_path):
    path = write_tif(tmp_path / "a.tif", counting(1), scale=0.0)
    with pytest.raises(ScaleError, match=r"states a scale that cannot be used.*scale \[0\.0\].*--scale fine_t1="):
        scaling(path, "red")


@pytest.mark.parametrize(
    ("unit", "values", "allowed"),
    [
        ("reflectance", [0.1, 0.5, 1.2], True),
        ("reflectance", [900, 1500, 0.2], False),
        ("reflectance", [900, 0.3, 0.2], True),  # a minority of odd values proves nothing
        ("kelvin", [290, 301.5], True),
        ("kelvin", [17.0, 21.0], False),
        ("1", [1e9], True),
    ],
)
def test_numbers_must_be_plausible_for_their_unit(unit, values, allowed):
    one = spec("red", unit=unit)
    found = scaling(np.zeros((1, 2, 2), np.float32), "red")
    numbers = np.array([values], float)
    if allowed:
        check_plausible(numbers, one, "a.tif", found)
    else:
        with pytest.raises(ScaleError, match=rf"does not hold {unit}.*a\.tif: median.*--scale fine_t1="):
            check_plausible(numbers, one, "a.tif", found)


def test_a_stated_scale_is_believed():
    found = scaling(Raster(np.zeros((1, 2, 2), np.float32), scale=1.0), "red")
    check_plausible(np.array([[5000.0]]), spec("red"), "a.tif", found)
