# SPDX-License-Identifier: Apache-2.0
"""Samples to try a network on, in network values: smooth ones and white noise. No torch here."""

from __future__ import annotations

import math

import numpy as np

from stf_infer.samples.spec import SampleInput, SampleSpec

from ..samples import Tile

# Where the network values of an input without limits are taken from.
_USUAL = (-1.0, 1.0)


def noise_sample(spec: SampleSpec, rng: np.random.Generator) -> Tile:
    """White noise over the range of every input: its limits where it has both, else -1 to 1 in network values."""
    return {one.role: _within(one, rng.random(one.shape)) for one in spec.inputs}


def smooth_sample(spec: SampleSpec, seed: int = 0) -> Tile:
    """Waves along every axis, over the middle of the range of every input."""
    rng = np.random.default_rng(seed)
    return {one.role: _within(one, _waves(one.shape, rng)) for one in spec.inputs}


def _waves(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Numbers from 0.1 to 0.9 that change slowly along each axis."""
    phase = np.zeros(shape)
    for axis, size in enumerate(shape):
        along = [-1 if a == axis else 1 for a in range(len(shape))]
        phase = phase + rng.uniform(1, 4) * np.reshape(np.arange(size) / size, along)
    return 0.5 + 0.4 * np.sin(2 * math.pi * (phase + rng.random()))


def _within(one: SampleInput, unit: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1 spread over the range of an input."""
    wants = one.values.arrays(one.dims)
    low, high = _USUAL
    if wants["minimum"] is not None and wants["maximum"] is not None:
        low, high = (wants[name] * wants["scale"] + wants["offset"] for name in ("minimum", "maximum"))
    if one.dtype != "float32":
        return np.minimum(np.floor(low + unit * (high - low + 1)), high).astype(one.dtype)
    return np.asarray(low + unit * (np.asarray(high) - low), np.float32)
