# SPDX-License-Identifier: Apache-2.0
"""A bundle of one step, and a scene for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes import block_mean, smooth_field, write_tif
from step_bundle import make_step_bundle
from stf_infer.model import Model, open

HEIGHT, WIDTH = 61, 83
NAMES = ("red", "nir")


@pytest.fixture(scope="session")
def step_bundle(tmp_path_factory) -> Path:
    """Four steps of DDIM out of 16; not to be changed."""
    return make_step_bundle(tmp_path_factory.mktemp("step") / "toy.stf")


@pytest.fixture
def model(step_bundle) -> Any:
    with open(step_bundle, engine="onnxruntime-cpu", threads=1) as opened:
        assert isinstance(opened, Model)
        yield opened


@pytest.fixture(scope="session")
def scene(tmp_path_factory) -> Path:
    """A folder with a raster for each role; the truth is what the denoiser takes for the mean."""
    folder = tmp_path_factory.mktemp("scene")
    fine = smooth_field(2, HEIGHT, WIDTH)
    coarse = block_mean(fine, 4)
    write_tif(folder / "fine_t1.tif", fine, names=NAMES)
    write_tif(folder / "coarse_t1.tif", coarse, pixel=120.0, names=NAMES)
    write_tif(folder / "coarse_t2.tif", coarse + 0.01, pixel=120.0, names=NAMES)
    write_tif(folder / "fine_t2_truth.tif", fine + 0.01, names=NAMES)
    return folder


@pytest.fixture
def rasters(scene) -> dict[str, Path]:
    return {role: scene / f"{role}.tif" for role in ("fine_t1", "coarse_t1", "coarse_t2")}
