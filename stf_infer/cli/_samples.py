# SPDX-License-Identifier: Apache-2.0
"""`run` with a bundle of a network that takes samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..samples.model import BATCH, SampleModel
from ._progress import ProgressLine
from ._verb import Report

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..samples.array import SampleArray

# Values of options that are for rasters alone, where they are not given.
_NOT_GIVEN = (None, (), False, "auto", "gtiff", "zstd")


def run_samples(
    bundle: Bundle,
    arrays: Mapping[str, SampleArray],
    output: str | None,
    for_rasters: Mapping[str, Any],
    *,
    batch: int | None,
    dry_run: bool,
    **opening: Any,
) -> Report:
    """Run all samples into a file, or tell what would be run; ``opening`` says with which engine.

    Raises:
        UsageError: An option is given that has a meaning for rasters only.
    """
    for option, value in for_rasters.items():
        if value not in _NOT_GIVEN:
            raise UsageError(
                f"--{option.replace('_', '-')} has no meaning for {bundle.spec.name}, which takes samples",
                got=value if isinstance(value, str) else None,
                fix="Leave it out",
            )
    size = BATCH if batch is None else batch
    with SampleModel(bundle, **opening) as model:
        if dry_run:
            estimate = model.estimate(tile_batch=size, **arrays).as_dict()
            return Report(estimate, lambda console: _show_estimate(console, estimate))
        with ProgressLine(bundle.spec.name, "samples") as progress:
            result = model.fuse(output, tile_batch=size, progress=progress, **arrays).as_dict()
    return Report(result, lambda console: _show_result(console, result))


def _show_result(console: Any, data: Mapping[str, Any]) -> None:
    run, made = data["samples"] - data["skipped"], data["provenance"]
    for line in (
        str(data["path"]),
        f"  {data['samples']} samples ({_along(data['dims'])}) in {data['seconds']:.2f} s: "
        f"{data['samples_per_s']:.0f} a second (engine {data['engine_seconds']:.2f} s)",
        f"  {run} run, {data['skipped']} with a missing value; {data['not_finite']} values not finite",
        f"  {made['bundle']} on {made['engine']}, {made['precision']}",
        *([f"  {made['engine'].partition(' ')[0]}: {made['engine_choice']}"] if "engine_choice" in made else []),
    ):
        console.print(line, markup=False, highlight=False)


def _show_estimate(console: Any, data: Mapping[str, Any]) -> None:
    for line in (
        f"samples  {data['samples']} ({_along(data['dims'])}), in at most {data['calls']} engine calls",
        f"result   {' x '.join(map(str, data['shape']))}, {data['output_bytes'] / 1e6:.2f} MB",
        *(f"{role:<8} {label}" for role, label in data["inputs"].items()),
    ):
        console.print(line, markup=False, highlight=False)


def _along(dims: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in dims.items()) or "one"
