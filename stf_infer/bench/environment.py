# SPDX-License-Identifier: Apache-2.0
"""What a bench ran on, and whether the machine was quiet: read before, while every row is measured, and at the end."""

from __future__ import annotations

import platform
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engines import machine as hardware
from ..engines.base import package_version
from . import activity, nvml, sensors
from .activity import Moment
from .result import Distribution, Machine, Row
from .sensors import ROOT
from .watch import Watch

# Packages of which a version is noted where they are installed.
_PACKAGES = (
    "numpy", "rasterio", "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "openvino", "tensorrt",
    "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu13", "pycuda",
)  # fmt: skip

# How long is looked whether others work, before anything is measured.
_LOOK = 0.5

# From where on a person should know.
_STEAL, _OTHERS, _HELD_BACK, _CLOCK, _SPREAD, _DRIFT = 0.01, 0.1, 0.01, 0.85, 1.5, 1.15


@dataclass(frozen=True)
class Environment:
    """A machine on which a bench runs. Begin with :meth:`before`.

    Attributes:
        root: Of the file system.
        noise: Shares that were read before.
        readings: Sensors before anything was measured.
        started: Counters at that moment.
        watch: What is seen while rows are measured; to be entered.
    """

    root: Path
    noise: dict[str, float]
    readings: dict[str, Any]
    started: Moment
    watch: Watch

    @classmethod
    def before(cls, root: Path = ROOT) -> Environment:
        """Look for a moment whether others work, and read the sensors."""
        noise, first = activity.load(root), Moment.now(root)
        time.sleep(_LOOK)
        found = activity.shares(first, Moment.now(root))
        if "others" in found:
            noise["busy_before"] = found["others"]
        return cls(root, noise, _readings(root), Moment.now(root), Watch(root))

    def machine(self, rows: Sequence[Row]) -> Machine:
        """What the bench ran on, with warnings where figures may be off."""
        after = _readings(self.root)
        shares = activity.shares(self.started, Moment.now(self.root))
        cpu = hardware.cpu()
        return Machine(
            system=_system(self.root),
            cpu=cpu.name,
            features=cpu.features,
            cores=hardware.cores(),
            memory=activity.memory(self.root),
            gpus=tuple(str(gpu) for gpu in hardware.gpus()),
            libraries=_libraries(),
            readings={"before": self.readings, "during": self.watch.during, "after": after},
            noise=self.noise | shares,
            warnings=(*self._of_machine(shares, after), *_of_rows(rows)),
        )

    def _of_machine(self, shares: dict[str, float], after: dict[str, Any]) -> Iterator[str]:
        for name, share, limit, words in (
            ("busy_before", self.noise, _OTHERS, "Other programs took {} of the processor before the bench began"),
            ("others", shares, _OTHERS, "Other programs took {} of the processor while it ran"),
            ("steal", shares, _STEAL, "The host gave {} of the processor's time to other virtual machines (steal)"),
            ("held_back", shares, _HELD_BACK, "A CPU quota of the container held the bench back for {} of its time"),
        ):
            if share.get(name, 0.0) > limit:
                yield words.format(f"{share[name]:.0%}") + "."
        clocks = self.watch.during.get("fastest_core_mhz", [])
        if clocks and clocks[-1] < _CLOCK * max(clocks):
            yield f"The clock fell from {max(clocks):.0f} to {clocks[-1]:.0f} MHz between rows (the fastest core)."
        if after.get("throttled", 0) > self.readings.get("throttled", 0):
            yield "Cores were slowed down for heat while the bench ran."
        for gpu, reasons in self.watch.slowed.items():
            yield f"{gpu} ran below its clock: {', '.join(sorted(reasons))}."
        if sensors.on_battery(after):
            yield "The machine ran on its battery."


def _of_rows(rows: Sequence[Row]) -> Iterator[str]:
    """What single measurements say of the machine."""
    for row in rows:
        if row.latency is None:
            continue
        tile = row.latency.tile
        if not row.latency.stable:
            yield f"{row.name}: calls had not come to rest after {row.latency.warm_up} of warm-up."
        if tile.p90 > _SPREAD * tile.p50:
            yield f"{row.name}: one call in ten took {tile.p90 / tile.p50:.1f} times the median or longer."
        drift = _drift(tile)
        if drift > _DRIFT:
            yield f"{row.name}: the last quarter of the calls took {drift:.2f} times as long as the first."


def _drift(tile: Distribution) -> float:
    """Median of the last quarter of the measurements over that of the first; 1 of few."""
    quarter = len(tile.samples) // 4
    if quarter < 5:
        return 1.0
    return statistics.median(tile.samples[-quarter:]) / statistics.median(tile.samples[:quarter])


def _readings(root: Path) -> dict[str, Any]:
    found = sensors.readings(root)
    gpus = {gpu.name: gpu.readings() for gpu in nvml.gpus()}
    return found | ({"gpus": gpus} if gpus else {})


def _system(root: Path) -> str:
    """Board, distribution and kernel."""
    named = re.search(r'^PRETTY_NAME="?([^"\n]+)', sensors.text_of(root / "etc/os-release") or "", re.MULTILINE)
    board = sensors.text_of(root / "proc/device-tree/model")
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    return ", ".join(filter(None, (board, named[1] if named else None, kernel)))


def _libraries() -> dict[str, str]:
    """Versions of everything that computes, reads or writes."""
    import rasterio

    found = {"python": platform.python_version()}
    found |= {name: version for name in _PACKAGES if (version := package_version(name))}
    found["gdal"] = rasterio.__gdal_version__
    if version := nvml.driver():
        found["nvidia-driver"] = version
    return found
