# SPDX-License-Identifier: Apache-2.0
"""Every image network of the zoo, small and with random weights, over a real scene in files."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

import stf_infer
import zoo_support as zoo
from shared_scenes import real_scene

# Random weights make anything of the values, but a border of tiles must not be the steepest thing in sight.
SEAM = 2.0


@pytest.mark.parametrize("name", [name for name, case in zoo.CASES.items() if not case.samples])
def test_real_scene(name, exports, tmp_path, record_property):
    bundle = exports.bundle(name)
    scene = real_scene(bundle.spec, tmp_path)
    with stf_infer.open(bundle.path, engine="onnxruntime-cpu", threads=2) as model:
        result = model.fuse(tmp_path / "fused.tif", dtype="float32", overviews=False, **scene.rasters)
    with rasterio.open(result.path) as fused, rasterio.open(scene.rasters["fine_t1"].data) as fine:
        assert (fused.crs, fused.transform, fused.shape) == (fine.crs, fine.transform, fine.shape)
        assert fused.descriptions == bundle.spec.output.bands
        pixels, nodata = fused.read(), fused.nodata
    record_property("seam", result.seam_ratio)
    record_property("scene", scene.name)

    assert result.tiles >= 4
    # The scene has holes, and each is a hole of the result, of every band, and nothing else is.
    assert 0.5 < scene.valid.mean() < 1
    assert np.isnan(nodata)
    assert (np.isfinite(pixels) == scene.valid).all()
    assert result.not_finite == 0
    values = pixels[:, scene.valid]
    assert (np.ptp(values, axis=1) > 0).all()
    assert 0 < result.seam_ratio < SEAM
