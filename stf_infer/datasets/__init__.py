# SPDX-License-Identifier: Apache-2.0
"""Procedural scenes: farmland, a river, a town, two dates and two sensors, from a seed and nothing else.

scene = procedural_scene(7, 512, 512)
scene.fine_t1, scene.coarse_t1, scene.coarse_t2      what a network gets
scene.fine_t2                                        what it should give
write_scene(scene, "folder")                         the same as GeoTIFFs
"""

from __future__ import annotations

from .files import write_scene
from .landscape import LandCover
from .scene import DEMO_SEED, TEST_SEEDS, TRAINING_SEEDS, VALIDATION_SEEDS, Scene, procedural_scene
from .weather import Change

__all__ = [
    "DEMO_SEED",
    "TEST_SEEDS",
    "TRAINING_SEEDS",
    "VALIDATION_SEEDS",
    "Change",
    "LandCover",
    "Scene",
    "procedural_scene",
    "write_scene",
]
