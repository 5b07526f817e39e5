# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bench_scene_support import BLOCK, BLOCK_PIXELS, NAMES, SHAPE, fields, write_fields
from fakes import write_tif
from stf_infer.bench import quality, scenes
from stf_infer.bench.result import Quality
from stf_infer.errors import BandError, GridError, MetricError
from stf_infer.metrics import compare
from stf_infer.metrics.report import HEADINGS
from stf_infer.raster import Raster

PIXELS = SHAPE[0] * SHAPE[1]
PER_BAND = set(HEADINGS) - {"sam_deg", "sam_rad", "ergas"}


@pytest.fixture
def scene(tmp_path):
    paths = write_fields(tmp_path)
    return scenes.from_rasters("one", {r: p for r, p in paths.items() if r != "truth"}, paths["truth"], tmp_path)


def write(tmp_path, image, name="fine_t2", **profile):
    return write_tif(tmp_path / f"{name}.tif", image.astype(np.float32), names=NAMES, **profile)


def test_a_constant_error_is_measured(scene, tmp_path):
    image = write(tmp_path, fields()["truth"] + 0.03)
    found = quality.judge(image, scene, tmp_path, seam=1.25)
    assert (found.scene, found.seam, found.image, found.fp32) == ("one", 1.25, "fine_t2.tif", None)
    for figures, pixels in (
        (found.truth, PIXELS),
        (found.changed, BLOCK_PIXELS),
        (found.unchanged, PIXELS - BLOCK_PIXELS),
    ):
        assert figures.pixels == pixels
        for name in ("rmse", "mae", "bias"):
            assert figures.pooled[name] == pytest.approx(0.03, abs=1e-6)
        assert figures.pooled["psnr"] == pytest.approx(-20 * np.log10(0.03), abs=1e-3)
        assert set(figures.pooled) == set(HEADINGS)
        assert {band: set(row) for band, row in figures.per_band.items()} == dict.fromkeys(NAMES, PER_BAND)


def test_changed_and_unchanged_pixels_are_measured_apart(scene, tmp_path):
    wrong = fields()["truth"].copy()
    wrong[:, BLOCK[0], BLOCK[1]] += 0.1
    found = quality.judge(write(tmp_path, wrong), scene, tmp_path)
    assert found.changed.pooled["rmse"] == pytest.approx(0.1, abs=1e-6)
    assert found.unchanged.pooled["rmse"] == pytest.approx(0, abs=1e-9)
    assert found.truth.pooled["rmse"] == pytest.approx(0.1 * (BLOCK_PIXELS / PIXELS) ** 0.5, rel=1e-5)


def test_what_is_infinite_is_null_and_a_note_says_so(scene, tmp_path):
    found = quality.judge(write(tmp_path, fields()["truth"]), scene, tmp_path)
    assert found.truth.pooled["psnr"] is None
    assert any("psnr" in note.lower() for note in found.truth.notes)
    assert Quality.model_validate_json(found.model_dump_json()) == found


def test_a_result_is_measured_against_that_of_fp32(scene, tmp_path):
    exact = write(tmp_path, fields()["truth"] + 0.03, "fp32")
    found = quality.judge(write(tmp_path, fields()["truth"] + 0.05), scene, tmp_path, fp32=exact)
    assert found.fp32.pooled["rmse"] == pytest.approx(0.02, abs=1e-6)
    assert found.truth.pooled["rmse"] == pytest.approx(0.05, abs=1e-6)


def test_without_a_truth_fp32_is_all_there_is(tmp_path):
    scene = scenes.from_rasters("one", {"fine_t1": write_fields(tmp_path)["fine_t1"]}, None, tmp_path)
    exact = write(tmp_path, fields()["truth"], "fp32")
    found = quality.judge(write(tmp_path, fields()["truth"] + 0.02), scene, tmp_path, fp32=exact)
    assert found.fp32.pooled["mae"] == pytest.approx(0.02, abs=1e-6)
    assert (found.truth, found.changed, found.unchanged) == (None, None, None)


