# SPDX-License-Identifier: Apache-2.0
"""Helpers for tests: where shared test material lies, and why a test is skipped without it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_root() -> Path:
    """The folder of the shared test material, whether it is there or not."""
    return Path(os.environ.get("STF_SHARED", REPOSITORY.parent / "shared"))


def shared_path(*parts: str) -> Path:
    """A file or folder of the shared test material; skips the test where it is absent."""
    path = shared_root().joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs the shared test material: {'/'.join(parts)} (set STF_SHARED to its folder)")
    return path


def module_at(path: Path, name: str) -> ModuleType:
    """The module of a file, wherever it lies; each call runs it anew."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
