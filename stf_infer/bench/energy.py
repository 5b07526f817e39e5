# SPDX-License-Identifier: Apache-2.0
"""Energy of a run, as far as the machine counts it: RAPL of the processor, NVML of GPUs, INA sensors of a board.

What is read is of the whole machine while the run went on: idle power and other work are in it. RAPL and NVML count
joules; INA sensors tell volts and amperes, which are read twenty times a second and summed up (trapezoids).
"""

from __future__ import annotations

import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from . import nvml
from .result import Energy
from .sensors import ROOT, number_of, text_of

# Seconds between two looks: at sensors, and at counters alone, which may wrap around once meanwhile but not twice.
_OFTEN, _SELDOM = 0.05, 10.0

_CHIPS = ("ina3221", "ina226", "ina219", "ina260")
# Rails that all others of a board are fed from.
_INPUTS = ("VDD_IN", "POM_5V_IN")

_NOTHING = "no NVIDIA driver that counts energy; no power sensors of a board (INA)"


class _Source(ABC):
    """Something that takes energy.

    Attributes:
        name: What it is called.
        family: What reads it.
        sampled: Whether it has to be looked at often.
        joules: Since the first look.
    """

    sampled = False

    def __init__(self, name: str, family: str) -> None:
        self.name, self.family, self.joules = name, family, 0.0

    @abstractmethod
    def look(self) -> None:
        """Read it, and add what went by since the last look."""


class Counter(_Source):
    """A counter of joules that begins again at 0 when it is full.

    Args:
        name: What it is called.
        family: What reads it.
        read: Gives joules, or None where it cannot be read this time.
        full: Joules where it begins again; 0 where it does not.
    """

    def __init__(self, name: str, family: str, read: Callable[[], float | None], full: float = 0.0) -> None:
        super().__init__(name, family)
        self._read, self._full, self._last = read, full, read()

    def look(self) -> None:
        """Add what it went on by."""
        now = self._read()
        if now is None or self._last is None:
            return
        went = now - self._last
        self.joules += went if went >= 0 else went + self._full
        self._last = now


class Power(_Source):
    """A sensor of watts, summed up over time.

    Args:
        name: What it is called.
        read: Gives watts, or None where it cannot be read this time.
        clock: Seconds that go on.
    """

    sampled = True

    def __init__(self, name: str, read: Callable[[], float | None], clock: Callable[[], float]) -> None:
        super().__init__(name, "INA sensors")
        self._read, self._clock = read, clock
        self._last = clock(), read()

    def look(self) -> None:
        """Add the trapezoid between the last look and this one; a reading that fails is bridged."""
        at, watts = self._clock(), self._read()
        before, last = self._last
        if watts is None or last is None:
            self._last = (at, watts) if last is None else self._last
            return
        self.joules += (at - before) * (watts + last) / 2
        self._last = at, watts


