# SPDX-License-Identifier: Apache-2.0
"""Time of a tile (or sample) of every known network in ONNX Runtime and OpenVINO, fp32, with random weights.

    python benchmarks/networks_speed.py [--network NAME ...] [--small] [--rounds 15] [--limit 300] [--json]

Networks have their published size, or with ``--small`` the size that the tests export. Each is exported and measured in
a process of its own, both engines in turns; one that fails or takes longer than ``--limit`` seconds is a row with its
reason.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _rounds import take_turns

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

ENGINES = ("onnxruntime-cpu", "openvino-cpu")
TILE = 128  # of published networks whose contract leaves it open
# Options that only make a network small.
_SHRINKING = (
    "width",
    "blocks",
    "multipliers",
    "layers",
    "core",
    "tile",
    "nodes",
    "history",
    "heads",
    "slots",
    "horizon",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--limit", type=float, default=300.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.child, args.small, args.rounds)))
        return 0
    from stf_export import networks

    rows = [in_a_process(name, args) for name in args.network or networks.names()]
    if args.json:
        print(json.dumps({"small": args.small, "rounds": args.rounds, "networks": rows}))
    else:
        print(*rows, sep="\n")
    return 0


def in_a_process(name: str, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, "--rounds", str(args.rounds)]
    command += ["--small"] if args.small else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.limit, check=False)
    except subprocess.TimeoutExpired:
        return {"network": name, "reason": f"not done after {args.limit:.0f} s"}
    if done.returncode:
        return {"network": name, "reason": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, small: bool, rounds: int) -> dict[str, Any]:
    """Export a network and time both engines on its golden tile, in turns."""
    from safetensors.torch import save_file

    import stf_infer
    import zoo_support as zoo
    from stf_export import export, networks
    from stf_infer.golden import golden_noise

    case = zoo.CASES[name]
    options, bands, tile = dict(case.options), case.bands, case.tile
    if not small:
        bands = None if name != "dcstfn" else bands
        options = {key: value for key, value in options.items() if key not in _SHRINKING} if not case.samples else {}
        options.pop("coarse_bands", None)
        tile = None if tile is None else max(tile, TILE)
    network = networks.create(name, bands=bands, **options)
    zoo.give_weights(network)
    with tempfile.TemporaryDirectory() as place:
        weights = Path(place) / "weights.safetensors"
        save_file({key: value.contiguous().clone() for key, value in network.state_dict().items()}, weights)
        bundle = export(
            name, weights, bands=bands, tile=tile, options=options, sampler=case.sampler, out=Path(place) / "net.stf"
        )
        inputs, _ = bundle.golden()
        feed = {t.name: np.asarray(inputs[t.role])[None] for t in bundle.spec.tensors}
        noise = golden_noise(bundle.spec, 1)
        opened, reasons = {}, {}
        for target in ENGINES:
            try:
                opened[target] = stf_infer.open(bundle.path, engine=target, precision="fp32").engine
            except stf_infer.errors.StfError as error:
                reasons[target] = str(error)[:200]
        calls = {target: (lambda engine=engine: engine.infer(feed, noise), 1) for target, engine in opened.items()}
        turns = take_turns(calls, rounds)
        return {
            "network": name,
            "parameters": sum(p.numel() for p in network.parameters()),
            "tensors": {t: list(a.shape[1:]) for t, a in feed.items()},
            "sampler": "" if case.sampler is None else f"{case.sampler.steps} steps",
            "ms": {t: {"p50": 1e3 * turns.median(t), "least": 1e3 * min(s)} for t, s in turns.seconds.items()},
            "reasons": reasons,
        }


if __name__ == "__main__":
    sys.exit(main())
