# SPDX-License-Identifier: Apache-2.0
"""The engine that ``run`` picks, against ONNX Runtime and OpenVINO on what torch exports by itself.

    python benchmarks/engine_speed.py [--network edcstfn ...] [--rounds 15] [--folder FOLDER] [--check]

    onnxruntime fp32  ONNX Runtime on the plain torch export, one tile a call
    openvino plain    OpenVINO on the plain torch export as it is set up by itself (bf16 where the processor has it)
    run               what `stf_infer.open` picks of a bundle for which `build` was run in every precision listed below,
                      with as many tiles a call as it suits
    openvino fp32     our graph on OpenVINO, built in fp32
    onnxruntime ours  our graph on ONNX Runtime, as a bundle without engines is opened

All of them are measured in one process, in turns; a ratio is the median of those of each turn, with its quartiles. The
ratio of the best calls stands beside it: on a machine that does something else meanwhile it is the steadier one.
Weights are random. Tiles are 256 pixels, but for STFDiff (64, to keep a turn short) and StfMLP (40, as published).

Bundles and graphs are kept in ``--folder``; the figures go to ``benchmarks/results/engine-speed-CPU.json``. With
``--check`` the exit code is 1 where a ratio is below its target.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from _plain import NETWORKS, Network
from _rounds import Call, Turns, take_turns

import stf_infer
from stf_infer.bundle import Bundle
from stf_infer.engines import machine
from stf_infer.engines.base import Engine
from stf_infer.engines.openvino import runtime
from stf_infer.golden import golden_noise

RESULTS = Path(__file__).parent / "results"

# Targets: over ONNX Runtime fp32 where the processor has AMX, by kind; over plain OpenVINO; at least.
OVER_ORT = {"convolutional": 7.0, "other": 5.0}
OVER_PLAIN, NEVER_BELOW, FIRST_RESULT = 1.25, 1.0, 1.0

ORT, PLAIN, RUN, OURS_OV, OURS_ORT = "onnxruntime fp32", "openvino plain", "run", "openvino fp32", "onnxruntime ours"


def precisions() -> list[str]:
    """What engines are built in: fp32, and bf16 where the processor has it."""
    return ["fp32", *(["bf16"] if machine.cpu().has_bf16 else [])]


def build_all(bundle: Bundle) -> Bundle:
    """The bundle with an engine for OpenVINO in every precision; one that stands is kept."""
    for precision in precisions():
        stf_infer.build(bundle.path, "openvino-cpu", precision=precision)
    return Bundle.open(bundle.path)


class Contenders:
    """Everything that runs a network, open, fed with its golden tile."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.bundle = build_all(network.bundle(folder))
        plain = network.plain(folder)
        inputs, self.golden = self.bundle.golden()
        self.tile = {t.name: inputs[t.role] for t in self.bundle.spec.tensors}
        self.run = stf_infer.open(self.bundle.path).engine
        fp32 = {
            OURS_OV: stf_infer.open(self.bundle.path, engine="openvino-cpu", precision="fp32").engine,
            OURS_ORT: stf_infer.open(self.bundle.path, engine="onnxruntime-cpu", precision="fp32").engine,
        }
        self.calls: dict[str, tuple[Call, int]] = {
            ORT: (self._onnxruntime(plain), 1),
            PLAIN: (self._openvino(plain), 1),
            RUN: self._engine(self.run),
            **{name: self._engine(engine) for name, engine in fp32.items()},
        }

    def _batch(self, tiles: int) -> dict[str, np.ndarray]:
        return {name: np.repeat(array[None], tiles, axis=0) for name, array in self.tile.items()}

    def _onnxruntime(self, graph: Path) -> Call:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        feed = self._batch(1)
        return lambda: session.run(None, feed)[0]

    def _openvino(self, graph: Path) -> Call:
        compiled = runtime().Core().compile_model(str(graph), "CPU")
        feed = self._batch(1)
        return lambda: compiled(feed)[0]

    def _engine(self, engine: Engine) -> tuple[Call, int]:
        tiles = engine.preferred_batch
        feed, output = self._batch(tiles), self.bundle.spec.output.tensor
        noise = golden_noise(self.bundle.spec, tiles)
        return (lambda: engine.infer(feed, noise)[output]), tiles

    def relative_rms(self, name: str) -> list[float]:
        """RMS difference from the golden output over the output's RMS, band by band, in network values."""
        off = np.asarray(self.calls[name][0]())[0].astype(np.float64) - self.golden
        return [
            float(v) for v in np.sqrt((off**2).mean((-2, -1)) / (self.golden.astype(np.float64) ** 2).mean((-2, -1)))
        ]


def measure(network: Network, folder: Path, rounds: int) -> dict[str, Any]:
    """All figures of a network."""
    contenders = Contenders(network, folder)
    turns = take_turns(contenders.calls, rounds)
    return {
        "tile": network.tile,
        "kind": network.kind,
        "choice": contenders.run.choice,
        "engine": contenders.run.describe(),
        "tiles_a_call": contenders.run.preferred_batch,
        "seconds": {name: {"median": turns.median(name), "least": min(turns.seconds[name])} for name in turns.seconds},
        "over_onnxruntime": {name: compared(turns, name, ORT) for name in turns.seconds if name != ORT},
        "over_plain_openvino": {name: compared(turns, name, PLAIN) for name in turns.seconds if name != PLAIN},
        "relative_rms": {name: contenders.relative_rms(name) for name in contenders.calls},
    }


