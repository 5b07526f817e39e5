# SPDX-License-Identifier: Apache-2.0
"""``stf-infer compare``: measure a prediction against the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from ..errors import UsageError
from ._verb import Report, stderr_console, verb

_ROLES = ("prediction", "truth", "reference")
T = TypeVar("T")


@click.command()
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
@click.option(
    "--scale",
    "scales",
    metavar="ROLE=X",
    multiple=True,
    help="physical = stored * X, for a raster that does not say so. ROLE: prediction, truth, reference.",
)
@click.option("--offset", "offsets", metavar="ROLE=X", multiple=True, help="Added after --scale.")
@click.option("--nodata", "nodatas", metavar="ROLE=X", multiple=True, help="Stored value that means no measurement.")
@click.option("--bands", metavar="ROLE=N,N,...", multiple=True, help="Bands to use, by number from 1 or by name.")
@click.option(
    "--ssim-window",
    type=click.Choice(["gaussian", "uniform", "none"]),
    default="gaussian",
    show_default=True,
    help="Window of SSIM; none skips SSIM and UQI, most of the time that is spent.",
)
@click.option("--ssim-size", type=int, help="Rows and columns of the SSIM window, odd.  [default: 11, uniform 7]")
def compare(
    prediction: str,
    truth: str,
    mask: str | None,
    data_range: float | None,
    ratio: float | None,
    references: tuple[str, ...],
    scales: tuple[str, ...],
    offsets: tuple[str, ...],
    nodatas: tuple[str, ...],
    bands: tuple[str, ...],
    ssim_window: str,
    ssim_size: int | None,
) -> Report:
    """Measure a prediction against the truth.

    Prints RMSE, MAE, bias, CC, R2, PSNR, SSIM and UQI per band and pooled, and SAM and ERGAS. Every raster
    must lie on the grid of the truth; nodata, masks, scale and offset are taken from the rasters.
    """
    from ..metrics.comparison import compare as measure
    from ..raster import Raster

    stated: dict[str, dict[str, Any]] = {
        "scale": _by_role("--scale", scales, float),
        "offset": _by_role("--offset", offsets, float),
        "nodata": _by_role("--nodata", nodatas, float),
        "bands": _by_role("--bands", bands, _band_list),
    }

    def raster(role: str, path: str) -> Raster:
        return Raster(path, **{key: values[role] for key, values in stated.items() if role in values})

    with _progress_bar() as progress:
        comparison = measure(
            raster("prediction", prediction),
            raster("truth", truth),
            references=[raster("reference", path) for path in references],
            mask=mask,
            data_range=data_range,
            ratio=ratio,
            window=None if ssim_window == "none" else ssim_window,  # type: ignore[arg-type]
            window_size=ssim_size,
            progress=progress,
        )
    return Report(comparison.as_dict(), comparison.render)


def _by_role(flag: str, values: tuple[str, ...], convert: Callable[[str], T]) -> dict[str, T]:
    out: dict[str, T] = {}
    for value in values:
        role, equals, text = value.partition("=")
        try:
            if not equals or role not in _ROLES:
                raise ValueError(role)
            out[role] = convert(text)
        except ValueError as error:
            raise UsageError(
                f"{flag} cannot be read",
                got=value,
                allowed=f"ROLE=VALUE with ROLE one of {', '.join(_ROLES)}",
            ) from error
    return out


def _band_list(text: str) -> tuple[str | int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ValueError(text)
    return tuple(int(part) if part.isdigit() else part for part in parts)


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
