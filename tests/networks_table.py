# SPDX-License-Identifier: Apache-2.0
"""The table of networks, written by the test run: ``pytest --networks-table=FILE``.

A cell is ticked by tests that ran and passed, with the figures that they recorded; everything else says why not.
Which published lists of keys and golden files a test was held to is noted by :mod:`golden_support`.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support import shared_root

PACKAGES = ("stf-infer", "torch", "onnx", "onnxruntime", "tensorrt-rtx-cu13")

# Published files whose names do not begin with that of their network.
OTHER_NAMES = {"bistfdiff_BiPredNoiseNet64_depth3": "stfdiff"}

# Golden arrays whose weights are not at hand: those of the last epoch.
WITHOUT_WEIGHTS = {"dcstfn_trained_green/output"}

INTRODUCTION = """\
# Networks

`stf-infer networks` lists them with inputs, tiles and options; `stf-infer networks NAME` shows one with its paper.

What follows was written by the tests that ran on {date}, with {versions}
({machine}); `python benchmarks/zoo_table.py` runs them again. A cell is ticked only by a test that ran and passed;
everything else says why not. Networks are small here where their options allow it, with random weights.

- **strict load**: published lists of keys and shapes that the network has, nothing left over.
- **golden**: arrays of the published code that the network gives again with regenerated weights, within the tolerance
  stated with them, of all that are at hand.
- **ONNX parity**: largest difference of the graph in ONNX Runtime and torch over the output's range, on inputs that the
  exporter never saw. **batch**: how many samples at a time. **nodes**: operators of the graph, of those that it was
  traced with.
- **TensorRT-RTX**: size of the engine, built for SM89 without a GPU from the strongly typed graph, for batches of 1 to
  4. The engine has not been run. **fp16**, **int8**: the same of the graph that `stf-infer reduce` writes without a
  budget, with the part of the multiply-adds that is reduced.
- **scene**, **real scene**: the bundle over a procedural scene and over real images, several tiles each. The figure is
  the mean absolute gradient across tile borders over that between them (1: borders cannot be told). Weights are random:
  it says that tiling works, not how a trained network looks.
- **samples**: a network whose inputs are no rasters, over arrays and files of samples: largest difference to torch over
  the output's range.

"""

MISSING = """
## What is missing

- **Published networks without code, weights or a full description** are not in the zoo, and those defined from a
  description alone have nothing to be held to (their first two columns say so).
- Nothing in this table has run on a GPU.
"""


@dataclass(frozen=True)
class Ran:
    """What became of one test.

    Attributes:
        outcome: ``passed``, ``failed`` or ``skipped``.
        why: The reason, where it did not pass.
        network: Its parameter ``name``, if it has one.
        properties: What it recorded.
        lists: Published lists of keys that it used.
        goldens: Golden files that it used.
        arrays: Arrays that an output was compared with.
        widened: Those of them with another tolerance than the file's.
    """

    outcome: str
    why: str
    network: str
    properties: dict[str, Any]
    lists: frozenset[str]
    goldens: frozenset[str]
    arrays: frozenset[str]
    widened: frozenset[str]


@dataclass(frozen=True)
class Column:
    """A column that is filled by one test of each network.

    Attributes:
        title: Its heading.
        test: Name of the test function, with the network as its parameter ``name``.
        figure: Template of what is shown of the properties that the test recorded.
        without: Status of networks that it is not for.
    """

    title: str
    test: str
    figure: str
    without: str = ""


COLUMNS = (
    Column("ONNX parity", "test_graph_computes_what_torch_computes", "{relative:.0e}"),
    Column("batch", "test_graph_computes_what_torch_computes", "{batches}"),
    Column("nodes", "test_graph_computes_what_torch_computes", "{nodes}"),
    Column("TensorRT-RTX", "test_builds_for_tensorrt_rtx", "{megabytes:.1f} MB"),
    Column("TensorRT-RTX fp16", "test_builds_for_tensorrt_rtx_in_fp16", "{megabytes:.1f} MB ({share:.0%})"),
    Column("TensorRT-RTX int8", "test_builds_for_tensorrt_rtx_in_int8", "{megabytes:.1f} MB ({share:.0%})"),
    Column("scene", "test_scene", "{seam:.2f} (tile {tile})", without="samples"),
    Column("real scene", "test_real_scene", "{seam:.2f} ({scene})", without="samples"),
    Column("samples", "test_samples", "{relative:.0e}", without="image"),
)


@dataclass(eq=False)  # pytest keeps its plugins in sets
class NetworksTable:
    """A pytest plugin that keeps what each test reported, and writes the page when the run ends.

    Args:
        path: The page to write.
    """

    path: Path
    tests: dict[str, Ran] = field(default_factory=dict)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Forget what the test before has used."""
        import golden_support

        golden_support.used.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[pytest.TestReport]:
        """Keep the call of each test, or what came in its way."""
        from golden_support import used

        report = yield
        if report.when == "call" or report.outcome != "passed":
            given = getattr(item, "callspec", None)
            self.tests[item.nodeid] = Ran(
                outcome=report.outcome,
                why=_why(report),
                network=str(given.params.get("name", "")) if given else "",
                properties=dict(item.user_properties),
                lists=frozenset(used.lists),
                goldens=frozenset(used.goldens),
                arrays=frozenset(used.arrays),
                widened=frozenset(used.widened),
            )
        return report

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(page(self.tests), encoding="utf-8")