def compared(turns: Turns, name: str, other: str) -> dict[str, float]:
    """How many times faster one is than the other."""
    low, high = turns.spread(name, other)
    return {
        "median": turns.ratio(name, other),
        "quartile_1": low,
        "quartile_3": high,
        "of_least": turns.ratio_of_least(name, other),
    }


_FIRST = """
import json, sys, time
import numpy as np
import stf_infer
from stf_infer.bundle import Bundle
inputs, _ = Bundle.open(sys.argv[1]).golden()
began = time.perf_counter()
model = stf_infer.open(sys.argv[1])
engine = model.engine
opened = time.perf_counter()
engine.infer({t.name: inputs[t.role][None] for t in model.spec.tensors})
print(json.dumps({"opened": opened - began, "first": time.perf_counter() - began, "choice": engine.choice}))
"""


def first_result(bundle: Path, times: int = 5) -> dict[str, Any]:
    """Time from ``open`` to the first tile in fresh processes, engine built and choice made; and what changed."""
    before = _state(bundle)
    found = [
        json.loads(subprocess.run([sys.executable, "-c", _FIRST, bundle], check=True, capture_output=True).stdout)
        for _ in range(times)
    ]
    best = min(found, key=lambda one: one["first"])
    return {"seconds": sorted(one["first"] for one in found), **best, "rebuilt": _state(bundle) != before}


def _state(bundle: Path) -> dict[str, tuple[int, str]]:
    """Every file of a bundle, when it was written and what it holds."""
    return {
        str(p): (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest())
        for p in sorted(bundle.rglob("*"))
        if p.is_file()
    }


def told_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = machine.cpu()
    return {
        "cpu": cpu.name,
        "features": list(cpu.features),
        "amx": any(f.startswith("amx") for f in cpu.features),
        "cores": machine.cores(),
        "load_average": os.getloadavg()[0],
        "versions": {name: version(name) for name in ("openvino", "onnxruntime", "torch", "numpy")},
        "stf_infer": stf_infer.__version__,
    }


def missed(figures: dict[str, Any]) -> list[str]:
    """Which targets are missed, in words."""
    found = []
    amx = figures["machine"]["amx"]
    for name, one in figures["networks"].items():
        over_ort = one["over_onnxruntime"][RUN]["median"]
        least = OVER_ORT[one["kind"]] if amx else NEVER_BELOW
        if over_ort < least:
            found.append(f"{name}: {over_ort:.2f}x over ONNX Runtime, target {least}x")
        over_plain = one["over_plain_openvino"][RUN]["median"]
        if over_plain < OVER_PLAIN:
            found.append(f"{name}: {over_plain:.2f}x over plain OpenVINO, target {OVER_PLAIN}x")
    first = figures.get("first_result")
    if first and (first["first"] >= FIRST_RESULT or first["rebuilt"]):
        found.append(f"first result of EDCSTFN after {first['first']:.2f} s, rebuilt: {first['rebuilt']}")
    return found


def table(figures: dict[str, Any]) -> str:
    """The figures for a person."""
    m = figures["machine"]
    lines = [f"{m['cpu']}, {m['cores']} cores, {' '.join(m['features'])}", ""]
    lines.append(
        f"{'network':10} {'contender':18} {'ms a tile':>10} {'x ORT fp32':>22} {'x plain OpenVINO':>22} {'rms %':>6}"
    )
    for name, one in figures["networks"].items():
        for who in one["seconds"]:
            over_ort, over_plain = (_ratio(one[key].get(who)) for key in ("over_onnxruntime", "over_plain_openvino"))
            ms, rms = one["seconds"][who]["median"] * 1e3, max(one["relative_rms"][who]) * 100
            lines.append(f"{name:10} {who:18} {ms:10.1f} {over_ort:>22} {over_plain:>22} {rms:6.2f}")
        lines.append(f"{'':10} {one['choice']}; {one['tiles_a_call']} a call")
    if "first_result" in figures:
        f = figures["first_result"]
        lines += [
            "",
            f"EDCSTFN, fresh process, from open to the first tile: {f['first']:.3f} s; rebuilt: {f['rebuilt']}",
        ]
    lines += ["", *(missed(figures) or ["every target is met"])]
    return "\n".join(lines)


def _ratio(found: dict[str, float] | None) -> str:
    return "{median:.2f} ({quartile_1:.2f}-{quartile_3:.2f}) {of_least:.2f}".format(**found) if found else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="keep bundles and graphs here")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-results", action="store_true", help="write no file")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        figures: dict[str, Any] = {
            "measured": dt.datetime.now(dt.timezone.utc).date().isoformat(),
            "machine": told_machine(),
            "rounds": args.rounds,
            "networks": {n: measure(NETWORKS[n], folder, args.rounds) for n in args.network},
        }
        if "edcstfn" in args.network:
            figures["first_result"] = first_result(NETWORKS["edcstfn"].bundle(folder).path)
    if not args.no_results:
        RESULTS.mkdir(exist_ok=True)
        cpu = re.sub(r"[^a-z0-9]+", "-", machine.cpu().name.lower()).strip("-")
        (RESULTS / f"engine-speed-{cpu}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures) if args.json else table(figures))
    return int(args.check and bool(missed(figures)))


if __name__ == "__main__":
    sys.exit(main())
