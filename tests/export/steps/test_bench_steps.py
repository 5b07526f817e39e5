# SPDX-License-Identifier: Apache-2.0
"""The rows of a bench for numbers of steps are the points of the curve of steps against quality."""

from __future__ import annotations

import pytest
import rasterio

from stf_export.steps import measure
from stf_infer.bench import environment
from stf_infer.bench.runner import run
from stf_infer.bench.scenes import from_folder
from stf_infer.bench.settings import Settings, StatedScene


@pytest.fixture
def rows(step_bundle, scene, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_LOOK", 0.0)
    settings = Settings(
        bundles=(step_bundle,),
        engines=("onnxruntime-cpu",),
        precisions=("fp32",),
        steps=(1, 2),
        scenes=(StatedScene("known", *from_folder(scene)),),
        data_range=1.0,
        runs=1,
        seconds=0.0,
        repeats=1,
        sweep=False,
        baselines=False,
        out=tmp_path,
    )
    return run(settings, apart=False).rows


def test_steps_are_rows_with_the_figures_of_the_curve(rows, model, rasters, scene, tmp_path):
    curve = measure(model, rasters, truth=scene / "fine_t2_truth.tif", data_range=1.0, counts=(1, 2, 4))
    wanted = {point.steps: point.to_truth for point in curve.points}
    assert [row.steps for row in rows] == [4, 1, 2]
    for row in rows:
        assert row.failure is None
        figures = row.quality[0].truth.pooled
        for metric in ("rmse", "ssim", "sam_deg"):
            assert figures[metric] == pytest.approx(wanted[row.steps][metric], rel=1e-6)
    assert rows[0].quality[0].truth.pooled["rmse"] != pytest.approx(rows[1].quality[0].truth.pooled["rmse"], rel=0.01)


def test_a_result_says_by_which_steps_it_was_made(rows, tmp_path):
    for row in rows:
        with rasterio.open(tmp_path / row.quality[0].image) as image:
            assert image.tags()["STF_SAMPLER"].startswith(f"ddim, {row.steps} step")
