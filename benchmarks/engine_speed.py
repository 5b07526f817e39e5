# SPDX-License-Identifier: Apache-2.0
"""The engine that ``run`` picks, against ONNX Runtime and OpenVINO on what torch exports by itself.

    python benchmarks/engine_speed.py [--network edcstfn ...] [--rounds 15] [--folder FOLDER] [--check]

    onnxruntime fp32  ONNX Runtime on the plain torch export, one tile a call
    openvino plain    OpenVINO on the plain torch export as it is set up by itself (bf16 where the processor has it)
    run               what `stf_infer.open` picks of a bundle that was reduced to bf16 and int8 within the default
                      budget and built in all that was within it (on ONNX Runtime in fp32), with as many tiles a call
                      as suits the engine
    openvino fp32     our graph on OpenVINO, built in fp32
    openvino bf16     ... in bf16 throughout, which is what the plain export is computed in, within a budget or not
    onnxruntime ours  our graph on ONNX Runtime, as a bundle without engines is opened

All of them are measured in one process, in turns, each after a call of its own where calls are short; a ratio is the
median of those of each turn, with its quartiles. The ratio of the best calls stands beside it: on a machine that does
other things meanwhile it is the steadier one. Accuracy is that of :mod:`stf_infer.accuracy` against fp32: on tiles of
real scenes where STF_SHARED names a folder of them, else on procedural ones. Weights are random. Tiles are 256 pixels,
but for STFDiff (64, to keep a turn short) and StfMLP (40, as published).

Bundles and graphs are kept in ``--folder``; the figures go to ``benchmarks/results/engine-speed-MACHINE.json``. With
``--check`` the exit code is 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from _plain import NETWORKS, Network
from _results import write_results
from _rounds import Call, Turns, take_turns

import stf_infer
from stf_export import reduce
from stf_infer.accuracy import DEFAULT, Accuracy, Budget, compare, cut_tiles, tiles_of
from stf_infer.bundle import ITEM, TILES, Bundle
from stf_infer.engines import machine, registry
from stf_infer.engines.base import batches_of
from stf_infer.engines.building import BuildReport
from stf_infer.engines.openvino import runtime
from stf_infer.errors import CheckFailedError, EngineError, ExportError
from stf_infer.golden import golden_noise

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from shared_scenes import real_scene

# Targets: over ONNX Runtime fp32 where the processor has AMX, by kind; over plain OpenVINO; at least.
OVER_ORT = {"convolutional": 7.0, "other": 5.0}
OVER_PLAIN, NEVER_BELOW, FIRST_RESULT = 1.25, 1.0, 1.0

ORT, PLAIN, RUN, OURS_OV, OURS_ORT = "onnxruntime fp32", "openvino plain", "run", "openvino fp32", "onnxruntime ours"
OURS_BF16 = "openvino bf16"


def prepare(network: Network, folder: Path) -> tuple[Bundle, dict[str, str]]:
    """The bundle with what can be built within the default budget, and what became of each precision.

    What stands in the bundle is kept, and so is why a precision was refused: it takes minutes to find out.
    """
    bundle, found = network.bundle(folder), {}
    notes = folder / f"{bundle.path.stem}-refused.json"
    refused = json.loads(notes.read_text()) if notes.is_file() else {}
    if TILES not in bundle.assets and "STF_SHARED" in os.environ:
        with tempfile.TemporaryDirectory() as place:
            cut_tiles(bundle, count=4, **real_scene(bundle.spec, Path(place)).rasters)
    stf_infer.build(bundle.path, "onnxruntime-cpu")
    for precision in ("fp32", "bf16", "int8"):
        if precision not in registry.target("openvino-cpu").probe().precisions:
            found[precision] = "not computed by this processor"
            continue
        if precision in refused:
            found[precision] = refused[precision]
            continue
        try:
            report = reduced_and_built(bundle, precision)
            known = report.accuracy
            found[precision] = f"built: {Accuracy.from_dict(known).short()}" if "rmse" in known else "built"
        except (ExportError, CheckFailedError, EngineError) as error:
            found[precision] = refused[precision] = f"{error.what}: {error.got}"[:200]
            notes.write_text(json.dumps(refused, indent=1))
        bundle = Bundle.open(bundle.path)
    return bundle, found


def reduced_and_built(bundle: Bundle, precision: str) -> BuildReport:
    """An engine within the default budget, of a graph that is held to half of it where the engine is less exact.

    Raises:
        ExportError, CheckFailedError: There is none.
    """
    if precision not in bundle.precisions:
        reduce(bundle.path, precision)
    try:
        return stf_infer.build(bundle.path, "openvino-cpu", precision=precision)
    except CheckFailedError:
        if precision == "fp32":
            raise
        half = Budget(*(None if limit is None else limit / 2 for limit in (DEFAULT.rmse, DEFAULT.sam)))
        reduce(bundle.path, precision, budget=half)
        return stf_infer.build(bundle.path, "openvino-cpu", precision=precision)


def throughout(bundle: Bundle, folder: Path) -> Bundle | None:
    """A copy of the bundle without reduced graphs, built in bf16 on no budget; None where nothing computes in bf16."""
    if "bf16" not in registry.target("openvino-cpu").probe().precisions:
        return None
    path = folder / f"{bundle.path.stem}-bf16-throughout.stf"
    if not path.exists():
        shutil.copytree(bundle.path, path)
        item = json.loads((path / ITEM).read_text())
        built = ("engine-", "model-bf16", "model-int8")
        item["assets"] = {key: asset for key, asset in item["assets"].items() if not key.startswith(built)}
        (path / ITEM).write_text(json.dumps(item))
    stf_infer.build(path, "openvino-cpu", precision="bf16", budget="none")
    return Bundle.open(path)


class Plain:
    """A plain graph as far as a comparison needs an engine."""

    preferred_batch, max_batch = 1, None

    def __init__(self, call: Callable[[dict[str, np.ndarray]], np.ndarray], output: str) -> None:
        self.call, self.output = call, output

    def infer(self, inputs: Mapping[str, np.ndarray], noise: Any = None) -> dict[str, np.ndarray]:
        """Tile by tile."""
        return {self.output: np.concatenate([self.call(part) for part in batches_of(inputs, 1)])}


class Contenders:
    """Everything that runs a network, open, fed with its golden tile."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.bundle, self.built = prepare(network, folder)
        graph, output = network.plain(folder), self.bundle.spec.output.tensor
        self.run = stf_infer.open(self.bundle.path).engine
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        compiled = runtime().Core().compile_model(str(graph), "CPU")
        self.engines: dict[str, Any] = {
            ORT: Plain(lambda tile: session.run(None, tile)[0], output),
            PLAIN: Plain(lambda tile: np.array(compiled(tile)[0]), output),
            RUN: self.run,
            OURS_OV: stf_infer.open(self.bundle.path, engine="openvino-cpu", precision="fp32").engine,
            OURS_ORT: stf_infer.open(self.bundle.path, engine="onnxruntime-cpu", precision="fp32").engine,
        }
        if whole := throughout(self.bundle, folder):
            opened = stf_infer.open(whole.path, engine="openvino-cpu", precision="bf16")
            self.engines[OURS_BF16] = opened.engine
        self.calls = {name: self._call(engine) for name, engine in self.engines.items()}

    def _call(self, engine: Any) -> tuple[Call, int]:
        tiles = engine.preferred_batch
        inputs, _ = self.bundle.golden()
        feed = {t.name: np.repeat(inputs[t.role][None], tiles, axis=0) for t in self.bundle.spec.tensors}
        noise = golden_noise(self.bundle.spec, tiles)
        return (lambda: engine.infer(feed, noise)), tiles

    def accuracy(self) -> dict[str, Any]:
        """How far each is from fp32 on the tiles of the bundle, and whether that is within the default budget."""
        tiles, reference = tiles_of(self.bundle), self.engines[OURS_ORT]
        found = {}
        for name in (PLAIN, RUN, OURS_OV, *({OURS_BF16} & self.engines.keys())):
            one = compare(self.bundle.spec, reference, self.engines[name], tiles)
            found[name] = {**one.as_dict(), "short": one.short(), "within": not one.over(DEFAULT)}
        return found


