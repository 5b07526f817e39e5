# SPDX-License-Identifier: Apache-2.0
"""Every network of the zoo, small and with random weights: exported, run over a scene, built for a GPU.

``benchmarks/zoo_table.py`` makes docs/networks.md of what these tests report.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import zoo_support as zoo
from stf_export import networks
from stf_infer.bundle import Bundle

IMAGES = [name for name, case in zoo.CASES.items() if case.is_image]
# Random weights make anything of the values, but a border of tiles must not be the steepest thing in sight.
SEAM = 2.0


class Exports:
    """Bundles and graphs, each written once; a network whose export failed fails at once the next time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundles: dict[str, Bundle] = {}
        self.bare: dict[str, tuple[Path, float]] = {}
        self.failed: dict[str, Exception] = {}

    def bundle(self, name: str) -> Bundle:
        if name not in self.bundles:
            self.bundles[name] = self._once(name, zoo.exported)
        return self.bundles[name]

    def graph(self, name: str) -> tuple[Path, float]:
        """The ONNX file and how far it is from torch."""
        if zoo.CASES[name].is_image:
            bundle = self.bundle(name)
            return bundle.asset("model-fp32"), float(bundle.parity["relative"])
        if name not in self.bare:
            self.bare[name] = self._once(name, zoo.exported_bare)
        return self.bare[name]

    def _once(self, name, write):
        if name in self.failed:
            raise self.failed[name]
        try:
            return write(name, self.folder)
        except Exception as error:
            self.failed[name] = error
            raise


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield Exports(tmp_path_factory.mktemp("zoo"))
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _leave_out(request):
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    if name and (why := zoo.left_out(name)):
        pytest.skip(f"{why}; STF_ZOO=all runs it")


def test_every_network_has_a_case():
    assert set(zoo.CASES) == set(networks.names()), "add a small form of the network to tests/zoo_support.py"


@pytest.mark.parametrize("name", zoo.CASES)
def test_graph_computes_what_torch_computes(name, exports, record_property):
    _, relative = exports.graph(name)
    record_property("figure", relative)
    assert relative <= zoo.CASES[name].parity


@pytest.mark.parametrize("name", IMAGES)
def test_scene(name, exports, record_property):
    spec = exports.bundle(name).spec
    result = zoo.fused(exports.bundle(name))
    record_property("figure", result.seam_ratio)
    record_property("tile", f"{spec.tile.height} {spec.tile.mode}")
    assert result.array.shape[0] == len(spec.output.bands)
    assert result.array.shape[1] == result.array.shape[2]
    assert result.tiles >= 4
    assert np.isfinite(result.array).all()
    # Neither constant nor cut off at a limit.
    low, high = result.array.min(), result.array.max()
    assert high > low
    assert np.mean((result.array == low) | (result.array == high)) < 0.5
    assert result.seam_ratio < SEAM


@pytest.mark.parametrize("name", zoo.CASES)
def test_builds_for_tensorrt_rtx(name, exports, record_property):
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    from tensorrt_support import build

    path, _ = exports.graph(name)
    size = build(path)
    record_property("figure", size)
    assert size > 0
