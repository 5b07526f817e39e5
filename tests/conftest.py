# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import toy_backend
from cuda_emulation import build_emulated
from fakes import export_blur
from networks_table import NetworksTable
from shared_work import folder_of_the_run
from stf_infer.engines import registry


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--networks-table", metavar="FILE", help="write the table of networks from this run's tests")


def pytest_configure(config: pytest.Config) -> None:
    if file := config.getoption("--networks-table"):
        config.pluginmanager.register(NetworksTable(Path(file).resolve()))


@pytest.fixture(autouse=True, scope="session")
def caches_of_the_tests_alone(tmp_path_factory):
    """What is measured in a test is no news for the user's own runs, nor theirs for a test."""
    before = os.environ.get("STF_CACHE")
    os.environ["STF_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["STF_CACHE"]
    else:
        os.environ["STF_CACHE"] = before


@pytest.fixture(autouse=True, scope="session")
def away_from_the_source_tree(tmp_path_factory):
    """Run elsewhere: a child process would import the source tree, which holds no compiled core, from here."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def emulated_cuda(tmp_path_factory) -> Any:
    """``stf_infer._cuda``, compiled for the host."""
    return build_emulated(folder_of_the_run(tmp_path_factory, "emulated"))


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


@pytest.fixture
def toys(tmp_path, monkeypatch) -> Iterator[None]:
    """The backend of ``toy_backend``, installed as a plug-in."""
    forget = registry.plugins.cache_clear
    toy_backend.install(tmp_path / "site", monkeypatch)
    yield
    forget()
