# SPDX-License-Identifier: Apache-2.0
"""Train the network of the embedded demo on procedural scenes, and export it as a bundle.

    python benchmarks/train_demo.py --weights deltaweave.safetensors --bundle stf_infer/demo/demo.stf

Everything is seeded: scenes for training, for validation while it trains and for the final figures come from
ranges of seeds that do not overlap (``stf_infer.datasets``), and none holds the demo's own scene. Minutes on two cores.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait do not keep a shared core busy

import torch
from safetensors.torch import save_file

from stf_export.networks import create
from stf_infer.baselines import add_coarse_change, copy_reference, interpolate_coarse
from stf_infer.datasets import TEST_SEEDS, TRAINING_SEEDS, VALIDATION_SEEDS, Scene, procedural_scene

BANDS = ("blue", "green", "red", "nir")
SIDE, RATIO = 512, 16
# How far each band changes in a season [reflectance]: makes the bands count alike in the loss.
SPREAD = torch.tensor([0.02, 0.02, 0.05, 0.10])[:, None, None]

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    started = time.time()
    scenes = [training_scene(seed) for seed in TRAINING_SEEDS[: args.scenes]]
    held_out = [procedural_scene(seed, SIDE, SIDE, bands=BANDS) for seed in VALIDATION_SEEDS[:8]]
    print(f"{len(scenes)} scenes made in {time.time() - started:.0f} s")

    network = train(args, scenes, held_out)
    args.weights.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, args.weights)
    print(f"{args.weights}: {args.weights.stat().st_size / 1e3:.0f} kB, {time.time() - started:.0f} s in all")
    print(f"\nUnseen scenes ({TEST_SEEDS[0]} to {TEST_SEEDS[args.test - 1]}):")
    report(network, [procedural_scene(seed, SIDE, SIDE, bands=BANDS) for seed in TEST_SEEDS[: args.test]])
    if args.bundle:
        from stf_export import export

        export("deltaweave", weights=args.weights, bands=list(BANDS), tile=args.tile, out=args.bundle)
        print(f"bundle: {args.bundle}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="where to save the trained weights")
    parser.add_argument("--bundle", type=Path, help="where to export the bundle")
    parser.add_argument("--tile", type=int, default=256, help="tile of the bundle [pixels]")
    parser.add_argument("--scenes", type=int, default=160)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--test", type=int, default=10, help="unseen scenes for the final figures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


# Data ----------------------------------------------------------------------------------------------------


def training_scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``coarse_t1, fine_t1, coarse_t2, fine_t2``; every tenth scene has no abrupt change."""
    scene = procedural_scene(seed, SIDE, SIDE, bands=BANDS, change=seed % 10 != 0)
    return scene.coarse_t1, scene.fine_t1, scene.coarse_t2, scene.fine_t2


