# SPDX-License-Identifier: Apache-2.0
"""A procedural scene: two dates of one piece of land, seen by a fine and a coarse sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ._texture import Grid
from .landscape import LandCover, Landscape, landscape
from .sensor import atmosphere, coarse_hidden, coarse_image, draw_responses, fine_image
from .spectra import spectra
from .weather import Day, Sky, abundances, apply_change, draw_change, draw_days, draw_sky

FINE_PIXEL = 30.0  # metres

# Seeds are parted once and for all: what a network was trained on is never used to judge it.
TRAINING_SEEDS = range(1_000, 2_000)
VALIDATION_SEEDS = range(2_000, 2_100)
TEST_SEEDS = range(3_000, 3_100)
DEMO_SEED = 48


@dataclass(frozen=True)
class Scene:
    """Two dates of one piece of land. Images are reflectance, float32; masks are True where a pixel is valid.

    Attributes:
        seed: What the scene was made from.
        bands: Names of the bands.
        ratio: Fine pixels along a side of a coarse one.
        days: Days of the year of t1 and t2.
        fine_t1: ``(C, H, W)``.
        fine_t2: ``(C, H, W)``: the truth. It never has clouds.
        coarse_t1: ``(C, H / ratio, W / ratio)``.
        coarse_t2: ``(C, H / ratio, W / ratio)``.
        fine_t1_valid: bool ``(H, W)``.
        coarse_t1_valid: bool ``(H / ratio, W / ratio)``.
        coarse_t2_valid: bool ``(H / ratio, W / ratio)``.
        land_cover: Codes of :class:`~stf_infer.datasets.landscape.LandCover`, uint8 ``(H, W)``.
        change: Codes of :class:`~stf_infer.datasets.weather.Change`, uint8 ``(H, W)``.
        crs: Coordinate reference system, as ``EPSG:code``.
        origin: Easting and northing of the upper left corner [m].
    """

    seed: int
    bands: tuple[str, ...]
    ratio: int
    days: tuple[int, int]
    fine_t1: np.ndarray
    fine_t2: np.ndarray
    coarse_t1: np.ndarray
    coarse_t2: np.ndarray
    fine_t1_valid: np.ndarray
    coarse_t1_valid: np.ndarray
    coarse_t2_valid: np.ndarray
    land_cover: np.ndarray
    change: np.ndarray
    crs: str
    origin: tuple[float, float]

    @property
    def fine_transform(self) -> tuple[float, ...]:
        """Affine transform of the fine images: ``(a, b, c, d, e, f)``, 30 m pixels, north up."""
        return (FINE_PIXEL, 0.0, self.origin[0], 0.0, -FINE_PIXEL, self.origin[1])

    @property
    def coarse_transform(self) -> tuple[float, ...]:
        """Affine transform of the coarse images: the same corner, pixels ``ratio`` times as large."""
        size = FINE_PIXEL * self.ratio
        return (size, 0.0, self.origin[0], 0.0, -size, self.origin[1])


def procedural_scene(
    seed: int,
    height: int,
    width: int,
    *,
    ratio: int = 16,
    bands: Sequence[str] = ("blue", "green", "red", "nir"),
    clouds: bool = False,
    change: bool = True,
) -> Scene:
    """Make a scene of farmland, forest, a river and a town: the same seed and size give the same scene.

    Nothing is taken from real data. Every topic draws from a stream of its own, so that ``clouds`` or
    ``bands`` do not move a field.

    Args:
        seed: Not negative.
        height: Rows of the fine images, a multiple of ``ratio``.
        width: Columns of the fine images, a multiple of ``ratio``.
        ratio: Fine pixels along a side of a coarse one.
        bands: Any of ``blue green red nir swir1 swir2``.
        clouds: Whether clouds and their shadows cover a part of fine_t1, coarse_t1 and coarse_t2.
        change: Whether something abrupt happens between the dates, besides what the season does.

    Raises:
        UsageError: The size is no multiple of the ratio, or the seed is negative.
        BandError: A band has no spectrum.

    About 0.8 s for 512 x 512 on one core.
    """
    if seed < 0:
        raise UsageError("A seed is not negative", got=seed)
    if ratio < 1 or height < ratio or width < ratio or height % ratio or width % ratio:
        raise UsageError(
            "The sides of a scene must be multiples of the ratio", got=f"{height} x {width} at ratio {ratio}"
        )
    bands = tuple(bands)
    table = spectra(bands)
    margin = 2 * ratio
    grid = Grid.of(height + 2 * margin, width + 2 * margin)
    inner = (slice(margin, margin + height), slice(margin, margin + width))

    land = landscape(_stream(seed, "land"), *grid.shape)
    days = draw_days(_stream(seed, "days"), grid)
    shares = [abundances(land, day) for day in days]
    changed = np.zeros(grid.shape, np.uint8)
    if change:
        changed = draw_change(_stream(seed, "change"), land)
        shares[1] = apply_change(shares[1], changed, land)
    surfaces = [_surface(table, bands, land, s, day) for s, day in zip(shares, days, strict=True)]

    skies = [draw_sky(_stream(seed, f"sky {k}"), grid) if clouds else None for k in range(2)]
    seen = [surface if sky is None else sky.over(surface) for surface, sky in zip(surfaces, skies, strict=True)]
    responses = draw_responses(_stream(seed, "response"), bands, ratio)
    coarse = [coarse_image(_stream(seed, f"coarse {k}"), seen[k], ratio, margin, responses[k]) for k in range(2)]
    coarse_valid = [_clear(sky, coarse[0].shape[1:], ratio, margin) for sky in skies]
    origin, crs = _place(_stream(seed, "place"))
    return Scene(
        seed=seed,
        bands=bands,
        ratio=ratio,
        days=(round(days[0].day), round(days[1].day)),
        fine_t1=fine_image(_stream(seed, "fine 0"), seen[0][:, inner[0], inner[1]]),
        fine_t2=fine_image(_stream(seed, "fine 1"), surfaces[1][:, inner[0], inner[1]]),
        coarse_t1=coarse[0],
        coarse_t2=coarse[1],
        fine_t1_valid=np.ones((height, width), bool) if skies[0] is None else ~skies[0].hidden[inner],
        coarse_t1_valid=coarse_valid[0],
        coarse_t2_valid=coarse_valid[1],
        land_cover=np.ascontiguousarray(land.cover[inner]),
        change=np.ascontiguousarray(changed[inner]),
        crs=crs,
        origin=origin,
    )


def _clear(sky: Sky | None, shape: tuple[int, int], ratio: int, margin: int) -> np.ndarray:
    return np.ones(shape, bool) if sky is None else ~coarse_hidden(sky.hidden, ratio, margin)


def _place(rng: np.random.Generator) -> tuple[tuple[float, float], str]:
    """Upper left corner on the grid of 480 m and the zone of UTM, somewhere in the farmland of Europe."""
    zone = int(rng.integers(31, 36))
    return (
        480.0 * int(rng.integers(800, 1400)),
        480.0 * int(rng.integers(10400, 11200)),
    ), f"EPSG:{32600 + zone}"


def _surface(table: np.ndarray, bands: tuple[str, ...], land: Landscape, shares: np.ndarray, day: Day) -> np.ndarray:
    count, height, width = shares.shape
    surface = (table @ shares.reshape(count, -1)).reshape(len(bands), height, width)
    wood = (land.cover == LandCover.BROADLEAF) | (land.cover == LandCover.NEEDLE)
    surface *= np.where(wood, land.relief, 1 + 0.012 * land.grain)
    return atmosphere(surface, bands, day.sun, day.haze)


def _stream(seed: int, topic: str) -> np.random.Generator:
    """The random stream of one topic of a scene."""
    return np.random.default_rng([seed, *topic.encode()])
