# SPDX-License-Identifier: Apache-2.0
"""How the demo shows itself: a picture of inputs, result, truth and errors; a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..baselines import add_coarse_change
from ..datasets import Scene
from ..picture import Panel, composite, heat, sheet, stretch, write_png

if TYPE_CHECKING:
    from rich.console import Console

    from ..metrics import MetricReport
    from . import DemoResult


def draw(path: Path, scene: Scene, fused: np.ndarray, reports: Mapping[str, MetricReport]) -> None:
    """Write the picture: inputs, fused image and truth; below the error of both baselines and of the fusion."""
    from . import ADD, COPY, FUSED

    low, high = stretch(scene.fine_t2, scene.bands)
    highest = _round_up(float(np.quantile(np.abs(scene.fine_t1 - scene.fine_t2).mean(0), 0.97)))

    def photo(image: np.ndarray, title: str, note: str, valid: np.ndarray | None = None) -> Panel:
        shown = image if valid is None else np.where(valid, image, np.nan)
        return Panel(composite(shown, scene.bands, low, high), title, note)

    def error(guess: np.ndarray, title: str, name: str) -> Panel:
        away = np.abs(guess - scene.fine_t2).mean(0)
        away = np.where(np.isfinite(fused).all(0), away, np.nan)
        return Panel(heat(away, highest), title, f"RMSE {reports[name].pooled['rmse']:.4f}")

    added = add_coarse_change(scene.fine_t1, scene.coarse_t1, scene.coarse_t2, scene.ratio)
    first, second = (f"day {day}" for day in scene.days)
    rows = [
        [
            photo(scene.fine_t1, "Fine t1", f"input, {first}", scene.fine_t1_valid),
            photo(scene.coarse_t2, "Coarse t2", f"input, {second}", scene.coarse_t2_valid),
            photo(fused, "Fine t2, fused", second),
            photo(scene.fine_t2, "Fine t2, truth", second),
        ],
        [
            photo(scene.coarse_t1, "Coarse t1", f"input, {first}", scene.coarse_t1_valid),
            error(scene.fine_t1, "Error: fine t1 as it is", COPY),
            error(added, "Error: fine t1 + coarse change", ADD),
            error(fused, "Error: fused", FUSED),
        ],
    ]
    write_png(path, sheet(rows, scale=(highest, "reflectance")))


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-6)))
    return float(next(power * step for step in (1, 2, 5, 10) if power * step >= value * 0.999))


def show(console: Console, result: DemoResult) -> None:
    """Print the tables and where the files are."""
    from ..metrics.report import figure_cells, figure_table
    from . import ADD, COPY, FUSED, METRICS

    labels = {COPY: "fine_t1 as it is", ADD: ADD, FUSED: f"{FUSED} ({result.network})"}
    scene = result.scene
    height, width = scene.fine_t1.shape[1:]
    table = figure_table(
        f"{height} x {width} pixels, {len(scene.bands)} bands, unseen scene {scene.seed}", "prediction of t2", METRICS
    )
    bands = figure_table("RMSE of each band", "prediction of t2", ())
    for band in scene.bands:
        bands.add_column(band, justify="right", no_wrap=True)
    for name, report in result.reports.items():
        cells = figure_cells(report.pooled, METRICS)
        table.add_row(
            labels[name], *(_marked(c, result.winner(m) == name) for c, m in zip(cells, METRICS, strict=True))
        )
        cells = [figure_cells(report.per_band[band], ("rmse",))[0] for band in scene.bands]
        bands.add_row(
            labels[name],
            *(_marked(c, result.winner("rmse", b) == name) for c, b in zip(cells, scene.bands, strict=True)),
        )
    console.print(table)
    console.print(bands)
    lower = 100 * result.as_dict()["rmse_lower_by"]
    console.print(
        f"* best. RMSE {lower:.0f} % below the better baseline. {result.seconds:.1f} s in all.", highlight=False
    )
    console.print(f"Fused scene: {result.files['fine_t2']}", highlight=False, soft_wrap=True)
    console.print(f"Picture:     {result.files['picture']}", highlight=False, soft_wrap=True)


def _marked(cell: str, best: bool) -> str:
    return f"[bold green]{cell}*[/]" if best else f"{cell} "
