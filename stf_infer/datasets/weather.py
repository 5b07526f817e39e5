# SPDX-License-Identifier: Apache-2.0
"""What a date adds to the ground: season, soil moisture, an abrupt change, light, haze and clouds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ._texture import Grid, blur, smooth_noise
from .landscape import CROPS, FIRST_CROP, TOWN_MATERIALS, LandCover, Landscape
from .phenology import cover
from .spectra import NAMES, endmember


class Change(IntEnum):
    """Codes of the change map: what happened abruptly between the two dates."""

    NONE = 0
    HARVEST = 1
    FLOOD = 2
    FIRE = 3


@dataclass(frozen=True)
class Day:
    """The state of a date.

    Attributes:
        day: Day of the year.
        wet: Soil moisture, about -1 (dry) to 1 (after rain).
        sun: Factor on all reflectance, around 1.
        haze: Path reflectance added in the blue; other bands get less.
        shower: Where the last rain fell, float32 ``(H, W)``, mean 0.
    """

    day: float
    wet: float
    sun: float
    haze: float
    shower: np.ndarray


def draw_days(rng: np.random.Generator, grid: Grid) -> tuple[Day, Day]:
    """Two dates of one growing season, 16 to 80 days apart."""
    first = rng.uniform(98, 205)
    second = first + rng.uniform(16, 80)
    days = []
    for day in (first, second):
        height = np.cos(2 * np.pi * (day - 172) / 365)  # the sun stands highest on day 172
        days.append(
            Day(
                day=day,
                wet=rng.uniform(-0.9, 0.9),
                sun=1 + 0.03 * height + rng.normal(0, 0.015),
                haze=abs(rng.normal(0, 0.008)),
                shower=0.5 * smooth_noise(rng, grid, 130, 2),
            )
        )
    return days[0], days[1]


def abundances(land: Landscape, day: Day) -> np.ndarray:
    """Shares of the endmembers in each pixel on a date, float32 ``(endmembers, H, W)``; they sum to one."""
    parcels = land.parcels
    shares = np.zeros((len(NAMES), *land.cover.shape), np.float32)
    place = {name: shares[endmember(name)] for name in NAMES}
    dryness = np.clip(0.5 - 0.22 * (land.wetness + 0.5 * day.shower) - 0.28 * day.wet, 0.02, 0.98)

    delay, vigour = parcels.delay[parcels.index], parcels.vigour[parcels.index]
    vigour = vigour * (1 + 0.07 * land.grain + 0.04 * np.clip(land.wetness, -2, 2))
    for number, crop in enumerate(CROPS):
        here = land.cover == FIRST_CROP + number
        ground = cover(crop, day.day, delay[here], vigour[here])
        place["leaf"][here], place["straw"][here], place["flower"][here] = (
            ground.green,
            ground.dry,
            ground.flower,
        )
    soil = 1 - place["leaf"] - place["straw"] - place["flower"]
    bright = np.clip(dryness + 0.35 * parcels.soil[parcels.index] + 0.06 * land.grain, 0, 1)
    place["dry_soil"][:] = soil * bright
    place["wet_soil"][:] = soil * (1 - bright)

    leaves = float(1 / (1 + np.exp(-(day.day - 115) / 8)))  # broad-leaved trees are bare before spring
    muddy = np.clip(0.35 + 0.5 * day.wet + 0.1 * land.grain, 0, 1)
    _put(
        shares,
        land.cover == LandCover.BROADLEAF,
        broadleaf=0.45 + 0.55 * leaves,
        straw=0.25 * (1 - leaves),
        wet_soil=0.30 * (1 - leaves),
    )
    _put(shares, land.cover == LandCover.NEEDLE, needle=0.92, broadleaf=0.08)
    _put(shares, land.cover == LandCover.SAND, sand=0.45, wet_soil=0.35, leaf=0.2)
    _mix(shares, land.roads, asphalt=0.55, dry_soil=0.30, leaf=0.15)
    _town(shares, land, day, dryness)
    _mix(shares, np.clip(0.5 - land.river, 0, 1) * (land.cover != LandCover.SAND), water=1 - muddy, silt=muddy)
    return shares


def _put(shares: np.ndarray, here: np.ndarray, **parts: float) -> None:
    shares[:, here] = 0
    for name, share in parts.items():
        shares[endmember(name), here] = share


def _mix(shares: np.ndarray, amount: np.ndarray, **parts: float | np.ndarray) -> None:
    """Replace this amount of each pixel by the parts (shares that sum to one)."""
    shares *= 1 - amount
    for name, share in parts.items():
        shares[endmember(name)] += amount * share


def _town(shares: np.ndarray, land: Landscape, day: Day, dryness: np.ndarray) -> None:
    built = land.town.sum(0)
    shares *= 1 - built
    for name, share in zip(TOWN_MATERIALS, land.town, strict=True):
        if name == "leaf":  # lawns turn brown in dry summers
            brown = np.clip(0.15 + 0.5 * (dryness - 0.5) + 0.002 * (day.day - 150), 0.05, 0.6)
            shares[endmember("straw")] += share * brown
            shares[endmember("leaf")] += share * (0.85 - brown)
            shares[endmember("wet_soil")] += share * 0.15
        else:
            shares[endmember(name)] += share


def draw_change(rng: np.random.Generator, land: Landscape) -> np.ndarray:
    """Where something abrupt happens between the dates: codes of :class:`Change`, uint8 ``(H, W)``.

    At least one event; each can occur: a block of parcels is harvested early, low ground along the river is
    flooded, a piece of woodland or field burns.
    """
    grid = Grid.of(*land.cover.shape)
    height, width = grid.shape
    events = rng.random(3) < (0.7, 0.35, 0.5)
    if not events.any():
        events[rng.integers(3)] = True
    out = np.zeros(grid.shape, np.uint8)
    ragged = smooth_noise(rng, grid, 26, 3)
    y, x = rng.uniform(0.2, 0.8, (2, 3)) * np.array([[height], [width]])
    reach = rng.uniform(0.05, 0.12, 3) * (height * width) ** 0.5
    distance = [np.hypot(grid.y - y[k], grid.x - x[k]) / np.float32(reach[k]) for k in range(3)]
    crop = land.cover >= FIRST_CROP
    wood = (land.cover == LandCover.BROADLEAF) | (land.cover == LandCover.NEEDLE)
    if events[0]:
        chosen = np.unique(land.parcels.index[(distance[0] < 1) & crop])
        chosen = chosen[rng.random(len(chosen)) < 0.8]
        out[np.isin(land.parcels.index, chosen) & crop] = Change.HARVEST
    if events[2]:
        out[(distance[2] + 0.3 * ragged < 1) & (crop | wood)] = Change.FIRE
    if events[1]:
        low = land.river < np.clip(9 + 7 * ragged, 0, None)
        out[low & (distance[1] < 3.5 + ragged) & (land.cover != LandCover.WATER) & (land.town.sum(0) < 0.5)] = (
            Change.FLOOD
        )
    return out


def apply_change(shares: np.ndarray, change: np.ndarray, land: Landscape) -> np.ndarray:
    """The shares after the abrupt change; ``shares`` is left as it is."""
    out = shares.copy()
    harvest = (change == Change.HARVEST).astype(np.float32)
    bright = np.clip(0.6 + 0.4 * land.parcels.soil[land.parcels.index] - 0.1 * land.wetness, 0.1, 0.95)
    _mix(out, harvest, straw=0.3, dry_soil=0.7 * bright, wet_soil=0.7 * (1 - bright))
    severity = np.clip(0.75 + 0.15 * land.grain, 0.3, 0.97) * blur((change == Change.FIRE).astype(np.float32), 0.2)
    _mix(out, severity, ash=0.85, dry_soil=0.15)
    depth = np.clip(0.85 + 0.12 * land.grain, 0.4, 1) * blur((change == Change.FLOOD).astype(np.float32), 0.2)
    _mix(out, depth, silt=0.75, water=0.25)
    return out


@dataclass(frozen=True)
class Sky:
    """Clouds over a date: opacity of clouds and darkness of their shadows, 0 to 1, float32 ``(H, W)``."""

    cloud: np.ndarray
    shadow: np.ndarray

    @property
    def hidden(self) -> np.ndarray:
        """Pixels that show a cloud or a shadow, bool ``(H, W)``."""
        return (self.cloud > 0.03) | (self.shadow > 0.1)

    def over(self, surface: np.ndarray) -> np.ndarray:
        """The surface ``(C, H, W)`` as it looks under this sky."""
        shaded = surface * (1 - np.float32(0.6) * self.shadow)
        return shaded * (1 - self.cloud) + np.float32(0.62) * self.cloud


def draw_sky(rng: np.random.Generator, grid: Grid) -> Sky:
    """Fair-weather clouds over 6 to 16 percent of the land, all shadows cast to one side."""
    field = smooth_noise(rng, grid, 70, 5)
    edge = np.quantile(field, 1 - rng.uniform(0.06, 0.16))
    cloud = np.clip((field - edge) * 2.5, 0, 1).astype(np.float32)
    down, right = (int(v) for v in rng.integers(6, 16, 2))
    shadow = np.zeros_like(cloud)
    shadow[down:, right:] = cloud[:-down, :-right]
    return Sky(cloud, (shadow * (1 - cloud)).astype(np.float32))
