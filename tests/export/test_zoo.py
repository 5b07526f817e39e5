# SPDX-License-Identifier: Apache-2.0
"""Every network of the zoo, small and with random weights: exported, run over a scene, built for a GPU.

``--networks-table`` makes a page of what these tests report (:mod:`networks_table`).
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import zoo_support as zoo
from sample_zoo import check_arrays, check_files
from stf_export import networks, reduce
from stf_infer.accuracy import procedural_tiles, store_tiles
from stf_infer.bundle import Bundle

IMAGES = [name for name, case in zoo.CASES.items() if not case.samples]
SAMPLES = [name for name, case in zoo.CASES.items() if case.samples]
# Random weights make anything of the values, but a border of tiles must not be the steepest thing in sight.
SEAM = 2.0


def test_every_network_has_a_case():
    assert set(zoo.CASES) == set(networks.names()), "add a small form of the network to tests/zoo_support.py"


@pytest.mark.parametrize("name", zoo.CASES)
def test_graph_computes_what_torch_computes(name, exports, record_property):
    bundle = exports.bundle(name)
    parity, graph = bundle.parity, bundle.properties["stf:graph"]
    record_property("nodes", "{nodes} of {nodes_before}".format(**graph))
    record_property("relative", parity["relative"])
    record_property("batches", ", ".join(map(str, parity["batches"])))
    assert tuple(parity["batches"]) == zoo.BATCHES
    assert parity["relative"] <= parity["tolerance"] <= 1e-4
    assert 0 < graph["nodes"] <= graph["nodes_before"]


@pytest.mark.parametrize("name", IMAGES)
def test_scene(name, exports, record_property):
    spec = exports.bundle(name).spec
    result = zoo.fused(exports.bundle(name))
    record_property("seam", result.seam_ratio)
    record_property("tile", f"{spec.tile.height} {spec.tile.mode}")
    assert result.array.shape[0] == len(spec.output.bands)
    assert result.array.shape[1] == result.array.shape[2]
    assert result.tiles >= 4
    assert np.isfinite(result.array).all()
    # Neither constant nor all cut off at a limit, as half of what a random network makes of noise is.
    low, high = result.array.min(), result.array.max()
    assert high > low
    assert np.mean((result.array == low) | (result.array == high)) < 0.75
    assert result.seam_ratio < SEAM


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(name, exports, tmp_path, record_property):
    bundle, network, options = exports.bundle(name), zoo.made(name), zoo.CASES[name].options
    record_property("relative", check_arrays(bundle, network, options))
    check_files(bundle, network, options, tmp_path)


@pytest.mark.parametrize("name", zoo.CASES)
def test_builds_for_tensorrt_rtx(name, exports, record_property):
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    from tensorrt_support import build

    size = build(exports.bundle(name).asset("model-fp32"))
    record_property("megabytes", size / 1e6)
    assert size > 0


@pytest.mark.parametrize("name", zoo.CASES)
def test_builds_for_tensorrt_rtx_in_fp16(name, exports, tmp_path, record_property):
    reduced_and_built(exports.bundle(name), "fp16", tmp_path, record_property)


@pytest.mark.parametrize("name", zoo.CASES)
def test_builds_for_tensorrt_rtx_in_int8(name, exports, tmp_path, record_property):
    reduced_and_built(exports.bundle(name), "int8", tmp_path, record_property)


def reduced_and_built(bundle, precision, folder, record_property):
    """Reduce a copy of a bundle without a budget, which random weights have no use for, and build what was written."""
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    from tensorrt_support import build

    copy = Bundle.open(shutil.copytree(bundle.path, folder / "net.stf"))
    store_tiles(copy, procedural_tiles(copy.spec).first(1))
    report = reduce(copy, precision, budget="none")
    assert report.accuracy.not_finite == 0
    assert report.accuracy.worst[1] < 0.5  # rounded, and still the network
    assert report.share > 0
    size = build(report.path)
    record_property("megabytes", size / 1e6)
    record_property("share", report.share)
    assert size > 0
