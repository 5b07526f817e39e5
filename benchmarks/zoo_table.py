# SPDX-License-Identifier: Apache-2.0
"""Write docs/networks.md: what of each network was tried, by the tests that ran.

    python benchmarks/zoo_table.py                     every network
    python benchmarks/zoo_table.py edcstfn dcstfn      these only, printed

The same page comes out of any run of the tests with ``--networks-table=FILE``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs/networks.md"
TESTS = ("test_zoo.py", "test_real_scenes.py", "networks", "samplers")  # of tests/export


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    args = parser.parse_args()
    if not args.networks:
        sys.exit(run(PAGE))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "networks.md"
        code = run(page, "-k", " or ".join(f"[{name}] or test_{name}" for name in args.networks))
        rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    wanted = [f"| `{name}` |" for name in args.networks]
    print("\n".join([*rows[:2], *(row for row in rows if row.startswith(tuple(wanted)))]))
    sys.exit(code)


def run(page: Path, *more: str) -> int:
    """Run the tests of networks and have them write the page; pytest's exit code."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        *(f"tests/export/{name}" for name in TESTS),
        *more,
        "--networks-table",
        str(page),
    ]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


if __name__ == "__main__":
    main()
