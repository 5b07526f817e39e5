# SPDX-License-Identifier: Apache-2.0
"""Clocks and temperatures while rows are measured: looked at once a second, since an idle machine tells others."""

from __future__ import annotations

import statistics
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from . import nvml, sensors
from .sensors import ROOT

_EVERY = 1.0  # seconds; a look takes about a millisecond


class Watch:
    """Looks until it is left; a context manager.

    Args:
        root: Of the file system.

    Attributes:
        during: Median clock of the fastest core (MHz) and the highest temperature (degrees C), row by row.
        slowed: GPU to why it ran below its clock at any time.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.during: dict[str, list[float]] = {}
        self.slowed: dict[str, set[str]] = {}
        self._clocks: list[float] = []
        self._celsius: list[float] = []
        self._over, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="stf-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_EVERY):
            self.look()

    def look(self) -> None:
        """Read everything now."""
        clocks, celsius = sensors.core_mhz(self.root), sensors.temperatures(self.root)
        gpus: dict[str, dict[str, Any]] = {gpu.name: gpu.readings() for gpu in nvml.gpus()}
        hottest = [*celsius.values(), *(one["celsius"] for one in gpus.values() if "celsius" in one)]
        with self._lock:
            self._clocks += [max(clocks)] if clocks else []
            self._celsius += [max(hottest)] if hottest else []
            for name, one in gpus.items():
                if one.get("throttled"):
                    self.slowed.setdefault(name, set()).update(one["throttled"])

    def end_row(self) -> None:
        """A row is done: what was seen while it ran is its own."""
        if not self._clocks and not self._celsius:
            self.look()  # it took less than a second
        with self._lock:
            if self._clocks:
                self.during.setdefault("fastest_core_mhz", []).append(statistics.median(self._clocks))
            if self._celsius:
                self.during.setdefault("hottest_celsius", []).append(max(self._celsius))
            self._clocks, self._celsius = [], []
