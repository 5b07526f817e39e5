# SPDX-License-Identifier: Apache-2.0
"""Machines that are made up: files of /proc and /sys below a folder, and the library of an NVIDIA driver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Tree:
    """A file system that says what a test wants."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, folder: str, **files: Any) -> None:
        """Write files of a folder; their content ends as the kernel ends it."""
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (self.root / folder / name).write_text(f"{content}\n")


class FakeNvml:
    """``libnvidia-ml`` with GPUs that are all alike; None is what a GPU does not tell."""

    def __init__(self, count: int, *, millijoules: Sequence[int] | None = (), throttle: int = 0, used: int = 0) -> None:
        self.count, self.millijoules, self.throttle, self.used = count, millijoules, throttle, used
        self.clock, self.celsius, self.milliwatts = 1500, 55, 65_500

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: int, handle: Any) -> int:
        handle._obj.value = number + 1  # a handle is no number that means something
        return 0

    def nvmlDeviceGetName(self, handle: Any, text: Any, size: int) -> int:
        text.value = b"Fake GPU"
        return 0

    def nvmlSystemGetDriverVersion(self, text: Any, size: int) -> int:
        text.value = b"580.10"
        return 0

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int, value: Any) -> int:
        value._obj.value = {1: self.clock, 2: 5001}[kind]
        return 0

    def nvmlDeviceGetTemperature(self, handle: Any, kind: int, value: Any) -> int:
        value._obj.value = self.celsius
        return 0

    def nvmlDeviceGetPowerUsage(self, handle: Any, value: Any) -> int:
        value._obj.value = self.milliwatts
        return 0

    def nvmlDeviceGetPerformanceState(self, handle: Any, value: Any) -> int:
        return 3  # not supported

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, value: Any) -> int:
        value._obj.value = self.throttle
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, value: Any) -> int:
        if self.millijoules is None:
            return 3
        value._obj.value = self.millijoules[handle.value - 1]
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory._obj.used = self.used
        return 0
