# SPDX-License-Identifier: Apache-2.0
"""How the demo shows itself: a picture of inputs, result, truth and errors; a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..datasets import Scene
from ..picture import Panel, composite, heat, round_up, sheet, stretch, write_png

if TYPE_CHECKING:
    from rich.console import Console

    from ..metrics import MetricReport
    from . import DemoResult


def draw(path: Path, scene: Scene, fused: np.ndarray, reports: Mapping[str, MetricReport]) -> None:
    """Write the picture: inputs, fused image and truth; below the error of both baselines and of the fusion."""
    from . import ADD, COPY, FUSED, guesses

    low, high = stretch(scene.fine_t2, scene.bands)
    valid = np.isfinite(fused).all(0)
    away = {
        name: np.where(valid, np.abs(guess - scene.fine_t2).mean(0), np.nan)
        for name, guess in guesses(scene, fused).items()
    }
    highest = round_up(float(np.nanquantile(away[COPY], 0.97))) if valid.any() else 1.0

    def photo(image: np.ndarray, title: str, note: str, seen: np.ndarray | None = None) -> Panel:
        shown = image if seen is None else np.where(seen, image, np.nan)
        return Panel(composite(shown, scene.bands, low, high), title, note)

    def error(title: str, name: str) -> Panel:
        return Panel(heat(away[name], highest), title, f"RMSE {reports[name].pooled['rmse']:.4f}")

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
            error("Error: fine t1 as it is", COPY),
            error("Error: fine t1 + coarse change", ADD),
            error("Error: fused", FUSED),
        ],
    ]
    write_png(path, sheet(rows, scale=(highest, "reflectance")))


def show(console: Console, result: DemoResult) -> None:
    """Print the tables and where the files are."""
    from ..metrics.report import cell, heading, plain_table
    from . import ADD, COPY, FUSED, METRICS

    labels = {COPY: "fine_t1", ADD: "fine_t1 + change", FUSED: result.network}
    scene = result.scene
    height, width = scene.fine_t1.shape[1:]
    table = plain_table(f"Scene {scene.seed}: {height} x {width} pixels, never seen in training", "fine_t2 as")
    bands = plain_table("RMSE of each band", "fine_t2 as")
    for metric in METRICS:
        table.add_column(heading(metric), justify="right", no_wrap=True)
    for band in scene.bands:
        bands.add_column(band, justify="right", no_wrap=True)
    for name, report in result.reports.items():
        table.add_row(labels[name], *(_marked(cell(m, report.pooled[m]), result.winner(m) == name) for m in METRICS))
        figures = {band: cell("rmse", report.per_band[band]["rmse"]) for band in scene.bands}
        bands.add_row(labels[name], *(_marked(f, result.winner("rmse", b) == name) for b, f in figures.items()))
    console.print(table)
    console.print(bands)
    lower = 100 * result.as_dict()["rmse_lower_by"]
    console.print("* best; change: coarse_t2 - coarse_t1, interpolated to the fine grid", style="dim", highlight=False)
    console.print(f"RMSE is {lower:.0f} % below the better baseline. {result.seconds:.1f} s in all.", highlight=False)
    console.print(f"Fused scene: {result.files['fine_t2']}", highlight=False, soft_wrap=True)
    console.print(f"Picture:     {result.files['picture']}", highlight=False, soft_wrap=True)


def _marked(cell: str, best: bool) -> str:
    return f"[bold green]{cell}*[/]" if best else f"{cell} "
