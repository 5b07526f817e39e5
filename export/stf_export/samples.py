# SPDX-License-Identifier: Apache-2.0
"""Tiles to try a network on: white noise, and a smooth land-like scene. No torch here.

Everything is in network values, float32, by role; a coarse raster of a scene is the mean of the fine one over
each coarse pixel. An input that is noise gets standard normal noise in either, as it does when a scene is fused.
"""

from __future__ import annotations

import math

import numpy as np

from stf_infer.grid import Shape
from stf_infer.noise import noise
from stf_infer.spec import InputSpec, Values

from .contract import Contract

Tile = dict[str, np.ndarray]

# Where the values of a unit usually lie; a unit that is not listed gets -1 to 1.
_USUAL = {"reflectance": (0.0, 1.0), "kelvin": (250.0, 330.0)}

# A number of the scene that favours neither date, and is no special case of any rule.
_SCALAR = 0.625

# Values of a scene are multiples of its range over this power of two, so that a stored tile compresses.
_LEVELS = 2**12

# Values of its noise are multiples of this, for the same reason.
_NOISE_STEP = 2.0**-7


def unit_of(contract: Contract) -> int:
    """Fine pixels of which a tile must hold a whole number: a coarse pixel where an input lies on that grid.

    Where the contract states a stride it holds whole strides too.
    """
    coarse = contract.ratio if any(i.grid == "coarse" for i in contract.inputs) else 1
    return math.lcm(coarse, contract.tile.stride or 1)


def usual_range(values: Values) -> tuple[float, float]:
    """Lowest and highest physical value that a network of these values is meant for."""
    low, high = _USUAL.get(values.unit, (-1.0, 1.0))
    low = low if values.minimum is None else values.minimum
    high = high if values.maximum is None else values.maximum
    return (low, high) if low < high else (low, low + 1.0)


def tensor_shape(spec: InputSpec, ratio: int, tile: Shape) -> tuple[int, int, int]:
    """Shape (C, H, W) of an input's tensor for a tile of this size in fine pixels."""
    if spec.grid == "scene":
        return len(spec.bands), 1, 1
    divisor = ratio if spec.grid == "coarse" else 1
    return len(spec.bands), tile.height // divisor, tile.width // divisor


def noise_tile(contract: Contract, tile: Shape, rng: np.random.Generator, *, strength: float = 1.0) -> Tile:
    """White noise over the usual range of every input, brighter towards the lower right corner.

    The slope makes statistics of the whole tile differ from place to place, which noise alone would not.

    Args:
        contract: Whose inputs to make.
        tile: Rows and columns in fine pixels.
        rng: Where the noise comes from.
        strength: How many times the usual range the noise spans, about its middle; an input that is noise itself has
            this standard deviation.
    """
    tiles = {}
    for spec in contract.inputs:
        shape = tensor_shape(spec, contract.ratio, tile)
        if spec.grid == "scene":
            tiles[spec.role] = (rng.random(shape) / 2 + 0.25).astype(np.float32)
            continue
        if spec.grid == "noise":
            tiles[spec.role] = (strength * rng.standard_normal(shape)).astype(np.float32)
            continue
        low, high = usual_range(spec.values)
        y, x = np.linspace(0, 1, shape[1])[:, None], np.linspace(0, 1, shape[2])[None, :]
        unit = (rng.random(shape) * 2 + (y + x) / 2) / 3
        physical = (low + high) / 2 + strength * (high - low) * (unit - 0.5)
        tiles[spec.role] = (physical * spec.values.scale + spec.values.offset).astype(np.float32)
    return tiles


def scene_tile(contract: Contract, tile: Shape, seed: int = 0) -> Tile:
    """A smooth scene: relief, fields with sharp borders, and a change between the dates.

    Args:
        contract: Whose inputs to make.
        tile: Rows and columns in fine pixels.
        seed: Which scene, and which noise.
    """
    return {spec.role: _scene_input(spec, contract.ratio, tile, seed) for spec in contract.inputs}


def _scene_input(spec: InputSpec, ratio: int, tile: Shape, seed: int) -> np.ndarray:
    if spec.grid == "scene":
        return np.full(tensor_shape(spec, ratio, tile), _SCALAR, np.float32)
    if spec.grid == "noise":
        drawn = noise(seed, spec.draw, 0, 0, tensor_shape(spec, ratio, tile))
        return np.round(drawn / _NOISE_STEP) * np.float32(_NOISE_STEP)
    place = np.random.default_rng(seed)
    y = np.arange(tile.height)[:, None] / 64
    x = np.arange(tile.width)[None, :] / 64
    relief = sum(
        place.normal() * np.cos(2 * math.pi * (place.normal() * y + place.normal() * x + place.random()))
        for _ in range(6)
    )
    fields = place.random((64, 64))[(y * 5).astype(int) % 64, (x * 4).astype(int) % 64]
    date = _date(spec.role)
    low, high = usual_range(spec.values)
    bands = []
    for band in range(len(spec.bands)):
        green = 0.5 + 0.3 * math.sin(date + band)
        level = 0.3 + 0.05 * relief + 0.25 * (fields - 0.5) * green + 0.03 * band
        bands.append(np.clip(level, 0.02, 0.98))
    image = np.stack(bands)
    if spec.role.startswith("coarse") or spec.grid == "coarse":
        image = _coarsened(image, ratio, spread=spec.grid == "fine")
    physical = low + (high - low) * image
    network = physical * spec.values.scale + spec.values.offset
    step = 2.0 ** math.floor(math.log2(abs(spec.values.scale) * (high - low) / _LEVELS))
    return (np.round(network / step) * step).astype(np.float32)


def _date(role: str) -> int:
    tail = role.rpartition("_t")[2]
    return int(tail) if tail.isdigit() else 0


def _coarsened(image: np.ndarray, ratio: int, *, spread: bool) -> np.ndarray:
    """Mean over each coarse pixel; ``spread`` repeats it over the fine pixels it covers."""
    bands, height, width = image.shape
    rows, columns = -(-height // ratio), -(-width // ratio)
    padded = np.pad(image, ((0, 0), (0, rows * ratio - height), (0, columns * ratio - width)), mode="edge")
    coarse = padded.reshape(bands, rows, ratio, columns, ratio).mean(axis=(2, 4))
    if not spread:
        return coarse
    return np.repeat(np.repeat(coarse, ratio, axis=1), ratio, axis=2)[:, :height, :width]
