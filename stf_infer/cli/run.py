# SPDX-License-Identifier: Apache-2.0
"""``stf-infer run``: fuse a scene with a bundle."""

from __future__ import annotations

from typing import Any, get_args

import click

from ..device_tiles import TilesOn
from ..errors import UsageError
from ..spec import KNOWN_ROLES
from ..storage import CompressName, DTypeName, FormatName
from ._memory import give_back_memory
from ._progress import ProgressLine
from ._statements import arrays_from, rasters_from, role_options, statement_options
from ._verb import Report, verb


@click.command(short_help="Fuse a scene, or samples, with a bundle.")
@click.argument("bundle", metavar="NAME.stf")
@role_options
@statement_options
@click.option("-o", "--output", metavar="FILE", help="GeoTIFF to write; of samples NetCDF, .npz or .npy.")
@click.option("--aoi", metavar="W,S,E,N|FILE", help="Area in the CRS of fine_t1, or a GeoJSON file.")
@click.option("--engine", metavar="TARGET", help="Engine to use.  [default: the fastest here, measured once]")
@click.option("--precision", help="What the engine has to compute in.  [default: any that is built, and fp32]")
@click.option(
    "--rebuild",
    type=click.Choice(["never", "auto"]),
    default="never",
    show_default=True,
    help="auto: build an engine of the bundle again that does not fit this machine.",
)
@click.option("--threads", type=int, help="CPU threads of engine, reading and compression.  [default: measured]")
@click.option("--tile-batch", type=int, help="Tiles, or samples, in one engine call.  [default: what suits the engine]")
@click.option("--seed", type=int, help="Which noise a diffusion network sees: 0 to 2^64 - 1; default 0.")
@click.option(
    "--samples",
    type=int,
    default=1,
    show_default=True,
    help="Of a diffusion network: draw so many, from --seed on, and write their mean and standard deviation.",
)
@click.option("--dtype", type=click.Choice(get_args(DTypeName)), default="auto", show_default=True)
@click.option("--format", type=click.Choice(get_args(FormatName)), default="gtiff", show_default=True)
@click.option("--compress", type=click.Choice(get_args(CompressName)), default="zstd", show_default=True)
@click.option("--no-overviews", is_flag=True, help="Leave reduced versions out.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run; keep its journal if interrupted.")
@click.option("--any-ratio", is_flag=True, help="Accept coarse pixels that do not fit the contract's ratio.")
@click.option("--profile", metavar="FILE.json", help="Write a trace for Perfetto or Chrome, and show the stages.")
@click.option(
    "--tiles-on",
    type=click.Choice(get_args(TilesOn)),
    default="auto",
    show_default=True,
    help="Where strips and tiles live while they are computed; auto: on the engine's device where that is possible.",
)
@click.option("--dry-run", is_flag=True, help="Show tile plan, overlap cost and expected memory; write nothing.")
@verb
def run(
    bundle: str,
    output: str | None,
    others: tuple[str, ...],
    bands: tuple[str, ...],
    dims: tuple[str, ...],
    scale: tuple[str, ...],
    offset: tuple[str, ...],
    nodata: tuple[str, ...],
    aoi: str | None,
    engine: str | None,
    precision: str | None,
    rebuild: Any,
    threads: int | None,
    tile_batch: int | None,
    seed: int | None,
    samples: int,
    no_overviews: bool,
    resume: bool,
    any_ratio: bool,
    profile: str | None,
    tiles_on: TilesOn,
    dry_run: bool,
    **options: Any,
) -> Report:
    """Predict the fine image at t2 with the bundle NAME.stf.

    The result has the exact grid of fine_t1. Other rasters may have any CRS and pixel size.

    A network that takes no rasters runs over all samples of its --input files (NetCDF, .npz, .npy): FILE, or
    FILE:VARIABLE.
    """
    from ..bundle import Bundle
    from ..model import Model
    from ..samples.spec import SampleSpec
    from ..scene import check_roles

    give_back_memory()
    opened = Bundle.open(bundle)
    opening: dict[str, Any] = {"engine": engine, "threads": threads, "precision": precision, "rebuild": rebuild}
    paths = {role: options.pop(role) for role in KNOWN_ROLES}
    layout: dict[str, Any] = {key: options[key] for key in ("dtype", "format", "compress")}
    if output is None and not dry_run:
        raise UsageError("No destination is named", fix="Give -o FILE.tif (or --dry-run)")
    if isinstance(opened.spec, SampleSpec):
        from ._samples import run_samples

        arrays = arrays_from(paths, others, dims=dims, scale=scale, offset=offset, nodata=nodata)
        given = {"no_overviews": no_overviews, "resume": resume, "any_ratio": any_ratio, "profile": profile, **layout}
        given |= {"bands": bands, "aoi": aoi, "seed": None if seed is None else str(seed)}
        given |= {"samples": None if samples == 1 else str(samples), "tiles_on": tiles_on}
        return run_samples(opened, arrays, output, given, batch=tile_batch, dry_run=dry_run, **opening)
    if dims:
        raise UsageError("--dims has no meaning for rasters", got=", ".join(dims), fix="Leave it out")
    rasters = rasters_from(paths, others, bands=bands, scale=scale, offset=offset, nodata=nodata)
    as_keywords: dict[str, Any] = dict(rasters)
    with Model(opened, **opening) as model:
        check_roles(model.spec, rasters)
        if dry_run:
            estimate = model.estimate(
                aoi=aoi, tile_batch=tile_batch, seed=seed, samples=samples, any_ratio=any_ratio, **as_keywords
            )
            return Report(estimate.as_dict(), lambda console: _show_estimate(console, estimate.as_dict()))
        with ProgressLine(model.spec.name, "Mpx", 1e6) as progress:
            result = model.fuse(
                output,
                aoi=aoi,
                tile_batch=tile_batch,
                seed=seed,
                samples=samples,
                overviews=not no_overviews,
                resume=resume,
                any_ratio=any_ratio,
                progress=progress,
                profile=profile or False,
                tiles_on=tiles_on,
                **layout,
                **as_keywords,
            )
    return Report(result.as_dict(), lambda console: show_result(console, result.as_dict()))


