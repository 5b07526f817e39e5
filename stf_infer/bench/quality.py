# SPDX-License-Identifier: Apache-2.0
"""How good a result is: against the truth, against the fp32 engine of its bundle, and where something changed.

All results of a scene are measured over the same pixels (``mask`` of the scene), so that no row of a bench looks better
because it left out what is hard. Everything is read in blocks of rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ..metrics import MetricReport, compare
from ..raster import Raster
from .changes import BANDS
from .result import Figures, Quality
from .scene_files import told
from .scenes import BenchScene


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

    Reads image and truth three times (once for all pixels, changed and unchanged ones each), at the speed of
    :func:`stf_infer.metrics.compare`.
    """
    truth = scene.truth
    against = {} if truth is None else {_FIELDS[band]: _against(image, truth, scene, band) for band in BANDS}
    return Quality(
        scene=scene.facts.name,
        **against,
        fp32=None if fp32 is None else _against(image, Raster(fp32), scene, BANDS[0] if scene.mask else None),
        seam=seam,
        image=told(image, folder),
    )


_FIELDS = dict(zip(BANDS, ("truth", "changed", "unchanged"), strict=True))


def _against(image: Path, goal: Raster, scene: BenchScene, band: str | None) -> Figures | None:
    """Figures over the pixels of a band of the mask; None where it holds none."""
    facts = scene.facts
    if band is not None and not facts.pixels[band]:
        return None
    mask = None if band is None else Raster(scene.mask, bands=(band,))
    comparison = compare(image, goal, mask=mask, ratio=facts.ratio, data_range=facts.data_range)
    return figures_of(comparison.report, over="" if band in (None, BANDS[0]) else f"{band} pixels: ")


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
