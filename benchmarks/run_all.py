# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks of this folder and write docs/benchmarks.md: machine, date, commands, figures.

    python benchmarks/run_all.py [--quick] [--only NAME ...] [--limit SECONDS] [--page FILE]

A benchmark that fails, or takes longer than ``--limit`` seconds, is a row with its reason, and the rest goes on. The
page is written anew after each. With ``--quick`` sizes are small; such figures are marked and not to be quoted.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import stf_infer
from stf_infer.engines import machine

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parent
PAGE = REPOSITORY / "docs" / "benchmarks.md"
SHOWN = 40  # lines of a figure's table


@dataclass(frozen=True)
class Benchmark:
    """A command.

    Attributes:
        name: What ``--only`` calls it.
        title: What it measures.
        script: A file of this folder, or ``-m MODULE`` in words.
        full: Its arguments.
        quick: Its arguments with ``--quick``.
        json: How its figures are asked for: ``--json``, ``--out``, ``stdout`` (prints JSON anyway), or empty for text.
        unable: Why it cannot run here, or empty.
    """

    name: str
    title: str
    script: tuple[str, ...]
    full: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    json: str = "--json"
    unable: Callable[[], str] = lambda: ""


@dataclass(frozen=True)
class Outcome:
    """What became of a benchmark: figures (JSON or text), or the reason why there are none."""

    benchmark: Benchmark
    command: str
    seconds: float
    figures: Any = None
    reason: str = ""


def _no_nvcc() -> str:
    return "" if shutil.which("nvcc") else "needs nvcc, which is not installed"


def _peers() -> tuple[str, ...]:
    """MONAI takes part where it is installed."""
    names = ("loop-onnxruntime", "loop-openvino", "monai", "stf-fp32", "stf")
    return ("--only", *(name for name in names if name != "monai" or importlib.util.find_spec("monai")))


def _no_bench() -> str:
    there = importlib.util.find_spec("stf_infer.bench.__main__")
    return "" if there else "stf_infer.bench has no command in this version"


def benchmarks() -> tuple[Benchmark, ...]:
    """All of them, the short ones first."""
    from stf_infer.demo import bundle_path

    ort = ("--engine", "onnxruntime-cpu")
    return (
        Benchmark("core", "Core operations beside memcpy", ("core_speed.py",), ("--no-results",),
                  ("--no-results", "--rounds", "9")),
        Benchmark("starfm", "STARFM's kernel beside NumPy", ("starfm_speed.py",), (),
                  ("--sides", "250", "500"), "--out"),
        Benchmark("metrics", "All metrics in one pass beside other libraries", ("metrics_speed.py",), ("--no-results",),
                  ("--no-results", "--size", "1500", "--rounds", "2", "--no-counts")),
        Benchmark("networks", "A tile of every network in ONNX Runtime and OpenVINO, fp32, random weights",
                  ("networks_speed.py",), (), ("--small", "--rounds", "5", "--limit", "60")),
        Benchmark("tiled", "Tiled scenes against the network run at once", ("tiled_equals_untiled.py",), (),
                  ("--tiles", "128", "--height", "197", "--width", "221")),
        Benchmark("overhead", "A whole scene against the engine's own time", ("stream_overhead.py",), ort,
                  (*ort, "--side", "1024", "--tile", "256", "--repeat", "1")),
        Benchmark("memory", "Peak memory at two scene sizes", ("memory.py",), ort,
                  (*ort, "--sides", "1024", "2048", "--tile", "256")),
        Benchmark("steps", "Diffusion in one graph, in calls of a step, and as the authors run it",
                  ("diffusion_steps.py",), (), ("--width", "16", "--rounds", "3", "--long-rounds", "1"), "stdout"),
        Benchmark("diffusion", "The shipped diffusion network on unseen scenes", ("diffusion_scenes.py",), (),
                  ("--scenes", "1", "--skip-steps", "--samples", "2"), ""),
        Benchmark("precision", "What reduced precisions cost the shipped network", ("precision.py",),
                  (str(bundle_path()),), (str(bundle_path()),), ""),
        Benchmark("peers", "A scene through loops and tilers that a user would take instead", ("peers.py",), _peers(),
                  (*_peers(), "--side", "1024", "--tile", "256", "--rounds", "1"), "--out"),
        Benchmark("engines", "The engine that `run` picks beside plain exports", ("engine_speed.py",),
                  ("--no-results",), ("--no-results", "--network", "edcstfn", "--rounds", "5")),
        Benchmark("bench", "The demo bundle on every engine", ("-m", "stf_infer.bench"), (), (), "", _no_bench),
        Benchmark("kernels", "Registers and spills of the CUDA kernels", ("kernel_resources.py",), (), (), "",
                  _no_nvcc),
        Benchmark("real", "Real pairs beside two baselines", ("real_scenes.py",), json="",
                  unable=lambda: "needs a bundle of trained weights and real scenes, which are no part of the project"),
    )  # fmt: skip


