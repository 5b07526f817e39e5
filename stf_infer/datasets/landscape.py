# SPDX-License-Identifier: Apache-2.0
"""The ground of a procedural scene: parcels, a river, a town, forest and soil, before any date is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ._texture import Grid, line, smooth_noise, voronoi
from .phenology import CURVES


class LandCover(IntEnum):
    """Codes of the land-cover map. Crops follow the order of :data:`~stf_infer.datasets.phenology.CURVES`."""

    WATER = 1
    SAND = 2
    BROADLEAF = 3
    NEEDLE = 4
    TOWN = 5
    WHEAT = 10
    BARLEY = 11
    RAPESEED = 12
    MAIZE = 13
    BEET = 14
    SUNFLOWER = 15
    POTATO = 16
    ALFALFA = 17
    MEADOW = 18
    FALLOW = 19


CROPS = tuple(CURVES)
FIRST_CROP = int(LandCover.WHEAT)
TOWN_MATERIALS = ("tile_roof", "metal_roof", "asphalt", "leaf", "dry_soil")


@dataclass(frozen=True)
class Parcels:
    """Farmland: which parcel a pixel belongs to, and what sets each parcel apart.

    Attributes:
        index: Parcel of each pixel, int32 ``(H, W)``.
        crop: Land-cover code of each parcel, uint8 ``(parcels,)``.
        delay: Days by which a parcel is later than its crop's curve, float32 ``(parcels,)``.
        vigour: Factor on its green cover, float32 ``(parcels,)``.
        soil: Shift of its soil towards bright and dry, float32 ``(parcels,)``.
        tracks: Share of each pixel that roads and tracks cover, float32 ``(H, W)``.
    """

    index: np.ndarray
    crop: np.ndarray
    delay: np.ndarray
    vigour: np.ndarray
    soil: np.ndarray
    tracks: np.ndarray


@dataclass(frozen=True)
class Landscape:
    """Everything that stays the same between the dates. Arrays of shape ``(H, W)`` unless said otherwise.

    Attributes:
        cover: Land-cover codes, uint8.
        parcels: The farmland below it.
        river: Distance to the river's bank in pixels, negative in the water.
        roads: Share of a pixel that roads cover.
        town: Shares of :data:`TOWN_MATERIALS`, ``(5, H, W)``; their sum is how much of a pixel is town.
        wetness: How wet the ground tends to be, about -2 to 2.
        relief: Factor on the reflectance of trees: crowns and shade.
        grain: Small-scale variation within parcels, mean 0 and standard deviation 1.
    """

    cover: np.ndarray
    parcels: Parcels
    river: np.ndarray
    roads: np.ndarray
    town: np.ndarray
    wetness: np.ndarray
    relief: np.ndarray
    grain: np.ndarray


def landscape(rng: np.random.Generator, height: int, width: int) -> Landscape:
    """Lay out a piece of farmland of this many fine pixels. About 0.5 s for 512 x 512."""
    grid = Grid.of(height, width)
    river, wetness = _river(rng, grid)
    parcels = _parcels(rng, grid)
    town = _towns(rng, grid, river)
    built = town.sum(0)

    cover = parcels.crop[parcels.index]
    meander = smooth_noise(rng, grid, 9, 2)
    cover[(river < 5 + 3 * meander) & (wetness > 0)] = LandCover.MEADOW
    woods = smooth_noise(rng, grid, 110, 4) + np.where(np.abs(river - 3) < 2, 0.8, 0.0)
    woods += 0.3 * rng.standard_normal(len(parcels.crop), np.float32)[parcels.index]  # woods end where parcels end
    needle = smooth_noise(rng, grid, 45, 2) > 0.25
    cover[woods > 1.15] = LandCover.BROADLEAF
    cover[(woods > 1.15) & needle] = LandCover.NEEDLE
    cover[built > 0.5] = LandCover.TOWN
    cover[(river < 1.5) & (smooth_noise(rng, grid, 14, 2) > 1.5)] = LandCover.SAND
    cover[river < 0] = LandCover.WATER
    open_land = (river > 1.5) & (woods < 1.15)
    crowns = smooth_noise(rng, grid, 1.7)
    slopes = smooth_noise(rng, grid, 24, 2)
    return Landscape(
        cover=cover,
        parcels=parcels,
        river=river,
        roads=np.where(open_land | (built > 0.5), parcels.tracks, 0.25 * parcels.tracks).astype(np.float32),
        town=town * (river > 0),
        wetness=wetness,
        relief=np.clip(1 + 0.07 * crowns + 0.08 * slopes, 0.6, 1.4).astype(np.float32),
        grain=0.6 * smooth_noise(rng, grid, 14, 3) + 0.5 * smooth_noise(rng, grid, 1.3),
    )


def _river(rng: np.random.Generator, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the bank and wetness of the ground: a winding line, ponds, the valley around them."""
    height, width = grid.shape
    angle = rng.uniform(-0.6, 0.6) + (np.pi / 2 if rng.random() < 0.5 else 0.0)
    centre_y, centre_x = rng.uniform(0.25, 0.75, 2) * (height, width)
    along = (grid.x - centre_x) * np.float32(np.cos(angle)) + (grid.y - centre_y) * np.float32(np.sin(angle))
    across = (grid.y - centre_y) * np.float32(np.cos(angle)) - (grid.x - centre_x) * np.float32(np.sin(angle))
    across = across + 22 * smooth_noise(rng, grid, 120) + 11 * smooth_noise(rng, grid, 46)
    slope_y, slope_x = np.gradient(across)
    middle = np.abs(across) / np.clip(np.hypot(slope_y, slope_x), 0.35, 3.0)
    breadth = rng.uniform(1.6, 4.2) * (1 + 0.15 * np.sin(along / 37 + rng.uniform(0, 6)))
    bank = middle - breadth
    for _ in range(rng.integers(1, 4)):  # ponds and gravel pits
        pond_y, pond_x = rng.uniform(0, height), rng.uniform(0, width)
        radius = rng.uniform(3, 9)
        lobes = 1 + 0.3 * np.sin(3 * np.arctan2(grid.y - pond_y, grid.x - pond_x) + rng.uniform(0, 6))
        bank = np.minimum(bank, np.hypot(grid.y - pond_y, grid.x - pond_x) - radius * lobes)
    valley = np.exp(-np.clip(bank, 0, None) / 45)
    wetness = 0.8 * smooth_noise(rng, grid, 150, 3) + 1.6 * valley - 0.4
    return bank.astype(np.float32), wetness.astype(np.float32)


