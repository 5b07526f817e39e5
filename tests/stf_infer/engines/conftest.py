# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from handmade_bundle import make_bundle
from stf_infer.bundle import Bundle


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    """A bundle that only the toys can run."""
    return Bundle.open(make_bundle(tmp_path / "place" / "net.stf"))


@pytest.fixture
def blur(blur_bundle, tmp_path) -> Bundle:
    """A bundle of one's own, of a network that every backend runs."""
    return Bundle.open(shutil.copytree(blur_bundle, tmp_path / "place" / "blur.stf"))


@pytest.fixture
def snapshot():
    """Every file below a folder, with its content."""

    def take(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return take
