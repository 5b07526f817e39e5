# SPDX-License-Identifier: Apache-2.0
"""All metrics of one pass, against the fastest composition of other libraries that gives the same figures.

    python benchmarks/metrics_speed.py [--bands 6] [--size 4000] [--rounds 3] [--no-counts] [--check]

Of each group of figures (pixelwise, SAM, SSIM, UQI) the fastest of NumPy, scikit-image, torchmetrics and sewar is found
on a smaller image; then our pass and that composition are timed in turns on the whole one, on all cores. UQI written by
hand with SciPy's running means is faster than any library's, so the ratio is told with and without it.

Beside the wall clock stands the time of the processor. The peers of this composition work on one core, and our pass on
all: on a machine whose cores do something else meanwhile, ours gets less of the second one, and the wall clock tells
how busy the machine was. `of_processor_time` is what the peers take of a core over what we take of all of them.

The pixelwise subset is set against `_core.read_words`, which adds up the same bytes on as many threads and does nothing
else: the read bandwidth of the machine at that moment. It is told for the figures of single bands (`Moments`: MSE,
RMSE, NRMSE, MAE, PSNR, CC, R2, bias, ERGAS) and with SAM too. Extra memory is VmHWM - VmRSS around one pass, in a
process of its own. Instruction counts of the hot loops are callgrind's, where valgrind is installed; it has no AVX-512,
so they are of narrower vectors.

Figures go to ``benchmarks/results/metrics-MACHINE.json``. With ``--check`` the exit code is 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from _counts import instructions
from _metrics_peers import PEERS
from _results import write_results
from _rounds import Turns, take_turns

import stf_infer
from stf_infer import _core, metrics
from stf_infer.engines import machine

FASTER, SHARE_OF_BANDWIDTH, EXTRA_MB = 40.0, 0.6, 64.0
SMALL = 1000  # side of the image on which the fastest of each group is found
BINS = (-0.5, 0.5, 100)


def images(bands: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy prediction and its truth, float32 ``(C, H, W)`` from 0 to 1, made a band at a time."""
    rng = np.random.default_rng(0)
    p, t = (np.empty((bands, size, size), np.float32) for _ in range(2))
    for b in range(bands):
        rng.random(out=t[b], dtype=np.float32)
        rng.standard_normal(out=p[b], dtype=np.float32)
        p[b] *= 0.05
        p[b] += t[b]
    return p, t


def ours(p: np.ndarray, t: np.ndarray, **options: Any) -> metrics.MetricReport:
    return metrics.evaluate(p, t, data_range=1.0, ratio=16, **options)


def fastest_peers(bands: int) -> dict[str, dict[str, float]]:
    """Seconds of every peer on a small image, by group; the least of two calls."""
    p, t = images(bands, SMALL)
    found: dict[str, dict[str, float]] = {}
    for group, peers in PEERS.items():
        for name, call in peers.items():
            seconds = []
            for _ in range(2):
                began = time.perf_counter()
                call(p, t)
                seconds.append(time.perf_counter() - began)
            found.setdefault(group, {})[name] = min(seconds)
    return found


