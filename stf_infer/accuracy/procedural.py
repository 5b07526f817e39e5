# SPDX-License-Identifier: Apache-2.0
"""Tiles from a seed, for bundles that hold no real ones: of procedural scenes, or waves for networks of samples."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

from ..datasets.spectra import BANDS
from ..grid import TileAxis, ceil_to
from ..samples.spec import SampleInput, SampleSpec
from ..spec import ModelSpec, TileRule, Values
from .tiles import Spec, Tiles, most_tiles

COUNT = 4

# Where the values of a unit usually lie; a unit that is not listed gets -1 to 1.
_USUAL = {"reflectance": (0.0, 1.0), "kelvin": (250.0, 330.0)}

# Where the network values of a sample's input without limits are taken from.
_USUAL_SAMPLE = (-1.0, 1.0)


def procedural_tiles(spec: Spec, count: int = COUNT, seed: int = 0) -> Tiles:
    """Tiles of a procedural scene (:func:`stf_infer.datasets.procedural_scene`), read as a run reads rasters.

    Bands that the scenes do not know look like one that they do, and units that they do not know get their usual
    range. Samples are waves over the range of every input.

    Args:
        spec: The contract.
        count: How many tiles or samples; fewer where they are large.
        seed: Which scene.

    About 1 s for tiles of 256 x 256.
    """
    if isinstance(spec, SampleSpec):
        return _samples(spec, most_tiles(spec, max(count, 64)), seed)
    from dataclasses import replace

    from .cutting import cut

    side = 2 if most_tiles(spec, count) > 1 else 1
    tiles = cut(spec, scene_rasters(spec, side, seed), count=count, seed=seed)
    return replace(tiles, source="procedural", labels=(f"seed {seed}",))


def scene_rasters(spec: ModelSpec, tiles: int, seed: int) -> dict[str, Any]:
    """Rasters by role of a scene of so many tiles along a side."""
    from affine import Affine

    from ..datasets import procedural_scene
    from ..raster import Raster

    height, width = (_side(spec.tile, side, tiles, spec.ratio) for side in (spec.tile.height, spec.tile.width))
    scene = procedural_scene(seed, height, width, ratio=spec.ratio, bands=BANDS)
    rasters = {}
    for one in spec.rasters:
        coarse = one.role.startswith("coarse") or one.read_grid == "coarse"
        dates = (scene.coarse_t1, scene.coarse_t2) if coarse else (scene.fine_t1, scene.fine_t2)
        share = _date_share(one.role)
        image = ((1 - share) * dates[0] + share * dates[1])[[_band(name) for name in one.bands]]
        transform = Affine(*(scene.coarse_transform if coarse else scene.fine_transform))
        physical = _in_unit(image, one.values).astype(np.float32)
        rasters[one.role] = Raster(physical, crs=scene.crs, transform=transform)
    return rasters


def _side(rule: TileRule, size: int, tiles: int, ratio: int) -> int:
    """Pixels of a scene along one axis that hold so many tiles, at least half a tile apart, in whole coarse pixels."""
    axis = TileAxis(size, size, rule.stride, rule.halo, rule.mode, rule.overlap, rule.predicts)
    apart = ceil_to(-(-size // 2), max(axis.step, rule.stride))
    return ceil_to(size + (tiles - 1) * apart, ratio)


def _date_share(role: str) -> float:
    """Where a date lies between those of the scene: t1 is 0 and t2 is 1."""
    tail = role.rpartition("_t")[2]
    return {1: 0.0, 2: 1.0}.get(int(tail), 0.3 * int(tail) % 1) if tail.isdigit() else 0.0


def _band(name: str) -> int:
    """Which band of a procedural scene stands for a band: always the same one for a name."""
    plain = name.lower()
    return BANDS.index(plain) if plain in BANDS else zlib.crc32(plain.encode()) % len(BANDS)


def _in_unit(image: np.ndarray, values: Values) -> np.ndarray:
    """Reflectance as it is; for any other unit spread over the range that it usually has."""
    if values.unit == "reflectance":
        return image
    low, high = _USUAL.get(values.unit, (-1.0, 1.0))
    low = low if values.minimum is None else values.minimum
    high = high if values.maximum is None else values.maximum
    # Land reflects 0 to about 0.5.
    return low + (max(high, low) - low) * np.clip(2 * image, 0, 1)


def _samples(spec: SampleSpec, count: int, seed: int) -> Tiles:
    found = [smooth_sample(spec, seed + number) for number in range(count)]
    return Tiles({role: np.stack([one[role] for one in found]) for role in spec.roles}, "procedural", (f"seed {seed}",))


def smooth_sample(spec: SampleSpec, seed: int = 0) -> dict[str, np.ndarray]:
    """Waves along every axis, over the middle of the range of every input: arrays by role, in network values."""
    rng = np.random.default_rng(seed)
    return {one.role: within(one, _waves(one.shape, rng)) for one in spec.inputs}


def _waves(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Numbers from 0.1 to 0.9 that change slowly along each axis."""
    phase = np.zeros(shape)
    for axis, size in enumerate(shape):
        along = [-1 if a == axis else 1 for a in range(len(shape))]
        phase = phase + rng.uniform(1, 4) * np.reshape(np.arange(size) / size, along)
    return 0.5 + 0.4 * np.sin(2 * math.pi * (phase + rng.random()))


def within(one: SampleInput, unit: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1 spread over the range of an input: its limits where it has both, else -1 to 1."""
    wants = one.values.arrays(one.dims)
    low, high = _USUAL_SAMPLE
    if wants["minimum"] is not None and wants["maximum"] is not None:
        low, high = (wants[name] * wants["scale"] + wants["offset"] for name in ("minimum", "maximum"))
    if one.dtype != "float32":
        return np.minimum(np.floor(low + unit * (high - low + 1)), high).astype(one.dtype)
    return np.asarray(low + unit * (np.asarray(high) - low), np.float32)
