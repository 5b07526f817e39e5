# SPDX-License-Identifier: Apache-2.0
"""Who else uses the processor: what the kernel counts of its time, between two moments.

Steal is time that the host of a virtual machine gave to others. What is busy and neither this process nor its children
is other work. Every reader takes the root of the file system.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from .sensors import ROOT, number_of, text_of

_HERTZ = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Moment:
    """Counters at one moment, in seconds; all cores together.

    Attributes:
        at: Wall clock.
        total: Of all kinds, idle too; 0 where nothing is counted.
        idle: Nothing to do, or waiting for a disk.
        steal: Given to other virtual machines.
        own: Spent by this process and by children that have ended.
        held_back: Time that a quota of the container kept work waiting.
    """

    at: float
    total: float
    idle: float
    steal: float
    own: float
    held_back: float

    @classmethod
    def now(cls, root: Path = ROOT) -> Moment:
        """The counters of now."""
        fields = (text_of(root / "proc/stat") or "cpu").splitlines()[0].split()[1:]
        # user nice system idle iowait irq softirq steal; guest times are part of user's.
        counted = [int(field) / _HERTZ for field in fields[:8]] + [0.0] * (8 - len(fields[:8]))
        spent = os.times()
        throttled = re.search(r"^throttled_usec (\d+)", text_of(root / "sys/fs/cgroup/cpu.stat") or "", re.MULTILINE)
        return cls(
            at=time.monotonic(),
            total=sum(counted),
            idle=counted[3] + counted[4],
            steal=counted[7],
            own=spent.user + spent.system + spent.children_user + spent.children_system,
            held_back=int(throttled[1]) / 1e6 if throttled else 0.0,
        )


def shares(one: Moment, other: Moment) -> dict[str, float]:
    """What happened between two moments, as shares of the time of all cores: ``steal``, ``others``, ``held_back``.

    Empty where the kernel counts nothing.
    """
    total = other.total - one.total
    if total <= 0:
        return {}
    steal, own = other.steal - one.steal, other.own - one.own
    busy = total - (other.idle - one.idle) - steal
    return {
        "steal": max(steal / total, 0.0),
        "others": min(max((busy - own) / total, 0.0), 1.0),
        "held_back": max(other.held_back - one.held_back, 0.0) / max(other.at - one.at, 1e-9),
    }


def load(root: Path = ROOT) -> dict[str, float]:
    """Processes that want to run, mean over a minute; and the share of time in which one had to wait (10 s, PSI)."""
    found: dict[str, float] = {}
    words = (text_of(root / "proc/loadavg") or "").split()
    if words:
        found["load_1min"] = float(words[0])
    pressure = re.search(r"^some avg10=([\d.]+)", text_of(root / "proc/pressure/cpu") or "", re.MULTILINE)
    if pressure:
        found["cpu_pressure"] = float(pressure[1]) / 100
    return found


def memory(root: Path = ROOT) -> int:
    """Bytes of memory that this process may use: the machine's, or the limit of its container."""
    total = re.search(r"^MemTotal:\s+(\d+) kB", text_of(root / "proc/meminfo") or "", re.MULTILINE)
    machine = int(total[1]) * 1024 if total else _memory_of_system()
    limit = number_of(root / "sys/fs/cgroup/memory.max")  # "max" is no number
    return min(machine, int(limit)) if limit else machine


def _memory_of_system() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