def run(one: Benchmark, quick: bool, limit: float) -> Outcome:
    """Run a benchmark in a process of its own."""
    arguments = one.quick if quick else one.full
    shown = " ".join(("python", *_script(one, "benchmarks/"), *map(_shown, arguments)))
    if reason := one.unable():
        return Outcome(one, shown, 0.0, reason=reason)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "figures.json"
        asked = {"--json": ("--json",), "--out": ("--out", str(out))}.get(one.json, ())
        command = [sys.executable, *_script(one, f"{FOLDER}/"), *arguments, *asked]
        began = time.perf_counter()
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=limit, check=False, cwd=REPOSITORY, env=_environment()
            )
        except subprocess.TimeoutExpired:
            return Outcome(one, shown, limit, reason=f"not done after {limit:.0f} s")
        except OSError as error:
            return Outcome(one, shown, 0.0, reason=str(error))
        spent = time.perf_counter() - began
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            return Outcome(one, shown, spent, reason=f"exit code {done.returncode}: {last[:300]}")
        try:
            figures = _figures(one, done.stdout, out)
        except (OSError, ValueError) as error:
            return Outcome(one, shown, spent, reason=f"its figures cannot be read: {error}")
    return Outcome(one, shown, spent, figures)


def _script(one: Benchmark, folder: str) -> tuple[str, ...]:
    return one.script if one.script[0] == "-m" else (folder + one.script[0],)


def _shown(argument: str) -> str:
    return Path(argument).name if Path(argument).is_absolute() else argument


def _environment() -> dict[str, str]:
    """The sources of this tree come first, as a test of them would have it."""
    paths = [str(REPOSITORY), str(REPOSITORY / "export"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))} if _in_tree() else dict(os.environ)


def _in_tree() -> bool:
    return Path(stf_infer.__file__).resolve().is_relative_to(REPOSITORY)


def _figures(one: Benchmark, said: str, out: Path) -> Any:
    if one.json == "--out":
        return json.loads(out.read_text())
    if one.json == "stdout":
        return json.loads(said)
    return json.loads(said.splitlines()[-1]) if one.json else said.rstrip()


# The page ----------------------------------------------------------------------------------------------------


def page(outcomes: Sequence[Outcome], quick: bool, load: float) -> str:
    """The page as Markdown."""
    cpu = machine.cpu()
    gpus = ", ".join(map(str, machine.gpus()))
    lines = [
        "# Benchmarks",
        "",
        f"Written by `python benchmarks/run_all.py{' --quick' if quick else ''}` on {dt.date.today().isoformat()}.",
        "",
        f"- Machine: {cpu}, {machine.cores()} cores; load {load:.1f} when it began",
        f"- Versions: stf-infer {stf_infer.__version__}, Python {sys.version.split()[0]}, {_versions()}",
        f"- GPU: {gpus or 'none here. Nothing on this page was measured on a GPU'}; `nox -s gpu` measures one",
        *(["- **Quick**: small sizes and few rounds; figures show that things run, and are not to be quoted"] * quick),
        "",
        "| benchmark | command | took | |",
        "|---|---|---|---|",
    ]
    for one in outcomes:
        state = _cell(f"**not measured**: {one.reason}") if one.reason else "measured"
        lines.append(f"| {one.benchmark.name} | `{one.command}` | {one.seconds:.0f} s | {state} |")
    for one in outcomes:
        if not one.reason:
            lines += ["", f"## {one.benchmark.title}", "", f"    {one.command}", "", *_section(one)]
    return "\n".join(lines) + "\n"


