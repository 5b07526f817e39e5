# SPDX-License-Identifier: Apache-2.0
"""Train a small diffusion network, an STFDiff of 0.26 million weights, on procedural scenes, and export it as a bundle.

    python benchmarks/train_diffusion.py --weights diffusion.safetensors --bundle stf_infer/demo/diffusion.stf

The schedule is that of the published settings: cosine, 100 steps, the network predicts x0 (reflectance x 2 - 1). The
bundle is a loop around one step, sampled in four time steps that are tuned on scenes kept for validation. Everything
is seeded: scenes for training, for validation and for the final figures come from ranges of seeds that do not overlap
(``stf_infer.datasets``). Some 40 minutes of one core. ``benchmarks/diffusion_scenes.py`` prints the figures.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait do not keep a shared core busy

import torch
from _training import (
    BANDS,
    RIM,
    SIDE,
    SPREAD,
    Average,
    Batch,
    Predict,
    crops,
    on_fine_grid,
    report,
    training_scene,
    unseen,
)
from safetensors.torch import save_file

from stf_export.networks import create
from stf_export.samplers import Sampler, resolve
from stf_export.samplers.unrolled import Unrolled
from stf_infer.datasets import TRAINING_SEEDS, VALIDATION_SEEDS, Scene, procedural_scene, write_scene
from stf_infer.noise import noise

OPTIONS = {"width": 16, "multipliers": (1, 2, 2), "activations": "silu"}
BEND = 0.3  # Charbonnier's constant in units of SPREAD: a square below, an absolute value above
STEPS = 4  # of the bundle
ROLES = ("fine_t1", "coarse_t1", "coarse_t2")


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    if not args.reuse:
        started = time.time()
        scenes = [training_scene(seed) for seed in TRAINING_SEEDS[: args.scenes]]
        held_out = unseen(VALIDATION_SEEDS[:4])
        print(f"{len(scenes)} scenes made in {time.time() - started:.0f} s", flush=True)
        train(args, scenes, held_out)
        print(f"{args.weights}: {args.weights.stat().st_size / 1e3:.0f} kB, {time.time() - started:.0f} s in all")
    if args.bundle:
        write_bundle(args)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="where to save the trained weights")
    parser.add_argument("--bundle", type=Path, help="where to export the bundle")
    parser.add_argument(
        "--tile", type=int, default=96, help="tile of the bundle [pixels]; its golden tile grows with it"
    )
    parser.add_argument("--reuse", action="store_true", help="export weights that are there already")
    parser.add_argument("--scenes", type=int, default=160)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--tiles", type=int, default=6, help="tiles that the time steps are tuned on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


# Training ------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace, scenes: list[tuple[np.ndarray, ...]], held_out: list[Scene]) -> None:
    """AdamW with one cycle of the learning rate; saves the moving average of the weights now and then."""
    torch.manual_seed(args.seed)
    network = create("stfdiff", bands=list(BANDS), **OPTIONS).train()
    start_at_the_sum(network)
    network = network.to(memory_format=torch.channels_last)
    average = Average(network, 0.999)
    optimiser = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, args.rate, total_steps=args.steps, pct_start=0.08, final_div_factor=100
    )
    batches = crops(np.random.default_rng(args.seed), scenes, args.batch, args.crop)
    every_step = resolve(Sampler(spacing="trailing", steps=network.preset.sampler.train_steps), network.preset)
    kept = torch.tensor(every_step.alphas_cumprod[::-1])
    started, running = time.time(), 0.0
    args.weights.parent.mkdir(parents=True, exist_ok=True)
    for step in range(1, args.steps + 1):
        loss = loss_of(network, next(batches), kept)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.follow(network)
        running = 0.98 * running + 0.02 * loss.item() if step > 1 else loss.item()
        if step % 100 == 0:
            print(f"step {step:5d}  {time.time() - started:4.0f} s  loss {running:.4f}", flush=True)
        if step % 1500 == 0 or step in (500, args.steps):
            report(held_out, {f"{n} steps": sampling(average.network, Sampler(steps=n)) for n in (1, 4)})
            state = average.network.state_dict()
            save_file({name: value.contiguous() for name, value in state.items()}, args.weights)


def loss_of(network: torch.nn.Module, batch: Batch, kept: torch.Tensor) -> torch.Tensor:
    """Charbonnier's distance of the predicted from the true x0, all time steps alike.

    ``kept`` is alpha-bar at every time step.
    """
    coarse_t1, fine_t1, coarse_t2, clean = (2 * image.clamp(0, 1) - 1 for image in batch)
    # One time step from each of as many equal parts of the schedule as there are crops: their mean varies less.
    # Kingma, Salimans, Poole, Ho: Variational Diffusion Models. NeurIPS 2021, appendix I.1.
    count = len(clean)
    t = ((torch.rand(()) + torch.arange(count) / count) % 1 * len(kept)).long()
    share = kept[t][:, None, None, None]
    x_t = share.sqrt() * clean + (1 - share).sqrt() * torch.randn_like(clean)
    error = (network(coarse_t1, coarse_t2, fine_t1, x_t, t) - clean) / (2 * SPREAD)
    error = error[..., RIM:-RIM, RIM:-RIM]
    seen = ((coarse_t2 - coarse_t1) / (2 * SPREAD)).abs().mean((1, 2, 3))
    weight = 1 / (seen + 0.2)  # a quiet pair counts as much as one that changed a lot
    each = torch.sqrt(error * error + BEND**2).mean((1, 2, 3)) - BEND
    return (each * weight / weight.mean()).mean()


@torch.no_grad()
def start_at_the_sum(network: torch.nn.Module) -> None:
    """Make the untrained network give ``fine_t1 + coarse_t2 - coarse_t1``: training starts at that baseline.

    The first features of the clean stem carry the sum, the head passes them on and nothing else.
    """
    count = len(BANDS)
    one = torch.eye(count)
    fine, coarse = network.fine_init_conv, network.coarse_init_conv
    for conv in (fine, coarse, network.noisy_init_conv):
        conv.weight[:count] = 0
        conv.bias[:count] = 0
    fine.weight[:count, :, 1, 1] = one
    coarse.weight[:count, :, 1, 1] = torch.cat((-one, one), dim=1)
    both, head = network.clean_init_conv, network.final_res_block
    width = both.out_channels
    both.weight[:count] = 0
    both.bias[:count] = 0
    both.weight[:count, :, 0, 0] = torch.eye(2 * width)[:count] + torch.eye(2 * width)[width : width + count]
    head.res_conv.weight[:count] = 0
    head.res_conv.bias[:count] = 0
    head.res_conv.weight[:count, width : width + count, 0, 0] = -one  # the head sees noisy minus clean
    head.norm_2.weight[:count] = 0
    network.final_conv.weight[:] = torch.eye(count, width)[:, :, None, None]
    network.final_conv.bias[:] = 0


def sampling(network: torch.nn.Module, sampler: Sampler) -> Predict:
    """A function from a scene to a sample of its fine image at t2, the scene seen at once."""
    module = Unrolled(network, resolve(sampler, network.preset), network.conditions, ["noise"])
    start = torch.from_numpy(noise(0, 0, 0, 0, (len(BANDS), SIDE, SIDE)))[None]

    @torch.no_grad()
    def predict(scene: Scene) -> np.ndarray:
        images = {r: 2 * torch.from_numpy(a)[None].clamp(0, 1) - 1 for r, a in on_fine_grid(scene).items()}
        return ((module(**images, noise=start)[0] + 1) / 2).clamp(0, 1).numpy()

    return predict


# The bundle ----------------------------------------------------------------------------------------------


def write_bundle(args: argparse.Namespace) -> None:
    """Export the network as a loop around one step, and tune the time steps on a scene of the validation."""
    from stf_export import export
    from stf_export.steps import store, tune
    from stf_infer.model import Model

    sampler = Sampler(steps=STEPS, loop="host")
    bundle = export(
        "stfdiff",
        args.weights,
        bands=list(BANDS),
        options=OPTIONS,
        sampler=sampler,
        tile=args.tile,
        out=args.bundle,
        force=True,
    )
    with TemporaryDirectory() as folder, Model(bundle, engine="onnxruntime-cpu", threads=args.threads) as model:
        files = write_scene(procedural_scene(VALIDATION_SEEDS[10], SIDE, SIDE, bands=BANDS), folder)
        tuned = tune(model, {role: files[role] for role in ROLES}, STEPS, tiles=args.tiles, progress=print)
        store(bundle, tuned)
    print(f"time steps {tuned.sampler.timesteps}: RMSE to all steps {tuned.error:.5f}, spaced {tuned.spaced_error:.5f}")
    print(f"{args.bundle}: {sum(file.stat().st_size for file in args.bundle.iterdir()) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