class Meter:
    """Reads the energy of what happens inside of it; a context manager. What can be read is found when it is made.

    Args:
        root: Of the file system.
        gpus: GPUs to ask; None takes the driver's.
        clock: Seconds that go on.
    """

    def __init__(
        self,
        root: Path = ROOT,
        gpus: Iterable[nvml.Gpu] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._problem = ""
        self._sources = [*self._rapl(root), *_of_gpus(nvml.gpus() if gpus is None else gpus), *_of_board(root, clock)]
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Meter:
        if self._sources:
            wait = _OFTEN if any(source.sampled for source in self._sources) else _SELDOM
            self._thread = threading.Thread(target=self._watch, args=(wait,), name="stf-meter", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._look()

    def energy(self, pixels: int) -> Energy:
        """What was taken until the context ended, all in all and for a million output pixels."""
        if not self._sources:
            return Energy(note=f"not readable: {self._problem}; {_NOTHING}")
        joules = {source.name: source.joules for source in self._sources}
        families: dict[str, list[str]] = {}
        for source in self._sources:
            families.setdefault(source.family, []).append(source.name)
        read = "; ".join(f"{', '.join(names)} ({family})" for family, names in families.items())
        # A board's sensors see its processor; a GPU's counter does not.
        missing = f"; not of the processor: {self._problem}" if [*families] == ["NVML"] else ""
        return Energy(
            joules=joules,
            joules_a_megapixel=sum(joules.values()) / (pixels / 1e6) if pixels else None,
            note=f"{read}: the whole machine while the run went on{missing}",
        )

    def _watch(self, wait: float) -> None:
        while not self._over.wait(wait):
            self._look()

    def _look(self) -> None:
        for source in self._sources:
            source.look()

    def _rapl(self, root: Path) -> list[_Source]:
        """Packages and their memory. Cores are part of a package; the platform (psys) is taken where nothing else is.

        Zones of ``intel-rapl-mmio`` are the same packages once more.
        """
        folder = root / "sys/class/powercap"
        zones = {zone: text_of(zone / "name") or "" for zone in sorted(folder.glob("intel-rapl:*"))}
        wanted = [zone for zone, name in zones.items() if re.match(r"package|dram", name)]
        wanted = wanted or [zone for zone, name in zones.items() if name == "psys"]
        found: list[_Source] = []
        for zone in wanted:
            package = zones.get(zone.with_name(zone.name.rpartition(":")[0]), "")
            name = f"{package} {zones[zone]}".strip()
            full = (number_of(zone / "max_energy_range_uj") or 0.0) / 1e6
            if number_of(zone / "energy_uj") is not None:
                found.append(Counter(name, "RAPL", lambda z=zone: _microjoules(z), full))  # type: ignore[misc]
        if found:
            return found
        if wanted:
            what = f"{wanted[0] / 'energy_uj'} can be read by root alone"
        else:
            what = f"no energy counters of the processor (RAPL, {folder})"
        self._problem = what
        return []


def _microjoules(zone: Path) -> float | None:
    found = number_of(zone / "energy_uj")
    return None if found is None else found / 1e6


def _of_gpus(gpus: Iterable[nvml.Gpu]) -> Iterator[_Source]:
    for gpu in gpus:
        if gpu.joules() is not None:
            yield Counter(gpu.name, "NVML", gpu.joules)


def _of_board(root: Path, clock: Callable[[], float]) -> list[_Source]:
    """Rails of a board; of the one that feeds all others, that one alone."""
    rails = {**_rails_of_iio(root), **_rails_of_hwmon(root)}
    whole = {name: read for name, read in rails.items() if name in _INPUTS}
    return [Power(name, read, clock) for name, read in (whole or rails).items()]


def _rails_of_hwmon(root: Path) -> dict[str, Callable[[], float | None]]:
    """Rail to what reads its watts: ``power*_input`` in microwatts, or millivolts times milliamperes."""
    found: dict[str, Callable[[], float | None]] = {}
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if text_of(chip / "name") not in _CHIPS:
            continue
        for path in sorted(chip.glob("power[0-9]*_input")):
            label = text_of(path.with_name(path.name.replace("_input", "_label")))
            found[label or f"{chip.name} {path.name.partition('_')[0]}"] = lambda p=path: _scaled(1e-6, p)  # type: ignore[misc]
        for amperes in sorted(chip.glob("curr[0-9]*_input")):
            number = re.sub(r"\D", "", amperes.name)
            volts = chip / f"in{number}_input"
            label = text_of(chip / f"in{number}_label") or f"{chip.name} {number}"
            if label != "NC" and volts.exists():  # not connected
                found.setdefault(label, lambda v=volts, a=amperes: _scaled(1e-6, v, a))  # type: ignore[misc]
    return found


def _rails_of_iio(root: Path) -> dict[str, Callable[[], float | None]]:
    """The same of older Jetsons: ``in_power*_input`` in milliwatts, with ``rail_name_*``."""
    found: dict[str, Callable[[], float | None]] = {}
    for path in sorted((root / "sys/bus/i2c/drivers/ina3221x").glob("*/iio:device*/in_power*_input")):
        number = re.sub(r"\D", "", path.name)
        name = text_of(path.parent / f"rail_name_{number}") or f"{path.parent.name} {number}"
        if name != "NC":
            found[name] = lambda p=path: _scaled(1e-3, p)  # type: ignore[misc]
    return found


def _scaled(factor: float, *paths: Path) -> float | None:
    """The product of what files hold, scaled; None where one cannot be read."""
    for path in paths:
        number = number_of(path)
        if number is None:
            return None
        factor *= number
    return factor
