# SPDX-License-Identifier: Apache-2.0
"""``stf-infer tiles``: cut tiles of real rasters into a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..spec import KNOWN_ROLES
from ._statements import arrays_from, rasters_from, role_options, statement_options
from ._verb import Report, verb

if TYPE_CHECKING:
    from ..accuracy import Tiles
    from ..bundle import Bundle


@click.command(short_help="Store tiles of real rasters, to judge engines by.")
@click.argument("bundle", metavar="NAME.stf")
@role_options
@statement_options
@click.option("--count", type=int, help="How many; fewer where they are large.  [default: 8, or 256 samples]")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed takes other tiles.")
@click.option("--any-ratio", is_flag=True, help="Accept coarse pixels that do not fit the contract's ratio.")
@verb
def tiles(
    bundle: str,
    others: tuple[str, ...],
    bands: tuple[str, ...],
    dims: tuple[str, ...],
    scale: tuple[str, ...],
    offset: tuple[str, ...],
    nodata: tuple[str, ...],
    count: int | None,
    seed: int,
    any_ratio: bool,
    **paths: Any,
) -> Report:
    """Cut tiles of rasters, as `run` would read them, and store them in the bundle NAME.stf.

    Engines of less than fp32 are compared with fp32 on them by `build` and `check`; without any, on procedural ones.
    Of a network that takes no rasters samples of its --input files are stored.
    """
    from ..accuracy import cut_tiles
    from ..bundle import Bundle
    from ..samples.spec import SampleSpec

    opened = Bundle.open(bundle)
    if seed < 0:
        raise UsageError("The seed cannot be used", got=seed, allowed="0 or more")
    files = {role: paths[role] for role in KNOWN_ROLES}
    if isinstance(opened.spec, SampleSpec):
        _refuse_for_samples(opened, bands=bands, any_ratio=any_ratio)
        given: Any = arrays_from(files, others, dims=dims, scale=scale, offset=offset, nodata=nodata)
    else:
        if dims:
            raise UsageError("--dims has no meaning for rasters", got=", ".join(dims), fix="Leave it out")
        given = rasters_from(files, others, bands=bands, scale=scale, offset=offset, nodata=nodata)
    stored = cut_tiles(opened, count=count, seed=seed, any_ratio=any_ratio, **given)
    data = {
        "bundle": str(opened.path),
        "tiles": len(stored),
        "source": stored.source,
        "from": list(stored.labels),
        "origins": [list(origin) for origin in stored.origins],
        "bytes": opened.assets["tiles"].size,
        "sha256": opened.assets["tiles"].sha256,
    }
    return Report(data, lambda console: _show(console, opened, stored, data))


def _refuse_for_samples(bundle: Bundle, **options: Any) -> None:
    for option, value in options.items():
        if value:
            raise UsageError(
                f"--{option.replace('_', '-')} has no meaning for {bundle.spec.name}, which takes samples",
                fix="Leave it out",
            )


def _show(console: Any, bundle: Bundle, stored: Tiles, data: dict[str, Any]) -> None:
    what = "tiles, of rows and columns" if stored.origins else "samples"
    places = f" {', '.join(f'{y} {x}' for y, x in stored.origins)}" if stored.origins else ""
    for line in (
        f"{len(stored)} {what}{places}",
        f"  {', '.join(stored.labels)}",
        f"  {bundle.assets['tiles'].href}, {data['bytes'] / 1e6:.2f} MB",
        f"next: stf-infer build {bundle.path} compares the engines of the bundle on them",
    ):
        console.print(line, markup=False, highlight=False)
