# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a scene count, and which of them changed between the dates.

Change is the root mean square, over bands, of truth - fine_t1: the length of the change vector (Malila, Change Vector
Analysis: An Approach for Detecting Forest Changes with Landsat, LARS Symposia 1980) over the root of the number of
bands, so that it is in the unit of a band. Where no threshold is stated, it is the one that parts the pixels of the
scene into the two classes that lie farthest apart (Otsu, A Threshold Selection Method from Gray-Level Histograms, IEEE
Transactions on Systems, Man, and Cybernetics 9(1), 1979).
"""

from __future__ import annotations

from collections.abc import Iterator
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

    Reads the scene twice, in blocks of rows.

    Args:
        scene: Open rasters, ``fine_t1`` and ``truth`` of the same bands among them.
        path: Where the raster goes.
        threshold: Stated threshold, in the unit of the scene; None finds it.

    Raises:
        NodataError: No pixel is valid in all rasters.
        OutputError: The raster cannot be written.
    """
    lowest, highest, histogram = np.inf, -np.inf, _Histogram()
    for _, change, truth, counts in _blocks(scene):
        if counts.any():
            values = truth[:, counts]
            lowest, highest = min(lowest, float(values.min())), max(highest, float(values.max()))
            histogram.add(change[counts])
    if not histogram.total:
        raise NodataError(
            "Not one pixel of a scene is valid in all of its rasters, so there is nothing to measure",
            got=", ".join(f"{role}: {layer.label}" for role, layer in scene.layers.items()),
            fix="Check nodata values and masks, and that the rasters overlap",
        )
    threshold = histogram.parted() if threshold is None else threshold
    changed = 0
    with new_file(path, raster_profile(scene.grid, len(BANDS), "uint8")) as out:
        out.descriptions = BANDS
        for first, change, _, counts in _blocks(scene):
            moved = counts & (change > threshold)
            changed += int(moved.sum())
            window = ((first, first + len(counts)), (0, scene.shape.width))
            out.write(np.stack([counts, moved, counts & ~moved]).astype(np.uint8), window=window)
    pixels = dict(zip(BANDS, (histogram.total, changed, histogram.total - changed), strict=True))
    return Changes(threshold, pixels, highest - lowest)


def _blocks(scene: Scene) -> Iterator[Block]:
    height = scene.shape.height
    for first in range(0, height, _ROWS):
        stop = min(first + _ROWS, height)
        counts = np.ones((stop - first, scene.shape.width), bool)
        images: dict[str, np.ndarray] = {}
        for role, reader in scene.readers.items():
            if role in (TRUTH, "fine_t1"):
                values, valid = reader.network_rows(first, stop)
                images[role] = np.where(valid, values, np.float32(0))
            else:
                reader.move_to((first, stop))
                valid = reader.valid(first, stop)
            counts &= valid.astype(bool)
        apart = np.subtract(images[TRUTH], images["fine_t1"], dtype=np.float64)
        yield first, np.sqrt(np.mean(apart**2, axis=0)), images[TRUTH], counts


class _Histogram:
    """Counts of values from 0, over a range that doubles when a value lies beyond it."""

    def __init__(self) -> None:
        self.counts, self.top = np.zeros(_BINS), 0.0

    @property
    def total(self) -> int:
        """So many values."""
        return int(self.counts.sum())

    def add(self, values: np.ndarray) -> None:
        """Count one value or more."""
        largest = float(values.max())
        if self.top == 0 < largest:  # all values so far were 0 and are in the first bin
            self.top = largest
        while largest > self.top:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(_BINS // 2)])
            self.top *= 2
        self.counts += np.histogram(values, _BINS, (0, self.top or 1.0))[0]

    def parted(self) -> float:
        """The threshold with the largest variance between the classes below and above it."""
        edges = np.linspace(0, self.top, _BINS + 1)
        sums = np.cumsum(self.counts * (edges[:-1] + edges[1:]) / 2)
        counts = np.cumsum(self.counts)
        below, above = counts[:-1], counts[-1] - counts[:-1]
        apart, both = np.zeros(_BINS - 1), (below > 0) & (above > 0)
        means = sums[:-1][both] / below[both], (sums[-1] - sums[:-1][both]) / above[both]
        apart[both] = below[both] * above[both] * (means[1] - means[0]) ** 2
        best = np.flatnonzero(apart == apart.max())  # equal where bins between the classes are empty
        return float(edges[1:-1][best].mean())