def _parcels(rng: np.random.Generator, grid: Grid) -> Parcels:
    """Blocks between roads, each cut into strips of its own direction and width."""
    y = grid.y + 9 * smooth_noise(rng, grid, 90)
    x = grid.x + 9 * smooth_noise(rng, grid, 90)
    blocks = voronoi(rng, y, x, rng.uniform(62, 88))
    heading = rng.choice(rng.uniform(0, np.pi, 4), blocks.count) + rng.normal(0, 0.12, blocks.count)
    strip = np.exp(rng.normal(np.log(8.5), 0.45, blocks.count)).clip(3.5, 22)
    length = strip * rng.uniform(1.6, 5.0, blocks.count)
    phase = rng.uniform(0, 100, (2, blocks.count))
    b = blocks.index
    cosine, sine = (f(heading)[b].astype(np.float32) for f in (np.cos, np.sin))
    across = (x * cosine + y * sine + phase[0][b].astype(np.float32)) / strip[b].astype(np.float32)
    across = across + 0.30 * np.sin(1.9 * across + phase[1][b].astype(np.float32))  # strips of unequal width
    lane = np.floor(across)
    shift = np.modf(np.abs(np.sin(lane * 12.9898 + phase[0][b])) * 43758.547)[0].astype(np.float32)
    along = (y * cosine - x * sine) / length[b].astype(np.float32) + shift
    key = (b.astype(np.int64) * 4096 + (lane.astype(np.int64) + 2048)) * 4096 + np.floor(along).astype(np.int64) + 2048
    unique, index = np.unique(key, return_inverse=True)
    count = len(unique)

    share = rng.dirichlet((3.0, 1.2, 1.6, 3.0, 1.2, 1.2, 0.8, 1.0, 2.0, 0.6))
    tracks = line(blocks.edge, 0.7) + 0.35 * line((across - lane) * strip[b].astype(np.float32), 0.4)
    return Parcels(
        index=index.reshape(grid.shape).astype(np.int32),
        crop=(FIRST_CROP + rng.choice(len(CROPS), count, p=share)).astype(np.uint8),
        delay=rng.normal(0, 6, count).astype(np.float32),
        vigour=rng.normal(0.97, 0.09, count).clip(0.6, 1.1).astype(np.float32),
        soil=rng.normal(0, 0.35, count).astype(np.float32),
        tracks=np.clip(tracks, 0, 0.75).astype(np.float32),
    )


