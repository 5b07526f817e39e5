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
from safetensors.torch import load_file, save_file

from stf_export.networks import create
from stf_infer.baselines import add_coarse_change, copy_reference, interpolate_coarse
from stf_infer.datasets import (
    TEST_SEEDS,
    TRAINING_SEEDS,
    VALIDATION_SEEDS,
    Change,
    LandCover,
    Scene,
    procedural_scene,
)
from stf_infer.metrics import evaluate

BANDS = ("blue", "green", "red", "nir")
SIDE, RATIO = 512, 16
# How far each band changes in a season [reflectance]: makes the bands count alike in the loss.
SPREAD = torch.tensor([0.02, 0.02, 0.05, 0.10])[:, None, None]

# Share of the steps, share of the peak rate, and Charbonnier's constant in units of SPREAD: the loss is a square below
# the constant and an absolute value above. First sharp (absolute errors), then a shorter phase that lowers the RMSE.
PHASES = ((10 / 13, 1.0, 0.01), (3 / 13, 0.5, 0.5))

STEADY = (LandCover.WATER, LandCover.NEEDLE, LandCover.TOWN)  # land that looks much the same all summer

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    if not args.reuse:
        started = time.time()
        scenes = [training_scene(seed) for seed in TRAINING_SEEDS[: args.scenes]]
        held_out = [procedural_scene(seed, SIDE, SIDE, bands=BANDS) for seed in VALIDATION_SEEDS[:8]]
        print(f"{len(scenes)} scenes made in {time.time() - started:.0f} s", flush=True)
        weights = train(args, scenes, held_out).state_dict()
        args.weights.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in weights.items()}, args.weights)
        print(f"{args.weights}: {args.weights.stat().st_size / 1e3:.0f} kB, {time.time() - started:.0f} s in all")

    network = create("deltaweave", bands=list(BANDS))
    network.load_state_dict(load_file(args.weights))
    print(f"\nUnseen scenes ({TEST_SEEDS[0]} to {TEST_SEEDS[args.test - 1]}):")
    unseen = [procedural_scene(seed, SIDE, SIDE, bands=BANDS) for seed in TEST_SEEDS[: args.test]]
    report(network, unseen)
    similarity(network, unseen)
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
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=0.08, final_div_factor=100
    )
    started, running = time.time(), 0.0
    for step in range(1, steps + 1):
        coarse_t1, fine_t1, coarse_t2, fine_t2 = next(batches)
        error = (network(coarse_t1, fine_t1, coarse_t2) - fine_t2) / SPREAD
        error = error[..., 8:-8, 8:-8]  # the rim of a crop lacks context that a scene has
        moved = ((fine_t1 + coarse_t2 - coarse_t1 - fine_t2) / SPREAD).abs().mean((1, 2, 3))
        weight = 1 / (moved + 0.2)  # a quiet pair counts as much as one that changed a lot
        each = torch.sqrt(error * error + bend**2).mean((1, 2, 3))
        loss = (each * weight / weight.mean()).mean()
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
        if step % 300 == 0 or step == steps:
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


@torch.no_grad()
def same_date(network: torch.nn.Module, scene: Scene) -> float:
    """Mean squared difference to fine_t1 where the coarse sensor saw no change at all: what the network invents."""
    coarse, fine = interpolate_coarse(scene.coarse_t1, RATIO), scene.fine_t1
    inputs = (torch.from_numpy(image)[None] for image in (coarse, fine, coarse))
    return float(((network(*inputs)[0].numpy() - fine) ** 2).mean())


def report(network: torch.nn.Module, scenes: list[Scene]) -> None:
    """RMSE of each band over all scenes, against both baselines; also where little changes."""
    squares: dict[str, list[np.ndarray]] = {"copy": [], "add": [], "network": []}
    steady: dict[str, list[float]] = {"copy": [], "add": [], "network": []}
    for scene in scenes:
        calm = np.isin(scene.land_cover, STEADY) & (scene.change == Change.NONE)
        for name, guess in guesses(network, scene).items():
            squared = (guess - scene.fine_t2) ** 2
            squares[name].append(squared.mean((1, 2)))
            steady[name].append(float(squared[:, calm].mean()))
    same = np.sqrt(np.mean([same_date(network, scene) for scene in scenes]))
    rmse = {name: np.sqrt(np.mean(values, 0)) for name, values in squares.items()}
    best = np.minimum(squares["copy"], squares["add"])
    won = int((np.array(squares["network"]) < best).all(1).sum())
    for name, values in rmse.items():
        print(f"    {name:8s} " + "  ".join(f"{b} {v:.4f}" for b, v in zip(BANDS, values, strict=True)))
    gain = 100 * (1 - rmse["network"] / np.minimum(rmse["copy"], rmse["add"]))
    calm_rmse = "  ".join(f"{name} {np.sqrt(np.mean(values)):.4f}" for name, values in steady.items())
    print(f"    lower by {'  '.join(f'{g:.0f} %' for g in gain)}; in all bands of {won} of {len(scenes)} scenes")
    print(f"    water, needle forest and town: {calm_rmse}; the same date twice: {same:.4f}", flush=True)


def similarity(network: torch.nn.Module, scenes: list[Scene]) -> None:
    """Mean SSIM of the scenes, and in how many the network has the best one."""
    ssim = np.array(
        [
            [
                evaluate(guess, scene.fine_t2, data_range=1.0, ratio=RATIO, bands=BANDS).pooled["ssim"]
                for guess in guesses(network, scene).values()
            ]
            for scene in scenes
        ]
    )
    means = "  ".join(f"{name} {v:.4f}" for name, v in zip(("copy", "add", "network"), ssim.mean(0), strict=True))
    print(f"    SSIM {means}; best in {(ssim.argmax(1) == 2).sum()} of {len(scenes)} scenes", flush=True)


def guesses(network: torch.nn.Module, scene: Scene) -> dict[str, np.ndarray]:
    """Both baselines and the network's prediction, ``(C, H, W)`` each."""
    return {
        "copy": copy_reference(scene.fine_t1),
        "add": add_coarse_change(scene.fine_t1, scene.coarse_t1, scene.coarse_t2, RATIO),
        "network": predict(network, scene),
    }


if __name__ == "__main__":
    main()
