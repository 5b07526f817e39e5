# SPDX-License-Identifier: Apache-2.0
"""A small scene in files: smooth fields, a block that changed between the dates, and what was made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fakes import block_mean, smooth_field, write_tif

SHAPE = (64, 96)
RATIO = 4
NAMES = ("red", "nir")
ROLES = ("fine_t1", "coarse_t1", "coarse_t2")
# Rows and columns that changed, by 0.2 in every band; all other pixels changed by 0.01.
BLOCK = (slice(16, 32), slice(40, 80))
BLOCK_PIXELS = 16 * 40


def fields() -> dict[str, np.ndarray]:
    """Reflectance by role, and the truth."""
    before = smooth_field(2, *SHAPE)
    after = before + np.float32(0.01)
    after[:, BLOCK[0], BLOCK[1]] = before[:, BLOCK[0], BLOCK[1]] + np.float32(0.2)
    coarse = [block_mean(image, RATIO) for image in (before, after)]
    return {"fine_t1": before, "coarse_t1": coarse[0], "coarse_t2": coarse[1], "truth": after}


def write_fields(folder: Path, **changed: dict[str, Any]) -> dict[str, Path]:
    """GeoTIFFs of them: ``changed`` gives other arguments of :func:`fakes.write_tif`, by role."""
    paths = {}
    for role, image in fields().items():
        options = {"pixel": 30.0 * (RATIO if role.startswith("coarse") else 1), "names": NAMES, **changed.get(role, {})}
        paths[role] = write_tif(folder / f"{role}.tif", options.pop("array", image), **options)
    return paths
