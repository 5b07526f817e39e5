# SPDX-License-Identifier: Apache-2.0
"""Random fields and regions on a pixel grid, from a seeded generator, in NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """Pixel coordinates ``y`` of shape ``(H, 1)`` and ``x`` of shape ``(1, W)``, float32."""

    y: np.ndarray
    x: np.ndarray

    @classmethod
    def of(cls, height: int, width: int) -> Grid:
        """The grid of a raster of this size."""
        y = np.arange(height, dtype=np.float32)[:, None]
        return cls(y, np.arange(width, dtype=np.float32)[None, :])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y.shape[0], self.x.shape[1]


def smooth_noise(rng: np.random.Generator, grid: Grid, scale: float, octaves: int = 1) -> np.ndarray:
    """A random field with mean 0 and standard deviation 1, float32 of shape ``(H, W)``.

    Each octave is white noise on a lattice, interpolated by quadratic B-splines; an octave has half the
    wavelength and half the amplitude of the one before.

    Args:
        rng: Source of randomness.
        grid: Where.
        scale: Lattice spacing of the first octave, in pixels.
        octaves: How many octaves.
    """
    height, width = grid.shape
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        spacing = max(scale / 2**octave, 1.0)
        lattice = rng.standard_normal((int(height / spacing) + 4, int(width / spacing) + 4), np.float32)
        rows, columns = _spline(height, lattice.shape[0], spacing), _spline(width, lattice.shape[1], spacing)
        total += (rows @ lattice @ columns.T) * np.float32(0.5**octave)
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def _spline(length: int, knots: int, spacing: float) -> np.ndarray:
    """Quadratic B-spline weights of shape ``(length, knots)``: each row sums to one."""
    position = np.arange(length, dtype=np.float32)[:, None] / np.float32(spacing) + 1.5
    distance = np.abs(position - np.arange(knots, dtype=np.float32))
    near = 0.75 - distance**2
    far = 0.5 * np.clip(1.5 - distance, 0, None) ** 2
    return np.where(distance < 0.5, near, far).astype(np.float32)


@dataclass(frozen=True)
class Cells:
    """A Voronoi partition.

    Attributes:
        index: Number of the cell of each pixel, int32 ``(H, W)``.
        edge: Distance to the border with the neighbouring cell in pixels, float32 ``(H, W)``.
        count: Numbers run from 0 to ``count - 1``.
    """

    index: np.ndarray
    edge: np.ndarray
    count: int


def voronoi(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, spacing: float) -> Cells:
    """Voronoi cells of one random site in every square of a lattice.

    Args:
        rng: Source of randomness.
        y: Row coordinate of each pixel, ``(H, W)``; bend it to bend the borders.
        x: Column coordinate of each pixel, ``(H, W)``.
        spacing: Side of a lattice square in pixels: cells have about this diameter.
    """
    low_y, low_x = float(y.min()), float(x.min())
    rows = int((float(y.max()) - low_y) / spacing) + 3
    columns = int((float(x.max()) - low_x) / spacing) + 3
    sites = rng.uniform(0.1, 0.9, (2, rows, columns)).astype(np.float32)
    sites[0] = (sites[0] + np.arange(rows, dtype=np.float32)[:, None] - 1) * spacing + low_y
    sites[1] = (sites[1] + np.arange(columns, dtype=np.float32)[None, :] - 1) * spacing + low_x

    home_y = ((y - low_y) / spacing).astype(np.int32) + 1
    home_x = ((x - low_x) / spacing).astype(np.int32) + 1
    first = np.full(y.shape, np.inf, np.float32)
    second = first.copy()
    nearest = np.zeros(y.shape, np.int32)
    runner_up = nearest.copy()
    flat_y, flat_x = sites[0].ravel(), sites[1].ravel()
    for step_y in (-1, 0, 1):
        for step_x in (-1, 0, 1):
            site = np.clip(home_y + step_y, 0, rows - 1) * columns + np.clip(home_x + step_x, 0, columns - 1)
            squared = (y - flat_y[site]) ** 2 + (x - flat_x[site]) ** 2
            closer = squared < first
            behind = ~closer & (squared < second) & (site != nearest)
            second = np.where(closer, first, np.where(behind, squared, second))
            runner_up = np.where(closer, nearest, np.where(behind, site, runner_up))
            first = np.where(closer, squared, first)
            nearest = np.where(closer, site, nearest)
    between = np.hypot(flat_y[nearest] - flat_y[runner_up], flat_x[nearest] - flat_x[runner_up])
    edge = (second - first) / (2 * np.maximum(between, 1e-3))
    return Cells(nearest, edge.astype(np.float32), rows * columns)


def line(distance: np.ndarray, width: float) -> np.ndarray:
    """Share of each pixel that a line of this width [pixels] covers, from the distance to its middle."""
    return np.clip(0.5 * width + 0.5 - distance, 0.0, min(1.0, width)).astype(np.float32)


def blur(image: np.ndarray, side: float) -> np.ndarray:
    """Convolve ``(..., H, W)`` with ``[side, 1 - 2 side, side]`` along both axes; the edge is repeated."""
    middle = np.float32(1 - 2 * side)
    for axis in (-2, -1):
        padding = [(0, 0)] * image.ndim
        padding[axis] = (1, 1)
        padded = np.pad(image, padding, mode="edge")
        length = image.shape[axis]
        before, here, after = (np.take(padded, range(k, k + length), axis) for k in range(3))
        image = middle * here + np.float32(side) * (before + after)
    return image
