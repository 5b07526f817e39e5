# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

import stf_infer
from stf_infer.baselines import add_coarse_change
from stf_infer.datasets import DEMO_SEED, TEST_SEEDS, TRAINING_SEEDS, VALIDATION_SEEDS, LandCover, procedural_scene
from stf_infer.demo import COPY, FUSED, METRICS, bundle_path, run_demo
from stf_infer.errors import UsageError
from stf_infer.raster import Raster


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo") / "out")


def test_the_shipped_bundle_is_whole_and_small():
    bundle = stf_infer.Bundle.open(bundle_path())
    bundle.verify()
    assert sum(f.stat().st_size for f in bundle_path().rglob("*")) < 1_000_000
    assert bundle.spec.tile.mode == "exact"
    assert bundle.spec.tile.halo <= 48
    assert set(bundle.spec.roles) == {"fine_t1", "coarse_t1", "coarse_t2"}
    assert bundle.spec.output.bands == ("blue", "green", "red", "nir")


def test_fusion_beats_both_baselines_in_every_figure(result):
    for metric in METRICS:
        assert result.winner(metric) == FUSED, metric
    for band in result.scene.bands:
        assert result.winner("rmse", band) == FUSED, band
        assert result.winner("ssim", band) == FUSED, band
    assert result.as_dict()["rmse_lower_by"] > 0.25


def test_figures_are_of_the_files_on_disk(result):
    with rasterio.open(result.files["fine_t2"]) as fused, rasterio.open(result.files["fine_t2_truth"]) as truth:
        error = fused.read() * np.array(fused.scales)[:, None, None] - truth.read() * 1e-4
        assert fused.transform == truth.transform
        assert fused.crs == truth.crs
        assert fused.descriptions == result.scene.bands
    assert np.sqrt((error**2).mean()) == pytest.approx(result.reports[FUSED].pooled["rmse"], rel=1e-4)
    copied = np.sqrt(((result.scene.fine_t1 - result.scene.fine_t2) ** 2).mean())
    assert copied == pytest.approx(result.reports[COPY].pooled["rmse"], rel=1e-4)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_picture_shows_every_panel(result):
    with rasterio.open(result.files["picture"]) as png:
        picture = png.read()
    assert picture.shape[0] == 3
    assert picture.shape[2] > 4 * 512
    assert picture.shape[1] > 2 * 512
    assert picture.std() > 40


def test_the_demo_scene_was_not_trained_on(tmp_path):
    assert DEMO_SEED not in {*TRAINING_SEEDS, *VALIDATION_SEEDS}
    for seed in (TRAINING_SEEDS[0], VALIDATION_SEEDS[-1]):
        with pytest.raises(UsageError, match="was trained on this scene"):
            run_demo(tmp_path / "new", seed=seed)
    assert not (tmp_path / "new").exists()


def test_clouds_leave_nodata_and_fair_figures(tmp_path):
    cloudy = run_demo(tmp_path, clouds=True)
    hidden = ~np.isfinite(cloudy.fused).all(0)
    assert 0.05 < hidden.mean() < 0.7
    assert hidden[~cloudy.scene.fine_t1_valid].all()
    assert {r.counts.valid for r in cloudy.reports.values()} == {int((~hidden).sum())}
    assert cloudy.winner("rmse") == FUSED


@pytest.fixture(scope="module")
def model():
    with stf_infer.open(bundle_path()) as opened:
        yield opened


def fuse(model, scene, coarse_t2=None):
    def raster(image, transform):
        return Raster(image, names=scene.bands, crs=scene.crs, transform=Affine(*transform))

    return model.fuse(
        fine_t1=raster(scene.fine_t1, scene.fine_transform),
        coarse_t1=raster(scene.coarse_t1, scene.coarse_transform),
        coarse_t2=raster(scene.coarse_t2 if coarse_t2 is None else coarse_t2, scene.coarse_transform),
    ).array


@pytest.mark.parametrize("seed", TEST_SEEDS[:3])
def test_unseen_scenes_get_better_too(model, seed):
    scene = procedural_scene(seed, 256, 320)
    truth = scene.fine_t2
    fused = fuse(model, scene)
    added = add_coarse_change(scene.fine_t1, scene.coarse_t1, scene.coarse_t2, 16)
    best = min(np.sqrt(((guess - truth) ** 2).mean()) for guess in (scene.fine_t1, added))
    assert np.sqrt(((fused - truth) ** 2).mean()) < 0.85 * best
    steady = np.isin(scene.land_cover, (LandCover.WATER, LandCover.NEEDLE, LandCover.TOWN)) & (scene.change == 0)
    assert ((fused - truth)[:, steady] ** 2).mean() < ((added - truth)[:, steady] ** 2).mean()


def test_where_the_coarse_sensor_saw_no_change_little_is_invented(model):
    scene = procedural_scene(TEST_SEEDS[5], 256, 256)
    fused = fuse(model, scene, coarse_t2=scene.coarse_t1)
    assert np.sqrt(((fused - scene.fine_t1) ** 2).mean()) < 0.006
