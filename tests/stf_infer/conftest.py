# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from fakes import export_blur


@pytest.fixture(scope="session")
def blur_bundle(tmp_path_factory) -> Path:
    """A real bundle: a 3 x 3 mean of fine_t1 plus the coarse change, tiles of 32. Tests must not change it."""
    pytest.importorskip("onnx")
    return export_blur(tmp_path_factory.mktemp("bundles") / "blur.stf")


@pytest.fixture(scope="session")
def noisy_bundle(tmp_path_factory) -> Path:
    """The same plus a hundredth of the noise of draws 0 and 1. Tests must not change it."""
    pytest.importorskip("onnx")
    return export_blur(tmp_path_factory.mktemp("bundles") / "noisy.stf", draws=(0, 1))
