# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of clocks, temperatures and power at this moment. What a machine does not tell is left out.

Every reader takes the root of the file system, ``/`` on a machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path("/")


def text_of(path: Path) -> str | None:
    """What a small file holds; None where it is missing or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return None


def number_of(path: Path) -> float | None:
    """The number that a file holds, or None."""
    text = text_of(path)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def readings(root: Path = ROOT) -> dict[str, Any]:
    """Everything that can be read: clocks in MHz, temperatures in degrees C, governors, power."""
    found = {
        "core_mhz": core_mhz(root),
        "governors": _all(root, "sys/devices/system/cpu/cpufreq/policy*/scaling_governor"),
        "driver": _all(root, "sys/devices/system/cpu/cpufreq/policy*/scaling_driver"),
        "most_mhz": _most_mhz(root),
        "boost": _boost(root),
        "celsius": temperatures(root),
        "throttled": throttle_count(root),
        "devices": _devices(root),
        "power": _power(root),
        "power_model": power_model(root),
    }
    return {name: value for name, value in found.items() if value not in (None, [], {}, "")}


def core_mhz(root: Path = ROOT) -> list[float]:
    """Clock of every core: what the governor says, or ``/proc/cpuinfo`` (of virtual machines: what they were told)."""
    paths = _sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    clocks = [kilohertz / 1e3 for path in paths if (kilohertz := number_of(path)) is not None]
    if clocks:
        return clocks
    lines = (text_of(root / "proc/cpuinfo") or "").splitlines()
    return [float(line.partition(":")[2]) for line in lines if line.lower().startswith("cpu mhz")]


def temperatures(root: Path = ROOT) -> dict[str, float]:
    """Degrees C by sensor: thermal zones, and what hardware monitors measure besides."""
    found: dict[str, float] = {}
    for zone in _sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        _put(found, text_of(zone / "type") or zone.name, number_of(zone / "temp"))
    for path in _sorted((root / "sys/class/hwmon").glob("hwmon*/temp*_input")):
        chip = text_of(path.parent / "name") or path.parent.name
        label = text_of(path.with_name(path.name.replace("_input", "_label"))) or path.name.partition("_")[0]
        _put(found, f"{chip} {label}", number_of(path))
    return found


def throttle_count(root: Path = ROOT) -> int | None:
    """How often cores have been slowed down for heat since the machine started; None where nobody counts."""
    counters = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    found = [number for path in counters if (number := number_of(path)) is not None]
    return int(sum(found)) if found else None


def power_model(root: Path = ROOT) -> str:
    """The power mode of a Jetson, e.g. ``MODE_30W``; empty elsewhere."""
    status = re.search(r"pmode:0*(\d+)", text_of(root / "var/lib/nvpmodel/status") or "")
    if status is None:
        return ""
    names = dict(re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", text_of(root / "etc/nvpmodel.conf") or ""))
    return str(names.get(status[1], f"mode {status[1]}"))


def on_battery(found: dict[str, Any]) -> bool:
    """Whether :func:`readings` say that no mains supply is online, of a machine that has one."""
    mains = [one["online"] for one in found.get("power", {}).values() if "online" in one]
    return bool(mains) and not any(mains)


def _most_mhz(root: Path) -> dict[str, float]:
    """What the clock is limited to, and what the processor could do."""
    policies = root / "sys/devices/system/cpu/cpufreq"
    names = {"allowed": "scaling_max_freq", "possible": "cpuinfo_max_freq"}
    found = {key: [number_of(path) for path in policies.glob(f"policy*/{name}")] for key, name in names.items()}
    return {key: max(filter(None, values)) / 1e3 for key, values in found.items() if any(values)}


def _boost(root: Path) -> bool | None:
    """Whether clocks above the nominal one are allowed."""
    cpu = root / "sys/devices/system/cpu"
    boost, no_turbo = number_of(cpu / "cpufreq/boost"), number_of(cpu / "intel_pstate/no_turbo")
    return bool(boost) if boost is not None else None if no_turbo is None else not no_turbo


def _devices(root: Path) -> dict[str, dict[str, Any]]:
    """Clocks of other devices that the kernel scales, as the GPU of a Jetson."""
    found: dict[str, dict[str, Any]] = {}
    for place in _sorted((root / "sys/class/devfreq").glob("*")):
        hertz = number_of(place / "cur_freq")
        if hertz is not None:
            found[place.name] = {"mhz": hertz / 1e6, "governor": text_of(place / "governor") or ""}
    return found


def _power(root: Path) -> dict[str, dict[str, Any]]:
    """Mains and batteries."""
    found: dict[str, dict[str, Any]] = {}
    for place in _sorted((root / "sys/class/power_supply").glob("*")):
        kind, online, status = (text_of(place / name) for name in ("type", "online", "status"))
        one: dict[str, Any] = {"type": kind or ""}
        if kind == "Mains" and online is not None:
            one["online"] = online == "1"
        if status is not None:
            one["status"] = status
        found[place.name] = one
    return found


def _put(found: dict[str, float], name: str, thousandths: float | None) -> None:
    """Note a temperature; sensors that have one name are told apart by number."""
    if thousandths is None:
        return
    alike = sum(known == name or known.startswith(f"{name} #") for known in found)
    found[name if not alike else f"{name} #{alike + 1}"] = thousandths / 1e3


def _all(root: Path, pattern: str) -> list[str]:
    """What files hold, each value once."""
    return sorted({text for path in root.glob(pattern) if (text := text_of(path))})


def _sorted(paths: Iterable[Path]) -> Iterator[Path]:
    """By the numbers in their names."""
    return iter(sorted(paths, key=lambda path: [int(part) for part in re.findall(r"\d+", str(path))]))
