# SPDX-License-Identifier: Apache-2.0
"""Every network of the zoo in a form that is quick to export, and what is done with it: export, fuse, build."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from safetensors.torch import save_file
from torch import nn

import stf_infer
from shared_scenes import side_of_several_tiles
from shared_work import once
from stf_export import export, networks
from stf_export.networks.base import FusionNetwork
from stf_export.samplers import Sampler
from stf_infer.bundle import Bundle
from stf_infer.datasets import procedural_scene
from stf_infer.fusion import FusionResult
from stf_infer.raster import Raster

THREE = ("green", "red", "nir")
SIX = ("blue", "green", "red", "nir", "swir1", "swir2")
BATCHES = (1, 4)  # samples at a time at which graphs and torch are compared

SCENE_SEED = 7


@dataclass(frozen=True)
class Case:
    """A network, small.

    Attributes:
        bands: Names of the bands; None takes the network's own.
        tile: Rows and columns of a tile; None where an option or the weights fix it.
        options: The network's own options.
        samples: Whether it takes samples, not images.
        sampler: How a diffusion network is sampled.
    """

    bands: tuple[str, ...] | None = THREE
    tile: int | None = 64
    options: dict[str, Any] = field(default_factory=dict)
    samples: bool = False
    sampler: Sampler | None = None


CASES = {
    "cnnlstm": Case(bands=None, tile=None, samples=True),
    "dcstfn": Case(bands=("red",), tile=128, options={"variant": "keras"}),
    "deltaweave": Case(tile=96),
    "densestf": Case(bands=("red", "nir"), tile=None, options={"layers": (0, 1, 1, 1), "core": 4}),
    "diffstsf": Case(tile=None, sampler=Sampler(steps=2)),
    # Blending begins at 128 pixels: 16 coarse pixels of ratio 8.
    "dstfnet": Case(tile=128, options={"dates": 3, "width": 8, "blocks": (1, 1, 1, 1)}),
    "ecpw_stfn": Case(),
    "edcstfn": Case(),
    "ganstfm": Case(),
    "mfdgcn": Case(
        bands=("flow",),
        tile=None,
        options={"nodes": 5, "history": 4, "horizon": 3, "width": 16, "heads": 2, "slots": 24},
        samples=True,
    ),
    "mgsfformer": Case(bands=("a", "b", "c"), tile=None, options={"horizon": 12, "width": 8}, samples=True),
    "mlffgan": Case(options={"degrade": False}),
    "multitask_lunet": Case(),
    "mustfn": Case(tile=None, options={"tile": 32, "coarse_bands": ("red", "nir")}),
    "sdcs": Case(options={"last_width": 128, "fusion_input": "mean"}),
    "stf_egfa": Case(),
    "stfdcnn": Case(),
    "stfdiff": Case(
        tile=32,
        options={"activations": "silu", "width": 8, "multipliers": (1, 2)},
        sampler=Sampler(steps=2),
    ),
    "stfmlp": Case(tile=None, options={"tile": 20}),
    "stfnet": Case(),
    "swinstfm": Case(tile=None, options={"tile": 32}),
    "ttsfnet": Case(
        bands=("a", "b", "c"),
        tile=None,
        options={
            "months": 4,
            "patch": 12,
            "means": (1.0, 2.0, 3.0),
            "deviations": 0.5,
            "output_means": 10.0,
            "output_deviations": 4.0,
        },
        samples=True,
    ),
    "unetlstm": Case(),
}


def made(name: str) -> FusionNetwork:
    """The network of a case with weights from a seed, in evaluation mode."""
    case = CASES[name]
    network = networks.create(name, bands=case.bands, **case.options)
    give_weights(network)
    return network


def give_weights(network: nn.Module, seed: int = 1) -> None:
    """Fill a network with weights that keep the size of what they pass on.

    Every tensor has a stream of its own, from its key. Weights are uniform with variance 1 / inputs; scales lie around
    1 and shifts around 0. Whole numbers (index tables) and what follows from sizes stay.
    """
    state = network.state_dict()
    derived = getattr(network, "derived", ())
    for key, tensor in state.items():
        leaf = key.rpartition(".")[2]
        if not tensor.is_floating_point() or leaf in derived:
            continue
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {key}".encode()))
        draw = torch.rand(tensor.shape, generator=generator) * 2 - 1
        if leaf == "running_var":
            draw = 1 + 0.5 * draw
        elif tensor.ndim <= 1:
            draw = 0.1 * draw + (1.0 if leaf in ("weight", "gamma", "alpha") else 0.0)
        elif leaf == "graph":
            draw = draw.abs()  # ties of nodes are not negative
        else:
            draw = draw * math.sqrt(3 / max(1, math.prod(tensor.shape[1:])))
        state[key] = draw.to(tensor.dtype)
    network.load_state_dict(state, strict=True)


def exported(name: str, folder: Path) -> Bundle:
    """The bundle of a case: the real export, from a weight file; it compares graph and torch."""
    case = CASES[name]
    weights = folder / f"{name}.safetensors"
    save_file({k: t.contiguous().clone() for k, t in made(name).state_dict().items()}, weights)
    return export(
        name,
        weights,
        bands=case.bands,
        tile=case.tile,
        options=case.options,
        sampler=case.sampler,
        out=folder / f"{name}.stf",
    )


class Exports:
    """Bundles, each written once in a folder; a network whose export failed fails at once the next time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundles: dict[str, Bundle] = {}
        self.failed: dict[str, Exception] = {}

    def bundle(self, name: str) -> Bundle:
        """The bundle of a network."""
        if name in self.failed:
            raise self.failed[name]
        try:
            if name not in self.bundles:
                written = self.folder / f"{name}.stf"
                with once(written) as wanted:
                    self.bundles[name] = exported(name, self.folder) if wanted else Bundle.open(written)
            return self.bundles[name]
        except Exception as error:
            self.failed[name] = error
            raise


