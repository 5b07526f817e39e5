# SPDX-License-Identifier: Apache-2.0
"""What the trained diffusion network gives over unseen scenes: steps against quality, seams, ensembles.

    python benchmarks/diffusion_scenes.py                                     # the bundle that comes with the package
    python benchmarks/diffusion_scenes.py --weights diffusion.safetensors     # tiles against whole scenes, too

The scenes are those of ``benchmarks/train_demo.py``: seeds that no network was trained or tuned on. A minute or two of
one core a scene for all 100 steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _training import BANDS, RATIO, SIDE, report, similarity, unseen

import stf_infer
from stf_export.steps import Curve, measure
from stf_infer.datasets import TEST_SEEDS, Scene, write_scene
from stf_infer.demo import bundle_path
from stf_infer.model import Model

ROLES = ("fine_t1", "coarse_t1", "coarse_t2")


def main() -> None:
    args = arguments()
    scenes = unseen(TEST_SEEDS[: args.scenes])
    print(f"Scenes {TEST_SEEDS[0]} to {TEST_SEEDS[args.scenes - 1]}, {SIDE} x {SIDE} pixels")
    with TemporaryDirectory() as folder, opened(args.bundle, args) as model, opened(bundle_path(), args) as demo:
        files = [write_scene(scene, Path(folder) / str(scene.seed)) for scene in scenes]
        inputs = [{role: one[role] for role in ROLES} for one in files]
        compare_networks(scenes, inputs, model, demo)
        if not args.skip_steps:
            curves = [measure(model, one, truth=f["fine_t2_truth"]) for one, f in zip(inputs, files, strict=True)]
            steps_against_quality(curves)
        ensemble(scenes, inputs, model, args.samples)
        if args.weights:
            tiles_against_whole(scenes, inputs, model, args.weights)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=bundle_path("diffusion"), help="a loop around one step")
    parser.add_argument("--weights", type=Path, help="what the bundle was exported from; needs torch")
    parser.add_argument("--scenes", type=int, default=5)
    parser.add_argument("--samples", type=int, default=8, help="of the ensemble")
    parser.add_argument("--skip-steps", action="store_true", help="leave the long part out: all 100 steps")
    parser.add_argument("--engine", default="onnxruntime-cpu")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def opened(bundle: Path, args: argparse.Namespace) -> Model:
    model = stf_infer.open(bundle, engine=args.engine, threads=args.threads)
    assert isinstance(model, Model)
    return model


def compare_networks(scenes: list[Scene], inputs: Sequence[dict[str, Any]], model: Model, demo: Model) -> None:
    """Both baselines, the demo's network and this one, as users run them."""
    fused: dict[tuple[str, int], np.ndarray] = {}
    seams = []
    for scene, one in zip(scenes, inputs, strict=True):
        for name, opened_model in (("deltaweave", demo), ("diffusion", model)):
            result = opened_model.fuse(**one)
            fused[name, scene.seed] = result.array
            if name == "diffusion":
                seams.append(result.seam_ratio)
    predictors = {n: lambda scene, n=n: fused[n, scene.seed] for n in ("deltaweave", "diffusion")}
    print(f"\nBeside others; diffusion in the steps {', '.join(map(str, model.spec.sampler.timesteps))}")
    report(scenes, predictors)
    similarity(scenes, predictors)
    rule = model.spec.tile
    print(f"    seam figure {np.mean(seams):.3f}: tiles of {rule.height} x {rule.width}, overlap {rule.overlap}")


def steps_against_quality(curves: Sequence[Curve]) -> None:
    """Means over the scenes; the RMSE is over all their pixels."""
    print("\nSteps against quality: RMSE to all steps; to the truth RMSE, over that of all steps, SSIM, SAM; s / Mpx")
    rows = list(zip(*(curve.points for curve in curves), strict=True))
    last = pooled([point.to_truth["rmse"] for point in rows[-1]])
    for points in rows:
        first = points[0]
        near = f"{pooled([p.to_all['rmse'] for p in points]):.5f}" if first.to_all else "-      "
        rmse = pooled([p.to_truth["rmse"] for p in points])
        ssim, sam = (np.mean([p.to_truth[metric] for p in points]) for metric in ("ssim", "sam_deg"))
        seconds = np.mean([p.seconds_per_mpx for p in points])
        times = ", ".join(map(str, first.timesteps)) if first.steps <= 8 else ""
        print(
            f"    {first.steps:4d} {first.spacing:8s} {near}  {rmse:.5f}  {rmse / last:.3f}  {ssim:.4f}  {sam:.3f}"
            f"  {seconds:8.2f}  {times}",
            flush=True,
        )


def ensemble(scenes: list[Scene], inputs: Sequence[dict[str, Any]], model: Model, samples: int) -> None:
    """Does the deviation between samples say where their mean is wrong?"""
    print(f"\nEnsembles of {samples}: deviation against the error of the mean")
    count = len(BANDS)
    for scene, one in zip(scenes, inputs, strict=True):
        mean, spread = np.split(model.fuse(samples=samples, **one).array, [count])
        single = model.fuse(**one).array
        error = np.abs(mean - scene.fine_t2)
        pixel = np.mean([ranked(s, e) for s, e in zip(spread, error, strict=True)])
        block = np.mean([ranked(blocks(s), blocks(e)) for s, e in zip(spread, error, strict=True)])
        print(
            f"    scene {scene.seed}: rank correlation {pixel:.2f} of pixels, {block:.2f} of {RATIO} x {RATIO} blocks;"
            f" RMSE of the mean {rms(mean - scene.fine_t2):.5f}, of one sample {rms(single - scene.fine_t2):.5f};"
            f" RMS deviation {rms(spread):.5f}",
            flush=True,
        )


def tiles_against_whole(scenes: list[Scene], inputs: Sequence[dict[str, Any]], model: Model, weights: Path) -> None:
    """The blended tiles beside the network that sees the whole scene at once, from the same noise."""
    from safetensors.torch import load_file
    from train_diffusion import OPTIONS, sampling

    from stf_export.networks import create
    from stf_export.samplers import Sampler

    network = create("stfdiff", bands=list(BANDS), **OPTIONS).eval()
    network.load_state_dict(load_file(weights))
    whole = sampling(network, Sampler(timesteps=model.spec.sampler.timesteps))
    print("\nTiles against the whole scene at once, in the same steps from the same noise")
    for scene, one in zip(scenes, inputs, strict=True):
        tiled, at_once = model.fuse(**one).array, whole(scene)
        away = rms(tiled - at_once)
        print(
            f"    scene {scene.seed}: they differ by RMS {away:.5f}; to the truth tiles"
            f" {rms(tiled - scene.fine_t2):.5f}, at once {rms(at_once - scene.fine_t2):.5f}",
            flush=True,
        )


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def pooled(values: Sequence[float]) -> float:
    """RMSE over all scenes, which are of one size, from that of each."""
    return rms(np.array(values))


def blocks(image: np.ndarray) -> np.ndarray:
    """Means over blocks of the size of a coarse pixel."""
    height, width = (side // RATIO for side in image.shape)
    return image.reshape(height, RATIO, width, RATIO).mean((1, 3))


def ranked(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation."""
    ranks = [values.ravel().argsort(kind="stable").argsort(kind="stable") for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


if __name__ == "__main__":
    main()
