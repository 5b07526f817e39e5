# SPDX-License-Identifier: Apache-2.0
"""``stf-infer baseline``: what fusion has to beat, over a whole scene."""

from __future__ import annotations

from typing import Any, get_args

import click

from ..spec import KNOWN_ROLES
from ..storage import CompressName, DTypeName, FormatName
from ._memory import give_back_memory
from ._progress import ProgressLine
from ._statements import rasters_from, role_options, value_options
from ._verb import Report, verb


@click.command(short_help="Predict a scene without a network.")
@click.argument("name", type=click.Choice(["copy", "change", "starfm"]))
@role_options
@click.option("-o", "--output", required=True, metavar="FILE", help="GeoTIFF to write.")
@click.option("--ratio", type=click.IntRange(min=1), default=16, show_default=True, help="Coarse over fine pixel.")
@click.option("--unit", default="reflectance", show_default=True, help="Unit of the rasters: reflectance, kelvin or 1.")
@value_options
@click.option("--aoi", metavar="W,S,E,N|FILE", help="Area in the CRS of fine_t1, or a GeoJSON file.")
@click.option("--window", type=int, default=51, show_default=True, help="Of starfm: rows and columns, odd.")
@click.option("--classes", type=int, default=4, show_default=True, help="Of starfm: estimated land cover classes.")
@click.option("--uncertainty", type=float, default=0.002, show_default=True, help="Of starfm: error of the images.")
@click.option("--weight", type=click.Choice(["logarithm", "product"]), default="logarithm", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all]")
@click.option("--dtype", type=click.Choice(get_args(DTypeName)), default="auto", show_default=True)
@click.option("--format", type=click.Choice(get_args(FormatName)), default="gtiff", show_default=True)
@click.option("--compress", type=click.Choice(get_args(CompressName)), default="zstd", show_default=True)
@click.option("--no-overviews", is_flag=True, help="Leave reduced versions out.")
@click.option("--any-ratio", is_flag=True, help="Accept coarse pixels that do not fit the ratio.")
@verb
def baseline(
    name: Any,
    output: str,
    ratio: int,
    unit: str,
    bands: tuple[str, ...],
    scale: tuple[str, ...],
    offset: tuple[str, ...],
    nodata: tuple[str, ...],
    window: int,
    classes: int,
    uncertainty: float,
    weight: Any,
    no_overviews: bool,
    **options: Any,
) -> Report:
    """Predict the fine image at t2 by a formula: what a network has to beat.

    copy: fine_t1 again. change: fine_t1 plus the change of the coarse images. starfm: a moving window that weighs
    pixels that look alike (Gao et al. 2006).
    """
    from ..baselines import Starfm, fuse_baseline
    from .run import show_result

    give_back_memory()
    paths = {role: options.pop(role) for role in KNOWN_ROLES}
    rasters: dict[str, Any] = dict(rasters_from(paths, (), bands=bands, scale=scale, offset=offset, nodata=nodata))
    settings = Starfm(
        window=window, classes=classes, fine_uncertainty=uncertainty, coarse_uncertainty=uncertainty, weight=weight
    )
    with ProgressLine(name, "Mpx", 1e6) as progress:
        result = fuse_baseline(
            name,
            output,
            ratio=ratio,
            unit=unit,
            settings=settings,
            overviews=not no_overviews,
            progress=progress,
            **options,
            **rasters,
        )
    return Report(result.as_dict(), lambda console: show_result(console, result.as_dict()))
