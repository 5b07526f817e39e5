# SPDX-License-Identifier: Apache-2.0
"""STARFM's kernel beside the same formula in NumPy, pixel by pixel, and its time over the size of the scene.

    python benchmarks/starfm_speed.py [--window 51] [--threads N] [--out FILE.json]

Both compute the same windows of the same images; NumPy a patch of them, in turn with the kernel, and the ratio is that
of times a pixel. The kernel is also timed at growing sizes: a pixel costs the same at each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from stf_infer.baselines import Starfm, starfm
from stf_infer.engines.machine import cores, cpu

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from starfm_oracle import images, starfm_band

ROUNDS = 5
PATCH = 40  # pixels along a side that NumPy predicts, with whole windows around them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=51)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--sides", type=int, nargs="+", default=[250, 500, 1000, 2000])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    settings = Starfm(window=args.window)
    report = {"machine": str(cpu()), "cores": cores(), "threads": args.threads, "window": args.window}
    report |= beside_numpy(settings, args.threads)
    report["us_per_pixel_by_side"] = {side: by_size(side, settings, args.threads) for side in args.sides}
    print(f"{cpu()}, {args.threads} threads, window {args.window}")
    print(
        f"NumPy {report['numpy_us_per_pixel']:.1f} us a pixel, kernel {report['kernel_us_per_pixel']:.3f} us: "
        f"{report['ratio']:.0f} x (pairs: {min(report['ratios']):.0f} to {max(report['ratios']):.0f})"
    )
    print(f"largest difference {report['largest_difference']:.1e}")
    for side, cost in report["us_per_pixel_by_side"].items():
        print(f"{side:>6} x {side:<6} {cost:.3f} us a pixel")
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")


def beside_numpy(settings: Starfm, threads: int) -> dict[str, object]:
    """Both in turn; NumPy on whole windows only, which a patch at the image's edge would not have."""
    margin = settings.radius
    side = PATCH + 2 * margin
    given = images((side, side))
    deviation = float(given[0].std(dtype=np.float64))
    stack = [image[None] for image in images((500, 500))]
    numpy_us, kernel_us = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        expected = starfm_band(*given, settings, deviation, margin=margin)
        numpy_us.append((time.perf_counter() - began) / PATCH**2 * 1e6)
        began = time.perf_counter()
        starfm(*stack, settings, threads=threads)
        kernel_us.append((time.perf_counter() - began) / stack[0].size * 1e6)
    found = starfm(*(image[None] for image in given), settings, deviation=np.array([deviation]))[0]
    inner = found[margin : side - margin, margin : side - margin]
    ratios = [slow / fast for slow, fast in zip(numpy_us, kernel_us, strict=True)]
    return {
        "numpy_us_per_pixel": statistics.median(numpy_us),
        "kernel_us_per_pixel": statistics.median(kernel_us),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "largest_difference": float(np.abs(inner - expected).max()),
    }


def by_size(side: int, settings: Starfm, threads: int) -> float:
    """Least time a pixel of three runs, in microseconds."""
    given = [image[None] for image in images((side, side))]
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        starfm(*given, settings, threads=threads)
        spent.append(time.perf_counter() - began)
    return min(spent) / side**2 * 1e6


if __name__ == "__main__":
    main()
