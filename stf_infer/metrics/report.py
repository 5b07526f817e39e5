# SPDX-License-Identifier: Apache-2.0
"""What was measured: figures per band and pooled, what they were made of, and under which settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .errors import ErrorHistogram

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# name: (heading, whether less is better; None where zero is best, format for a person)
HEADINGS: dict[str, tuple[str, bool | None, str]] = {
    "rmse": ("RMSE", True, ".4g"),
    "mae": ("MAE", True, ".4g"),
    "bias": ("bias", None, ".3g"),
    "aad": ("AAD", True, ".4g"),
    "mse": ("MSE", True, ".4g"),
    "nrmse": ("NRMSE", True, ".4g"),
    "cc": ("CC", False, ".4f"),
    "pcc": ("PCC", False, ".4f"),
    "r2": ("R2", False, ".4f"),
    "psnr": ("PSNR", False, ".2f"),
    "ssim": ("SSIM", False, ".4f"),
    "uqi": ("UQI", False, ".4f"),
    "sam_deg": ("SAM deg", True, ".4g"),
    "sam_rad": ("SAM rad", True, ".4g"),
    "ergas": ("ERGAS %", True, ".4g"),
}
# What a person is shown a band; the rest follows from these or is in as_dict.
SHOWN = ("rmse", "mae", "bias", "cc", "r2", "psnr", "ssim", "uqi")


@dataclass(frozen=True)
class Counts:
    """Pixels behind the figures.

    Attributes:
        pixels: All pixels of the image.
        valid: Pixels that were used, in every band.
        masked: Pixels left out because a mask or nodata said so.
        not_finite: Pixels left out because a wanted value was NaN or infinite in some band.
        zero_vectors: Valid pixels left out of SAM because their spectrum is zero in either image.
        ssim_windows: Windows behind SSIM, per band.
        uqi_windows: Windows behind UQI, per band.
    """

    pixels: int
    valid: int
    masked: int
    not_finite: int
    zero_vectors: int
    ssim_windows: int
    uqi_windows: int

    @property
    def excluded(self) -> int:
        """Pixels that were not used."""
        return self.masked + self.not_finite


@dataclass(frozen=True)
class Settings:
    """What the figures depend on besides the pixels.

    Attributes:
        data_range: Span of possible values, in units of the data (PSNR, SSIM).
        ratio: Coarse pixel size over fine pixel size (ERGAS).
        ssim_window: ``gaussian``, ``uniform``, or ``none`` where SSIM was not wanted.
        ssim_size: Rows and columns of the SSIM window; 0 for ``none``.
        ssim_sigma: Standard deviation of the Gaussian window in pixels; 0 for other windows.
        ssim_k1: Constant K1.
        ssim_k2: Constant K2.
        ssim_border: ``valid``: only windows that lie wholly inside the image and touch no excluded pixel.
        ssim_covariance: ``population``: weights sum to one; no n - 1.
        uqi_size: Rows and columns of the UQI window.
    """

    data_range: float
    ratio: float
    ssim_window: str
    ssim_size: int
    ssim_sigma: float
    ssim_k1: float
    ssim_k2: float
    ssim_border: str
    ssim_covariance: str
    uqi_size: int


@dataclass(frozen=True)
class MetricReport:
    """The figures of one prediction against the truth.

    Attributes:
        bands: Band names, in order.
        per_band: Band name: metric name: figure. Metrics: ``rmse mae bias aad mse nrmse cc pcc r2
            psnr ssim uqi``.
        pooled: Metric name: figure of all bands together; also ``sam_deg sam_rad ergas``.
        counts: Pixels behind the figures.
        settings: What the figures depend on besides the pixels.
        notes: Why a figure is undefined (NaN) or infinite, or what an average leaves out.
        errors: Histogram of the error, where bins were stated.
    """

    bands: tuple[str, ...]
    per_band: Mapping[str, Mapping[str, float]]
    pooled: Mapping[str, float]
    counts: Counts
    settings: Settings
    notes: tuple[str, ...] = ()
    errors: ErrorHistogram | None = None

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values. NaN and infinities stay what they are; JSON has to write them as null."""
        return {
            "bands": list(self.bands),
            "per_band": {band: dict(figures) for band, figures in self.per_band.items()},
            "pooled": dict(self.pooled),
            "counts": {**asdict(self.counts), "excluded": self.counts.excluded},
            "settings": asdict(self.settings),
            "notes": list(self.notes),
            "errors": None if self.errors is None else self.errors.as_dict(self.bands),
        }

    def render(self, console: Console, *, title: str = "Prediction against truth") -> None:
        """Print the figures as a table: one row a band, one row for all bands together."""
        table = plain_table(title, "band")
        shown = [metric for metric in SHOWN if metric in self.pooled]
        for metric in shown:
            table.add_column(heading(metric), justify="right", no_wrap=True)
        for band in self.bands:
            table.add_row(band, *(cell(metric, self.per_band[band][metric]) for metric in shown))
        table.add_section()
        table.add_row("pooled", *(cell(metric, self.pooled[metric]) for metric in shown))
        console.print(table)
        sam, ergas = (cell(metric, self.pooled[metric]) for metric in ("sam_deg", "ergas"))
        console.print(f"SAM {sam} deg, ERGAS {ergas} %, PSNR in dB", highlight=False)
        console.print(self._footing(), style="dim", highlight=False)
        for note in self.notes:
            console.print(f"Note: {note}", highlight=False, markup=False)
        if self.errors is not None:
            self._render_errors(console, self.errors)

    def _render_errors(self, console: Console, errors: ErrorHistogram) -> None:
        table = plain_table("Errors (prediction - truth), share of the pixels", "error")
        for band in self.bands:
            table.add_column(band, justify="right")
        for label, shares in errors.rows():
            table.add_row(label, *("-" if math.isnan(share) else f"{share:.2%}" for share in shares))
        console.print(table)

    def _footing(self) -> str:
        counts, settings = self.counts, self.settings
        used = f"{counts.valid:,} of {counts.pixels:,} pixels"
        if counts.excluded:
            used += f" ({counts.masked:,} masked, {counts.not_finite:,} not finite)"
        window = f"SSIM {settings.ssim_window} {settings.ssim_size}x{settings.ssim_size}"
        return ", ".join(
            [
                used,
                f"data range {settings.data_range:g}",
                f"ratio {settings.ratio:g}",
                "no SSIM" if settings.ssim_window == "none" else window,
            ]
        )


def plain_table(title: str, first: str) -> Table:
    """An empty table that fits 80 columns with eight figures a row; the first column folds."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column(first, overflow="fold")
    return table


def heading(metric: str) -> str:
    """Name of a metric as a person reads it; the arrow says which way is better."""
    name, less, _ = HEADINGS[metric]
    return name + {True: " ↓", False: " ↑", None: ""}[less]


def cell(metric: str, value: float) -> str:
    """A figure as a person reads it; a dash where it is undefined."""
    if math.isnan(value):
        return "-"
    return "inf" if math.isinf(value) else format(value, HEADINGS[metric][2])