def page(tests: dict[str, Ran]) -> str:
    """The whole page, with a row for every network of the zoo."""
    from stf_export import networks
    from stf_export.cli.networks_verb import described

    titles = ["network", "family", "status", "strict load", "golden", *(c.title for c in COLUMNS)]
    rows = []
    for name in networks.names():
        about = described(name)
        cells = [f"`{name}`", about["family"], about["status"], strict_load(name, tests), golden(name, tests)]
        rows.append([*cells, *(cell(column, name, about["status"], tests) for column in COLUMNS)])
    lines = [f"| {' | '.join(row)} |\n" for row in (titles, ["---"] * len(titles), *rows)]
    introduction = INTRODUCTION.format(
        date=datetime.date.today(),
        versions=", ".join(f"{p} {_version(p)}" for p in PACKAGES),
        machine=f"Python {platform.python_version()}, {platform.machine()}",
    )
    return introduction + "".join(lines) + MISSING


def cell(column: Column, name: str, status: str, tests: dict[str, Ran]) -> str:
    """What the test of a column said of a network."""
    found = [ran for node, ran in tests.items() if ran.network == name and f"::{column.test}[" in node]
    if not found:
        return "" if column.without == status else "not run"
    return _trouble(found) or f"✓ {column.figure.format(**found[0].properties)}"


def strict_load(name: str, tests: dict[str, Ran]) -> str:
    """Which published lists of keys the network has."""
    used = [ran for ran in tests.values() if any(network_of(file) == name for file in ran.lists)]
    if not used:
        return _none_used(name, "networks/state_dicts/*.txt", "no published keys")
    lists = {file for ran in used for file in ran.lists}
    return _trouble(used) or f"✓ {_counted(len(lists), 'list')}"


def golden(name: str, tests: dict[str, Ran]) -> str:
    """How many of the published arrays the network gives again."""
    used = [ran for ran in tests.values() if any(network_of(file) == name for file in (*ran.goldens, *ran.arrays))]
    if not used:
        return _none_used(name, "golden/*.npz", "no published outputs")
    if trouble := _trouble(used):
        return trouble
    compared, widened = (
        {array for ran in used for array in getattr(ran, which) if network_of(array) == name}
        for which in ("arrays", "widened")
    )
    wider = f", {len(widened)} with a wider tolerance" if widened else ""
    return f"✓ {len(compared)} of {_counted(len(_published_arrays(name)), 'array')}{wider}"


def network_of(file: str) -> str:
    """The network that a published file (or ``file/array``) belongs to: the longest name that it begins with."""
    from stf_export import networks

    file = file.partition("/")[0]
    if file in OTHER_NAMES:
        return OTHER_NAMES[file]
    return max((n for n in networks.names() if f"{file}_".startswith(f"{n}_")), key=len, default="")


def _published_arrays(name: str) -> set[str]:
    """``file/array`` of all golden outputs of a network."""
    from golden_support import read_golden

    files = [path.stem for path in (shared_root() / "golden").glob("*.npz") if network_of(path.stem) == name]
    arrays = {f"{file}/{array}" for file in files for array in read_golden(file).meta["tolerance"]["atol"]}
    return arrays - WITHOUT_WEIGHTS


def _none_used(name: str, pattern: str, absent: str) -> str:
    if not shared_root().is_dir():
        return "not run: needs the shared test material"
    return "not run" if any(network_of(p.stem) == name for p in shared_root().glob(pattern)) else absent


def _trouble(found: list[Ran]) -> str:
    """The first failure among tests, or the first reason to skip one, or empty."""
    for outcome, words in (("failed", "failed"), ("skipped", "not run")):
        for ran in found:
            if ran.outcome == outcome:
                return f"{words}: {ran.why}".replace("|", "/")
    return ""


def _why(report: pytest.TestReport) -> str:
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    if report.outcome == "failed":
        crash = getattr(report.longrepr, "reprcrash", None)
        return (crash.message if crash else str(report.longrepr)).splitlines()[0]
    return ""


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
