# SPDX-License-Identifier: Apache-2.0
"""``stf-infer check``: prove a bundle on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from ._verb import Report, verb


@click.command(short_help="Prove a bundle on this machine.")
@verb
@click.argument("bundle", metavar="NAME.stf")
@click.option("--engine", "engines", multiple=True, metavar="TARGET", help="Prove this engine only; may be repeated.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of an engine.")
@click.option(
    "--tolerance", type=float, help="Largest difference, over the range of the golden tile.  [default: 1e-4 in fp32]"
)
def check(bundle: str, engines: tuple[str, ...], threads: int | None, tolerance: float | None) -> Report:
    """Verify every file of the bundle NAME.stf and run its golden tile through the engines.

    Proven are the engines that the bundle holds, and the network itself on every target that opens it. Exit code 0:
    all files are as exported and built, and every engine gives the golden output. 1: an engine does not, or was built
    for something else. 2: the bundle is damaged, or no engine is installed.
    """
    from .. import golden
    from ..bundle import Bundle

    opened = Bundle.open(bundle)
    opened.verify()
    proofs = golden.prove(opened, engines or None, threads=threads, tolerance=tolerance)
    passed = all(proof.passed is not False for proof in proofs)
    data = {
        "bundle": str(opened.path),
        "sha256": opened.sha256,
        "passed": passed,
        "assets": list(opened.assets),
        "engines": [asdict(proof) for proof in proofs],
    }

    def show(console: Any) -> None:
        from rich.markup import escape
        from rich.table import Table

        from ..engines.base import milliseconds

        console.print(f"{len(opened.assets)} files as exported, by SHA-256", highlight=False)
        table = Table("engine", "precision", "", "difference", "allowed", "tile", title=None)
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
            )
        console.print(table)
        if away:
            told = "; ".join(f"{proof.engine} ({proof.reason})" for proof in away)
            console.print(f"not run: {told}", markup=False, highlight=False)

    return Report(data, show, exit_code=0 if passed else 1)
