# SPDX-License-Identifier: Apache-2.0
"""Keys, options, and what a machine says of itself."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import pytest

from stf_infer.engines import machine
from stf_infer.engines.key import EngineKey, graph_of, onnx_hash, tile_of
from stf_infer.engines.target import Option
from stf_infer.errors import AssetError, EngineError, UsageError

KEY = EngineKey("a" * 64, "toy 1", "abacus", "fp32", "fine_t1 2x32x32", 4, {"level": 3})


def test_a_key_survives_its_sidecar():
    assert EngineKey.from_dict(KEY.as_dict()) == KEY
    assert KEY.label == "fp32-b4"


@pytest.mark.parametrize("data", [None, {}, {"onnx": "a"}, {**KEY.as_dict(), "more": 1}, {**KEY.as_dict(), "flags": 3}])
def test_what_is_no_key_is_refused(data):
    with pytest.raises(EngineError, match="sidecar of the engine holds no key"):
        EngineKey.from_dict(data)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("onnx", "b" * 64),
        ("backend", "toy 2"),
        ("device", "slide rule"),
        ("precision", "fp16"),
        ("tile", "fine_t1 2x64x64"),
        ("batch", 8),
        ("flags", {}),
    ],
)
def test_every_part_counts(part, value):
    other = replace(KEY, **{part: value})
    assert KEY.differences(other) == (part,)
    assert KEY.digest() != other.digest()


def test_the_digest_is_short_and_of_what_is_given_with_it():
    assert len(KEY.digest()) == 8
    assert KEY.digest() == replace(KEY).digest()
    assert KEY.digest("x") != KEY.digest("y")


def test_both_sides_are_told_in_words():
    assert KEY.told(("onnx", "device", "flags")) == f"network {'a' * 12}, device abacus, options level=3"
    assert replace(KEY, flags={}).told(("flags",)) == "options none"


def test_the_network_s_hash_has_its_weights_in_it(bundle):
    first = onnx_hash(bundle, "model-fp32")
    assert first != bundle.assets["model-fp32"].sha256
    weights = bundle.assets["model-fp32-data"]
    bundle.assets["model-fp32-data"] = replace(weights, sha256="0" * 64)
    assert onnx_hash(bundle, "model-fp32") != first
    assert onnx_hash(bundle, "golden") == bundle.assets["golden"].sha256
    with pytest.raises(AssetError):
        onnx_hash(bundle, "model-fp64")


def test_the_graph_of_a_precision(bundle):
    assert graph_of(bundle, "fp32") == "model-fp32"
    assert graph_of(bundle, "bf16", ("bf16",)) == "model-fp32"
    with pytest.raises(
        EngineError, match=r"holds no network in int8.*Allowed: fp32.*stf-infer reduce .* --precision int8` writes one"
    ):
        graph_of(bundle, "int8", ("bf16",))
    bundle.assets["model-bf16"] = replace(bundle.assets["model-fp32"], key="model-bf16", precision="bf16")
    assert graph_of(bundle, "bf16", ("bf16",)) == "model-bf16"  # the graph's own comes first


def test_the_tile_is_that_of_every_input(bundle):
    assert tile_of(bundle) == "coarse_t1 2x8x8, fine_t1 2x32x32, coarse_t2 2x8x8"


@pytest.mark.parametrize(
    ("option", "given", "value"),
    [
        (Option("n", "", 0), "3", 3),
        (Option("n", "", 0), 3, 3),
        (Option("f", "", False), "Yes", True),
        (Option("f", "", True), "0", False),
        (Option("f", "", False), True, True),
        (Option("w", "", "a", ("a", "b")), "b", "b"),
        (Option("w", "", ""), "anything", "anything"),
    ],
)
def test_options_are_understood(option, given, value):
    assert option.parse(given) == value


@pytest.mark.parametrize(
    ("option", "given"),
    [
        (Option("n", "", 1, minimum=1), "0"),
        (Option("n", "", 0), "-1"),
        (Option("n", "", 0), "1.5"),
        (Option("w", "", "a", ("a",)), "c"),
    ],
)
def test_options_that_are_not_allowed_are_named(option, given):
    with pytest.raises(UsageError, match=f"option {option.name}"):
        option.parse(given)


# The machine -------------------------------------------------------------------------------------------------------

X86 = "processor : 0\nmodel name : AMD  EPYC\nflags : fpu avx2 fma avx512f avx512_bf16\nprocessor : 1\nmodel name : X\n"
ARM = "processor : 0\nFeatures : fp asimd asimddp bf16 i8mm\nCPU implementer : 0x41\nCPU part : 0xd42\n"


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    def do(text):
        monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
        if text is not None:
            (tmp_path / "cpuinfo").write_text(text)
        machine.cpu.cache_clear()
        return machine.cpu()

    yield do
    machine.cpu.cache_clear()


@pytest.mark.parametrize(
    ("text", "name", "features", "bf16"),
    [
        (X86, "AMD EPYC", ("avx2", "fma", "avx512f", "avx512_bf16"), True),
        (ARM, "implementer 0x41 part 0xd42", ("asimddp", "i8mm", "bf16"), True),
        ("model name : old\nflags : sse4_2\n", "old", ("sse4_2",), False),
    ],
)
def test_the_processor_is_known_by_name_and_features(cpuinfo, text, name, features, bf16):
    cpu = cpuinfo(text)
    assert (cpu.name, cpu.features, cpu.has_bf16) == (name, features, bf16)
    assert str(cpu) == f"{name} ({' '.join(features)})"


def test_a_system_that_does_not_tell_has_a_name_all_the_same(cpuinfo):
    assert str(cpuinfo(None))


def test_cores_and_memory_are_those_of_the_process():
    assert machine.cores() >= 1
    assert machine.peak_memory() > 1e6


class Driver:
    """libcuda with two GPUs."""

    def __init__(self, broken=False):
        self.broken = broken

    def cuInit(self, flags):
        return 100 if self.broken else 0

    def cuDeviceGetCount(self, count):
        count._obj.value = 2
        return 0

    def cuDriverGetVersion(self, version):
        version._obj.value = 13010

    def cuDeviceGet(self, device, number):
        device._obj.value = 7 + number

    def cuDeviceGetName(self, name, size, device):
        name.value = b"Orin" if device.value == 7 else b"L4"

    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = {75: 8, 76: 7 if device.value == 7 else 9}[attribute]


@pytest.fixture
def driver(monkeypatch):
    def do(found):
        def load(name):
            if found is None:
                raise OSError(name)
            return found

        monkeypatch.setattr(ctypes, "CDLL", load)
        machine.gpus.cache_clear()
        return machine.gpus()

    yield do
    machine.gpus.cache_clear()


def test_gpus_are_asked_for_without_a_backend(driver):
    assert driver(Driver()) == (machine.Gpu("Orin", 87, (13, 1)), machine.Gpu("L4", 89, (13, 1)))
    assert str(machine.gpus()[0]) == "Orin (sm87, CUDA 13)"


@pytest.mark.parametrize("found", [None, Driver(broken=True)])
def test_no_driver_is_no_gpu(driver, found):
    assert driver(found) == ()
