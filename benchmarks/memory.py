# SPDX-License-Identifier: Apache-2.0
"""Peak memory of ``stf-infer run`` at two scene sizes, each in a process of its own.

    python benchmarks/memory.py [--sides 5490 10980] [--tile 512] [--engine onnxruntime-cpu] [--fine FILE]
    python benchmarks/memory.py --sides 2745 21960 --copy --folder DIR

Prints wall time, throughput and peak resident memory (VmHWM of the child) for every side, and the ratio of the largest
to the smallest. ``--fine`` takes real pixels: a raster of at least four bands that is mirrored to the sides wanted.
``--copy`` has a copy of fine_t1 in place of the network: the memory of everything but the engine, in minutes.
Bundles and scenes are kept in ``--folder``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from _scene import kept_scene, write_mirrored

from stf_infer.bundle import Bundle
from stf_infer.cli._memory import give_back_memory
from stf_infer.engines.base import Engine
from stf_infer.model import Model


class CopyEngine(Engine):
    """Gives fine_t1 as the prediction, so that a run's time and memory are those of everything else."""

    name = "copy"

    def open_impl(self, bundle: Bundle, threads: int | None) -> None:
        """Nothing to compile."""
        self._fine = next(i.tensor for i in bundle.spec.inputs if i.role == "fine_t1")

    def infer_impl(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The copy."""
        return {self.spec.output.tensor: inputs[self._fine].copy()}

    def close_impl(self) -> None:
        """Nothing to free."""


def copy_scene(given: list[str]) -> None:
    """In a process of its own: a scene through the pipeline around :class:`CopyEngine`; prints figures."""
    give_back_memory()  # as the command line does
    path, out, compress, *rasters = given
    bundle = Bundle.open(path)
    with Model(bundle) as model:
        model.take(CopyEngine(bundle))
        before = resident_memory()
        roles = dict(raster.split("=", 1) for raster in rasters)
        figures = model.fuse(out, compress=compress, overviews=False, **roles).as_dict()
    print(json.dumps({**figures, "before": before}))


def resident_memory() -> int:
    """Of this process, in KiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


def run_scene(bundle: Path, rasters: dict[str, Path], out: Path, args: argparse.Namespace) -> dict[str, float]:
    """Run the command line on a scene; what it says, and its peak resident memory."""
    if args.copy:
        named = [f"{role}={path}" for role, path in rasters.items()]
        command = [sys.executable, __file__, "--child", str(bundle), str(out), args.compress, *named]
    else:
        command = [str(Path(sys.executable).with_name("stf-infer")), "run", str(bundle), "-o", str(out), "--json"]
        command += ["--compress", args.compress]
        for role, path in rasters.items():
            command += [f"--{role.replace('_', '-')}", str(path)]
        if args.engine:
            command += ["--engine", args.engine]
        if args.precision:
            command += ["--precision", args.precision]
    began = time.perf_counter()
    said, peak = watched(command)
    figures = json.loads(said)
    return {
        "wall_s": time.perf_counter() - began,
        "mpx_per_s": figures["mpx_per_s"],
        "engine_s": figures["engine_seconds"],
        "peak_rss_mb": peak / 1024,
        **({"before_reading_mb": figures["before"] / 1024} if args.copy else {}),
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
    parser.add_argument("--precision", choices=("bf16", "int8"), help="of an engine for OpenVINO, built before")
    parser.add_argument("--copy", action="store_true", help="a copy of fine_t1 in place of the network")
    parser.add_argument("--compress", default="zstd", choices=("none", "zstd", "deflate", "lzw"))
    parser.add_argument("--folder", type=Path, help="keep bundles and scenes here")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        copy_scene(args.child)
        return
    from _edcstfn import edcstfn_bundle, with_engine  # torch, which a child process shall not hold

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        bundle = edcstfn_bundle(folder, args.tile, args.coarse_grid)
        if args.precision:
            bundle = with_engine(bundle, args.precision)
        for side in args.sides:
            if args.fine:
                rasters = write_mirrored(folder / str(side), side, args.fine)
            else:
                rasters = kept_scene(folder, side, "none")
            out = folder / "out.tif"
            rows.append({"side": side, **run_scene(bundle.path, rasters, out, args)})
            out.unlink()
            print(json.dumps(rows[-1]), file=sys.stderr)
    ratio = rows[-1]["peak_rss_mb"] / rows[0]["peak_rss_mb"]
    report = {"tile": args.tile, "scenes": rows, "peak_ratio": ratio}
    print(json.dumps(report) if args.json else "\n".join(map(str, [*rows, f"peak ratio {ratio:.3f}"])))


if __name__ == "__main__":
    main()
