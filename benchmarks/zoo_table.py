# SPDX-License-Identifier: Apache-2.0
"""Write docs/networks.md: what of each network was tried, by the tests that ran.

    python benchmarks/zoo_table.py                       every network, then the table
    python benchmarks/zoo_table.py edcstfn dcstfn        these only; the others as they were recorded before
    STF_ZOO=all python benchmarks/zoo_table.py           the slow ones too

Results are kept in a file (``--record``), so that the zoo may be run in parts; a row says when it ran.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import re
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
for folder in ("tests", "export", "."):
    sys.path.insert(0, str(REPOSITORY / folder))

from stf_export import networks  # noqa: E402
from stf_export.cli.networks_verb import described  # noqa: E402

ZOO = REPOSITORY / "tests/export/test_zoo.py"
DEFINITIONS = REPOSITORY / "tests/export/networks"
PAGE = REPOSITORY / "docs/networks.md"

# Test files that hold more than one network, or one by another name.
FILES = {"unetlstm": "lunet", "multitask_lunet": "lunet"}
COLUMNS = {
    "strict load": r"::test_(keys|variables)\w*published",
    "golden": r"::test_golden",
    "ONNX parity": r"::test_graph_computes",
    "scene run": r"::test_scene\[",
    "TensorRT-RTX": r"::test_builds_for_tensorrt_rtx",
}
PACKAGES = ("stf-infer", "torch", "onnx", "onnxruntime", "tensorrt-rtx-cu13")

INTRODUCTION = """\
# Networks

`stf-infer networks` lists them with inputs, tiles and options; `stf-infer networks NAME` shows one with its paper.

What follows was written by `python benchmarks/zoo_table.py` from the tests that ran, on {date}, with {versions}
({machine}). A figure stands only where a test passed; everything else says why not.

- **strict load**: the published list of keys and shapes loads with nothing left over. **golden**: with regenerated
  weights the output is that of the published code. "no test" in these two means that no published keys or outputs
  were at hand.
- **ONNX parity**: largest difference of the graph in ONNX Runtime and torch over the output's range, one and three
  samples at a time, on inputs that the exporter never saw. Networks are small here, with random weights.
- **scene run**: the bundle over a procedural scene of several tiles; the figure is the mean gradient across tile
  borders over that between them (1: borders cannot be told). Weights are random: it says that tiling works, not how a
  trained network looks.
- **TensorRT-RTX**: the graph, strongly typed and with batches of 1 to 4, was built for SM89 without a GPU. The engine
  has not been run.

"""

MISSING = """
## What is missing

- **DenseSTF as a bundle.** Its graph is exported and compared here, but a bundle cannot state the two means of the
  scene that it wants, nor a halo that is known and not measured; `stf-infer export densestf` refuses.
- **Diffusion networks over a scene.** STFDiff and DiffSTSF are one denoising step here; a scene needs a sampler.
- **Networks whose inputs are no rasters** (CNN-LSTM, MFDGCN, MGSFformer, TTSFNet): a torch module and a graph;
  `fuse` does not take series, points or nodes.
- **Published networks without code, weights or a full description** are not in the zoo, and those defined from a
  description alone have nothing to be held to (their first two columns say so).
- **Larger networks** are left out of the default run of the tests: `STF_ZOO=all` includes them.
- Nothing in this table has run on a GPU.
"""


class Recorder:
    """A pytest plugin that keeps what each test reported."""

    def __init__(self) -> None:
        self.reports: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the call of each test, or what came in its way."""
        if report.when != "call" and report.outcome == "passed":
            return
        why = ""
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            why = report.longrepr[2].removeprefix("Skipped: ")
        elif report.outcome == "failed":
            crash = getattr(report.longrepr, "reprcrash", None)
            why = (crash.message if crash else str(report.longrepr)).splitlines()[0]
        self.reports[report.nodeid] = {
            "outcome": report.outcome,
            "why": why,
            **dict(report.user_properties),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--record", type=Path, default=REPOSITORY / "build/zoo.json", help="results of earlier runs")
    parser.add_argument("--only-write", action="store_true", help="run nothing: write the page from what is recorded")
    args = parser.parse_args()
    known = json.loads(args.record.read_text()) if args.record.exists() else {}
    if not args.only_write:
        chosen = args.networks or list(networks.names())
        for name in chosen:
            networks.network_class(name)  # refuses unknown names
        # Recorded after each network: a run that is cut short keeps what it found.
        for name in chosen:
            known[name] = {"date": str(datetime.date.today()), **tried(name)}
            args.record.parent.mkdir(parents=True, exist_ok=True)
            args.record.write_text(json.dumps(known, indent=1))
    PAGE.write_text(page(known))
    print(f"wrote {PAGE.relative_to(REPOSITORY)}")


def tried(name: str) -> dict[str, str]:
    """One cell a column, from the tests of one network."""
    recorder = Recorder()
    file = DEFINITIONS / f"test_{FILES.get(name, name)}.py"
    arguments = ["-q", "--no-header", "-p", "no:cacheprovider", f"--rootdir={REPOSITORY}"]
    pytest.main([*arguments, str(ZOO), "-k", f"[{name}]"], plugins=[recorder])
    if file.exists():
        pytest.main([*arguments, str(file), "-k", "keys or variables or golden"], plugins=[recorder])
    return {column: cell(name, column, pattern, recorder.reports) for column, pattern in COLUMNS.items()}


def cell(name: str, column: str, pattern: str, reports: dict[str, dict[str, Any]]) -> str:
    """What the tests of a column said."""
    others = set(networks.names()) - {name}
    found = [
        report
        for node, report in reports.items()
        if re.search(pattern, node) and not any(f"[{other}]" in node for other in others)
    ]
    if not found:
        state = described(name)["status"]
        return state if column == "scene run" and state != "image" else "no test"
    for outcome in ("failed", "skipped"):
        if reasons := [report["why"] for report in found if report["outcome"] == outcome]:
            return f"{outcome}: {reasons[0]}".replace("|", "/").replace("skipped", "not run")
    return "✓ " + figures(column, found)


def figures(column: str, found: list[dict[str, Any]]) -> str:
    """The figures that tests recorded, or how many tests there were."""
    report = found[0]
    if column == "ONNX parity":
        return f"{report['figure']:.0e}"
    if column == "scene run":
        return f"{report['figure']:.2f} (tile {report['tile']})"
    if column == "TensorRT-RTX":
        return f"{report['figure'] / 1e6:.1f} MB"
    return f"{len(found)} test{'s' if len(found) > 1 else ''}"


def page(known: dict[str, dict[str, str]]) -> str:
    """The whole page."""
    versions = ", ".join(f"{p} {version(p)}" for p in PACKAGES)
    machine = f"Python {platform.python_version()}, {platform.machine()}"
    dates = sorted({row["date"] for row in known.values()}) or ["no day"]
    lines = [
        INTRODUCTION.format(date=" to ".join(dict.fromkeys((dates[0], dates[-1]))), versions=versions, machine=machine)
    ]
    lines.append("| network | family | status | " + " | ".join(COLUMNS) + " |\n")
    lines.append("|---" * (len(COLUMNS) + 3) + "|\n")
    for name in networks.names():
        about, row = described(name), known.get(name, {})
        cells = [row.get(column, "not run") for column in COLUMNS]
        lines.append(f"| `{name}` | {about['family']} | {about['status']} | " + " | ".join(cells) + " |\n")
    return "".join(lines) + MISSING


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
