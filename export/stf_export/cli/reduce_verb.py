# SPDX-License-Identifier: Apache-2.0
"""``stf-infer reduce``: the network of a bundle in a reduced precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from stf_infer.cli._verb import Report, verb

from ._progress import progress_line
from ._reduction import reduction_from, reduction_options

if TYPE_CHECKING:
    from ..precision import Reduced

# Layers that are shown by name; all of them stand in the bundle.
_SHOWN = 12


@click.command(short_help="Write a bundle's network in fp16, bf16 or int8 (extra: export).")
@verb
@click.argument("bundle", metavar="NAME.stf")
@click.option("--precision", required=True, metavar="P,...", help="fp16, bf16, int8, or several.")
@reduction_options
@click.option("--trials", type=int, metavar="N", help="How often to compare at most.  [default: 32]")
def reduce(
    bundle: str,
    precision: str,
    budget: str | None,
    calibration: str | None,
    keep: tuple[str, ...],
    no_migration: bool,
    trials: int | None,
) -> Report:
    """Write the network of NAME.stf in a reduced precision into the bundle, within an accuracy budget.

    It is compared with fp32 on the tiles that the bundle holds (`stf-infer tiles`), or on procedural ones. Layers that
    cost too much stay in fp32; which ones is found by trials. Over the budget nothing is written, and the worst layers
    are named. Needs no torch.
    """
    from ..precision import reduce as reduce_one
    from ..precision.reducing import TRIALS, notes_of

    wanted = reduction_from(precision, budget, calibration, keep, no_migration)
    assert wanted is not None
    with progress_line() as progress:
        reports = [
            reduce_one(
                bundle,
                one,
                budget=wanted.budget,
                calibration=wanted.calibration,
                keep=wanted.keep,
                migrate=wanted.migrate,
                trials=TRIALS if trials is None else trials,
                progress=lambda line, one=one: progress(f"{one}: {line}"),  # type: ignore[misc]
            )
            for one in wanted.precisions
        ]
    notes = notes_of(reports)
    data = {"bundle": bundle, "reduced": [report.as_dict() for report in reports], "notes": notes}

    def show(console: Any) -> None:
        for line in [*lines_of(reports), *notes, f"next: stf-infer check {bundle}"]:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    return Report(data, show)


def lines_of(reports: list[Reduced]) -> list[str]:
    """What became of each precision, for a person."""
    from stf_infer.accuracy.comparison import percent

    lines = []
    for one in reports:
        band, value = one.accuracy.worst
        angle = "" if one.accuracy.sam_deg is None else f", spectral angle {one.accuracy.sam_deg:.2g} deg"
        lines.append(
            f"{one.precision}: rmse {percent(value)} in {band}{angle} (budget {one.budget}), "
            f"{percent(one.share)} of the multiply-adds reduced, {one.bytes / 1e6:.2f} MB, in {one.seconds:.0f} s"
        )
        if one.islands:
            more = f" and {len(one.islands) - _SHOWN} more" if len(one.islands) > _SHOWN else ""
            lines.append(f"  stays in fp32: {', '.join(one.islands[:_SHOWN])}{more}")
    return lines
