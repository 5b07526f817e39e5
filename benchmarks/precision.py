# SPDX-License-Identifier: Apache-2.0
"""What reduced precisions cost in accuracy: each is written into a copy of each bundle, within a budget.

    python benchmarks/precision.py A.stf B.stf ...
    python benchmarks/precision.py A.stf --precision int8 --calibration percentile --budget none

Compared is on the tiles that a bundle holds (``stf-infer tiles``), or on procedural ones. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from stf_export import reduce
from stf_export.precision import METHODS, PRECISIONS
from stf_infer.accuracy.comparison import percent
from stf_infer.bundle import Bundle
from stf_infer.errors import ExportError

HEADINGS = (
    "bundle",
    "precision",
    "rmse, worst band",
    "spectral angle",
    "reduced",
    "islands",
    "trials",
    "time",
    "tiles",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="NAME.stf")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--calibration", choices=METHODS, default="minmax")
    parser.add_argument("--budget")
    args = parser.parse_args()
    print(f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}")
    for path in args.bundles:
        for precision in args.precision:
            cells = [path.stem, precision, *figures(path, precision, args.budget, args.calibration)]
            print(f"| {' | '.join(cells)} |", flush=True)


def figures(path: Path, precision: str, budget: str | None, calibration: str) -> list[str]:
    """The cells of one precision of a bundle, of which a copy is reduced."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Bundle.open(shutil.copytree(path, Path(folder) / path.name))
        try:
            done = reduce(bundle, precision, budget=budget, calibration=calibration)
        except ExportError as error:
            print(f"{path.name} {precision}: {error}", file=sys.stderr)
            return [f"refused: {error.what.removeprefix(f'In {precision} the network is ')}", *[""] * 6]
    band, worst = done.accuracy.worst
    angle = "" if done.accuracy.sam_deg is None else f"{done.accuracy.sam_deg:.2g}°"
    tiles = f"{done.accuracy.tiles} {done.accuracy.source}"
    islands = str(len(done.islands))
    return [
        f"{percent(worst)} ({band})",
        angle,
        percent(done.share),
        islands,
        str(done.trials),
        f"{done.seconds:.0f} s",
        tiles,
    ]


if __name__ == "__main__":
    main()
