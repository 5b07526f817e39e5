# SPDX-License-Identifier: Apache-2.0
"""Files whose names, CRS or transform are stated: the same pixels under another description."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from fakes import grid_transform, write_tif
from stf_infer.errors import BandError, RasterError
from stf_infer.raster import Raster, chosen_bands
from stf_infer.spec import InputSpec

RGBN = ("blue", "green", "red", "nir")


def counting(bands, dtype=np.int16):
    return np.arange(bands * 6).reshape(bands, 2, 3).astype(dtype)


def test_a_file_can_be_given_other_names(tmp_path):
    path = write_tif(tmp_path / "a.tif", counting(4), names=("a", "b", "c", "d"), scale=0.5, nodata=7)
    raster = Raster(path, names=RGBN)
    with raster.open() as dataset, rasterio.open(path) as plain:
        wanted = InputSpec(role="fine_t1", tensor="fine_t1", bands=("nir", "red"))
        assert chosen_bands(raster, dataset, wanted) == [4, 3]
        assert dataset.crs == plain.crs
        assert dataset.transform == plain.transform
        assert (dataset.scales, dataset.nodata) == (plain.scales, 7)
        np.testing.assert_array_equal(dataset.read(), plain.read())
    with rasterio.open(path) as plain:
        assert plain.descriptions == ("a", "b", "c", "d")
    with pytest.raises(BandError, match=r"a\.tif: 4.*Allowed: 2 \(red, nir\)"), Raster(path, names=RGBN[2:]).open():
        pass


def test_a_file_can_be_given_another_place(tmp_path):
    path = write_tif(tmp_path / "a.tif", counting(2), crs=None, transform=None)
    with Raster(path, crs="EPSG:32655", transform=grid_transform(25)).open() as dataset:
        assert (dataset.crs.to_epsg(), dataset.transform) == (32655, grid_transform(25))
        assert dataset.descriptions == (None, None)
        np.testing.assert_array_equal(dataset.read(), counting(2))
    with pytest.raises(RasterError, match="CRS cannot be understood"), Raster(path, crs="EPSG:x").open():
        pass


def test_a_named_band_of_a_file_is_no_mask(tmp_path):
    pixels = counting(4, np.uint8)
    path = write_tif(tmp_path / "a.tif", pixels, photometric="RGB", alpha="yes")
    with rasterio.open(path) as plain, Raster(path, names=RGBN).open() as named:
        assert plain.colorinterp[3] == ColorInterp.alpha
        assert ColorInterp.alpha not in named.colorinterp
        assert (plain.read_masks(1) == pixels[3]).all()
        assert (named.read_masks(1) == 255).all()