def crops(rng: np.random.Generator, scenes: list[tuple[np.ndarray, ...]], batch: int, crop: int) -> Iterator[Batch]:
    """Batches of random windows ``(N, C, crop, crop)``, flipped at random.

    Windows are not turned: the footprint of the coarse sensor differs along and across its scan.
    """
    up = interpolate_coarse(np.eye(SIDE // RATIO, dtype=np.float32)[:, None], RATIO)[:, 0].T  # (SIDE, coarse)
    while True:
        parts: list[tuple[np.ndarray, ...]] = []
        for number in rng.integers(len(scenes), size=batch):
            coarse_t1, fine_t1, coarse_t2, fine_t2 = scenes[number]
            y, x = rng.integers(0, SIDE - crop + 1, 2)
            rows, columns = slice(y, y + crop), slice(x, x + crop)
            c1 = up[rows] @ coarse_t1 @ up[columns].T
            f1, f2 = fine_t1[:, rows, columns], fine_t2[:, rows, columns]
            if rng.random() < 0.04:  # sometimes nothing has changed at all
                c2, f2 = c1 + rng.normal(0, 0.001, (len(c1), 1, 1)).astype(np.float32), f1
            else:
                c2 = up[rows] @ coarse_t2 @ up[columns].T
            flips = (slice(None), slice(None, None, rng.choice((-1, 1))), slice(None, None, rng.choice((-1, 1))))
            parts.append(tuple(part[flips] for part in (c1, f1, c2, f2)))
        c1, f1, c2, f2 = (torch.from_numpy(np.stack(images)) for images in zip(*parts, strict=True))
        yield tuple(t.contiguous(memory_format=torch.channels_last) for t in (c1, f1, c2, f2))  # type: ignore[misc]


# Training ------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace, scenes: list[tuple[np.ndarray, ...]], held_out: list[Scene]) -> torch.nn.Module:
    """Charbonnier loss, AdamW, one cycle of the learning rate; returns the moving average of the weights."""
    torch.manual_seed(args.seed)
    network = create("deltaweave", bands=list(BANDS)).train().to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, args.rate, total_steps=args.steps, pct_start=0.08, final_div_factor=100
    )
    batches = crops(np.random.default_rng(args.seed), scenes, args.batch, args.crop)
    started, running = time.time(), 0.0
    for step in range(1, args.steps + 1):
        coarse_t1, fine_t1, coarse_t2, fine_t2 = next(batches)
        error = (network(coarse_t1, fine_t1, coarse_t2) - fine_t2) / SPREAD
        error = error[..., 8:-8, 8:-8]  # the rim of a crop lacks context that a scene has
        loss = torch.sqrt(error * error + 1e-4).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        keep = min(0.995, step / (step + 20))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, 1 - keep)
        running = 0.98 * running + 0.02 * loss.item() if step > 1 else loss.item()
        if step % 300 == 0 or step == args.steps:
            print(f"step {step:5d}  {time.time() - started:4.0f} s  loss {running:.4f}", flush=True)
            report(average, held_out)
    return average.to(memory_format=torch.contiguous_format)


# Figures -------------------------------------------------------------------------------------------------


@torch.no_grad()
def predict(network: torch.nn.Module, scene: Scene) -> np.ndarray:
    """The fine image at t2 of a whole scene, ``(C, H, W)`` reflectance."""
    inputs = [
        interpolate_coarse(scene.coarse_t1, RATIO),
        scene.fine_t1,
        interpolate_coarse(scene.coarse_t2, RATIO),
    ]
    return network(*(torch.from_numpy(image)[None] for image in inputs))[0].clamp(0, 1).numpy()


def report(network: torch.nn.Module, scenes: list[Scene]) -> None:
    """RMSE of each band over all scenes, against both baselines; also where nothing has changed."""
    squares = {"copy": [], "add": [], "network": []}
    still = {"copy": [], "add": [], "network": []}
    for scene in scenes:
        guesses = {
            "copy": copy_reference(scene.fine_t1),
            "add": add_coarse_change(scene.fine_t1, scene.coarse_t1, scene.coarse_t2, RATIO),
            "network": predict(network, scene),
        }
        unchanged = (np.abs(scene.fine_t2 - scene.fine_t1) < 0.015).all(0)
        for name, guess in guesses.items():
            squares[name].append(((guess - scene.fine_t2) ** 2).mean((1, 2)))
            still[name].append(((guess - scene.fine_t2) ** 2)[:, unchanged].mean())
    rmse = {name: np.sqrt(np.mean(values, 0)) for name, values in squares.items()}
    best = np.minimum(rmse["copy"], rmse["add"])
    won = [
        bool((s < np.minimum(c, a)).all())
        for s, c, a in zip(*(squares[k] for k in ("network", "copy", "add")), strict=True)
    ]
    for name, values in rmse.items():
        print(f"    {name:8s} " + "  ".join(f"{b} {v:.4f}" for b, v in zip(BANDS, values, strict=True)))
    gain = 100 * (1 - rmse["network"] / best)
    calm = [float(np.sqrt(np.mean(still[name]))) for name in still]
    print(
        f"    lower by  {'  '.join(f'{g:.0f} %' for g in gain)}; all bands of {sum(won)}/{len(won)} scenes;"
        f" unchanged pixels: {calm[0]:.4f} {calm[1]:.4f} {calm[2]:.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
