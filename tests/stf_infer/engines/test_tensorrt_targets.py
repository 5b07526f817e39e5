# SPDX-License-Identifier: Apache-2.0
"""What the targets of TensorRT and TensorRT-RTX say of the machine that they are on."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import replace

import pytest

from stf_infer.engines import machine, registry
from stf_infer.engines import tensorrt as backend
from stf_infer.engines.tensorrt import RtxTarget, TensorRtTarget, later

ORIN, L4 = machine.Gpu("Orin", 87, (12, 6)), machine.Gpu("L4", 89, (13, 0))


@pytest.fixture
def machine_with(monkeypatch):
    def do(*found, packages=("tensorrt", "tensorrt_rtx", "pycuda")):
        for module in (backend, registry):
            monkeypatch.setattr(module, "gpus", lambda: found)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in packages else None)
        monkeypatch.setattr(backend, "package_version", lambda *names: "10.9.0")

    return do


@pytest.mark.parametrize(
    ("name", "gpus", "packages", "usable", "builds", "reason", "extra"),
    [
        ("tensorrt-sm87", (ORIN,), ("tensorrt", "pycuda"), True, True, "", "tensorrt"),
        ("tensorrt-sm87", (ORIN,), (), False, False, "the package tensorrt is not installed", "tensorrt"),
        ("tensorrt-sm87", (ORIN,), ("tensorrt",), False, True, "the package pycuda is not installed", "cuda"),
        ("tensorrt-sm87", (L4,), ("tensorrt",), False, False, "no NVIDIA GPU of capability sm87 (sm89 here)", ""),
        ("tensorrt-smXX", (), ("tensorrt",), False, False, "no NVIDIA GPU (none here)", ""),
        ("tensorrt-rtx-sm89", (L4,), ("tensorrt_rtx", "pycuda"), True, True, "", "tensorrt-rtx"),
        ("tensorrt-rtx-sm89", (), ("tensorrt_rtx",), False, True, "runs on an NVIDIA GPU of capability 8.9, and", ""),
        ("tensorrt-rtx-sm120", (L4,), ("tensorrt_rtx",), False, True, "capability 12.0, and there is none here", ""),
        (
            "tensorrt-rtx-sm89",
            (L4,),
            (),
            False,
            False,
            "the package tensorrt-rtx-cu13 is not installed",
            "tensorrt-rtx",
        ),
    ],
)
def test_how_a_target_stands(machine_with, name, gpus, packages, usable, builds, reason, extra):
    machine_with(*gpus, packages=packages)
    info = backend.target(name).probe()
    assert (info.usable, info.builds, info.extra) == (usable, builds, extra)
    assert reason in info.reason
    assert (info.reason == "") == usable


def test_targets_are_listed_for_the_gpus_that_are_there(machine_with):
    machine_with(ORIN, L4)
    names = [i.name for i in registry.available() if i.name.startswith("tensorrt-sm")]
    assert names == ["tensorrt-sm87", "tensorrt-sm89"]
    machine_with()
    assert [i.name for i in registry.available() if i.name.startswith("tensorrt-sm")] == ["tensorrt-smXX"]


@pytest.mark.parametrize(
    ("hardware", "gpu", "device"),
    [
        ("this", ORIN, "sm87 Orin"),
        ("same", ORIN, "sm87"),
        ("ampere", ORIN, "sm80 and newer"),
        ("ampere", replace(ORIN, sm=75), "sm75"),
    ],
)
def test_the_key_names_the_devices_that_the_plan_runs_on(machine_with, hardware, gpu, device):
    machine_with(gpu)
    assert TensorRtTarget(f"tensorrt-sm{gpu.sm}", gpu.sm).device({"hardware": hardware}) == device
    assert RtxTarget("tensorrt-rtx-sm89", 89).device({}) == "sm89"


@pytest.mark.parametrize(
    ("stored", "here", "fits"),
    [
        ("tensorrt 10.9.0", "tensorrt 10.9.0", True),
        ("tensorrt 10.9.0", "tensorrt 10.13.2", True),
        ("tensorrt 10.13.2", "tensorrt 10.9.0", False),
        ("tensorrt 10.9.0", "tensorrt 11.0.0", False),
        ("tensorrt 10.9.0.post1", "tensorrt 10.9.0", False),
        ("tensorrt ", "tensorrt 10.9.0", False),
    ],
)
def test_later_versions_of_the_same_major_one(stored, here, fits):
    assert later(stored, here) == fits


def test_the_builder_of_a_gpu_target_keeps_what_it_timed(machine_with, monkeypatch, tmp_path):
    machine_with(ORIN)
    monkeypatch.setenv("STF_CACHE", str(tmp_path))
    assert TensorRtTarget("tensorrt-sm87", 87).timing() == tmp_path / "timing" / "tensorrt-10.9.0-Orin.cache"
