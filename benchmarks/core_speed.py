# SPDX-License-Identifier: Apache-2.0
"""Gather, blend and finalise against memcpy on the same bytes, on one thread each.

    python benchmarks/core_speed.py [--bands 4] [--tile 512] [--rounds 31] [--no-counts] [--check]

A strip of rows of a wide scene is cut into tiles, tiles are added to rows of sums, and sums become stored numbers, as
in a run. memcpy (`numpy.copyto`) moves as many bytes, counting what is read and what is written. All are timed in
turns; a share is the median of those of each turn. Instructions that each takes for a pixel and band, and those of
noise and STARFM, are callgrind's, where valgrind is installed.

Figures go to ``benchmarks/results/core-MACHINE.json``. With ``--check`` the exit code is 1 where a share is below its
target.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  # NumPy learns bfloat16 by it
import numpy as np
from _counts import instructions
from _results import write_results
from _rounds import take_turns

import stf_infer
from stf_infer import _core
from stf_infer.engines import machine

SHARE = 0.6
DTYPES = ("uint8", "int16", "uint16", "float32")
HALVES = ("float16", "bfloat16")


class Scene:
    """Rows of a wide scene and the tiles of a row of tiles, with halos as a run has them."""

    def __init__(self, bands: int, tile: int, width: int = 10980) -> None:
        self.bands, self.tile, self.width = bands, tile, width
        rng = np.random.default_rng(0)
        self.numbers = rng.integers(0, 200, (bands, tile, width), np.uint8)
        self.places = range(0, width - tile + 1, tile - 16)
        self.tiles = rng.random((len(self.places), bands, tile, tile), np.float32)
        self.sums = np.zeros((bands, tile, width), np.float32)
        self.ones, self.zeros = np.ones(bands, np.float32), np.zeros(bands, np.float32)
        self.row_weight = np.ones(tile, np.float32)
        ramp = np.minimum(np.arange(1, tile + 1), np.arange(tile, 0, -1)) / 16
        self.column_weight = np.minimum(ramp, 1).astype(np.float32)

    def gather(self, dtype: str, to: str = "float32") -> tuple[Callable[[], None], int]:
        """Every tile of the row, and the bytes that are read and written."""
        strip, tiles = self.numbers.astype(dtype), self.tiles.astype(to)

        def call() -> None:
            for x, tile in zip(self.places, tiles, strict=True):
                _core.gather(strip, 0, self.tile, self.ones * 1e-2, self.zeros, 0.0, 1.0, "reflect", 0, x, tile)

        return call, tiles.size * (strip.itemsize + tiles.itemsize)

    def blend(self) -> tuple[Callable[[], None], int]:
        """Every tile of the row: a tile and sums are read, sums are written."""

        def call() -> None:
            for x, tile in zip(self.places, self.tiles, strict=True):
                _core.blend(tile, 0, x, self.row_weight, self.column_weight, self.sums, 0)

        return call, self.tiles.size * 12

    def finalise(self, dtype: str) -> tuple[Callable[[], None], int]:
        """All sums, with a mask."""
        stored = np.empty(self.sums.shape, dtype)
        valid = np.ones(self.sums.shape[1:], np.uint8)
        high = 1.0 if dtype == "float32" else 200.0

        def call() -> None:
            _core.finalise(self.sums, valid, self.ones, self.zeros, 0.0, high, 0, stored)

        return call, self.sums.size * (4 + stored.itemsize) + self.bands * valid.size


def copying(size: int) -> Callable[[], None]:
    """A memcpy that reads and writes as many bytes together."""
    source = np.ones(size // 2, np.uint8)
    target = np.empty_like(source)

    def call() -> None:
        np.copyto(target, source)

    return call


def measure(bands: int, tile: int, rounds: int) -> dict[str, Any]:
    """Share of memcpy's bandwidth that every operation reaches."""
    scene = Scene(bands, tile)
    scene.sums[:] = 100.0
    operations = {
        **{f"gather {dtype}": scene.gather(dtype) for dtype in DTYPES},
        **{f"gather int16 to {dtype}": scene.gather("int16", dtype) for dtype in HALVES},
        "blend": scene.blend(),
        **{f"finalise {dtype}": scene.finalise(dtype) for dtype in DTYPES},
    }
    found = {}
    for name, (call, size) in operations.items():
        turns = take_turns({"ours": (call, 1), "memcpy": (copying(size), 1)}, rounds)
        found[name] = {
            "share": turns.ratio("ours", "memcpy"),
            "share_of_least": turns.ratio_of_least("ours", "memcpy"),
            "gb_per_s": size / turns.median("ours") / 1e9,
            "memcpy_gb_per_s": size / turns.median("memcpy") / 1e9,
        }
    return found


