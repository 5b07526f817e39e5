# SPDX-License-Identifier: Apache-2.0
"""``stf-infer steps``: what a diffusion network loses with fewer steps, and which few steps lose least."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from stf_infer.cli._statements import rasters_from, role_options
from stf_infer.cli._verb import Report, verb
from stf_infer.errors import UsageError
from stf_infer.scene import check_roles
from stf_infer.spec import KNOWN_ROLES

from ..bundle_writer import refuse_to_replace
from ..samplers import SpacingName
from ._progress import progress_line

if TYPE_CHECKING:
    from stf_infer.model import Model

    from ..steps import Curve, Point, Tuned

TRUTH = "truth"
# The truth beside the rasters of a scene's folder, as `stf-infer demo` and stf_infer.datasets write it.
TRUTH_FILE = "fine_t2_truth.tif"
METRICS = ("rmse", "ssim", "sam_deg")


@click.command(short_help="Measure a diffusion network's steps against quality, or tune them.")
@click.argument("bundle", metavar="NAME.stf")
@click.option("--scene", metavar="FOLDER", help=f"Rasters by role: fine_t1.tif and so on; {TRUTH_FILE} if there.")
@role_options
@click.option("--input", "others", multiple=True, metavar="ROLE=FILE", help="Raster of any other role.")
@click.option("--truth", metavar="FILE", help="The fine image at t2, on the grid of fine_t1.")
@click.option("--steps", "counts", metavar="N,N,...", help="Numbers of steps.  [default: 1,2,4,8,16,32; T is added]")
@click.option("--spacing", type=click.Choice(get_args(SpacingName)), help="Rule of spacing.  [default: the bundle's]")
@click.option("--tune", type=int, metavar="N", help="Search the best N time steps instead, and store them.")
@click.option("--tiles", type=int, default=4, show_default=True, help="Tiles that --tune calibrates on.")
@click.option("-o", "--output", metavar="NEW.stf", help="Bundle that --tune writes.  [default: NAME.stf itself]")
@click.option("--force", is_flag=True, help="Replace a bundle that is at -o already.")
@click.option("--plot", metavar="FILE.svg", help="Where the plot goes.  [default: NAME-steps.svg]")
@click.option("--bands", multiple=True, metavar="ROLE=N,N,...", help="Bands to use: numbers from 1, or names.")
@click.option("--scale", multiple=True, metavar="[ROLE=]X", help="physical = stored * X + offset. ROLE: also truth.")
@click.option("--offset", multiple=True, metavar="[ROLE=]X", help="See --scale.")
@click.option("--nodata", multiple=True, metavar="[ROLE=]X", help="Stored value that is no measurement.")
@click.option("--data-range", type=float, help="Span of possible values, for SSIM.  [default: 1 for reflectance]")
@click.option("--aoi", metavar="W,S,E,N|FILE", help="Area to measure, in the CRS of fine_t1, or a GeoJSON file.")
@click.option("--seed", type=int, help="Which noise every run starts from.  [default: 0]")
@click.option("--engine", metavar="TARGET", help="Engine to use.  [default: the fastest here, measured once]")
@click.option("--precision", help="What the engine has to compute in.  [default: any that is built, and fp32]")
@click.option("--threads", type=int, help="CPU threads of the engine.")
@click.option("--tile-batch", type=int, help="Tiles in one engine call.  [default: what suits the engine]")
@click.option("--any-ratio", is_flag=True, help="Accept coarse pixels that do not fit the contract's ratio.")
@verb
def steps(
    bundle: str,
    scene: str | None,
    others: tuple[str, ...],
    truth: str | None,
    counts: str | None,
    tune: int | None,
    bands: tuple[str, ...],
    scale: tuple[str, ...],
    offset: tuple[str, ...],
    nodata: tuple[str, ...],
    **options: Any,
) -> Report:
    """Measure steps against quality over a scene: the bundle NAME.stf holds a diffusion network as one step.

    Prints RMSE, SSIM and SAM of 1, 2, 4 ... T steps, to the result of all T steps and to the truth, and seconds per
    million pixels on this machine; writes the plot. With --tune N it searches the N time steps that come closest to all
    T on tiles of the scene, and stores them in the bundle.
    """
    from stf_infer.bundle import Bundle
    from stf_infer.model import Model
    from stf_infer.samples.spec import SampleSpec

    paths = {role: options.pop(role) for role in KNOWN_ROLES} | {TRUTH: truth}
    opened = Bundle.open(bundle)
    if isinstance(opened.spec, SampleSpec):
        raise UsageError(f"{opened.spec.name} takes no rasters: it is no diffusion network", got=opened.spec.network)
    with Model(opened, **{name: options.pop(name) for name in ("engine", "precision", "threads")}) as model:
        if scene is not None:
            paths = _files_in(scene, model) | {role: path for role, path in paths.items() if path is not None}
        rasters = rasters_from(paths, others, bands=bands, scale=scale, offset=offset, nodata=nodata)
        goal = rasters.pop(TRUTH, None)
        check_roles(model.spec, rasters)
        if tune is not None:
            return _tune(model, rasters, tune, {**options, "truth": truth, "steps": counts})
        return _measure(model, rasters, goal, counts, options)


def _measure(
    model: Model, rasters: Mapping[str, Any], truth: Any, counts: str | None, options: dict[str, Any]
) -> Report:
    from ..steps import measure
    from ..steps.plot import check_plot, write_plot

    _refuse("without --tune", output=options.pop("output"), force=options.pop("force") or None)
    options.pop("tiles")
    plot = check_plot(options.pop("plot") or f"{model.bundle.path.resolve().stem}-steps.svg")
    with progress_line() as progress:
        curve = measure(model, rasters, truth=truth, counts=_numbers(counts), progress=progress, **options)
    write_plot(plot, curve)
    data = {**curve.as_dict(), "plot": str(plot)}
    return Report(data, lambda console: _show_curve(console, curve, plot))


def _tune(model: Model, rasters: Mapping[str, Any], steps: int, options: dict[str, Any]) -> Report:
    from ..steps import store, tune

    output, force = options.pop("output"), options.pop("force")
    options.pop("tile_batch")
    _refuse("with --tune", **{name: options.pop(name) for name in ("truth", "steps", "plot", "aoi", "data_range")})
    if output is not None:
        refuse_to_replace(Path(output), force)  # now rather than after minutes of work
    options["seed"] = options["seed"] or 0
    with progress_line() as progress:
        tuned = tune(model, rasters, steps, progress=progress, **options)
        progress("writing the bundle")
        written = store(model.bundle, tuned, output, force=force)
    data = {**tuned.as_dict(), "bundle": str(written.path), "sha256": written.sha256}
    return Report(data, lambda console: _show_tuned(console, tuned, str(written.path)))


def _files_in(folder: str, model: Model) -> dict[str, str | None]:
    """Files of a folder that are named as the bundle's rasters, and the truth."""
    if not Path(folder).is_dir():
        raise UsageError("A scene is a folder with a raster for each role", got=folder)
    names = {raster.role: f"{raster.role}.tif" for raster in model.spec.rasters} | {TRUTH: TRUTH_FILE}
    return {role: str(Path(folder) / name) for role, name in names.items() if (Path(folder) / name).exists()}


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError("--steps cannot be read", got=text, allowed="N,N,...")
    return [int(part) for part in parts]


