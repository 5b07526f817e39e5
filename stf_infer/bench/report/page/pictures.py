# SPDX-License-Identifier: Apache-2.0
"""The pictures of a scene: inputs, truth, every prediction and its error, all in one stretch of colours."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .... import gdal
from ....errors import BandError, MetricError, StfError
from ....picture import composite, heat, round_up, shown_bands, stretch
from ....raster import Raster
from ...result import Result, Row, SceneFacts
from ...scene_files import TRUTH, rasters_of, within
from .images import data_uri
from .pixels import Against, Density, Reduced, against, like, reduced

log = logging.getLogger(__name__)

SIDE = 1024
_LEAST_SIDE = 256
_PAGE_PIXELS = 24e6  # of all pictures together: a page of a few megabytes
_ERROR_SHARE = 99  # percentile of the error that is the brightest colour
_SHARED = ("fine_t1", "coarse_t2", "fine_t3", TRUTH)


@dataclass(frozen=True)
class RowPictures:
    """Of one prediction: itself, the map of its error and densities over the truth; without a truth only itself."""

    prediction: str
    error: str | None = None
    densities: tuple[tuple[Density, str], ...] = ()


@dataclass
class ScenePictures:
    """What can be seen of a scene.

    Attributes:
        shared: Role (or ``truth``) to a picture, as the address that holds it.
        rows: Number of the row to its pictures.
        size: Rows and columns of a picture.
        factor: A pixel of a picture is the mean of so many pixels squared.
        highest: Error that is shown brightest; None without any map.
        shown: Bands that are red, green and blue.
        unit: Of the error.
        missing: What cannot be shown, and why.
    """

    shared: dict[str, str] = field(default_factory=dict)
    rows: dict[int, RowPictures] = field(default_factory=dict)
    size: tuple[int, int] = (1, 1)
    factor: int = 1
    highest: float | None = None
    shown: tuple[str, ...] = ()
    unit: str = ""
    missing: list[str] = field(default_factory=list)


def pictures(result: Result, folder: Path) -> dict[str, ScenePictures]:
    """Pictures of every scene by its name. What cannot be read is missing, with its reason.

    Args:
        result: The bench.
        folder: What its paths are relative to.

    Reads every raster once, results twice, and the truth once more for each of them; memory is some strips of rows and
    the pictures.
    """
    many = sum(len(_SHARED) + 2 * len(_images(result, scene.name)) for scene in result.scenes)
    side = max(_LEAST_SIDE, min(SIDE, math.isqrt(int(_PAGE_PIXELS / max(many, 1)))))
    return {scene.name: _of_scene(result, scene, folder, side) for scene in result.scenes}


def _images(result: Result, scene: str) -> dict[int, tuple[Row, str]]:
    """Number of a row to the file of its result."""
    found = ((k, row, q) for k, row in enumerate(result.rows) for q in row.quality if q.scene == scene)
    return {k: (row, q.image) for k, row, q in found if q.image and row.failure is None}


def _of_scene(result: Result, facts: SceneFacts, folder: Path, side: int) -> ScenePictures:
    out = ScenePictures(unit=facts.unit)
    rasters = rasters_of(facts, folder)
    seen: dict[str, Reduced] = {}
    for role in _SHARED:
        if role in rasters:
            with _noting(out, role):
                seen[role] = like(rasters[role], rasters["fine_t1"], side, facts.bands)
    images = {k: (row, Raster(within(folder, image))) for k, (row, image) in _images(result, facts.name).items()}
    predictions: dict[int, Reduced] = {}
    for k, (row, raster) in images.items():
        with _noting(out, row.name):
            predictions[k] = reduced(raster, side)
    first = seen.get(TRUTH) or next(iter(predictions.values()), None) or seen.get("fine_t1")
    if first is None:
        return out
    out.size, out.factor = first.image.shape[1:], first.factor
    bands = _common(first, predictions)
    out.shown = tuple(bands[i] for i in dict.fromkeys(shown_bands(bands)))
    if not _whole(_chosen(first, bands)):
        _note(out, facts.name, "a band has no valid pixel")
        return out
    black, white = stretch(_chosen(first, bands), bands)

    def drawn(one: Reduced) -> str:
        if set(bands) <= set(one.bands):
            return data_uri(composite(_chosen(one, bands), bands, black, white))
        return data_uri(composite(one.image, one.bands))  # bands of its own, in its own stretch

    out.shared = {role: drawn(one) for role, one in seen.items()}
    judged: dict[int, Against] = {}
    if TRUTH in seen:
        mask = None if facts.mask is None else Raster(within(folder, facts.mask))
        for k, one in predictions.items():
            with _noting(out, f"error of {images[k][0].name}"):
                limits = _limits(_of_bands(seen[TRUTH], one.bands))
                judged[k] = against(images[k][1], rasters[TRUTH], side, limits, mask if mask and mask.file else None)
    peaks = [np.nanpercentile(one.error, _ERROR_SHARE) for one in judged.values() if np.isfinite(one.error).any()]
    out.highest = round_up(float(max(peaks))) if peaks else None
    for k, one in predictions.items():
        found = judged.get(k)
        shown = data_uri(heat(found.error, out.highest)) if found and out.highest else None
        densities = found.densities if found else ()
        out.rows[k] = RowPictures(drawn(one), shown, tuple((d, data_uri(_inked(d.counts))) for d in densities))
    return out


@contextmanager
def _noting(out: ScenePictures, what: str) -> Iterator[None]:
    """Note what cannot be read as missing, and go on."""
    try:
        yield
    except StfError as error:
        _note(out, what, str(error))
    except gdal.failures() as error:
        _note(out, what, str(error))


def _of_bands(truth: Reduced, bands: tuple[str, ...]) -> np.ndarray:
    """The truth in the bands of a prediction: by name, or as they stand where it does not name them.

    Raises:
        BandError: It shows other bands.
        MetricError: A band has no valid pixel.
    """
    if not set(bands) <= set(truth.bands) and len(bands) != len(truth.bands):
        raise BandError("The truth shows other bands", got=", ".join(truth.bands), allowed=", ".join(bands))
    image = _chosen(truth, bands) if set(bands) <= set(truth.bands) else truth.image
    if not _whole(image):
        raise MetricError("A band of the truth has no valid pixel")
    return image


def _whole(image: np.ndarray) -> bool:
    """Whether every band has a valid pixel."""
    return bool(np.isfinite(image).any(axis=(1, 2)).all())


def _limits(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the axes of a density begin and end, of each band: all but the outermost values, with some room."""
    low, high = np.nanpercentile(image.reshape(len(image), -1), (0.1, 99.9), axis=1)
    room = np.maximum(0.08 * (high - low), 1e-6)
    return low - room, high + room


def _common(first: Reduced, predictions: Mapping[int, Reduced]) -> tuple[str, ...]:
    """Bands that the first image and all predictions show; those of the first where nothing is shared."""
    shared = [band for band in first.bands if all(band in one.bands for one in predictions.values())]
    return tuple(shared) or first.bands


def _chosen(one: Reduced, bands: tuple[str, ...]) -> np.ndarray:
    chosen: np.ndarray = one.image[[one.bands.index(band) for band in bands]]
    return chosen


def _inked(counts: np.ndarray) -> np.ndarray:
    """Counts as a blue that is the more opaque the more there are, ``(BINS, BINS, 4)``, low values at the bottom."""
    share = np.log1p(counts) / max(float(np.log1p(counts.max())), 1e-9)
    opacity = np.where(counts > 0, 40 + 215 * share, 0)[::-1]
    ink = np.broadcast_to(np.array([38, 139, 210]), (*opacity.shape, 3))
    return np.concatenate([ink, opacity[..., None]], axis=-1).astype(np.uint8)


def _note(out: ScenePictures, what: str, why: str) -> None:
    log.warning("No picture of %s: %s", what, why)
    out.missing.append(f"{what}: {why}")
