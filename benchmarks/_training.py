# SPDX-License-Identifier: Apache-2.0
"""What the scripts that train a network of this project share: scenes, crops, the average of weights, figures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from stf_infer.baselines import add_coarse_change, copy_reference, interpolate_coarse
from stf_infer.datasets import Change, LandCover, Scene, procedural_scene
from stf_infer.metrics import evaluate

BANDS = ("blue", "green", "red", "nir")
SIDE, RATIO = 512, 16
# How far each band changes in a season [reflectance]: makes the bands count alike in the loss.
SPREAD = torch.tensor([0.02, 0.02, 0.05, 0.10])[:, None, None]
RIM = 8  # pixels at the edge of a crop that lack the context that a scene has

STEADY = (LandCover.WATER, LandCover.NEEDLE, LandCover.TOWN)  # land that looks much the same all summer

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
Predict = Callable[[Scene], np.ndarray]


# Data ----------------------------------------------------------------------------------------------------


def training_scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``coarse_t1, fine_t1, coarse_t2, fine_t2``; every tenth scene has no abrupt change."""
    scene = procedural_scene(seed, SIDE, SIDE, bands=BANDS, change=seed % 10 != 0)
    return scene.coarse_t1, scene.fine_t1, scene.coarse_t2, scene.fine_t2


def unseen(seeds: range) -> list[Scene]:
    """Scenes that no network is trained on."""
    return [procedural_scene(seed, SIDE, SIDE, bands=BANDS) for seed in seeds]


def crops(rng: np.random.Generator, scenes: list[tuple[np.ndarray, ...]], batch: int, crop: int) -> Iterator[Batch]:
    """Batches of random windows ``(N, C, crop, crop)``, flipped at random: coarse_t1, fine_t1, coarse_t2, fine_t2.

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


def on_fine_grid(scene: Scene) -> dict[str, np.ndarray]:
    """The inputs of a network by role, ``(C, H, W)`` reflectance, coarse images interpolated."""
    return {
        "coarse_t1": interpolate_coarse(scene.coarse_t1, RATIO),
        "fine_t1": scene.fine_t1,
        "coarse_t2": interpolate_coarse(scene.coarse_t2, RATIO),
    }


# Weights -------------------------------------------------------------------------------------------------


class Average:
    """The moving average of a network's weights.

    It follows quickly at first: step n keeps ``min(keep, n / (n + 20))`` of what it was.
    """

    def __init__(self, network: torch.nn.Module, keep: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self._keep, self._step = keep, 0

    @torch.no_grad()
    def follow(self, network: torch.nn.Module) -> None:
        """Take in the weights after one step."""
        self._step += 1
        keep = min(self._keep, self._step / (self._step + 20))
        for mean, value in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1 - keep)


# Figures -------------------------------------------------------------------------------------------------


def guesses(scene: Scene, predictors: Mapping[str, Predict]) -> dict[str, np.ndarray]:
    """Both baselines and every prediction, ``(C, H, W)`` each."""
    baselines = {
        "copy": copy_reference(scene.fine_t1),
        "add": add_coarse_change(scene.fine_t1, scene.coarse_t1, scene.coarse_t2, RATIO),
    }
    return baselines | {name: predict(scene) for name, predict in predictors.items()}


def report(scenes: list[Scene], predictors: Mapping[str, Predict]) -> None:
    """RMSE of each band over all scenes, against both baselines; also where little changes."""
    squares: dict[str, list[np.ndarray]] = {}
    steady: dict[str, list[float]] = {}
    for scene in scenes:
        calm = np.isin(scene.land_cover, STEADY) & (scene.change == Change.NONE)
        for name, guess in guesses(scene, predictors).items():
            squared = (guess - scene.fine_t2) ** 2
            squares.setdefault(name, []).append(squared.mean((1, 2)))
            steady.setdefault(name, []).append(float(squared[:, calm].mean()))
    rmse = {name: np.sqrt(np.mean(values, 0)) for name, values in squares.items()}
    width = max(map(len, rmse))
    for name, values in rmse.items():
        print(f"    {name:{width}s} " + "  ".join(f"{b} {v:.4f}" for b, v in zip(BANDS, values, strict=True)))
    best = np.minimum(squares["copy"], squares["add"])
    for name in predictors:
        won = int((np.array(squares[name]) < best).all(1).sum())
        gain = 100 * (1 - rmse[name] / np.minimum(rmse["copy"], rmse["add"]))
        by = "  ".join(f"{g:.0f} %" for g in gain)
        print(f"    {name}: lower by {by}; in all bands of {won} of {len(scenes)} scenes")
    calm_rmse = "  ".join(f"{name} {np.sqrt(np.mean(values)):.4f}" for name, values in steady.items())
    print(f"    water, needle forest and town: {calm_rmse}", flush=True)


def similarity(scenes: list[Scene], predictors: Mapping[str, Predict]) -> None:
    """Mean RMSE, SSIM and SAM of the scenes, and in how many of them each guess has the best SSIM."""
    names = list(guesses_names(predictors))
    figures = np.array(
        [
            [
                [figure[metric] for metric in ("rmse", "ssim", "sam_deg")]
                for figure in (
                    evaluate(guess, scene.fine_t2, data_range=1.0, ratio=RATIO, bands=BANDS).pooled
                    for guess in guesses(scene, predictors).values()
                )
            ]
            for scene in scenes
        ]
    )
    best = np.bincount(figures[:, :, 1].argmax(1), minlength=len(names))
    for name, (rmse, ssim, sam), count in zip(names, figures.mean(0), best, strict=True):
        print(f"    {name:14s} RMSE {rmse:.4f}  SSIM {ssim:.4f}  SAM {sam:.3f} deg  best SSIM in {count}", flush=True)


def guesses_names(predictors: Mapping[str, Predict]) -> tuple[str, ...]:
    """Names of :func:`guesses`, in their order."""
    return ("copy", "add", *predictors)
