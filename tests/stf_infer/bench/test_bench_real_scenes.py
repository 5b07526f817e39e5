# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

import stf_infer
from stf_infer.bench import baseline_rows, scenes
from stf_infer.bench.on_scenes import Round, measure
from stf_infer.demo import bundle_path
from stf_infer.raster import Raster
from support import shared_path

BANDS = (1, 2, 3, 4)
# R2 of fine_t1 against the truth, as it comes with the data: bands 1 to 4.
KNOWN_R2 = [0.35, 0.59, 0.66, 0.86]


@pytest.fixture
def kranj(tmp_path):
    """Landsat 8 and MODIS, 8 and 17 March 2020; gaps are filled, coarse images lie on fine pixels."""
    root = shared_path("data/kranj_landsat_modis_2020")

    def raster(folder, day, scale):
        return Raster(next((root / folder).glob(f"2020{day}*.tif")), bands=BANDS, scale=scale)

    inputs = {
        "fine_t1": raster("landsat_filled", "068", 1e-4),
        "coarse_t1": raster("modis_filled", "068", None),
        "coarse_t2": raster("modis_filled", "077", None),
    }
    return scenes.from_rasters("Kranj", inputs, raster("landsat_filled", "077", 1e-4), tmp_path)


def test_the_copy_has_the_figures_that_are_known(kranj, tmp_path):
    figures = baseline_rows.measure("copy", [kranj], Round("", tmp_path)).quality[0].truth
    assert [round(band["r2"], 2) for band in figures.per_band.values()] == KNOWN_R2


def test_the_demo_network_beats_the_baselines_on_real_pixels(kranj, tmp_path):
    pytest.importorskip("onnxruntime")
    with stf_infer.open(bundle_path(), engine="onnxruntime-cpu") as model:
        (fused,) = measure(model, [kranj], Round("demo", tmp_path)).quality
    for name in ("copy", "change"):
        baseline = baseline_rows.measure(name, [kranj], Round("", tmp_path)).quality[0]
        assert fused.truth.pooled["rmse"] < baseline.truth.pooled["rmse"]
        assert fused.changed.pooled["rmse"] < baseline.changed.pooled["rmse"]
