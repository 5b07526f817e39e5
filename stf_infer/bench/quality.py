# SPDX-License-Identifier: Apache-2.0
"""How good a result is: against the truth, against the fp32 engine of its bundle, and where something changed.

All results of a scene are measured over the same pixels (``mask`` of the scene), so that no row of a bench looks better
because it left out what is hard. Everything is read in blocks of rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ..metrics import Evaluation, MetricReport
from ..metrics.comparison import CACHE_MB, rows_to_read
from ..metrics.rasters import SceneRows, bind_bands, require_same_grid, require_same_unit
from ..metrics.stream import Scaling
from ..raster import Raster
from .changes import BANDS
from .result import Figures, Quality
from .scene_files import TRUTH, told
from .scenes import BenchScene

_FP32 = "fp32"
# Figures by name: what the result is measured against, and the band of the mask that says over which pixels.
_FIGURES = {
    "truth": (TRUTH, BANDS[0]),
    "changed": (TRUTH, BANDS[1]),
    "unchanged": (TRUTH, BANDS[2]),
    _FP32: (_FP32, BANDS[0]),
}


def judge(
    image: Path,
    scene: BenchScene,
    folder: Path,
    *,
    fp32: Path | None = None,
    seam: float | None = None,
) -> Quality:
    """Measure the result of a scene.

    Args:
        image: The result, on the grid of fine_t1, as :meth:`stf_infer.Model.fuse` writes it.
        scene: What was fused.
        folder: Of the bench.
        fp32: What the fp32 engine of the same bundle made of the same scene; None where that is ``image``, or is not
            there.
        seam: The seam figure of the run that made the image.

    Raises:
        BandError: The truth does not show the bands of the result.
        GridError: A raster lies on another grid.
        MetricError: No pixel of the result is valid where all rasters of the scene are.

    Every raster is read once, in blocks of rows; all figures are taken in that pass.
    """
    import rasterio

    goals = {TRUTH: scene.truth, _FP32: None if fp32 is None else Raster(fp32)}
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE_MB))
        prediction = SceneRows.open("prediction", image, stack)
        rows = {role: SceneRows.open(role, goal, stack) for role, goal in goals.items() if goal is not None}
        mask = None if scene.mask is None else SceneRows.open("mask", scene.mask, stack)
        bands = bind_bands(prediction, list(rows.values()))
        for one in [*rows.values(), *([] if mask is None else [mask])]:
            require_same_grid(prediction, one)
        require_same_unit([prediction, *rows.values()])
        found = {
            name: _Figures(goal, over, _evaluation(bands, prediction, rows[goal], scene), scene.facts.data_range)
            for name, (goal, over) in _FIGURES.items()
            if goal in rows and scene.facts.pixels.get(over, 1)
        }
        _measure(prediction, rows, mask, list(found.values()))
        figures = {name: one.told() for name, one in found.items()}
    return Quality(scene=scene.facts.name, **figures, seam=seam, image=told(image, folder))


@dataclass(frozen=True)
class _Figures:
    """Figures in the making: against a raster, over the pixels of a band of the mask."""

    goal: str
    over: str
    evaluation: Evaluation
    data_range: float | None

    def told(self) -> Figures:
        report = self.evaluation.report()
        if self.data_range is None:
            report = _without_range(report)
        return figures_of(report, "" if self.over == BANDS[0] else f"{self.over} pixels: ")


def _evaluation(bands: tuple[str, ...], prediction: SceneRows, goal: SceneRows, scene: BenchScene) -> Evaluation:
    facts = scene.facts
    evaluation = Evaluation(
        bands,
        goal.shape.width,
        data_range=facts.data_range or 1.0,
        ratio=facts.ratio,
        scaling=(Scaling(*prediction.scaling), Scaling(*goal.scaling)),
    )
    evaluation.check_height(goal.shape.height)
    return evaluation


def _measure(
    prediction: SceneRows, rows: Mapping[str, SceneRows], mask: SceneRows | None, wanted: list[_Figures]
) -> None:
    step = rows_to_read([prediction, *rows.values()])
    for start in range(0, prediction.shape.height, step):
        stop = min(start + step, prediction.shape.height)
        values, valid = prediction.read(start, stop)
        goals = {role: one.read(start, stop) for role, one in rows.items()}
        counts = {} if mask is None else dict(zip(BANDS, mask.read(start, stop)[0].astype(bool), strict=True))
        for one in wanted:
            goal, usable = goals[one.goal]
            one.evaluation.update(values, goal, valid & usable & counts.get(one.over, True))


def _without_range(report: MetricReport) -> MetricReport:
    """The same without the figures that depend on the data range."""
    gone = dict.fromkeys(("psnr", "ssim"), math.nan)
    return replace(
        report,
        pooled={**report.pooled, **gone},
        per_band={band: {**figures, **gone} for band, figures in report.per_band.items()},
        notes=(*report.notes, "PSNR and SSIM are undefined: nobody states the data range (--data-range)"),
    )


def figures_of(report: MetricReport, over: str = "") -> Figures:
    """The figures of a report; what is undefined or infinite is None, and a note says why.

    Args:
        report: The figures.
        over: What every note begins with.
    """
    return Figures(
        pooled=_defined(report.pooled),
        per_band={band: _defined(figures) for band, figures in report.per_band.items()},
        pixels=report.counts.valid,
        notes=tuple(over + note for note in report.notes),
    )


def _defined(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
