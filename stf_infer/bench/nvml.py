# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA's driver says of its GPUs: clocks, temperature, power, energy, memory. Asked without a package.

Its library comes with the driver. Of a GPU that does not tell something, that is left out. Not run on a GPU yet.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from typing import Any

_LIBRARIES = ("libnvidia-ml.so.1", "nvml.dll")

# Clock types of nvmlDeviceGetClockInfo.
_SM, _MEMORY = 1, 2

# Why a GPU runs below its clock (nvmlDeviceGetCurrentClocksThrottleReasons), as far as it means that figures are off.
_THROTTLING = {
    0x4: "its power limit",
    0x8: "its hardware slows it down",
    0x20: "heat",
    0x40: "heat",
    0x80: "the power supply",
}


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Gpu:
    """One GPU of an open library."""

    def __init__(self, library: Any, number: int) -> None:
        self._library, self.number, self._handle = library, number, ctypes.c_void_p()
        self._problem = library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(self._handle))

    @property
    def name(self) -> str:
        """What it calls itself, and its number: two GPUs may be of one kind."""
        text = ctypes.create_string_buffer(96)
        known = self._problem == 0 and self._library.nvmlDeviceGetName(self._handle, text, 96) == 0
        return f"gpu-{self.number} {text.value.decode(errors='replace') if known else ''}".strip()

    def readings(self) -> dict[str, Any]:
        """Clocks in MHz, degrees C, watts, performance state (0 is the highest) and why it is throttled."""
        found: dict[str, Any] = {
            "sm_mhz": self._number("nvmlDeviceGetClockInfo", _SM),
            "memory_mhz": self._number("nvmlDeviceGetClockInfo", _MEMORY),
            "celsius": self._number("nvmlDeviceGetTemperature", 0),
            "performance_state": self._number("nvmlDeviceGetPerformanceState"),
        }
        milliwatts = self._number("nvmlDeviceGetPowerUsage")
        found["watts"] = None if milliwatts is None else milliwatts / 1e3
        reasons = self._number("nvmlDeviceGetCurrentClocksThrottleReasons", kind=ctypes.c_ulonglong)
        if reasons is not None:
            found["throttled"] = sorted({why for bit, why in _THROTTLING.items() if reasons & bit})
        return {name: value for name, value in found.items() if value is not None}

    def joules(self) -> float | None:
        """Energy since the driver was loaded; None where the GPU does not count it (before Volta)."""
        millijoules = self._number("nvmlDeviceGetTotalEnergyConsumption", kind=ctypes.c_ulonglong)
        return None if millijoules is None else millijoules / 1e3

    def used_memory(self) -> int | None:
        """Bytes of its memory that are taken, by all processes together."""
        memory = _Memory()
        if self._problem or self._library.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(memory)):
            return None
        return int(memory.used)

    def _number(self, function: str, *arguments: int, kind: Any = ctypes.c_uint) -> int | None:
        if self._problem:
            return None
        value = kind()
        ask = getattr(self._library, function, None)
        if ask is None or ask(self._handle, *arguments, ctypes.byref(value)) != 0:
            return None
        return int(value.value)


@cache
def _library() -> Any:
    """The library, started; None where there is no driver."""
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        return library if library.nvmlInit_v2() == 0 else None
    return None


def gpus(library: Any = None) -> Iterator[Gpu]:
    """Every GPU of the driver; none where there is no driver.

    Args:
        library: What to ask; None takes the driver's.
    """
    library = library or _library()
    count = ctypes.c_uint()
    if library is None or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return
    for number in range(count.value):
        yield Gpu(library, number)


def driver(library: Any = None) -> str:
    """Version of the driver, or empty."""
    library, text = library or _library(), ctypes.create_string_buffer(96)
    if library is None or library.nvmlSystemGetDriverVersion(text, 96):
        return ""
    return text.value.decode(errors="replace")


def used_memory(library: Any = None) -> int | None:
    """Bytes of memory of all GPUs that are taken, by whomever; None where there is no GPU, or none says it."""
    found = [used for gpu in gpus(library) if (used := gpu.used_memory()) is not None]
    return sum(found) if found else None