def show_result(console: Any, data: dict[str, Any]) -> None:
    """Tell a person what a run did: its figures, and what made the result."""
    waiting = data["seconds"] - data["engine_seconds"]
    console.print(f"[bold]{data['path']}[/]")
    console.print(
        f"  {data['pixels'] / 1e6:.2f} Mpx in {data['seconds']:.2f} s: {data['mpx_per_s']:.2f} Mpx/s "
        f"(engine {data['engine_seconds']:.2f} s, all else {waiting:.2f} s)"
    )
    console.print(
        f"  {data['tiles']} tiles run, {data['skipped_tiles']} without data; "
        f"{data['valid_fraction']:.1%} of the pixels hold a value"
    )
    if data["seam_ratio"] is not None:
        console.print(f"  seam figure {data['seam_ratio']:.3f} (gradient across tile borders / elsewhere)")
    made = data["provenance"]
    console.print(f"  {made['bundle']} on {made['engine']}, {made['precision']}, tiles {made['tile_plan']}")
    if "engine_choice" in made:
        console.print(f"  {made['engine'].partition(' ')[0]}: {made['engine_choice']}")
    if "tiles_on" in made:
        console.print(f"  tiles on the {made['tiles_on']}")
    if "samples" in made:
        console.print(f"  mean and standard deviation of {made['samples']} samples, the first of seed {made['seed']}")
    elif "seed" in made:
        console.print(f"  noise of seed {made['seed']}")
    if "profile" in data:
        split = data["threads"]
        console.print(f"  threads: {split['reading']} read, {split['writing']} compress ({split['why']})")
        _show_stages(console, data)


def _show_stages(console: Any, data: dict[str, Any]) -> None:
    """What each thread did; shares are of the wall time."""
    from rich.table import Table

    table = Table("thread", "stage", "calls", "time", "share", "Mpx/s", "MB")
    for row in data["profile"]:
        name = f"[dim]{row['name']}[/]" if row["waiting"] else row["name"]
        rate = "" if row["waiting"] else f"{data['pixels'] / 1e6 / max(row['seconds'], 1e-9):.1f}"
        share = f"{row['seconds'] / max(data['seconds'], 1e-9):.0%}"
        moved = f"{row['bytes'] / 1e6:.1f}" if row["bytes"] else ""
        table.add_row(row["thread"], name, str(row["calls"]), f"{row['seconds']:.2f} s", share, rate, moved)
    console.print(table)


def _show_estimate(console: Any, data: dict[str, Any]) -> None:
    console.print(f"scene         {data['scene'][0]} x {data['scene'][1]} pixels")
    console.print(f"area          {data['area'][0]} x {data['area'][1]} pixels")
    console.print(
        f"tiles         {data['tiles']} of {data['tile'][0]} x {data['tile'][1]}, {data['mode']}, "
        f"halo {data['halo']}, stride {data['stride']}"
    )
    if data["samples"] > 1:
        console.print(f"samples       {data['samples']} of every tile")
    console.print(f"overlap cost  {data['overlap_cost']:.2f} x the pixels of the scene are computed")
    if data["panels"] > 1:
        console.print(f"panels        {data['panels']}, one after the other")
    console.print(f"peak memory   about {data['peak_bytes'] / 1e9:.2f} GB")
    for role, how in data["grids"].items():
        console.print(f"{role:<13} {how}")
