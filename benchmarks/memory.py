# SPDX-License-Identifier: Apache-2.0
"""Peak memory of ``stf-infer run`` at two scene sizes, each in a process of its own.

    python benchmarks/memory.py [--sides 5490 10980] [--tile 512] [--engine onnxruntime-cpu] [--fine FILE]

Prints wall time, throughput and peak resident memory (VmHWM of the child) for every side, and the ratio of the largest
to the smallest. ``--fine`` takes real pixels: a raster of at least four bands that is mirrored to the sides wanted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _edcstfn import edcstfn_bundle
from _scene import write_big_scene, write_mirrored


def run_scene(bundle: Path, rasters: dict[str, Path], out: Path, engine: str | None) -> dict[str, float]:
    """Run the command line on a scene; what it says, and its peak resident memory."""
    command = [str(Path(sys.executable).with_name("stf-infer")), "run", str(bundle), "-o", str(out), "--json"]
    for role, path in rasters.items():
        command += [f"--{role.replace('_', '-')}", str(path)]
    if engine:
        command += ["--engine", engine]
    began = time.perf_counter()
    said, peak = watched(command)
    figures = json.loads(said)
    return {
        "wall_s": time.perf_counter() - began,
        "mpx_per_s": figures["mpx_per_s"],
        "engine_s": figures["engine_seconds"],
        "peak_rss_mb": peak / 1024,
    }


def watched(command: list[str]) -> tuple[str, int]:
    """What a command prints, and its peak resident memory in KiB; the benchmark ends where it fails."""
    with tempfile.TemporaryFile("w+") as stdout:
        child = subprocess.Popen(command, stdout=stdout)
        peak = peak_memory(child)
        stdout.seek(0)
        said = stdout.read()
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {said}")
    return said, peak


def peak_memory(child: subprocess.Popen[bytes]) -> int:
    """Peak resident memory of a child in KiB, read from the kernel until it ends.

    Not ``ru_maxrss`` of the child: that one counts the memory of the parent at the fork as well.
    """
    peak = 0
    while child.poll() is None:
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{child.pid}/status").read_text().splitlines()
            peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1])
        time.sleep(0.05)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[5490, 10980])
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--engine", default=None)
    parser.add_argument("--coarse-grid", default="native", choices=("native", "fine"))
    parser.add_argument("--fine", type=Path, nargs="+", help="real single-band rasters, one a band")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = edcstfn_bundle(folder, args.tile, args.coarse_grid)
        for side in args.sides:
            scene = folder / str(side)
            rasters = write_mirrored(scene, side, args.fine) if args.fine else write_big_scene(scene, side)
            rows.append({"side": side, **run_scene(bundle.path, rasters, folder / "out.tif", args.engine)})
            print(json.dumps(rows[-1]), file=sys.stderr)
    ratio = rows[-1]["peak_rss_mb"] / rows[0]["peak_rss_mb"]
    report = {"tile": args.tile, "scenes": rows, "peak_ratio": ratio}
    print(json.dumps(report) if args.json else "\n".join(map(str, [*rows, f"peak ratio {ratio:.3f}"])))


if __name__ == "__main__":
    main()
