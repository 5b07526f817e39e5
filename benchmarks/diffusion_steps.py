# SPDX-License-Identifier: Apache-2.0
"""A sampling of STFDiff as one engine call a tile, against a plain step engine that Python calls again and again.

    python benchmarks/diffusion_steps.py [--tile 64] [--width 64] [--rounds 7] [--engine onnxruntime-cpu ...]

    unrolled   DDIM with 4 steps in one graph: conditions encoded once, what follows from the time folded
    stepwise   4 calls of a graph of one whole step, with NumPy between them
    authors    100 calls of it: every training step, ancestral, with noise drawn by NumPy

All are graphs of the same network, opened by the same engine with the same settings, batch 1. Unrolled and stepwise
take turns; their ratio is the median of that of each turn. The authors' setting is run in full, less often, between
two runs of the unrolled graph; its ratio is to their mean. Weights are random: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stf_export import networks
from stf_export.contract import Contract
from stf_export.networks.diffusion.stfdiff import STFDiff
from stf_export.sampled import Sampling
from stf_export.samplers import Sampler
from stf_export.samples import scene_tile
from stf_export.torch_graph import bind, ready, to_onnx, write_module
from stf_infer.diffusion import SamplerSpec, run
from stf_infer.engines import registry
from stf_infer.engines.base import Engine
from stf_infer.grid import Shape

FEW = Sampler(name="ddim", steps=4)
AUTHORS = Sampler(name="ddpm", steps=100, variance="small")

Call = Callable[[], np.ndarray]


class Graph:
    """An ONNX file as far as an engine needs a bundle."""

    def __init__(self, path: Path) -> None:
        self.path, self.spec, self.precisions = path, None, {"fp32": "model-fp32"}

    def asset(self, key: str) -> Path:
        """The file, whatever is asked for."""
        return self.path


class WholeStep(torch.nn.Module):
    """The network as published: conditions, noisy image and time in, output out."""

    def __init__(self, network: STFDiff) -> None:
        super().__init__()
        self.network = network

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """The raw output, from conditions, noisy image and time."""
        *images, t = tensors
        return self.network(*images, t[:, 0, 0, 0].to(torch.int64))


def write_graphs(network: STFDiff, folder: Path, tile: int) -> tuple[Path, Path, SamplerSpec, Contract]:
    """The unrolled graph and that of one step, the steps of the former, and the contract of the latter."""
    contract = network.contract()
    sampling = Sampling.of(network.for_export(), contract, FEW, None)
    steps, shape = sampling.steps(), Shape(tile, tile)
    whole = sampling.contract_of(steps)
    to_onnx(bind(sampling.unrolled(steps), whole), whole, shape, folder / "unrolled.onnx")
    image = (2, len(network.bands), tile, tile)
    images = {role: torch.rand(image) for role in (*network.conditions, "x_t")}
    examples = (*images.values(), torch.tensor([3.0, 5.0]).reshape(2, 1, 1, 1))
    step = ready(WholeStep(network.for_export()))
    write_module(step, examples, [*images, "t"], ["output"], folder / "step.onnx")
    return folder / "unrolled.onnx", folder / "step.onnx", steps, contract


def opened(path: Path, engine: str, threads: int | None) -> Engine:
    graph: Any = Graph(path)
    return registry.target(engine).open(graph, None, "fp32", threads)


def stepwise(engine: Engine, sampler: SamplerSpec, tile: dict[str, np.ndarray], start: np.ndarray) -> Call:
    """A sampling by one call of the step's engine after another."""
    rng = np.random.default_rng(1)

    def output(number: int, x: np.ndarray) -> np.ndarray:
        time = np.full((1, 1, 1, 1), sampler.timesteps[number], np.float32)
        return engine.infer_impl({**tile, "x_t": x, "t": time})["output"]

    return lambda: run(sampler, output, start, lambda _: rng.standard_normal(start.shape, np.float32))


def seconds(call: Call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(engine: str, args: argparse.Namespace, network: STFDiff, folder: Path) -> dict[str, Any]:
    """Times and ratios on one engine."""
    unrolled_path, step_path, few, contract = write_graphs(network, folder, args.tile)
    authors = Sampling.of(network.for_export(), contract, AUTHORS, None).steps()
    tile = {role: image[None] for role, image in scene_tile(contract, Shape(args.tile, args.tile)).items()}
    start = np.random.default_rng(0).standard_normal((1, len(network.bands), args.tile, args.tile), np.float32)
    with opened(unrolled_path, engine, args.threads) as whole, opened(step_path, engine, args.threads) as step:
        one: Call = lambda: whole.infer_impl({**tile, "noise": start})["fine_t2"]  # noqa: E731
        four, hundred = stepwise(step, few, tile, start), stepwise(step, authors, tile, start)
        apart = float(np.abs(one() - four()).max())
        turns = [(seconds(one), seconds(four)) for _ in range(args.rounds)]
        long = []
        for _ in range(args.long_rounds):
            before, all_steps, after = seconds(one), seconds(hundred), seconds(one)
            long.append((all_steps, (before + after) / 2))
        made = whole.describe()
    return {
        "engine": made,
        "largest_difference": apart,
        "unrolled_s": statistics.median(one for one, _ in turns),
        "stepwise_s": statistics.median(four for _, four in turns),
        "authors_s": statistics.median(spent for spent, _ in long),
        "faster_than_stepwise": statistics.median(four / one for one, four in turns),
        "faster_than_authors": statistics.median(spent / one for spent, one in long),
        "turns": [four / one for one, four in turns],
        "long_turns": [spent / one for spent, one in long],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--width", type=int, default=64, help="64 is the published network")
    parser.add_argument("--rounds", type=int, default=7, help="turns of unrolled and stepwise")
    parser.add_argument("--long-rounds", type=int, default=2, help="runs of the authors' setting")
    parser.add_argument("--engine", nargs="+", default=["onnxruntime-cpu", "openvino-cpu"])
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    torch.manual_seed(0)
    network = networks.create("stfdiff", width=args.width)
    assert isinstance(network, STFDiff)
    report: dict[str, Any] = {"network": f"stfdiff, width {args.width}, {len(network.bands)} bands", "tile": args.tile}
    with tempfile.TemporaryDirectory() as name:
        report["engines"] = {engine: measure(engine, args, network, Path(name)) for engine in args.engine}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
