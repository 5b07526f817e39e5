# SPDX-License-Identifier: Apache-2.0
"""Two sensors that look at one ground: a fine one, and a coarse one with a footprint wider than its pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._texture import blur
from .spectra import BANDS

STEP = np.float32(1e-4)  # reflectance is stored in whole steps of this size
_HAZE = {"blue": 1.0, "green": 0.65, "red": 0.45, "nir": 0.2, "swir1": 0.08, "swir2": 0.05}


@dataclass(frozen=True)
class Response:
    """How the coarse sensor differs from the fine one.

    Attributes:
        gain: Factor of each band, ``(C,)``.
        offset: Reflectance added to each band, ``(C,)``.
        noise: Standard deviation of the noise of a coarse pixel [reflectance].
        shift: Geolocation error ``(y, x)`` in fine pixels.
    """

    gain: np.ndarray
    offset: np.ndarray
    noise: float
    shift: tuple[float, float]


def draw_responses(rng: np.random.Generator, bands: Sequence[str], ratio: int) -> tuple[Response, Response]:
    """The response at t1 and at t2: a lasting difference of the sensors, and a small one of each date."""
    gain = 1 + rng.normal(0, 0.025, len(BANDS))
    offset = rng.normal(0, 0.004, len(BANDS))
    keep = [BANDS.index(band) for band in bands]
    made = []
    for _ in range(2):
        drift = 1 + rng.normal(0, 0.006, len(BANDS))
        bias = rng.normal(0, 0.0015, len(BANDS))
        shift = rng.normal(0, 0.05 * ratio, 2)
        made.append(
            Response(
                gain=(gain * drift)[keep].astype(np.float32),
                offset=(offset + bias)[keep].astype(np.float32),
                noise=float(rng.uniform(0.001, 0.003)),
                shift=(float(shift[0]), float(shift[1])),
            )
        )
    return made[0], made[1]


def atmosphere(surface: np.ndarray, bands: Sequence[str], sun: float, haze: float) -> np.ndarray:
    """Surface reflectance as it is retrieved: ``surface * sun + haze``, haze less towards the infrared."""
    path = np.array([_HAZE[band] for band in bands], np.float32) * np.float32(haze)
    return surface * np.float32(sun) + path[:, None, None]


def fine_image(rng: np.random.Generator, surface: np.ndarray) -> np.ndarray:
    """What the fine sensor records: slightly blurred, with noise, in whole steps. ``(C, H, W)`` float32."""
    image = blur(surface, 0.11)
    image += rng.standard_normal(image.shape, np.float32) * np.float32(0.0012)
    return quantised(image)


def coarse_image(
    rng: np.random.Generator, surface: np.ndarray, ratio: int, margin: int, response: Response
) -> np.ndarray:
    """What the coarse sensor records: ``(C, H / ratio, W / ratio)`` float32.

    Along the scan the footprint is a triangle two pixels wide, as that of a whisk-broom scanner (Wolfe et
    al., Achieving sub-pixel geolocation accuracy in support of MODIS land science, Remote Sensing of
    Environment 83, 2002); along the track it is a box one pixel long; both are smoothed.

    Args:
        rng: Source of the noise.
        surface: Fine reflectance ``(C, H + 2 margin, W + 2 margin)``: footprints at the border see the
        margin. ratio: Fine pixels along a side of a coarse one.
        margin: Fine pixels around the scene, a multiple of ``ratio``.
        response: The coarse sensor.
    """
    _, height, width = surface.shape
    rows = footprint(height, ratio, margin, response.shift[0], scan=False)
    columns = footprint(width, ratio, margin, response.shift[1], scan=True)
    image = np.matmul(np.matmul(rows, surface), columns.T)
    image = image * response.gain[:, None, None] + response.offset[:, None, None]
    image += rng.standard_normal(image.shape, np.float32) * np.float32(response.noise)
    return quantised(image)


def coarse_hidden(hidden: np.ndarray, ratio: int, margin: int) -> np.ndarray:
    """Coarse pixels of whose footprint more than a tenth is hidden; arguments as of :func:`coarse_image`."""
    rows = footprint(hidden.shape[0], ratio, margin, scan=False)
    columns = footprint(hidden.shape[1], ratio, margin, scan=True)
    return (rows @ hidden.astype(np.float32) @ columns.T) > 0.1


def footprint(length: int, ratio: int, margin: int, shift: float = 0.0, *, scan: bool) -> np.ndarray:
    """Weights of the fine pixels in each coarse pixel along one axis; each row sums to one.

    Args:
        length: Fine pixels along the axis, margins included.
        ratio: Fine pixels in a coarse one.
        margin: Fine pixels before the first and after the last coarse pixel.
        shift: Fine pixels by which the coarse image is displaced.
        scan: Triangle of two pixels (along the scan) or box of one (along the track).

    Returns:
        float32 of shape ``((length - 2 margin) / ratio, length)``.
    """
    count = (length - 2 * margin) // ratio
    centre = margin + (np.arange(count) + 0.5) * ratio + shift
    away = np.abs(np.arange(length) + 0.5 - centre[:, None]) / ratio
    softness = 0.5 if ratio == 1 else 0.12
    weight = np.clip(1 - away, 0, None) if scan else 1 / (1 + np.exp(np.minimum((away - 0.5) / softness * 2.2, 30)))
    weight[weight < 1e-4] = 0
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def quantised(image: np.ndarray) -> np.ndarray:
    """Reflectance in whole steps of 0.0001, not below one step."""
    return (np.maximum(np.rint(image / STEP), 1) * STEP).astype(np.float32)