def _towns(rng: np.random.Generator, grid: Grid, river: np.ndarray) -> np.ndarray:
    """One town and some villages with streets, houses, gardens, parks and halls: ``(5, H, W)`` shares."""
    height, width = grid.shape
    size = (height * width) ** 0.5
    total = np.zeros((len(TOWN_MATERIALS), height, width), np.float32)
    outline = 0.22 * smooth_noise(rng, grid, 18, 2)
    radii = [rng.uniform(0.075, 0.115) * size, *rng.uniform(0.014, 0.030, rng.integers(2, 6)) * size]
    for radius in radii:
        y, x = rng.uniform(0.12, 0.88, 2) * (height, width)
        reach = np.hypot(grid.y - y, (grid.x - x) * np.float32(rng.uniform(0.7, 1.3))) / np.float32(radius) + outline
        inside = (reach < 1) & (river > 1.0) & (total.sum(0) == 0)
        if inside.any():
            total[:, inside] = _streets(rng, grid, reach)[:, inside]
    return total


def _streets(rng: np.random.Generator, grid: Grid, reach: np.ndarray) -> np.ndarray:
    angle = rng.uniform(0, np.pi / 2)
    side = rng.uniform(4.5, 7.0, 2)
    u = (grid.x * np.float32(np.cos(angle)) + grid.y * np.float32(np.sin(angle))) / np.float32(side[0])
    v = (grid.y * np.float32(np.cos(angle)) - grid.x * np.float32(np.sin(angle))) / np.float32(side[1])
    street = np.maximum(line(np.abs(u - np.round(u)) * side[0], 0.5), line(np.abs(v - np.round(v)) * side[1], 0.5))
    lot = (np.round(u - 0.5).astype(np.int64) % 61) * 67 + np.round(v - 0.5).astype(np.int64) % 67
    use = rng.random(61 * 67).astype(np.float32)[lot]
    dense = np.clip(1.1 - reach, 0.15, 0.9) * (0.6 + 0.5 * rng.random(61 * 67).astype(np.float32)[lot])
    houses = 0.75 * dense * (0.8 + 0.25 * smooth_noise(rng, grid, 1.5))
    hall = (use > 0.93) & (reach > 0.45)  # industry lies at the rim
    park = use < 0.06
    tile = np.where(hall, 0.05, np.where(park, 0.0, houses)).clip(0, 0.8)
    metal = np.where(hall, 0.70, np.where((use > 0.82) & ~park, 0.35 * dense, 0.02))
    paved = np.where(park, 0.05, 0.16 + 0.15 * dense)
    soil = np.where(park, 0.05, 0.08)
    shares = np.stack([tile, metal, paved, np.zeros_like(tile), soil]).astype(np.float32)
    shares /= np.maximum(shares.sum(0), 1.0)
    shares *= 1 - street
    shares[2] += street
    shares[3] = 1 - shares.sum(0)
    return shares