def speed(bands: int, size: int, rounds: int, small: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Our passes and the fastest peer of each group, in turns."""
    p, t = images(bands, size)
    best = {group: min(times, key=times.__getitem__) for group, times in small.items()}
    library_uqi = min((name for name in small["uqi"] if "by hand" not in name), key=small["uqi"].__getitem__)
    words = [x.reshape(-1).view(np.uint64) for x in (p, t)]
    cores = machine.cores()
    calls = {
        "ours, all": lambda: ours(p, t),
        "ours, all and histogram": lambda: ours(p, t, error_bins=BINS),
        "ours, pixelwise": lambda: ours(p, t, window=None),
        "ours, pixelwise without SAM": lambda: metrics.Moments(bands).update(p, t),
        "ours, one thread": lambda: ours(p, t, threads=1),
        "reading": lambda: [_core.read_words(w, cores) for w in words],
    }
    for group, name in best.items():
        calls[f"{group}: {name}"] = lambda call=PEERS[group][name]: call(p, t)
    calls.setdefault(f"uqi: {library_uqi}", lambda: PEERS["uqi"][library_uqi](p, t))
    turns, processor = _timed(calls, rounds)
    # Short calls again, more often: what reading costs changes with what else the machine does.
    pixelwise = ("ours, pixelwise", "ours, pixelwise without SAM")
    short, _ = _timed({name: calls[name] for name in (*pixelwise, "reading")}, max(5 * rounds, 15))
    groups = [f"{group}: {name}" for group, name in best.items() if group != "histogram"]
    by_hand, by_library = groups, [g for g in groups if not g.startswith("uqi")] + [f"uqi: {library_uqi}"]
    return {
        "seconds": {name: {"median": turns.median(name), "least": min(turns.seconds[name])} for name in turns.seconds},
        "libraries": over(turns, processor, by_library, "ours, all"),
        "libraries_and_uqi_by_hand": over(turns, processor, by_hand, "ours, all"),
        "with_histogram": over(turns, processor, [*by_library, "histogram: numpy"], "ours, all and histogram"),
        "read_gb_per_s": (p.nbytes + t.nbytes) / short.median("reading") / 1e9,
        "pixelwise_share_of_reading": {
            name: {
                "median": short.ratio(name, "reading"),
                "of_least": short.ratio_of_least(name, "reading"),
            }
            for name in pixelwise
        },
    }


def _timed(calls: dict[str, Callable[[], object]], rounds: int) -> tuple[Turns, Turns]:
    """Wall clock and processor time of calls in turns."""
    processor: dict[str, list[float]] = {name: [] for name in calls}

    def noted(name: str) -> None:
        began = time.process_time()
        calls[name]()
        processor[name].append(time.process_time() - began)

    turns = take_turns({name: (lambda name=name: noted(name), 1) for name in calls}, rounds)
    return turns, Turns({name: times[-rounds:] for name, times in processor.items()})


def over(turns: Turns, processor: Turns, composition: list[str], ours: str) -> dict[str, Any]:
    """How many times longer the members of a composition take together than we do, turn by turn."""
    together = [sum(times) for times in zip(*(turns.seconds[name] for name in composition), strict=True)]
    least = sum(min(turns.seconds[name]) for name in composition)
    return {
        "composition": composition,
        "seconds": statistics.median(together),
        "median": statistics.median(a / b for a, b in zip(together, turns.seconds[ours], strict=True)),
        "of_least": least / min(turns.seconds[ours]),
        "of_processor_time": sum(min(processor.seconds[name]) for name in composition)
        / (min(processor.seconds[ours]) / machine.cores()),
    }


_MEMORY = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from metrics_speed import images, ours
p, t = images(int(sys.argv[2]), int(sys.argv[3]))
ours(p[:, :64, :64], t[:, :64, :64])
def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
ours(p, t, error_bins=(-0.5, 0.5, 100))
print(json.dumps(status("VmHWM") - before))
"""


def extra_memory(bands: int, sizes: list[int]) -> dict[int, float]:
    """MB that one pass takes beyond the images, by size."""
    return {size: _in_process(_MEMORY, bands, size) for size in sizes}


_COUNTED = """
import sys
import numpy as np
from stf_infer import metrics
p, t = np.random.default_rng(0).random((2, int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[2])), np.float32)
p = t + 0.05 * (p - 0.5)
def counted(**options):
    return lambda: metrics.evaluate(p, t, data_range=1.0, ratio=16, threads=1, **options)
calls = {"all": counted(), "pixelwise": counted(window=None)}
"""


def instructions_a_value(bands: int, size: int = 400) -> dict[str, Any]:
    """Instructions a value of one pass on one thread, and of which vectors; or why they were not counted."""
    counts, vectors = instructions(_COUNTED, bands, size)
    found: dict[str, Any] = {name: count / (bands * size * size) for name, count in counts.items()}
    return {"vectors": vectors, **found} if counts else {"not_counted": vectors}


def _in_process(code: str, *arguments: object) -> Any:
    command = [sys.executable, "-c", code, str(Path(__file__).parent), *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def told_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = machine.cpu()
    return {
        "cpu": cpu.name,
        "features": list(cpu.features),
        "cores": machine.cores(),
        "kernel": _core.metrics_kernels()[0],
        "load_average": os.getloadavg()[0],
        "versions": {n: version(n) for n in ("numpy", "scipy", "scikit-image", "torch", "torchmetrics", "sewar")},
        "stf_infer": stf_infer.__version__,
    }


def missed(figures: dict[str, Any]) -> list[str]:
    """Which targets are missed, in words."""
    found = []
    ratio = figures["speed"]["libraries"]["median"]
    if ratio < FASTER:
        found.append(f"{ratio:.1f}x faster than the libraries, target {FASTER:g}x")
    for name, share in figures["speed"]["pixelwise_share_of_reading"].items():
        if share["median"] < SHARE_OF_BANDWIDTH:
            found.append(f"{name} at {share['median']:.0%} of the read bandwidth, target {SHARE_OF_BANDWIDTH:.0%}")
    most = max(figures["extra_mb"].values())
    if most >= EXTRA_MB:
        found.append(f"{most:.0f} MB beyond the images, target below {EXTRA_MB:g}")
    return found


def table(figures: dict[str, Any]) -> str:
    """The figures for a person."""
    m, s = figures["machine"], figures["speed"]
    lines = [f"{m['cpu']}, {m['cores']} cores, {m['kernel']}; {figures['bands']} x {figures['size']}² float32", ""]
    lines += [f"{name:32} {1e3 * one['median']:10.1f} ms (least {1e3 * one['least']:.1f})" for name, one in
              s["seconds"].items()]  # fmt: skip
    lines.append("")
    for key in ("libraries", "libraries_and_uqi_by_hand", "with_histogram"):
        one = s[key]
        lines.append(
            f"{one['median']:6.1f}x (of the least {one['of_least']:.1f}x, of processor time "
            f"{one['of_processor_time']:.1f}x): {' + '.join(one['composition'])}"
        )
    lines.append(f"reading at {s['read_gb_per_s']:.1f} GB/s")
    for name, share in s["pixelwise_share_of_reading"].items():
        lines.append(f"{name}: {share['median']:.0%} of it (of the least {share['of_least']:.0%})")
    lines += [
        "beyond the images: " + ", ".join(f"{mb:.1f} MB at {size}²" for size, mb in figures["extra_mb"].items()),
        f"instructions a value: {figures['instructions']}",
        "",
        *(missed(figures) or ["every target is met"]),
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bands", type=int, default=6)
    parser.add_argument("--size", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-counts", action="store_true", help="count no instructions")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-results", action="store_true", help="write no file")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    small = fastest_peers(args.bands)
    figures: dict[str, Any] = {
        "measured": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "machine": told_machine(),
        "bands": args.bands,
        "size": args.size,
        "rounds": args.rounds,
        f"seconds_at_{SMALL}": small,
        "speed": speed(args.bands, args.size, args.rounds, small),
        "extra_mb": extra_memory(args.bands, sorted({SMALL, args.size})),
        "instructions": None if args.no_counts else instructions_a_value(args.bands),
    }
    if not args.no_results:
        write_results("metrics", figures)
    print(json.dumps(figures) if args.json else table(figures))
    return int(args.check and bool(missed(figures)))


if __name__ == "__main__":
    sys.exit(main())
