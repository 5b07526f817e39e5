# SPDX-License-Identifier: Apache-2.0
"""Steps against quality over a scene, against a denoiser whose samples are known."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import grid_transform, read_tif, write_tif
from step_bundle import Gaussian, T, every, make_step_bundle
from stf_export.samplers import Sampler
from stf_export.steps import measure
from stf_export.steps.plot import check_plot, write_plot
from stf_export.steps.resampled import loop_of, spaced, through
from stf_infer.errors import ExportError, GridError, OutputError, UsageError
from stf_infer.model import open
from stf_infer.raster import Raster

NAMES = ("red", "nir")
PART = (500_300.0, 5_298_800.0, 501_500.0, 5_299_700.0)  # 40 x 30 pixels inside of the scene


def test_every_figure_is_that_of_the_known_samples(model, rasters, scene):
    toy, fine = Gaussian(), read_tif(rasters["fine_t1"])
    curve = measure(model, rasters, truth=scene / "fine_t2_truth.tif", data_range=1.0)
    assert [p.steps for p in curve.points] == [1, 2, 4, 8, 16]
    assert [p.spacing for p in curve.points] == ["trailing"] * 4 + ["all"]
    assert curve.points[-1].timesteps == every()
    mean = np.sqrt(np.mean(fine**2))
    for point in curve.points:
        factor, level = toy.factor(point.timesteps), toy.levels[point.timesteps[0]]
        assert point.to_truth["rmse"] == pytest.approx(abs(factor) * np.hypot(1, level**0.5 * mean), rel=0.03)
        assert point.seconds_per_mpx > 0
        if point.steps < T:
            assert point.to_all["rmse"] == pytest.approx(toy.error(point.timesteps, mean), rel=0.03)
    assert curve.points[-1].to_all is None
    assert (curve.train_steps, curve.pixels) == (T, fine[0].size)


def test_without_a_truth_only_the_result_of_all_steps_is_the_measure(model, rasters):
    curve = measure(model, rasters, counts=[2], data_range=1.0)
    assert [(p.steps, p.to_truth) for p in curve.points] == [(2, None), (16, None)]
    assert set(curve.points[0].to_all) == {"rmse", "ssim", "sam_deg"}


def test_the_bundle_samples_as_before_afterwards(model, rasters):
    before = model.fuse(**rasters).array
    measure(model, rasters, counts=[1], data_range=1.0)
    assert np.array_equal(model.fuse(**rasters).array, before)
    with pytest.raises(UsageError):
        measure(model, {"fine_t1": rasters["fine_t1"]}, counts=[1], data_range=1.0)
    assert loop_of(model).sampler == model.spec.sampler


def test_time_steps_that_follow_no_rule_are_measured_beside_the_others(tmp_path, rasters):
    bundle = make_step_bundle(tmp_path / "toy.stf", Sampler(timesteps=(12, 3)))
    with open(bundle, engine="onnxruntime-cpu") as model:
        curve = measure(model, rasters, counts=[1, 2, 4], data_range=1.0)
    assert [p.timesteps for p in curve.points[:3]] == [(15,), (15, 7), (12, 3)]
    assert [p.follows_a_rule for p in curve.points] == [True, True, False, True, True]


@pytest.mark.parametrize(("spacing", "expected"), [("leading", (8, 0)), ("linspace", (15, 0)), ("stfdiff", (15, 7))])
def test_the_rule_of_spacing_can_be_named(model, rasters, spacing, expected):
    curve = measure(model, rasters, counts=[2], spacing=spacing, data_range=1.0)
    assert (curve.points[0].timesteps, curve.points[0].spacing) == (expected, spacing)


def test_a_number_that_a_rule_cannot_give(model, rasters):
    with pytest.raises(ExportError, match="No whole stride"):
        measure(model, rasters, counts=[7], spacing="guided", data_range=1.0)


def test_the_same_noise_at_every_number_of_steps(model, rasters):
    first, other = (measure(model, rasters, counts=[1], seed=seed, data_range=1.0).points[0] for seed in (1, 2))
    assert first.to_all["rmse"] != other.to_all["rmse"]
    assert first.to_all["rmse"] == pytest.approx(other.to_all["rmse"], rel=0.05)


def test_a_sampler_that_draws_is_measured_too(tmp_path, rasters):
    bundle = make_step_bundle(tmp_path / "toy.stf", Sampler(name="ddpm", steps=4))
    with open(bundle, engine="onnxruntime-cpu") as model:
        curve = measure(model, rasters, counts=[4], data_range=1.0)
    assert curve.points[0].to_all["rmse"] > 0


def test_a_truth_under_a_part_of_the_scene(model, rasters, scene):
    truth = scene / "fine_t2_truth.tif"
    part = measure(model, rasters, truth=truth, counts=[1], aoi=PART, data_range=1.0)
    assert part.pixels == 40 * 30
    whole = measure(model, rasters, truth=truth, counts=[1], data_range=1.0)
    for one, all_of_it in zip(part.points, whole.points, strict=True):
        assert one.to_truth["rmse"] == pytest.approx(all_of_it.to_truth["rmse"], rel=0.1)


def test_what_is_stated_about_the_truth_holds_for_a_part_too(model, rasters, scene, tmp_path):
    stored = np.round(read_tif(scene / "fine_t2_truth.tif") * 1e4).astype(np.int16)
    stored[:, 30:34] = -1
    truth = write_tif(tmp_path / "truth.tif", stored, names=NAMES, nodata=-1)
    stated = Raster(truth, scale=1e-4)
    exact = measure(model, rasters, truth=scene / "fine_t2_truth.tif", counts=[4], aoi=PART, data_range=1.0)
    curve = measure(model, rasters, truth=stated, counts=[4], aoi=PART, data_range=1.0)
    assert curve.points[0].to_truth["rmse"] == pytest.approx(exact.points[0].to_truth["rmse"], rel=0.05)


def test_a_truth_on_another_grid_is_found_before_anything_is_run(model, rasters, scene, tmp_path):
    fine, ran = read_tif(scene / "fine_t2_truth.tif"), []
    for number, (array, transform) in enumerate(
        [(fine[:, 1:], grid_transform()), (fine, grid_transform(31.0)), (fine[:, ::2, ::2], grid_transform(60.0))]
    ):
        truth = write_tif(tmp_path / f"{number}.tif", np.ascontiguousarray(array), names=NAMES, transform=transform)
        with pytest.raises(GridError, match="does not lie on the grid of fine_t1"):
            measure(model, rasters, truth=truth, counts=[1], data_range=1.0, progress=ran.append)
    assert not ran


@pytest.mark.parametrize("steps", [0, 17])
def test_steps_that_there_are_not(model, rasters, steps):
    with pytest.raises(UsageError, match="1 to 16"):
        measure(model, rasters, counts=[1, steps])
    with pytest.raises(UsageError, match="1 to 16"):
        spaced(model.spec.sampler, steps)


def test_a_sampler_through_other_time_steps_is_else_the_same(model):
    stored = model.spec.sampler
    again = through(stored, stored.timesteps, stored.spacing)
    assert again == stored
    other = through(stored, (9, 2))
    assert (other.timesteps, other.spacing, other.loop) == ((9, 2), "given", "host")
    assert other.alphas_cumprod == (stored.train_alphas_cumprod[9], stored.train_alphas_cumprod[2])
    with pytest.raises(ExportError, match="cannot be sampled"):
        through(stored, (2, 9))


def test_the_plot_shows_every_point(model, rasters, scene, tmp_path):
    from xml.etree import ElementTree

    curve = measure(model, rasters, truth=scene / "fine_t2_truth.tif", counts=[1, 4], data_range=1.0)
    write_plot(tmp_path / "plot.svg", curve)
    root = ElementTree.parse(tmp_path / "plot.svg").getroot()
    names = [element.tag.partition("}")[2] for element in root.iter()]
    assert names.count("circle") == 3 + 2 + 3  # to the truth, to all steps, seconds
    assert names.count("polyline") == 3
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"1", "4", "16", "RMSE", "steps"} <= set(words)
    alone = measure(model, rasters, counts=[T], data_range=1.0)
    write_plot(tmp_path / "alone.svg", alone)  # nothing to measure it against: seconds only
    assert (tmp_path / "alone.svg").read_text().count("<circle") == 1
    with pytest.raises(OutputError):
        write_plot(tmp_path / "missing" / "plot.svg", curve)
    with pytest.raises(UsageError, match=r"FILE\.svg"):
        check_plot("plot.png")
