# SPDX-License-Identifier: Apache-2.0
"""Measure rasters against a raster of the truth, in blocks of rows, whatever their size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MetricError, ScaleError
from .checks import as_data_range, as_ratio
from .evaluate import Evaluation
from .rasters import SceneRows, bind_bands, require_same_grid, require_same_unit
from .report import MetricReport, cell, heading, plain_table
from .ssim import WindowName
from .stream import Scaling

if TYPE_CHECKING:
    from rich.console import Console

# TIFF tag of our writer: coarse pixel size over fine pixel size of the network that made the raster.
RATIO_TAG = "STF_RATIO"

# Rows that are read and held at once; blocks of the files may be lower, and are read whole up to this.
_MOST_ROWS = 512
# Rows that are read at least.
_ROWS_AT_ONCE = 64
# GDAL keeps decoded blocks up to this many MB; its default is a share of the machine's memory.
CACHE_MB = 256

# What files write where a number has no unit.
_NO_UNIT = {"1", "unitless", "dimensionless", "none"}

_POOLED = ("rmse", "mae", "cc", "r2", "psnr", "ssim", "sam_deg", "ergas")


@dataclass(frozen=True)
class Comparison:
    """A prediction and any references, each measured against the same truth over the same pixels.

    Attributes:
        prediction: Name of the prediction.
        truth: Name of the truth.
        report: Figures of the prediction.
        references: Name and figures of each reference, such as the fine image at t1 as a baseline.
        data_range_from: Why the data range is what it is.
        ratio_from: Where the ratio comes from.
    """

    prediction: str
    truth: str
    report: MetricReport
    references: tuple[tuple[str, MetricReport], ...]
    data_range_from: str
    ratio_from: str

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "prediction": self.prediction,
            "truth": self.truth,
            "report": self.report.as_dict(),
            "references": [{"raster": name, "report": r.as_dict()} for name, r in self.references],
            "data_range_from": self.data_range_from,
            "ratio_from": self.ratio_from,
        }

    def render(self, console: Console) -> None:
        """Print the prediction's figures, then the pooled figures of it and of each reference side by side."""
        from rich.markup import escape

        name = _short(self.prediction)
        self.report.render(console, title=escape(f"{name} against {_short(self.truth)}"))
        if not self.references:
            return
        table = plain_table("Pooled, over the same pixels", "")
        for label in (name, *(_short(label) for label, _ in self.references)):
            table.add_column(escape(label), justify="right", overflow="fold")
        reports = [self.report, *(report for _, report in self.references)]
        for metric in _POOLED:
            if metric in self.report.pooled:
                table.add_row(heading(metric), *(cell(metric, report.pooled[metric]) for report in reports))
        console.print(table)


def _short(label: str) -> str:
    """The file's name of a path; other labels have no folder."""
    return PurePath(label).name