def measure(network: Network, folder: Path, rounds: int) -> dict[str, Any]:
    """All figures of a network."""
    contenders = Contenders(network, folder)
    turns = take_turns(contenders.calls, rounds)
    return {
        "tile": network.tile,
        "kind": network.kind,
        "precisions": contenders.built,
        "choice": contenders.run.choice,
        "engine": contenders.run.describe(),
        "tiles_a_call": contenders.run.preferred_batch,
        "seconds": {name: {"median": turns.median(name), "least": min(turns.seconds[name])} for name in turns.seconds},
        "over_onnxruntime": {name: compared(turns, name, ORT) for name in turns.seconds if name != ORT},
        "over_plain_openvino": {name: compared(turns, name, PLAIN) for name in turns.seconds if name != PLAIN},
        "accuracy": contenders.accuracy(),
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
            beyond = "" if one["accuracy"][PLAIN]["within"] else ", which is over the budget"
            found.append(f"{name}: {over_plain:.2f}x over plain OpenVINO{beyond}, target {OVER_PLAIN}x")
        if not one["accuracy"][RUN]["within"]:
            found.append(f"{name}: over the budget, {one['accuracy'][RUN]['short']}")
    first = figures.get("first_result")
    if first and (first["first"] >= FIRST_RESULT or first["rebuilt"]):
        found.append(f"first result of EDCSTFN after {first['first']:.2f} s, rebuilt: {first['rebuilt']}")
    return found


def table(figures: dict[str, Any]) -> str:
    """The figures for a person."""
    m = figures["machine"]
    lines = [f"{m['cpu']}, {m['cores']} cores, {' '.join(m['features'])}", ""]
    lines.append(
        f"{'network':10} {'contender':18} {'ms a tile':>10} {'x ORT fp32':>22} {'x plain OpenVINO':>22}   off fp32"
    )
    for name, one in figures["networks"].items():
        for who in one["seconds"]:
            over_ort, over_plain = (_ratio(one[key].get(who)) for key in ("over_onnxruntime", "over_plain_openvino"))
            ms, known = one["seconds"][who]["median"] * 1e3, one["accuracy"].get(who)
            off = "" if known is None else f"{'within' if known['within'] else 'OVER'} {known['short']}"
            lines.append(f"{name:10} {who:18} {ms:10.1f} {over_ort:>22} {over_plain:>22}  {off}")
        lines.append(f"{'':10} {one['choice']}; {one['tiles_a_call']} a call")
        lines += [f"{'':10} {precision}: {what}" for precision, what in one["precisions"].items()]
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
        write_results("engine-speed", figures)
    print(json.dumps(figures) if args.json else table(figures))
    return int(args.check and bool(missed(figures)))


if __name__ == "__main__":
    sys.exit(main())