def _refuse(where: str, **options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"--{name.replace('_', '-')} has no meaning {where}", fix="Leave it out")


def _show_curve(console: Any, curve: Curve, plot: Path) -> None:
    from stf_infer.metrics.report import cell, heading, plain_table

    has_truth = curve.points[0].to_truth is not None
    table = plain_table(f"{curve.name}: {curve.pixels / 1e6:.2f} Mpx on {curve.engine}", "steps")
    table.add_column("time steps", overflow="fold")
    for goal in ("all steps", "truth")[: 1 + has_truth]:
        for metric in METRICS:
            table.add_column(f"{heading(metric)}\nto {goal}", justify="right", no_wrap=True)
    table.add_column("s / Mpx", justify="right", no_wrap=True)
    for point in curve.points:
        figures = [point.to_all, point.to_truth][: 1 + has_truth]
        cells = [cell(metric, found[metric]) if found else "-" for found in figures for metric in METRICS]
        table.add_row(str(point.steps), _times(point), *cells, f"{point.seconds_per_mpx:.2f}")
    console.print(table)
    console.print(curve.sampler, style="dim", highlight=False, markup=False)
    console.print(f"Plot: {plot}", highlight=False, markup=False, soft_wrap=True)


def _times(point: Point) -> str:
    shown = ", ".join(map(str, point.timesteps)) if point.steps <= 8 else ""
    return f"{point.spacing}: {shown}" if shown else point.spacing


def _show_tuned(console: Any, tuned: Tuned, path: str) -> None:
    count = len(tuned.sampler.timesteps)
    rows = ((tuned.sampler.timesteps, tuned.error, "tuned"), (tuned.spaced, tuned.spaced_error, "spaced"))
    console.print(
        f"RMSE to all {tuned.train_steps} steps over {tuned.tiles} tiles, after {tuned.trials} trials", highlight=False
    )
    for timesteps, error, word in rows:
        console.print(f"  {error:.4g}  {word:6s} {', '.join(map(str, timesteps))}", highlight=False)
    console.print(
        f"{path} is sampled in these {count} steps. Next: stf-infer steps {path} over another scene",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
