# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks of this folder and write docs/benchmarks.md: machine, date, commands, figures.

    python benchmarks/run_all.py [--quick] [--only NAME ...] [--limit SECONDS] [--page FILE] [--keep FOLDER]

A benchmark that fails, or takes longer than ``--limit`` seconds, is a row with its reason, and the rest goes on. The
page is written anew after each. With ``--quick`` sizes are small; such figures are marked and not to be quoted.
With ``--keep`` outcomes are kept in a folder, and the page shows those of earlier calls as well: the whole takes hours,
and can be done in parts, on the same machine.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from _page import Outcome, kept, page, this_machine

import stf_infer

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parent
PAGE = REPOSITORY / "docs" / "benchmarks.md"


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


def _no_nvcc() -> str:
    return "" if shutil.which("nvcc") else "needs nvcc, which is not installed"


def _made(name: str) -> tuple[str, str]:
    """Bundles and engines that take long to make are kept for the next time."""
    return "--folder", f"build/benchmarks/{name}"


def benchmarks() -> tuple[Benchmark, ...]:
    """All of them, the short ones first."""
    from stf_infer.demo import bundle_path

    ort = ("--engine", "onnxruntime-cpu")
    return (
        Benchmark("core", "Core operations beside memcpy", ("core_speed.py",), ("--no-results",),
                  ("--no-results", "--rounds", "9", "--no-counts")),
        Benchmark("starfm", "STARFM's kernel beside NumPy", ("starfm_speed.py",), (),
                  ("--sides", "250", "500"), "--out"),
        Benchmark("metrics", "All metrics in one pass beside other libraries", ("metrics_speed.py",), ("--no-results",),
                  ("--no-results", "--size", "1500", "--rounds", "2", "--no-counts")),
        Benchmark("networks", "A tile of every network in ONNX Runtime and OpenVINO, fp32, random weights",
                  ("networks_speed.py",), ("--rounds", "5", "--limit", "60"),
                  ("--small", "--rounds", "5", "--limit", "60")),
        Benchmark("tiled", "Tiled scenes against the network run at once", ("tiled_equals_untiled.py",), (),
                  ("--tiles", "128", "--height", "197", "--width", "221")),
        Benchmark("overhead", "A whole scene of int8 against the engine's own time", ("stream_overhead.py",),
                  ("--side", "10980", "--precision", "int8", "--compress", "none,zstd", "--repeat", "1",
                   *_made("stream")),
                  (*ort, "--side", "1024", "--tile", "256", "--repeat", "1")),
        Benchmark("memory", "Peak memory at two scene sizes, without a network", ("memory.py",),
                  ("--sides", "2745", "21960", "--copy", "--compress", "none", *_made("stream")),
                  ("--sides", "1024", "2048", "--copy", "--compress", "none", "--tile", "256")),
        Benchmark("steps", "Diffusion in one graph, in calls of a step, and as the authors run it",
                  ("diffusion_steps.py",), (), ("--width", "16", "--rounds", "3", "--long-rounds", "1"), "stdout"),
        Benchmark("diffusion", "The shipped diffusion network on unseen scenes", ("diffusion_scenes.py",), (),
                  ("--scenes", "1", "--skip-steps", "--samples", "2"), ""),
        Benchmark("precision", "What reduced precisions cost the shipped network", ("precision.py",),
                  (str(bundle_path()),), (str(bundle_path()),), ""),
        Benchmark("peers", "A scene through loops and tilers that a user would take instead", ("peers.py",), (),
                  ("--side", "1024", "--tile", "256", "--rounds", "1"), "--out"),
        Benchmark("engines", "The engine that `run` picks beside plain exports", ("engine_speed.py",),
                  ("--no-results", "--rounds", "7", *_made("speed")),
                  ("--no-results", "--network", "edcstfn", "--rounds", "5")),
        Benchmark("bench", "The demo bundle on every engine", ("-m", "stf_infer.bench"), ("--out", "build/bench"),
                  ("--out", "build/bench"), ""),
        Benchmark("kernels", "Registers and spills of the CUDA kernels", ("kernel_resources.py",), (), (), "",
                  _no_nvcc),
        Benchmark("real", "Real pairs beside two baselines", ("real_scenes.py",), json="",
                  unable=lambda: "needs a bundle of trained weights and real scenes, which are no part of the project"),
    )  # fmt: skip


