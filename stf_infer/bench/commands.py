# SPDX-License-Identifier: Apache-2.0
"""``bench compare`` and ``bench report``: what is done with benches that were measured before."""

from __future__ import annotations

from pathlib import Path

import click

from ..cli._verb import Report, verb


@click.command(short_help="Compare two benches; exit code 1 on a regression.")
@click.argument("before", metavar="BEFORE.json")
@click.argument("after", metavar="AFTER.json")
@verb
@click.option(
    "--tolerance",
    "tolerance",
    multiple=True,
    metavar="[KIND=]5%,...",
    help="How much worse a figure may become; by kind too: latency=10%,rmse=1%. Kinds: latency, throughput, memory, "
    "rmse, sam, ssim, ergas.  [default: 5%]",
)
@click.option("--same-machine", is_flag=True, help="Refuse benches of different machines, instead of warning.")
@click.option("--markdown", metavar="FILE.md", help="Also write the comparison for a comment on a change.")
def compare(before: str, after: str, tolerance: tuple[str, ...], same_machine: bool, markdown: str | None) -> Report:
    """Compare two benches row by row.

    Times are ratios of medians with a 95 % bootstrap interval, and worse only where all of it lies beyond the
    tolerance. Memory and accuracy have no interval. A row that fails now and did not before is a regression.
    """
    from .compare import compare as compared
    from .report.changes import changes_as_markdown, show_changes
    from .report.files import write_all
    from .result import read
    from .tolerance import tolerances

    allowed = tolerances(tolerance)
    found = compared(read(before), read(after), tolerance=allowed, same_machine=same_machine)
    if markdown:
        path = Path(markdown)
        write_all(path.parent, {path.name: changes_as_markdown(found)})
    return Report(found.as_dict(), lambda console: show_changes(found, console), exit_code=0 if found.passed else 1)


@click.command(short_help="Write the reports of a bench again, from its JSON file.")
@click.argument("file", metavar="BENCH.json")
@verb
@click.option("--out", metavar="DIR", help="Where the reports go.  [default: beside BENCH.json]")
def report(file: str, out: str | None) -> Report:
    """Write the reports of a bench again, from its JSON file and the rasters that it names.

    They are named like it: BENCH.md and BENCH.html.
    """
    from .report import rewrite, show
    from .result import read

    result, path = read(file), Path(file)
    files = rewrite(result, out or path.parent, rasters=path.parent, name=path.stem)
    data = {"files": {kind: str(path) for kind, path in files.items()}}

    def render(console: object) -> None:
        show(result, console)  # type: ignore[arg-type]
        for written in files.values():
            console.print(f"Written: {written}", highlight=False, markup=False, soft_wrap=True)  # type: ignore[attr-defined]

    return Report(data, render)