def test_without_a_data_range_there_is_no_psnr(tmp_path):
    kelvin = fields()["fine_t1"] * 100 + 270
    source = write_tif(tmp_path / "lst.tif", kelvin, names=NAMES)
    scene = scenes.from_rasters("one", {"fine_t1": source}, None, tmp_path, unit="kelvin")
    found = quality.judge(write(tmp_path, kelvin + 1), scene, tmp_path, fp32=source).fp32
    assert (found.pooled["psnr"], found.pooled["ssim"]) == (None, None)
    assert found.pooled["rmse"] == pytest.approx(1, abs=1e-4)
    assert any("--data-range" in note for note in found.notes)


def test_figures_are_those_of_compare(scene, tmp_path):
    rng = np.random.default_rng(1)
    noisy = fields()["truth"] + rng.normal(0, 0.02, fields()["truth"].shape)
    image = write(tmp_path, noisy)
    exact = write(tmp_path, noisy + rng.normal(0, 0.002, noisy.shape), "fp32")
    found = quality.judge(image, scene, tmp_path, fp32=exact)
    for figures, goal, band in (
        (found.truth, scene.truth, "valid"),
        (found.changed, scene.truth, "changed"),
        (found.unchanged, scene.truth, "unchanged"),
        (found.fp32, exact, "valid"),
    ):
        report = compare(image, goal, mask=Raster(scene.mask, bands=(band,)), ratio=4, data_range=1.0).report
        assert figures.pixels == report.counts.valid
        assert figures.pooled == pytest.approx(report.pooled, nan_ok=True)
        for name, row in figures.per_band.items():
            assert row == pytest.approx(report.per_band[name])


def test_pixels_that_a_raster_of_the_scene_lacks_do_not_count(tmp_path):
    images = fields()
    images["coarse_t1"][:, 0, 0] = np.nan
    paths = write_fields(tmp_path, coarse_t1={"array": images["coarse_t1"]})
    scene = scenes.from_rasters("one", {r: p for r, p in paths.items() if r != "truth"}, paths["truth"], tmp_path)
    image = images["truth"].copy()
    image[:, :4, :4] = 3.0  # a network that does not take that raster predicts there as well
    found = quality.judge(write(tmp_path, image), scene, tmp_path)
    assert found.truth.pixels == PIXELS - 16
    assert found.truth.pooled["rmse"] == pytest.approx(0, abs=1e-9)


def test_nodata_of_the_result_does_not_count(scene, tmp_path):
    image = fields()["truth"] + 0.03
    image[:, 10, :] = -9999
    found = quality.judge(write(tmp_path, image, nodata=-9999), scene, tmp_path)
    assert found.truth.pixels == PIXELS - SHAPE[1]
    assert found.truth.pooled["mae"] == pytest.approx(0.03, abs=1e-6)


def test_where_nothing_changed_there_is_no_figure_of_change(tmp_path):
    paths = write_fields(tmp_path)
    scene = scenes.from_rasters("one", {"fine_t1": paths["fine_t1"]}, paths["fine_t1"], tmp_path)
    found = quality.judge(write(tmp_path, fields()["fine_t1"] + 0.01), scene, tmp_path)
    assert found.changed is None
    assert found.unchanged.pooled == found.truth.pooled


def test_a_note_says_of_which_pixels_it_speaks(tmp_path):
    paths = write_fields(tmp_path)
    truth = fields()["fine_t1"] + 0.01
    truth[:, 20:24, 20:24] += 0.3  # no window of SSIM fits in
    goal = write_tif(tmp_path / "goal.tif", truth, names=NAMES)
    scene = scenes.from_rasters("one", {"fine_t1": paths["fine_t1"]}, goal, tmp_path)
    found = quality.judge(write(tmp_path, truth + 0.03), scene, tmp_path)
    assert found.changed.pooled["ssim"] is None
    assert found.truth.pooled["ssim"] is not None
    assert any(note.startswith("changed pixels: SSIM is undefined") for note in found.changed.notes)
    assert found.truth.notes == ()


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (fields()["truth"][:1], BandError),
        (fields()["truth"][:, 1:], GridError),
        (np.full_like(fields()["truth"], np.nan), MetricError),
    ],
)
def test_a_result_that_cannot_be_measured_is_an_error(scene, tmp_path, image, error):
    path = write_tif(tmp_path / "fine_t2.tif", image)
    with pytest.raises(error):
        quality.judge(path, scene, tmp_path)
