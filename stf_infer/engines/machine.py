# SPDX-License-Identifier: Apache-2.0
"""What this machine is: the parts of an engine key that name a device. No backend is imported to find out."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

# Instruction sets that compiled code depends on, as Linux calls them on x86 and ARM.
_FEATURES = (
    "sse4_2", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_int8", "amx_bf16", "amx_fp16", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip


@dataclass(frozen=True)
class Cpu:
    """The processor.

    Attributes:
        name: As it calls itself.
        features: The instruction sets that it offers, of those that compiled code depends on.
    """

    name: str
    features: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({' '.join(self.features)})" if self.features else self.name

    @property
    def has_bf16(self) -> bool:
        """Whether it multiplies bfloat16 numbers by itself."""
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(self.features))


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU.

    Attributes:
        name: As it calls itself.
        sm: Its compute capability without the point: 87 for 8.7.
        cuda: The newest CUDA version that its driver knows, as (major, minor).
    """

    name: str
    sm: int
    cuda: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name} (sm{self.sm}, CUDA {self.cuda[0]})"


@cache
def cpu() -> Cpu:
    """The processor of this machine."""
    try:
        text = _CPUINFO.read_text()
    except OSError:
        text = ""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            facts.setdefault(name.strip().lower(), value.strip())
    offered = set((facts.get("flags") or facts.get("features") or "").split())
    part = f"implementer {facts['cpu implementer']} part {facts['cpu part']}" if "cpu part" in facts else ""
    name = facts.get("model name") or facts.get("hardware") or part or platform.processor()
    return Cpu(" ".join((name or platform.machine()).split()), tuple(f for f in _FEATURES if f in offered))


def cores() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system has it
        return os.cpu_count() or 1


def peak_memory() -> int:
    """Most memory that this process has taken so far, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@cache
def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs that the driver offers, asked without a context; none where there is no driver."""
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(library)
        except OSError:
            continue
        return _ask(driver)
    return ()


def _ask(driver: ctypes.CDLL) -> tuple[Gpu, ...]:
    count, version = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    driver.cuDriverGetVersion(ctypes.byref(version))
    found = []
    for number in range(count.value):
        name, device = ctypes.create_string_buffer(256), ctypes.c_int()
        major, minor = ctypes.c_int(), ctypes.c_int()
        driver.cuDeviceGet(ctypes.byref(device), number)
        driver.cuDeviceGetName(name, 256, device)
        driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device)  # compute capability, major
        driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
        cuda = version.value // 1000, version.value % 1000 // 10
        found.append(Gpu(name.value.decode(), major.value * 10 + minor.value, cuda))
    return tuple(found)
