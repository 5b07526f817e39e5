# SPDX-License-Identifier: Apache-2.0
"""What surfaces reflect: endmember spectra that the pixels of a procedural scene are mixed from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import BandError

# Typical surface reflectance of a pure surface in the six bands that Landsat and MODIS share.
BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")

ENDMEMBERS: dict[str, tuple[float, ...]] = {
    "leaf": (0.030, 0.075, 0.032, 0.470, 0.220, 0.100),
    "straw": (0.085, 0.135, 0.190, 0.300, 0.370, 0.250),
    "flower": (0.060, 0.210, 0.200, 0.460, 0.250, 0.120),
    "dry_soil": (0.110, 0.155, 0.205, 0.280, 0.360, 0.310),
    "wet_soil": (0.045, 0.065, 0.085, 0.125, 0.160, 0.130),
    "broadleaf": (0.024, 0.052, 0.026, 0.360, 0.170, 0.075),
    "needle": (0.020, 0.036, 0.024, 0.220, 0.100, 0.048),
    "water": (0.050, 0.055, 0.035, 0.018, 0.008, 0.006),
    "silt": (0.085, 0.115, 0.120, 0.065, 0.020, 0.012),
    "sand": (0.170, 0.220, 0.270, 0.330, 0.400, 0.370),
    "asphalt": (0.085, 0.095, 0.105, 0.130, 0.150, 0.140),
    "tile_roof": (0.095, 0.125, 0.195, 0.260, 0.300, 0.270),
    "metal_roof": (0.300, 0.320, 0.335, 0.360, 0.350, 0.320),
    "ash": (0.040, 0.046, 0.054, 0.080, 0.130, 0.150),
}
NAMES = tuple(ENDMEMBERS)


def endmember(name: str) -> int:
    """Position of an endmember on the first axis of an abundance array."""
    return NAMES.index(name)


def spectra(bands: Sequence[str]) -> np.ndarray:
    """Reflectance of all endmembers in these bands, float32 of shape ``(bands, endmembers)``.

    Raises:
        BandError: A band has no spectrum here, or none is named.
    """
    unknown = [band for band in bands if band not in BANDS]
    if unknown or not bands:
        raise BandError(
            "The procedural scenes have no such band",
            got=", ".join(unknown) or "no band",
            allowed=", ".join(BANDS),
        )
    table = np.array(list(ENDMEMBERS.values()), np.float32)
    return np.ascontiguousarray(table[:, [BANDS.index(band) for band in bands]].T)
