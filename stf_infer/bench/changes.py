# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a scene count, and which of them changed between the dates.

Change is the root mean square, over bands, of truth - fine_t1: the length of the change vector (Malila, Change Vector
Analysis: An Approach for Detecting Forest Changes with Landsat, LARS Symposia 1980) over the root of the number of
bands, so that it is in the unit of a band. Where no threshold is stated, it is the one that parts the pixels of the
scene into the two classes that lie farthest apart (Otsu, A Threshold Selection Method from Gray-Level Histograms, IEEE
Transactions on Systems, Man, and Cybernetics 9(1), 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import NodataError
from ..scene import Scene
from .scene_files import TRUTH, new_file, raster_profile

BANDS = ("valid", "changed", "unchanged")
_ROWS = 256
_BINS = 1024

# The rows [first, stop) of a scene: change (rows, W), truth (C, rows, W) and which pixels count (rows, W).
Block = tuple[int, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Changes:
    """What is known of a scene before anything is fused.

    Attributes:
        threshold: Pixels changed where the change is larger than this.
        pixels: So many pixels are ``valid``, ``changed`` and ``unchanged``.
        span: Largest minus smallest value of the truth, over the valid pixels.
    """

    threshold: float
    pixels: dict[str, int]
    span: float


def find_changes(scene: Scene, path: Path, threshold: float | None = None) -> Changes:
    """Write which pixels count, changed and did not change, as a raster of three bands on the fine grid.

    Reads the scene three times, or twice with a threshold, in blocks of rows.

    Args:
        scene: Open rasters, ``fine_t1`` and ``truth`` of the same bands among them.
        path: Where the raster goes.
        threshold: Stated threshold, in the unit of the scene; None finds it.

    Raises:
        NodataError: No pixel is valid in all rasters.
        OutputError: The raster cannot be written.
    """
    lowest, highest, largest, valid = np.inf, -np.inf, 0.0, 0
    for _, change, truth, counts in _blocks(scene):
        if counts.any():
            values = truth[:, counts]
            lowest, highest = min(lowest, float(values.min())), max(highest, float(values.max()))
            largest, valid = max(largest, float(change[counts].max())), valid + int(counts.sum())
    if not valid:
        raise NodataError(
            "Not one pixel of a scene is valid in all of its rasters, so there is nothing to measure",
            got=", ".join(f"{role}: {layer.label}" for role, layer in scene.layers.items()),
            fix="Check nodata values and masks, and that the rasters overlap",
        )
    if threshold is None:
        threshold = _otsu(lambda: (change[counts] for _, change, _, counts in _blocks(scene)), largest)
    changed = 0
    with new_file(path, raster_profile(scene.grid, len(BANDS), "uint8")) as out:
        out.descriptions = BANDS
        for first, change, _, counts in _blocks(scene):
            moved = counts & (change > threshold)
            changed += int(moved.sum())
            window = ((first, first + len(counts)), (0, scene.shape.width))
            out.write(np.stack([counts, moved, counts & ~moved]).astype(np.uint8), window=window)
    pixels = dict(zip(BANDS, (valid, changed, valid - changed), strict=True))
    return Changes(threshold, pixels, highest - lowest)


def _blocks(scene: Scene) -> Iterator[Block]:
    height = scene.shape.height
    for first in range(0, height, _ROWS):
        stop = min(first + _ROWS, height)
        counts = np.ones((stop - first, scene.shape.width), bool)
        for reader in scene.readers.values():
            reader.move_to((first, stop))
            counts &= reader.valid(first, stop).astype(bool)
        truth, before = (scene.readers[role].network_rows(first, stop)[0] for role in (TRUTH, "fine_t1"))
        apart = np.where(counts, truth, 0) - np.where(counts, before, 0).astype(np.float64)
        yield first, np.sqrt(np.mean(apart**2, axis=0)), truth, counts


def _otsu(parts: Callable[[], Iterator[np.ndarray]], largest: float) -> float:
    """The threshold with the largest variance between the classes below and above it, of values from 0."""
    if largest == 0:
        return 0.0
    counts = np.zeros(_BINS)
    for part in parts():
        counts += np.histogram(part, _BINS, (0, largest))[0]
    edges = np.linspace(0, largest, _BINS + 1)
    sums = counts * (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], counts.sum() - np.cumsum(counts)[:-1]
    apart = np.zeros(_BINS - 1)
    both = (below > 0) & (above > 0)
    means = np.cumsum(sums)[:-1][both] / below[both], (sums.sum() - np.cumsum(sums)[:-1][both]) / above[both]
    apart[both] = below[both] * above[both] * (means[1] - means[0]) ** 2
    best = np.flatnonzero(apart == apart.max())  # equal where bins between the classes are empty
    return float(edges[1:-1][best].mean())