def fused(bundle: Bundle) -> FusionResult:
    """The bundle run through ONNX Runtime over a procedural scene of more than one tile each way."""
    spec = bundle.spec
    side = side_of_several_tiles(spec, 16)
    rasters = scene_rasters(side, max(spec.ratio, 8))
    given = {i.role: rasters[i.role].take(i.bands) for i in spec.rasters}
    with stf_infer.open(bundle.path, engine="onnxruntime-cpu", threads=2) as model:
        return model.fuse(**given)


@dataclass(frozen=True)
class Image:
    """Bands ``(C, H, W)`` of a procedural scene, and where they lie."""

    pixels: np.ndarray
    crs: str
    transform: Affine
    bands: tuple[str, ...] = SIX

    def take(self, bands: Sequence[str]) -> Raster:
        """These bands as a raster."""
        return Raster(np.stack([self._band(band) for band in bands]), crs=self.crs, transform=self.transform)

    def _band(self, band: str) -> np.ndarray:
        """One band; the panchromatic one is the mean of three."""
        if band == "pan":
            return np.mean([self._band(one) for one in THREE], axis=0)
        return self.pixels[self.bands.index(band)]


def scene_rasters(side: int, ratio: int) -> dict[str, Image]:
    """Images by role: t1 and t3 are the two dates of a procedural scene, and t2 lies half-way between them.

    ``series`` holds the three coarse ones, date by date.
    """
    scene = procedural_scene(SCENE_SEED, side, side, ratio=ratio, bands=SIX)
    middle = (scene.fine_t1 + scene.fine_t2) / 2
    fine = {
        "fine_t1": scene.fine_t1,
        "fine_t2": middle,
        "fine_t3": scene.fine_t2,
        "sr_t2": middle,
        "ms_t1": scene.fine_t1,
    }
    coarse = {
        "coarse_t1": scene.coarse_t1,
        "coarse_t2": (scene.coarse_t1 + scene.coarse_t2) / 2,
        "coarse_t3": scene.coarse_t2,
    }
    dates = tuple(coarse)
    series = Image(
        np.concatenate([coarse[date] for date in dates]),
        scene.crs,
        Affine(*scene.coarse_transform),
        tuple(f"{date.removeprefix('coarse_')}_{band}" for date in dates for band in SIX),
    )
    return {
        "series": series,
        **{role: Image(pixels, scene.crs, Affine(*scene.fine_transform)) for role, pixels in fine.items()},
        **{role: Image(pixels, scene.crs, Affine(*scene.coarse_transform)) for role, pixels in coarse.items()},
    }