def _versions() -> str:
    found = []
    for name in ("onnxruntime", "openvino", "torch", "numpy"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def _section(one: Outcome) -> list[str]:
    if isinstance(one.figures, str):
        return ["```", *one.figures.splitlines(), "```"]
    if one.benchmark.name == "networks":
        return _networks(one.figures)
    rows = [f"| {_cell(name)} | {value} |" for name, value in flat(one.figures)]
    more = [f"| ... and {len(rows) - SHOWN} more | |"] if len(rows) > SHOWN else []
    return ["| figure | |", "|---|---|", *rows[:SHOWN], *more]


def _networks(figures: dict[str, Any]) -> list[str]:
    size = "The size that the tests export" if figures["small"] else "Published size"
    lines = [f"{size}; milliseconds of a tile or sample, median (least) of {figures['rounds']} turns.", ""]
    lines += ["| network | parameters | inputs | ONNX Runtime | OpenVINO |", "|---|---|---|---|---|"]
    for row in figures["networks"]:
        if "reason" in row:
            lines.append(f"| {row['network']} | | **not measured**: {_cell(row['reason'])} | | |")
            continue
        cells = []
        for target in ("onnxruntime-cpu", "openvino-cpu"):
            ms = row["ms"].get(target)
            cells.append(f"{ms['p50']:.1f} ({ms['least']:.1f})" if ms else _cell(row["reasons"].get(target, "")))
        inputs = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in row["tensors"].items())
        inputs += f"; {row['sampler']}" if row["sampler"] else ""
        lines.append(f"| {row['network']} | {row['parameters'] / 1e6:.2f} M | {inputs} | {' | '.join(cells)} |")
    return lines


def flat(figures: Any, name: str = "") -> list[tuple[str, str]]:
    """Every number and text of nested figures under the names that lead to it, but for what the page's head tells."""
    if isinstance(figures, dict):
        items = (
            (key, value) for key, value in figures.items() if key not in ("machine", "cores", "stf_infer", "measured")
        )
        return [row for key, value in items for row in flat(value, f"{name} / {key}" if name else str(key))]
    if isinstance(figures, list):
        if all(isinstance(value, (int, float, str)) for value in figures):
            return [(name, ", ".join(map(_number, figures)))]
        return [row for number, value in enumerate(figures, 1) for row in flat(value, f"{name} {number}".strip())]
    return [] if figures is None else [(name, _cell(_number(figures)))]


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace(str(REPOSITORY) + os.sep, "")


def run_all(chosen: Sequence[Benchmark], *, quick: bool, limit: float, target: Path) -> list[Outcome]:
    """Run them and write the page after each."""
    load, outcomes = os.getloadavg()[0], []
    target.parent.mkdir(parents=True, exist_ok=True)
    for one in chosen:
        print(f"{one.name}: {one.title}", file=sys.stderr, flush=True)
        outcomes.append(run(one, quick, limit))
        print(f"  {outcomes[-1].seconds:.0f} s {outcomes[-1].reason}", file=sys.stderr, flush=True)
        target.write_text(page(outcomes, quick, load))
    return outcomes


def main() -> int:
    every = benchmarks()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[one.name for one in every])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--limit", type=float, help="seconds a benchmark may take (7200, or 300 with --quick)")
    parser.add_argument("--page", type=Path, help="another file than docs/benchmarks.md; printed with --only")
    args = parser.parse_args()
    chosen = [one for one in every if not args.only or one.name in args.only]
    with tempfile.TemporaryDirectory() as place:
        # A page of a few benchmarks does not replace that of all.
        target = args.page or (Path(place) / "page.md" if args.only else PAGE)
        run_all(chosen, quick=args.quick, limit=args.limit or (300 if args.quick else 7200), target=target)
        if args.only and not args.page:
            print(target.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
