# SPDX-License-Identifier: Apache-2.0
"""How vegetation covers the soil through the year: every crop follows a curve of its own.

A curve is a double logistic in the day of the year (Zhang et al., Monitoring vegetation phenology using
MODIS, Remote Sensing of Environment 84, 2003): green cover rises around ``greening``, falls around
``ripening``, the ripe crop stands until ``harvest`` and leaves stubble.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """The year of one kind of vegetation, in days of the year and shares of a pixel.

    Attributes:
        greening: Day on which half of the green cover is there.
        ripening: Day on which half of it has turned dry.
        harvest: Day after which stubble is left.
        peak: Largest green cover.
        rise: Days within which most of the greening happens.
        base: Green cover that stays all year.
        bloom: Day of full bloom; 0 for none.
        cut: Days between two cuts; 0 for none.
    """

    greening: float
    ripening: float
    harvest: float
    peak: float
    rise: float = 12.0
    base: float = 0.03
    bloom: float = 0.0
    cut: float = 0.0


CURVES: dict[str, Curve] = {
    "wheat": Curve(greening=85, ripening=172, harvest=200, peak=0.92, rise=16, base=0.10),
    "barley": Curve(greening=80, ripening=158, harvest=184, peak=0.88, rise=14, base=0.12),
    "rapeseed": Curve(greening=82, ripening=170, harvest=192, peak=0.90, rise=12, base=0.15, bloom=122),
    "maize": Curve(greening=163, ripening=252, harvest=280, peak=0.93, rise=12),
    "beet": Curve(greening=158, ripening=310, harvest=320, peak=0.96, rise=10),
    "sunflower": Curve(greening=152, ripening=228, harvest=258, peak=0.82, rise=10, bloom=196),
    "potato": Curve(greening=150, ripening=232, harvest=262, peak=0.88, rise=8),
    "alfalfa": Curve(greening=84, ripening=305, harvest=330, peak=0.90, rise=14, base=0.25, cut=38),
    "meadow": Curve(greening=92, ripening=300, harvest=360, peak=0.45, rise=20, base=0.36, cut=62),
    "fallow": Curve(greening=110, ripening=205, harvest=330, peak=0.22, rise=25, base=0.06),
}


@dataclass(frozen=True)
class Cover:
    """Shares of a pixel: living leaf, dry plant and flower; what is left is soil. Arrays of one shape."""

    green: np.ndarray
    dry: np.ndarray
    flower: np.ndarray


def cover(crop: str, day: float, delay: np.ndarray | float = 0.0, vigour: np.ndarray | float = 1.0) -> Cover:
    """What covers the soil of a crop on a day.

    Args:
        crop: A name in :data:`CURVES`.
        day: Day of the year.
        delay: Days by which a parcel is later than the curve; any shape.
        vigour: Factor on the green cover; the same shape.
    """
    curve = CURVES[crop]
    when = np.asarray(day - np.asarray(delay, np.float32), np.float32)
    risen = _logistic((when - curve.greening) / (0.25 * curve.rise))
    ripe = _logistic((when - curve.ripening) / 4.0)
    standing = risen * (1 - ripe)
    if curve.cut:
        since = np.mod(when - curve.greening, curve.cut) / curve.cut
        grown = np.clip(0.25 + 1.3 * since, 0, 1)  # a cut leaves a quarter of the leaves
        standing = np.where(when > curve.greening, standing * grown, standing)
    green = np.clip((curve.base * (1 - ripe) + (curve.peak - curve.base) * standing) * vigour, 0.0, 0.98)
    harvested = _logistic((when - curve.harvest) / 1.0)
    dry = ripe * (0.85 * (1 - harvested) + 0.30 * harvested) * np.clip(curve.peak, 0.4, 1)
    flower = np.zeros_like(green)
    if curve.bloom:
        flower = 0.55 * green * np.exp(-(((when - curve.bloom) / 9.0) ** 2))
    dry = np.minimum(dry, 1 - green)
    return Cover(*(np.asarray(a, np.float32) for a in (green - flower, dry, flower)))


def _logistic(z: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(z, -30, 30)))
