# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import rasterio

from stf_infer.datasets import procedural_scene, write_scene
from stf_infer.errors import OutputError


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    scene = procedural_scene(9, 128, 192, clouds=True)
    return scene, write_scene(scene, tmp_path_factory.mktemp("scene") / "new")


def test_names(written):
    _, paths = written
    assert {p.name for p in paths.values()} == {"fine_t1.tif", "coarse_t1.tif", "coarse_t2.tif", "fine_t2_truth.tif"}
    assert set(paths) == {"fine_t1", "coarse_t1", "coarse_t2", "fine_t2_truth"}


def test_fine_and_coarse_cover_the_same_ground(written):
    scene, paths = written
    with rasterio.open(paths["fine_t1"]) as fine, rasterio.open(paths["coarse_t2"]) as coarse:
        assert fine.crs == coarse.crs
        assert fine.crs.is_projected
        assert fine.bounds == coarse.bounds
        assert fine.res == (30, 30)
        assert coarse.res == (480, 480)
        assert fine.shape == (128, 192)
        assert coarse.shape == (8, 12)
        assert tuple(fine.transform)[:6] == scene.fine_transform
        assert fine.bounds.left % 480 == 0
        assert fine.block_shapes == [(256, 256)] * 4


def test_values_scale_names_and_nodata(written):
    scene, paths = written
    expected = {
        "fine_t1": (scene.fine_t1, scene.fine_t1_valid),
        "coarse_t1": (scene.coarse_t1, scene.coarse_t1_valid),
        "coarse_t2": (scene.coarse_t2, scene.coarse_t2_valid),
        "fine_t2_truth": (scene.fine_t2, np.ones((128, 192), bool)),
    }
    for name, (image, valid) in expected.items():
        with rasterio.open(paths[name]) as raster:
            assert raster.dtypes == ("int16",) * 4
            assert raster.descriptions == scene.bands
            assert raster.scales == (1e-4,) * 4
            stored = raster.read(masked=True)
        np.testing.assert_array_equal(~stored.mask, np.broadcast_to(valid, stored.shape), err_msg=name)
        np.testing.assert_allclose((stored.data * 1e-4)[:, valid], image[:, valid], atol=1e-6)
    assert not scene.fine_t1_valid.all()


def test_writing_into_a_file_is_refused(written, tmp_path):
    scene, _ = written
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(OutputError, match="cannot be written"):
        write_scene(scene, blocked)
