# SPDX-License-Identifier: Apache-2.0
"""Wall time of a whole scene against the engine's own time for the same tiles.

    python benchmarks/stream_overhead.py [--side 2745] [--tile 512] [--engine onnxruntime-cpu] [--repeat 3]
    python benchmarks/stream_overhead.py --side 10980 --precision int8 --compress none,zstd --repeat 1 --folder DIR

The engine alone runs tiles with the same batch and threads, in the same process, before and after each scene; the
ratio is the scene's wall time (from opening the rasters to the finished, verified file) over its tiles at the mean of
the two. Scenes and outputs of every compression are measured in turns. ``--precision`` reduces the bundle and builds an
engine for OpenVINO, within ``--budget``; bundles and scenes are kept in ``--folder``. ``--check`` ends with 1 where a
target is missed: 1.05 uncompressed, 1.15 with compression in and out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _edcstfn import BUDGET, edcstfn_bundle, with_engine
from _results import write_results
from _scene import RATIO, kept_scene

import stf_infer
from stf_infer.engines import machine
from stf_infer.grid import Shape, TilePlan

COMPRESSIONS = ("none", "zstd", "deflate", "lzw")
TARGETS = {"none": 1.05}
TARGET = 1.15


def engine_seconds(model: stf_infer.Model, tiles: int, batch: int) -> float:
    """Seconds a tile of the engine alone, over so many tiles or a few more."""
    spec = model.spec
    rng = np.random.default_rng(0)
    inputs = {i.tensor: rng.random((batch, *spec.tensor_shape(i)), np.float32) for i in spec.inputs}
    model.engine.infer(inputs)
    calls = -(-tiles // batch)
    began = time.perf_counter()
    for _ in range(calls):
        model.engine.infer(inputs)
    return (time.perf_counter() - began) / (calls * batch)


def measure(model: stf_infer.Model, folder: Path, args: argparse.Namespace, tiles: int) -> list[dict[str, Any]]:
    """Scenes of every compression in turns, each between two measurements of the engine alone."""
    batch = args.batch or model.engine.preferred_batch
    alone_on = min(tiles, args.engine_tiles)
    scenes = {compress: kept_scene(folder, args.side, compress) for compress in args.compress}
    runs: dict[str, list[dict[str, Any]]] = {compress: [] for compress in args.compress}
    out = folder / "out.tif"
    for _ in range(args.repeat):
        for compress in args.compress:
            before = engine_seconds(model, alone_on, batch)
            began = time.perf_counter()
            result = model.fuse(
                out, tile_batch=batch, compress=compress, overviews=False, profile=True, **scenes[compress]
            )
            wall = time.perf_counter() - began
            after = engine_seconds(model, alone_on, batch)
            out.unlink()
            runs[compress].append(told(result, wall, tiles, before, after))
            print(f"{compress}: {runs[compress][-1]['ratio']:.3f}, {wall:.1f} s", file=sys.stderr)
    return [summary(compress, found, args.side) for compress, found in runs.items()]


def told(result: Any, wall: float, tiles: int, before: float, after: float) -> dict[str, Any]:
    """A run beside the engine alone."""
    assert result.tiles == tiles
    return {
        "wall_s": wall,
        "threads": result.threads.as_dict(),
        "finish_s": result.finish_seconds,
        "engine_in_run_s": result.engine_seconds,
        "engine_alone_ms_a_tile": [before * 1e3, after * 1e3],
        "ratio": wall / (tiles * (before + after) / 2),
        "stages": [stage.as_dict() for stage in result.profile],
    }


def summary(compress: str, runs: list[dict[str, Any]], side: int) -> dict[str, Any]:
    """Medians of the runs, and the runs."""
    ratio = statistics.median(run["ratio"] for run in runs)
    target = TARGETS.get(compress, TARGET)
    wall = statistics.median(run["wall_s"] for run in runs)
    return {
        "compress": compress,
        "wall_s": wall,
        "mpx_per_s": side**2 / 1e6 / wall,
        "ratio": ratio,
        "target": target,
        "met": ratio <= target,
        "runs": runs,
    }


def run(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Prepare and measure."""
    bundle = edcstfn_bundle(folder, args.tile, args.coarse_grid)
    if args.precision != "fp32":
        bundle = with_engine(bundle, args.precision, args.budget)
    tiles = len(TilePlan.for_scene(bundle.spec.tile, Shape(args.side, args.side)))
    engine = args.engine or (None if args.precision == "fp32" else "openvino-cpu")
    with stf_infer.open(bundle.path, engine=engine, precision=args.precision, threads=args.threads) as model:
        figures = measure(model, folder, args, tiles)
        made, batch = model.engine.describe(), args.batch or model.engine.preferred_batch
    return {
        "machine": str(machine.cpu()),
        "cores": machine.cores(),
        "load_average": os.getloadavg()[0],
        "network": f"edcstfn, coarse_grid={args.coarse_grid}, ratio {RATIO}",
        "scene": [args.side, args.side, 4],
        "tile": args.tile,
        "tiles": tiles,
        "tiles_a_call": batch,
        "halo": bundle.spec.tile.halo,
        "engine": made,
        "compressions": figures,
    }


def show(report: dict[str, Any]) -> None:
    for key, value in report.items():
        if key != "compressions":
            print(f"{key:15} {value}")
    for one in report["compressions"]:
        ratios = ", ".join(f"{found['ratio']:.3f}" for found in one["runs"])
        wall = f"{one['wall_s']:.1f} s, {one['mpx_per_s']:.2f} Mpx/s"
        print(f"{one['compress']:15} {wall}, {one['ratio']:.3f} x the engine (target {one['target']}; {ratios})")


def compressions(text: str) -> list[str]:
    """Names with commas between them."""
    names = text.split(",")
    if unknown := set(names) - set(COMPRESSIONS):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not of {', '.join(COMPRESSIONS)}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2745)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--batch", type=int, help="tiles in a call; what suits the engine where it is left out")
    parser.add_argument("--engine", default=None)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "int8"))
    parser.add_argument("--budget", default=BUDGET)
    parser.add_argument("--coarse-grid", default="native", choices=("native", "fine"))
    parser.add_argument("--compress", type=compressions, default=["none"], help="none,zstd,deflate,lzw")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--engine-tiles", type=int, default=48, help="tiles that the engine alone runs at most")
    parser.add_argument("--folder", type=Path, help="keep bundles and scenes here")
    parser.add_argument("--json", action="store_true", help="print the figures in one line")
    parser.add_argument("--results", action="store_true", help="write benchmarks/results/stream-SIDE-MACHINE.json")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        report = run(folder, args)
    if args.results:
        write_results(f"stream-{args.side}", report)
    if args.json:
        print(json.dumps(report))
    else:
        show(report)
    return int(args.check and not all(one["met"] for one in report["compressions"]))


if __name__ == "__main__":
    sys.exit(main())
