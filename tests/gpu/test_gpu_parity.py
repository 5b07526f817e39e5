# SPDX-License-Identifier: Apache-2.0
"""The parity suite on a GPU (``nox -s gpu``): every network, every target that is there, one file of results.

``benchmarks/results/gpu-<device>.json`` is written from what passed. The suite itself is tested on CPU targets below.
"""

from __future__ import annotations

import contextlib
import json
import shutil

import pytest

import gpu_support
import zoo_support as zoo
from stf_export import reduce
from stf_infer import golden
from stf_infer.accuracy import procedural_tiles, store_tiles
from stf_infer.bundle import Bundle
from stf_infer.demo import bundle_path as demo_bundle
from stf_infer.engines import machine, registry
from stf_infer.errors import ExportError
from support import REPOSITORY

REDUCED = ("fp16", "int8")


@pytest.fixture(scope="module")
def rows():
    found: list[dict[str, object]] = []
    yield found
    if found:
        gpu_support.write(found, REPOSITORY / "benchmarks" / "results", machine.gpus()[0].name)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("gpu"), {}

    def do(name: str) -> Bundle:
        if name not in made:
            made[name] = zoo.exported(name, folder)
            store_tiles(made[name], procedural_tiles(made[name].spec).first(1))
            for precision in REDUCED:
                with contextlib.suppress(ExportError):  # a network without anything to reduce
                    reduce(made[name], precision, budget="none")
            made[name] = Bundle.open(made[name].path)
        return made[name]

    return do


@pytest.mark.gpu
@pytest.mark.parametrize("target", gpu_support.targets())
@pytest.mark.parametrize("network", zoo.CASES)
@pytest.mark.parametrize("precision", ["fp32", *REDUCED])
def test_a_network_on_the_gpu(precision, network, target, exported, rows):
    if not machine.gpus():
        pytest.skip("no NVIDIA GPU, or no driver for it")
    if why := gpu_support.standing(target):
        pytest.skip(f"{target}: {why}")
    if precision not in registry.target(target).probe().precisions:
        pytest.skip(f"{target} does not compute in {precision}")
    bundle = exported(network)
    if precision not in bundle.precisions:
        pytest.skip(f"nothing of {network} can be reduced to {precision}")
    rows.append(gpu_support.parity(bundle, target, precision))


# The suite itself, on CPU targets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["onnxruntime-cpu", "openvino-cpu"])
def test_the_suite_measures_what_it_says(blur_bundle, target, tmp_path):
    pytest.importorskip(target.partition("-")[0])
    row = gpu_support.parity(Bundle.open(shutil.copytree(blur_bundle, tmp_path / "blur.stf")), target)
    assert (row["network"], row["target"]) == ("blur", target)
    assert row["relative"] < 1e-5
    assert row["against_cpu"] < 1e-5
    assert row["ms_a_tile"] > 0
    assert row["build_s"] > 0
    path = gpu_support.write([row, {**row, "network": "a"}], tmp_path, "NVIDIA L4 (x2)")
    assert path.name == "gpu-nvidia-l4-x2.json"
    data = json.loads(path.read_text())
    assert [r["network"] for r in data["rows"]] == ["a", "blur"]
    assert data["versions"][target]


def test_the_suite_holds_reduced_engines_to_fp32(tmp_path):
    bundle = Bundle.open(shutil.copytree(demo_bundle(), tmp_path / "demo.stf"))
    reduce(bundle, "int8", budget="none")
    row = gpu_support.parity(Bundle.open(bundle.path), "onnxruntime-cpu", "int8")
    assert (row["precision"], row["tolerance"]) == ("int8", golden.tolerance_of("int8"))
    assert 1e-5 < row["against_cpu"] < row["tolerance"]


def test_an_engine_that_computes_something_else_fails_the_suite(blur_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "compare", lambda *_: golden.Difference(1.0, 0.5, 0.1))
    bundle = Bundle.open(shutil.copytree(blur_bundle, tmp_path / "blur.stf"))
    with pytest.raises(AssertionError, match=r"relative=0\.5"):
        gpu_support.parity(bundle, "onnxruntime-cpu")


def test_the_targets_are_those_of_the_gpu(monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: (machine.Gpu("L4", 89, (13, 0)),))
    assert gpu_support.targets() == [
        "onnxruntime-cuda",
        "onnxruntime-tensorrt",
        "tensorrt-sm89",
        "tensorrt-rtx-sm89",
    ]