_COUNTED = """
import sys
sys.path.insert(0, sys.argv[1])
from core_speed import counted_calls
calls = {name: call for name, (call, _) in counted_calls().items()}
"""


def counted_calls() -> dict[str, tuple[Callable[[], object], int]]:
    """Calls whose instructions are counted, and how many times each does its innermost work."""
    scene, radius = Scene(2, 256, 4000), 25
    image = np.random.default_rng(1).random((32, 1000), np.float32)
    predicted, noise = np.empty_like(image), np.empty_like(scene.sums)
    rows = np.arange(len(image))
    window_rows = np.minimum(rows + radius, rows[-1]) - np.maximum(rows - radius, 0) + 1
    rule = (radius, 0.1, 0.01, 0.01, 1e-4, "logarithm")
    return {
        **{f"gather {dtype}": (scene.gather(dtype)[0], scene.tiles.size) for dtype in DTYPES},
        **{f"gather int16 to {dtype}": (scene.gather("int16", dtype)[0], scene.tiles.size) for dtype in HALVES},
        "blend": (scene.blend()[0], scene.tiles.size),
        **{f"finalise {dtype}": (scene.finalise(dtype)[0], scene.sums.size) for dtype in DTYPES},
        "noise": (lambda: _core.noise(1, 0, 0, 0, noise), noise.size),
        "starfm, a pixel of the window": (
            lambda: _core.starfm(image, image, image, *rule, predicted),
            int(window_rows.sum()) * image.shape[1] * (2 * radius + 1),
        ),
    }


def instructions_a_pixel() -> dict[str, Any]:
    """Instructions a pixel and band, and of which vectors; or why they were not counted."""
    counts, vectors = instructions(_COUNTED, Path(__file__).parent)
    found: dict[str, Any] = {name: counts[name] / work for name, (_, work) in counted_calls().items() if name in counts}
    return {"vectors": vectors, **found} if counts else {"not_counted": vectors}


def missed(figures: dict[str, Any]) -> list[str]:
    """Which targets are missed, in words."""
    return [
        f"{name} at {one['share']:.0%} of memcpy, target {SHARE:.0%}"
        for name, one in figures["operations"].items()
        if one["share"] < SHARE
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--no-counts", action="store_true", help="count no instructions")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-results", action="store_true", help="write no file")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    args = parser.parse_args()
    cpu = machine.cpu()
    figures: dict[str, Any] = {
        "measured": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "machine": {"cpu": cpu.name, "features": list(cpu.features), "cores": machine.cores()},
        "stf_infer": stf_infer.__version__,
        "bands": args.bands,
        "tile": args.tile,
        "rounds": args.rounds,
        "operations": measure(args.bands, args.tile, args.rounds),
        "instructions": None if args.no_counts else instructions_a_pixel(),
    }
    if not args.no_results:
        write_results("core", figures)
    if args.json:
        print(json.dumps(figures))
    else:
        for name, one in figures["operations"].items():
            print(f"{name:24} {one['gb_per_s']:6.1f} GB/s, memcpy {one['memcpy_gb_per_s']:6.1f} GB/s: "
                  f"{one['share']:.0%} (of the least {one['share_of_least']:.0%})")  # fmt: skip
        print(f"instructions a pixel and band: {figures['instructions']}")
        print(*(missed(figures) or ["every target is met"]), sep="\n")
    return int(args.check and bool(missed(figures)))


if __name__ == "__main__":
    sys.exit(main())