def run(one: Benchmark, quick: bool, limit: float) -> Outcome:
    """Run a benchmark in a process of its own."""
    arguments = one.quick if quick else one.full
    began = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M")
    outcome = partial(Outcome, one.name, one.title, command_of(one, quick), this_machine(), began, os.getloadavg()[0])
    if reason := one.unable():
        return outcome(reason=reason)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "figures.json"
        asked = {"--json": ("--json",), "--out": ("--out", str(out))}.get(one.json, ())
        command = [sys.executable, *_script(one, f"{FOLDER}/"), *arguments, *asked]
        start = time.perf_counter()
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=limit, check=False, cwd=REPOSITORY, env=_environment()
            )
        except subprocess.TimeoutExpired:
            return outcome(limit, reason=f"not done after {limit:.0f} s")
        except OSError as error:
            return outcome(reason=str(error))
        spent = time.perf_counter() - start
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            return outcome(spent, reason=f"exit code {done.returncode}: {last[:300]}")
        try:
            figures = _figures(one, done.stdout, out)
        except (OSError, ValueError) as error:
            return outcome(spent, reason=f"its figures cannot be read: {error}")
    return outcome(spent, figures)


def command_of(one: Benchmark, quick: bool) -> str:
    """What a reader types to repeat it."""
    return " ".join(("python", *_script(one, "benchmarks/"), *map(_shown, one.quick if quick else one.full)))


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


def _before(one: Benchmark, quick: bool, keep: Path) -> Outcome:
    """What an earlier call has kept, or a row that says that there is nothing yet."""
    command = command_of(one, quick)
    missing = Outcome(one.name, one.title, command, this_machine(), "", 0.0, reason=one.unable() or "not run yet")
    return kept(keep, one.name, command) or missing


def run_all(
    chosen: Sequence[Benchmark], *, quick: bool, limit: float, target: Path, keep: Path | None = None
) -> list[Outcome]:
    """Run them and write the page after each; with ``keep``, those that were kept before stand on it too."""
    done: dict[str, Outcome] = {}
    target.parent.mkdir(parents=True, exist_ok=True)
    listed = {one.name: one for one in (*(benchmarks() if keep else ()), *chosen)}
    for one in chosen:
        print(f"{one.name}: {one.title}", file=sys.stderr, flush=True)
        done[one.name] = run(one, quick, limit)
        print(f"  {done[one.name].seconds:.0f} s {done[one.name].reason}", file=sys.stderr, flush=True)
        if keep:
            done[one.name].keep(keep)
        left = {name: other for name, other in listed.items() if name not in done}
        before = {name: _before(other, quick, keep) for name, other in left.items() if keep}
        target.write_text(page([(done | before)[name] for name in listed if name in done | before], quick))
    return list(done.values())


def main() -> int:
    every = benchmarks()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[one.name for one in every])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--limit", type=float, help="seconds a benchmark may take (7200, or 300 with --quick)")
    parser.add_argument("--page", type=Path, help="another file than docs/benchmarks.md; printed with --only alone")
    parser.add_argument("--keep", type=Path, help="folder of outcomes; the page shows those of earlier calls as well")
    args = parser.parse_args()
    chosen = [one for one in every if not args.only or one.name in args.only]
    with tempfile.TemporaryDirectory() as place:
        # A page of a few benchmarks does not replace that of all.
        few = args.only and not args.keep
        target = args.page or (Path(place) / "page.md" if few else PAGE)
        limit = args.limit or (300 if args.quick else 7200)
        run_all(chosen, quick=args.quick, limit=limit, target=target, keep=args.keep)
        if few and not args.page:
            print(target.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
