# SPDX-License-Identifier: Apache-2.0
"""Calls of ``stf-infer run`` with a real bundle and good inputs, of which a test changes what it is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import toy_backend
from fakes import block_mean, smooth_field, write_tif
from handmade_bundle import make_bundle
from stf_infer.cli import main
from stf_infer.engines import building, registry

HEIGHT, WIDTH = 61, 83


class Call:
    """What a call of the command line gave."""

    def __init__(self, *arguments: Any) -> None:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr

    @property
    def data(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


@pytest.fixture
def rasters(tmp_path) -> dict[str, Any]:
    """Good inputs; reflectance as floats, named bands."""
    folder = tmp_path / "in"
    folder.mkdir()
    fine = smooth_field(2, HEIGHT, WIDTH)
    coarse = block_mean(fine, 4)
    names = ("red", "nir")
    return {
        "--fine-t1": write_tif(folder / "f1.tif", fine, names=names),
        "--coarse-t1": write_tif(folder / "c1.tif", coarse, pixel=120, names=names),
        "--coarse-t2": write_tif(folder / "c2.tif", coarse + np.float32(0.05), pixel=120, names=names),
    }


@pytest.fixture
def out(tmp_path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "f2.tif"


@pytest.fixture
def run(blur_bundle, rasters, out):
    """Call the verb with good inputs, some of them changed; None leaves one out."""

    def call(*more: Any, bundle: Any = blur_bundle, output: Any = out, **changed: Any) -> Call:
        given = {**rasters, **{f"--{k.replace('_', '-')}": v for k, v in changed.items()}}
        pairs = [part for flag, value in given.items() if value is not None for part in (flag, value)]
        return Call("run", bundle, *pairs, *([] if output is None else ["-o", output]), *more)

    return call


@pytest.fixture
def refused(run, out):
    """The call fails with exit code 2, says so as JSON and in words, and leaves nothing at the destination."""

    def call(*more: Any, error: str, says: str, **changed: Any) -> dict[str, Any]:
        result = run("--json", *more, **changed)
        assert result.code == 2, result.err
        assert result.data["error"] == error
        assert set(result.data) == {"error", "what", "got", "allowed", "fix"}
        words = " ".join(result.err.split())
        assert says in words
        assert "Traceback" not in words
        assert list(out.parent.iterdir()) == []
        return result.data

    return call


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A bundle, the toys, and a build in this process."""
    forget = registry.plugins.cache_clear
    toy_backend.install(tmp_path / "site", monkeypatch)
    monkeypatch.setattr(registry, "BUILT_IN", {})
    monkeypatch.setattr(building, "run_apart", lambda errand, request, say: building.compile_here(request, say))
    yield make_bundle(tmp_path / "place" / "net.stf")
    forget()