def compare(
    prediction: Any,
    truth: Any,
    *,
    references: Sequence[Any] = (),
    mask: Any = None,
    data_range: float | None = None,
    ratio: float | None = None,
    window: WindowName | None = "gaussian",
    window_size: int | None = None,
    error_bins: Sequence[float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Measure a raster, and any references, against the truth.

    Values are physical: each raster's own scale and offset are applied, or what a stated raster says. A pixel
    counts where every raster is valid (nodata, mask and alpha bands, finite values) in every band, and the
    mask is not 0: so all rasters are measured over the same pixels. Bands are matched by name where both
    rasters have names.

    Args:
        prediction: Path, array, or :class:`stf_infer.raster.Raster`.
        truth: On the same grid.
        references: More rasters to measure against the truth, as baselines.
        mask: One-band raster, not 0 where a pixel is used.
        data_range: Span of possible values. None takes 1.0 where the rasters are known to hold reflectance (they carry
            a scale and no other unit, or name that unit), and is an error elsewhere.
        ratio: Coarse pixel size over fine pixel size. None takes the prediction's tag ``STF_RATIO``.
        window: SSIM window, see :func:`stf_infer.metrics.evaluate`.
        window_size: Another size of the SSIM window, odd.
        error_bins: ``(low, high, bins)`` of a histogram of each raster's error, in physical units; None for none.
        progress: Called with rows done and rows in all.

    Raises:
        RasterError: A raster cannot be read.
        BandError: Bands do not match.
        GridError: Grids differ; nothing is warped here.
        ScaleError: A raster holds integers without a scale beside one with a scale, or the truth is not the
            reflectance that the default data range stands for.
        MetricError: Data range or ratio is missing or unusable, or no pixel is left.

    Cost:
        Memory depends on the width of the scene and the number of rasters, not on the height.
    """
    import rasterio

    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE_MB))
        measured = [SceneRows.open("prediction", prediction, stack)]
        measured += [SceneRows.open("reference", source, stack) for source in references]
        target = SceneRows.open("truth", truth, stack)
        chosen = None if mask is None else SceneRows.open("mask", mask, stack).only_first_band()
        names = bind_bands(measured[0], [target, *measured[1:]])
        for scene in [*measured, *([] if chosen is None else [chosen])]:
            require_same_grid(target, scene)
        require_same_unit([*measured, target])
        span, span_from = _data_range(data_range, [*measured, target])
        coarse_to_fine, ratio_from = _ratio(ratio, measured[0])
        evaluations = [
            Evaluation(
                names,
                target.shape.width,
                data_range=span,
                ratio=coarse_to_fine,
                window=window,
                window_size=window_size,
                error_bins=error_bins,
                scaling=(Scaling(*scene.scaling), Scaling(*target.scaling)),
            )
            for scene in measured
        ]
        evaluations[0].check_height(target.shape.height)
        _measure(target, measured, chosen, evaluations, progress)
        if data_range is None:
            _require_reflectance(evaluations[0], target)
        reports = [evaluation.report() for evaluation in evaluations]
        labels = [scene.label for scene in measured]
        return Comparison(
            prediction=labels[0],
            truth=target.label,
            report=reports[0],
            references=tuple(zip(labels[1:], reports[1:], strict=True)),
            data_range_from=span_from,
            ratio_from=ratio_from,
        )


def _measure(
    truth: SceneRows,
    measured: Sequence[SceneRows],
    mask: SceneRows | None,
    evaluations: Sequence[Evaluation],
    progress: Callable[[int, int], None] | None,
) -> None:
    height = truth.shape.height
    step = rows_to_read([truth, *measured])
    for start in range(0, height, step):
        stop = min(start + step, height)
        stored = []
        valid = np.ones((stop - start, truth.shape.width), bool)
        for scene in (truth, *measured):
            numbers, usable = scene.read(start, stop)
            stored.append(numbers)
            valid &= usable
        if mask is not None:
            numbers, usable = mask.read(start, stop)
            valid &= usable & (numbers[0] != 0) & np.isfinite(numbers[0])
        _add(evaluations, stored[0], stored[1:], valid)
        if progress is not None:
            progress(stop, height)


def _add(
    evaluations: Sequence[Evaluation], truth: np.ndarray, measured: Sequence[np.ndarray], valid: np.ndarray
) -> None:
    """Each raster leaves out what any other raster cannot serve, and finds its own values that are not finite."""
    if len(measured) == 1:
        evaluations[0].update(measured[0], truth, valid)
        return
    finite = [np.isfinite(values).all(axis=0) for values in measured]
    for i, evaluation in enumerate(evaluations):
        use = valid.copy()
        for j, other in enumerate(finite):
            if j != i:
                use &= other
        evaluation.update(measured[i], truth, use)


def rows_to_read(scenes: Sequence[SceneRows]) -> int:
    """Rows to read at once: whole blocks of all rasters, within limits."""
    tallest = max(shape[0] for scene in scenes for shape in scene.dataset.block_shapes)
    return min(max(tallest, _ROWS_AT_ONCE), _MOST_ROWS)


def _data_range(stated: float | None, scenes: Sequence[SceneRows]) -> tuple[float, str]:
    if stated is not None:
        return as_data_range(stated), "stated"
    units = {scene.unit.lower() for scene in scenes if scene.unit} - _NO_UNIT
    if units == {"reflectance"}:
        return 1.0, "the rasters name the unit reflectance"
    if not units and any(scene.is_scaled for scene in scenes):
        return 1.0, "the rasters carry a scale, and reflectance runs from 0 to 1"
    raise MetricError(
        "The data range is not known: the rasters do not say that they hold reflectance",
        got=f"unit {', '.join(sorted(units))}" if units else "neither a scale nor a unit",
        fix="Pass --data-range: the span of possible values, such as 1 for reflectance, 10000 for reflectance x 10000, "
        "255 for 8-bit numbers, 80 for surface temperature in kelvin",
    )


def _require_reflectance(evaluation: Evaluation, truth: SceneRows) -> None:
    """The default data range stands for reflectance: refuse a truth that cannot be that."""
    from ..spec import PLAUSIBLE

    low, high = PLAUSIBLE["reflectance"]
    means = evaluation.moments.mean_truth
    if evaluation.moments.count and ((means < low) | (means > high)).any():
        raise ScaleError(
            "The truth does not hold reflectance, so a data range of 1 does not fit it",
            got=f"{truth.label}: band means {', '.join(f'{m:.6g}' for m in means)}",
            allowed=f"{low:g} to {high:g}",
            fix="Pass --data-range, or mend the scale: --scale truth=...",
        )


def _ratio(stated: float | None, prediction: SceneRows) -> tuple[float, str]:
    if stated is not None:
        return as_ratio(stated), "stated"
    tag = prediction.dataset.tags().get(RATIO_TAG)
    if tag is None:
        raise MetricError(
            "The ratio of coarse to fine pixel size is not known",
            got=f"{prediction.label} without the tag {RATIO_TAG}",
            fix="Pass --ratio: coarse pixel size over fine pixel size, such as 16 for MODIS and Landsat",
        )
    return as_ratio(tag), f"tag {RATIO_TAG} of the prediction"
