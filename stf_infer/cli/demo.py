# SPDX-License-Identifier: Apache-2.0
"""``stf-infer demo``: fuse a procedural scene with the embedded network."""

from __future__ import annotations

import click

from ._verb import Report, stderr_console, verb


@click.command(short_help="Fuse a procedural scene with the embedded network.")
@verb
@click.option("--out", "folder", metavar="DIR", default="stf-demo", show_default=True, help="Where the files go.")
@click.option("--seed", type=click.IntRange(min=0), help="Another scene than the usual one.")
@click.option("--clouds", is_flag=True, help="Hide a part of the inputs under clouds.")
@click.option("--engine", metavar="TARGET", help="Engine to use; see `stf-infer engines`.")
def demo(folder: str, seed: int | None, clouds: bool, engine: str | None) -> Report:
    """Make a scene, fuse it, and measure the result against two baselines.

    Works offline and takes seconds. DIR then holds the inputs, the fused scene and the truth as GeoTIFFs, and a
    picture of them all.
    """
    from ..datasets import DEMO_SEED
    from ..demo import run_demo
    from ..demo.view import show

    console = stderr_console()
    with console.status("demo") as status:
        result = run_demo(
            folder, seed=DEMO_SEED if seed is None else seed, clouds=clouds, engine=engine, progress=status.update
        )
    return Report(result.as_dict(), lambda out: show(out, result))
