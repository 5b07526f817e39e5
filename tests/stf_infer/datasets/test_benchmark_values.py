# SPDX-License-Identifier: Apache-2.0
"""Values and grids of benchmark datasets: what a copy may do otherwise, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import rasterio
from affine import Affine

from dataset_folders import SHAPE, images, make_folder
from fakes import grid_transform, make_model, make_spec, write_tif
from stf_infer import datasets
from stf_infer.datasets import LAYOUTS
from stf_infer.errors import BandError, GridError, RasterError, ScaleError
from stf_infer.metrics import compare


def add_change(fine_t1, coarse_t1, coarse_t2):
    return fine_t1 + coarse_t2 - coarse_t1


def test_statements_of_a_copy(tmp_path):
    def halved(path, image, pixel):
        write_tif(path, (image * 5e-5).astype(np.float32)[:2], pixel=pixel)

    make_folder(tmp_path, "CIA", write=halved)
    data = datasets.open("CIA", tmp_path, scale=2, bands=["nir", "red"], nodata=-1, ratio=16)
    assert data.statements == datasets.Statements(("nir", "red"), 2, -1, 16)
    spec = make_spec(bands=("red", "nir"), coarse_grid="fine")
    result = make_model(spec, add_change).fuse(**data.tuples()[0].inputs)
    np.testing.assert_allclose(result.array, images("CIA", 2)[1][0][1::-1] * 1e-4, atol=1e-6)
    assert data.tuples()[0].ratio == 16


@pytest.mark.parametrize(
    ("name", "factor", "dtype"),
    [("CIA", 1e-4, np.float32), ("Butte", 1e4, np.int16), ("AHB", 1e4 / 255, np.int16), ("Wuhan", 255e-4, np.uint8)],
)
def test_copies_at_another_scale_are_refused(tmp_path, name, factor, dtype):
    def scaled(path, image, pixel):
        write_tif(path, (image * factor).astype(dtype), pixel=pixel)

    make_folder(tmp_path, name, write=scaled)
    with pytest.raises(ScaleError, match=r"cannot be reflectance.*median.*scale=0\.0001"):
        datasets.open(name, tmp_path)
    assert len(datasets.open(name, tmp_path, scale=LAYOUTS[name].scale / factor).pairs) == 3


def test_the_number_of_bands(tmp_path):
    make_folder(tmp_path, "CIA", write=lambda path, image, pixel: write_tif(path, image[:4], pixel=pixel))
    with pytest.raises(BandError, match=r"agd66\.tif: 4.*Allowed: 6 \(blue, green.*bands="):
        datasets.open("CIA", tmp_path)


def test_a_fourth_band_of_bytes_is_no_mask(tmp_path):
    def rgba(path, image, pixel):
        write_tif(path, np.where(np.arange(len(image))[:, None, None] == 3, 0, image), photometric="RGB", alpha="yes")

    make_folder(tmp_path, "AHB", write=rgba)
    with rasterio.open(next(tmp_path.rglob("*.tif"))) as dataset:
        assert "alpha" in [kind.name for kind in dataset.colorinterp]
    inputs = datasets.open("AHB", tmp_path).tuples()[0].inputs
    result = make_model(make_spec(bands=LAYOUTS["AHB"].bands, coarse_grid="fine"), add_change).fuse(**inputs)
    assert np.isfinite(result.array).all()


def test_fine_images_of_other_sizes(tmp_path):
    make_folder(tmp_path, "LGC")
    write_tif(tmp_path / "Landsat" / "20011101_TM.tif", images("LGC", 3)[2][0][:, 1:])
    with pytest.raises(GridError, match=r"of one size.*20011101_TM\.tif: 23 x 32.*20011007_TM\.tif: 24 x 32"):
        datasets.open("LGC", tmp_path)


def test_coarse_images_that_fit_no_grid(tmp_path):
    make_folder(tmp_path, "LGC", **NO_PLACE)
    write_tif(tmp_path / "MODIS" / "MOD09GA_A2001305.sur_refl.tif", images("LGC", 3)[2][1][:, :7], **NO_PLACE)
    with pytest.raises(GridError, match=r"fits no grid.*A2001305.*7 x 32, no CRS"):
        datasets.open("LGC", tmp_path)


NO_PLACE = {"crs": None, "transform": None}


def nowhere(path, image, pixel):
    write_tif(path, image, **NO_PLACE)


def decimated(path, image, pixel):
    coarse = path.parent.name == "MODIS"
    write_tif(path, image[:, ::4, ::4] if coarse else image, **(NO_PLACE if coarse else {}))


def coarse_on_its_grid(path, image, pixel):
    coarse = path.parent.name == "MODIS"
    write_tif(path, image[:, ::4, ::4] if coarse else image, pixel=pixel * (4 if coarse else 1))


def shifted_by_half_a_pixel(path, image, pixel):
    move = Affine.translation(0.5, -0.3) if path.parent.name == "MODIS" else Affine.identity()
    write_tif(path, image, transform=grid_transform(pixel) * move)


def lost_in_every_other_file(path, image, pixel):
    lost = path.parent.name == "Landsat"
    write_tif(path, image, **(NO_PLACE if lost else {"pixel": pixel}))


def drifting(path, image, pixel):
    day = sum(map(int, re.findall(r"\d", path.stem)))
    write_tif(path, image, transform=grid_transform(pixel) * Affine.translation(day / 10, 0))


@pytest.mark.parametrize(
    "write",
    [nowhere, decimated, coarse_on_its_grid, shifted_by_half_a_pixel, lost_in_every_other_file, drifting],
    ids=lambda function: function.__name__,
)
def test_equal_pixels_lie_at_equal_places(tmp_path, write):
    make_folder(tmp_path / "data", "LGC", write=write)
    one = datasets.open("LGC", tmp_path / "data").tuples()[0]
    roles = {"coarse_grid": "coarse", "ratio": 4} if write in (decimated, coarse_on_its_grid) else {}
    spec = make_spec(bands=LAYOUTS["LGC"].bands, **{"coarse_grid": "fine", **roles})

    def predict(fine_t1, coarse_t1, coarse_t2):
        change = coarse_t2 - coarse_t1
        times = fine_t1.shape[-1] // change.shape[-1]
        return fine_t1 + change.repeat(times, -1).repeat(times, -2)

    path = tmp_path / "F2.tif"
    make_model(spec, predict).fuse(path, dtype="float32", **one.inputs)
    report = compare(path, one.truth, data_range=1.0, ratio=one.ratio).report
    assert report.pooled["rmse"] < 1e-7
    assert report.counts.valid == SHAPE[0] * SHAPE[1]


def test_broken_files_are_named(tmp_path):
    make_folder(tmp_path, "LGC")
    (tmp_path / "MODIS" / "MOD09GA_A2001305.sur_refl.tif").write_bytes(b"II*\x00garbage")
    with pytest.raises(RasterError, match=r"cannot be read.*A2001305"):
        datasets.open("LGC", tmp_path)
