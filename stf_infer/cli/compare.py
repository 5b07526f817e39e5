# SPDX-License-Identifier: Apache-2.0
"""``stf-infer compare``: measure a prediction against the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from ..errors import UsageError
from ._statements import rasters_from
from ._verb import Report, stderr_console, verb


@click.command(short_help="Measure a prediction against the truth.")
@click.argument("prediction", metavar="F2.tif")
@click.argument("truth", metavar="TRUTH.tif")
@verb
@click.option("--mask", metavar="M.tif", help="One band on the same grid; pixels count where it is not 0.")
@click.option(
    "--data-range",
    type=float,
    help="Span of possible values, for PSNR and SSIM. Known (1.0) where the rasters carry a scale or name the unit "
    "reflectance; must be stated elsewhere.",
)
@click.option(
    "--ratio",
    type=float,
    help="Coarse pixel size over fine pixel size, for ERGAS. Known where F2.tif was written by stf-infer (tag "
    "STF_RATIO); must be stated elsewhere.",
)
@click.option(
    "--reference",
    "references",
    metavar="F1.tif",
    multiple=True,
    help="Another raster to measure against the truth, as a baseline. Repeatable. Pixels count where all rasters "
    "are valid.",
)
@click.option("--bands", multiple=True, metavar="ROLE=N,N,...", help="Bands to use: numbers from 1, or names.")
@click.option(
    "--scale",
    multiple=True,
    metavar="[ROLE=]X",
    help="physical = stored * X + offset, for rasters that do not say so. ROLE: prediction, truth, reference.",
)
@click.option("--offset", multiple=True, metavar="[ROLE=]X", help="See --scale.")
@click.option("--nodata", multiple=True, metavar="[ROLE=]X", help="Stored value that is no measurement.")
@click.option(
    "--ssim-window",
    type=click.Choice(["gaussian", "uniform", "none"]),
    default="gaussian",
    show_default=True,
    help="Window of SSIM; none skips SSIM and UQI, most of the time that is spent.",
)
@click.option("--ssim-size", type=int, help="Rows and columns of the SSIM window, odd.  [default: 11, uniform 7]")
@click.option(
    "--histogram",
    metavar="LOW,HIGH,BINS",
    help="Count the errors (prediction - truth) in so many bins of equal width from LOW to HIGH, in physical units, "
    "and those below and above, such as -0.1,0.1,100. A table shows them in at most 20 rows, --json all.",
)
def compare(
    prediction: str,
    truth: str,
    mask: str | None,
    data_range: float | None,
    ratio: float | None,
    references: tuple[str, ...],
    bands: tuple[str, ...],
    scale: tuple[str, ...],
    offset: tuple[str, ...],
    nodata: tuple[str, ...],
    ssim_window: str,
    ssim_size: int | None,
    histogram: str | None,
) -> Report:
    """Measure a prediction against the truth.

    Prints RMSE, MAE, bias, CC, R2, PSNR, SSIM and UQI per band and pooled, and SAM and ERGAS. Every raster
    must lie on the grid of the truth; nodata, masks, scale and offset are taken from the rasters.
    """
    from ..metrics.comparison import compare as measure

    paths = {"prediction": prediction, "truth": truth, "reference": references[0] if references else None}
    rasters = rasters_from(paths, (), bands=bands, scale=scale, offset=offset, nodata=nodata)
    with _progress_bar() as progress:
        comparison = measure(
            rasters["prediction"],
            rasters["truth"],
            references=[replace(rasters["reference"], data=path) for path in references],
            mask=mask,
            data_range=data_range,
            ratio=ratio,
            window=None if ssim_window == "none" else ssim_window,  # type: ignore[arg-type]
            window_size=ssim_size,
            error_bins=None if histogram is None else _bins(histogram),
            progress=progress,
        )
    return Report(comparison.as_dict(), comparison.render)


def _bins(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3:
        raise UsageError(
            "--histogram is not understood", got=text, allowed="LOW,HIGH,BINS", fix="Say --histogram=-0.1,0.1,100"
        )
    return numbers


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None] | None]:
    """Rows done, on a terminal only."""
    console = stderr_console()
    if not console.is_terminal:
        yield None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task: Any = bar.add_task("Measuring", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
