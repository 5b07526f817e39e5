# SPDX-License-Identifier: Apache-2.0
"""``stf-infer check``: prove a bundle on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ._verb import Report, verb

if TYPE_CHECKING:
    from ..accuracy import Record
    from ..bundle import Bundle
    from ..golden import Proof


@click.command(short_help="Prove a bundle on this machine.")
@verb
@click.argument("bundle", metavar="NAME.stf")
@click.option("--engine", "engines", multiple=True, metavar="TARGET", help="Prove this engine only; may be repeated.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of an engine.")
@click.option(
    "--tolerance", type=float, help="Largest difference, over the range of the golden tile.  [default: 1e-4 in fp32]"
)
@click.option(
    "--budget", metavar="TEXT", help="How far from fp32 an engine of less may be.  [default: what it was built with]"
)
def check(
    bundle: str, engines: tuple[str, ...], threads: int | None, tolerance: float | None, budget: str | None
) -> Report:
    """Verify every file of the bundle NAME.stf and run its golden tile through the engines.

    Proven are the engines that the bundle holds, and the network itself on every target that opens it. Those of less
    than fp32 are compared with fp32 on the bundle's tiles too. Exit code 0: all files are as exported and built, every
    engine gives the golden output, and none is over its budget. 1: an engine does not, or is, or was built for
    something else. 2: the bundle is damaged, or no engine is installed.
    """
    from .. import golden
    from ..accuracy import Budget
    from ..bundle import Bundle

    opened = Bundle.open(bundle)
    held_to = None if budget is None else Budget.parse(budget)
    opened.verify()
    proofs = golden.prove(opened, engines or None, threads=threads, tolerance=tolerance, budget=held_to)
    passed = all(proof.passed is not False for proof in proofs)
    data = {
        "bundle": str(opened.path),
        "sha256": opened.sha256,
        "passed": passed,
        "assets": list(opened.assets),
        "engines": [proof.as_dict() for proof in proofs],
    }

    def show(console: Any) -> None:
        from rich.markup import escape
        from rich.table import Table

        from ..engines.base import milliseconds

        console.print(f"{len(opened.assets)} files as exported, by SHA-256", highlight=False)
        reduced = [proof for proof in proofs if proof.accuracy is not None]
        table = Table("engine", "precision", "", "difference", "allowed", "tile", title=None)
        for heading in ("off fp32", "budget") if reduced else ():
            table.add_column(heading, no_wrap=True)
        away = [proof for proof in proofs if proof.passed is None and proof.batch is None]
        for proof in proofs:
            if proof in away:
                continue
            verdict = {True: "[green]passed[/]", False: "[red]FAILED[/]", None: "not run"}[proof.passed]
            difference = "" if proof.relative is None else f"{proof.relative:.1e} of the range"
            time = "" if proof.seconds is None else milliseconds(proof.seconds)
            built = "" if proof.batch is None else f", built for {proof.batch}"
            table.add_row(
                f"{proof.engine} {proof.version}".strip(),
                f"{proof.precision}{built}",
                verdict,
                difference or escape(proof.reason),
                f"{proof.tolerance:.0e}",
                time,
                *(_accuracy_words(proof.accuracy) if reduced else ()),
            )
        console.print(table)
        for proof in reduced:
            if proof.reason:
                console.print(f"{proof.engine} {proof.precision}: {proof.reason}", markup=False, highlight=False)
        if reduced:
            console.print(f"compared with fp32 on {_tiles_words(opened, reduced)}", markup=False, highlight=False)
        if away:
            told = "; ".join(f"{proof.engine} ({proof.reason})" for proof in away)
            console.print(f"not run: {told}", markup=False, highlight=False)

    return Report(data, show, exit_code=0 if passed else 1)


def _accuracy_words(found: Record | None) -> tuple[str, str]:
    """What stands in the columns of the table that tell of the distance from fp32."""
    if found is None:
        return "", ""
    return "not compared" if found.accuracy is None else found.accuracy.short(), str(found.budget)


def _tiles_words(bundle: Bundle, proofs: list[Proof]) -> str:
    from ..accuracy.tiles import counted

    found = next((p.accuracy.accuracy for p in proofs if p.accuracy and p.accuracy.accuracy), None)
    if found is None:
        return "nothing: no engine here opens the network in fp32"
    words = counted(found.tiles, found.source)
    return words if found.source == "real" else f"{words}; `stf-infer tiles {bundle.path} ...` stores real ones"
