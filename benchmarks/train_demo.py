# SPDX-License-Identifier: Apache-2.0
"""Train the network of the embedded demo on procedural scenes, and export it as a bundle.

    python benchmarks/train_demo.py --weights deltaweave.safetensors --bundle stf_infer/demo/demo.stf

Everything is seeded: scenes for training, for validation while it trains and for the final figures come from
ranges of seeds that do not overlap (``stf_infer.datasets``), and none holds the demo's own scene. Minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait do not keep a shared core busy

import torch
from _training import (
    BANDS,
    RIM,
    SPREAD,
    Average,
    Batch,
    crops,
    on_fine_grid,
    report,
    similarity,
    training_scene,
    unseen,
)
from safetensors.torch import load_file, save_file

from stf_export.networks import create
from stf_infer.datasets import TEST_SEEDS, TRAINING_SEEDS, VALIDATION_SEEDS, Scene

# Share of the steps, share of the peak rate, and Charbonnier's constant in units of SPREAD: the loss is a square below
# the constant and an absolute value above. First sharp (absolute errors), then a shorter phase that lowers the RMSE.
PHASES = ((10 / 13, 1.0, 0.01), (3 / 13, 0.5, 0.5))


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    if not args.reuse:
        started = time.time()
        scenes = [training_scene(seed) for seed in TRAINING_SEEDS[: args.scenes]]
        held_out = unseen(VALIDATION_SEEDS[:8])
        print(f"{len(scenes)} scenes made in {time.time() - started:.0f} s", flush=True)
        weights = train(args, scenes, held_out).state_dict()
        args.weights.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in weights.items()}, args.weights)
        print(f"{args.weights}: {args.weights.stat().st_size / 1e3:.0f} kB, {time.time() - started:.0f} s in all")

    network = create("deltaweave", bands=list(BANDS))
    network.load_state_dict(load_file(args.weights))
    print(f"\nUnseen scenes ({TEST_SEEDS[0]} to {TEST_SEEDS[args.test - 1]}):")
    scenes = unseen(TEST_SEEDS[: args.test])
    figures(network, scenes)
    similarity(scenes, {"network": partial(predict, network)})
    if args.bundle:
        from stf_export import export

        export("deltaweave", args.weights, bands=list(BANDS), tile=args.tile, out=args.bundle, force=True)
        size = sum(file.stat().st_size for file in args.bundle.iterdir())
        print(f"{args.bundle}: {size / 1e3:.0f} kB")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="where to save the trained weights")
    parser.add_argument("--bundle", type=Path, help="where to export the bundle")
    parser.add_argument(
        "--tile", type=int, default=160, help="tile of the bundle [pixels]; its golden tile grows with it"
    )
    parser.add_argument("--reuse", action="store_true", help="export weights that are there already")
    parser.add_argument("--scenes", type=int, default=160)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--test", type=int, default=10, help="unseen scenes for the final figures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


# Training ------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace, scenes: list[tuple[np.ndarray, ...]], held_out: list[Scene]) -> torch.nn.Module:
    """All phases, each from the averaged weights of the one before; returns the last average."""
    torch.manual_seed(args.seed)
    network = create("deltaweave", bands=list(BANDS))
    batches = crops(np.random.default_rng(args.seed), scenes, args.batch, args.crop)
    for number, (share, rate, bend) in enumerate(PHASES, 1):
        print(f"phase {number} of {len(PHASES)}", flush=True)
        network = train_phase(network, batches, round(args.steps * share), args.rate * rate, bend, held_out)
    return network


def train_phase(
    network: torch.nn.Module,
    batches: Iterator[Batch],
    steps: int,
    rate: float,
    bend: float,
    held_out: list[Scene],
) -> torch.nn.Module:
    """Charbonnier loss, AdamW, one cycle of the learning rate; returns the moving average of the weights."""
    network = network.train().to(memory_format=torch.channels_last)
    average = Average(network, 0.995)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=0.08, final_div_factor=100
    )
    started, running = time.time(), 0.0
    for step in range(1, steps + 1):
        coarse_t1, fine_t1, coarse_t2, fine_t2 = next(batches)
        error = (network(coarse_t1, fine_t1, coarse_t2) - fine_t2) / SPREAD
        error = error[..., RIM:-RIM, RIM:-RIM]
        moved = ((fine_t1 + coarse_t2 - coarse_t1 - fine_t2) / SPREAD).abs().mean((1, 2, 3))
        weight = 1 / (moved + 0.2)  # a quiet pair counts as much as one that changed a lot
        each = torch.sqrt(error * error + bend**2).mean((1, 2, 3))
        loss = (each * weight / weight.mean()).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.follow(network)
        running = 0.98 * running + 0.02 * loss.item() if step > 1 else loss.item()
        if step % 300 == 0 or step == steps:
            print(f"step {step:5d}  {time.time() - started:4.0f} s  loss {running:.4f}", flush=True)
            figures(average.network, held_out)
    return average.network.to(memory_format=torch.contiguous_format)


# Figures -------------------------------------------------------------------------------------------------


@torch.no_grad()
def predict(network: torch.nn.Module, scene: Scene) -> np.ndarray:
    """The fine image at t2 of a whole scene, ``(C, H, W)`` reflectance."""
    images = on_fine_grid(scene)
    return network(**{role: torch.from_numpy(image)[None] for role, image in images.items()})[0].clamp(0, 1).numpy()


@torch.no_grad()
def same_date(network: torch.nn.Module, scene: Scene) -> float:
    """Mean squared difference to fine_t1 where the coarse sensor saw no change at all: what the network invents."""
    images = on_fine_grid(scene)
    coarse, fine = (torch.from_numpy(images[role])[None] for role in ("coarse_t1", "fine_t1"))
    return float(((network(coarse, fine, coarse) - fine) ** 2).mean())


def figures(network: torch.nn.Module, scenes: list[Scene]) -> None:
    """Errors against both baselines, and what the network invents."""
    report(scenes, {"network": partial(predict, network)})
    same = np.sqrt(np.mean([same_date(network, scene) for scene in scenes]))
    print(f"    the same date twice: {same:.4f}", flush=True)


if __name__ == "__main__":
    main()
