# SPDX-License-Identifier: Apache-2.0
"""Which targets there are: those built in, and those that register by the entry point group ``stf_infer.engines``."""

from __future__ import annotations

import importlib
import logging
import re
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from ..errors import EngineUnavailableError
from .base import EngineInfo
from .machine import gpus
from .target import PluginTarget, Target

_log = logging.getLogger(__name__)

# Compute capabilities that TensorRT-RTX builds for ahead of time.
RTX_CAPABILITIES = (75, 80, 86, 89, 120, 121)

# Names (or a pattern) of the targets of a module, which is imported when one of them is asked for, and makes it with
# ``target(name)``. In order of preference where all are equally fast.
BUILT_IN = {
    "onnxruntime-cpu": ".onnxruntime",
    "onnxruntime-cuda": ".onnxruntime",
    "onnxruntime-tensorrt": ".onnxruntime",
    "onnxruntime-openvino": ".onnxruntime",
    "openvino-cpu": ".openvino",
    "openvino-gpu": ".openvino",
    "openvino-npu": ".openvino",
    "tensorrt-smXX": ".tensorrt",
    **{f"tensorrt-rtx-sm{sm}": ".tensorrt" for sm in RTX_CAPABILITIES},
    "triton": ".triton",
}
PATTERNS = {r"tensorrt(-rtx)?-sm\d+": ".tensorrt"}


@cache
def plugins() -> tuple[Any, ...]:
    """The entry points of the group; looking through all installed packages takes a while, and is done once."""
    return tuple(entry_points(group="stf_infer.engines"))


def _homes() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, home in BUILT_IN.items():
        # TensorRT builds for the GPUs that are there; without one a placeholder says so.
        there = [f"tensorrt-sm{gpu.sm}" for gpu in gpus()] if name == "tensorrt-smXX" else []
        found.update(dict.fromkeys(there or [name], home))
    for point in plugins():
        found.setdefault(point.name, point)
    return found


def _make(name: str, home: Any) -> Target:
    if isinstance(home, str):
        made: Target = importlib.import_module(home, __package__).target(name)
        return made
    plugin = home.load()
    if isinstance(plugin, Target):
        plugin.name = name
        return plugin
    return PluginTarget(name, plugin)


def knows(name: str) -> bool:
    """Whether there is a target of that name."""
    return name in _homes() or any(re.fullmatch(pattern, name) for pattern in PATTERNS)


def target(name: str) -> Target:
    """A target by its name.

    Raises:
        EngineUnavailableError: There is none, or its plug-in cannot be loaded.
    """
    homes = _homes()
    home = homes.get(name) or next((h for pattern, h in PATTERNS.items() if re.fullmatch(pattern, name)), None)
    if home is None:
        raise EngineUnavailableError("There is no engine of that name", got=name, allowed=", ".join(homes))
    try:
        return _make(name, home)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise EngineUnavailableError(f"The engine {name} cannot be loaded", got=why) from error


def available() -> list[EngineInfo]:
    """Every known target, usable or not, in order of preference. Imports no backend."""
    listed = []
    for name, home in _homes().items():
        try:
            listed.append(replace(_make(name, home).probe(), name=name))
        except Exception as error:  # a broken plug-in must not hide the others
            listed.append(EngineInfo(name, usable=False, reason=f"{type(error).__name__}: {error}"))
    return listed


def options(name: str) -> list[dict[str, Any]]:
    """What the compiler of a target can be told, as plain values; nothing where it cannot be loaded."""
    try:
        return [asdict(option) for option in target(name).options]
    except EngineUnavailableError:
        return []


def install(info: EngineInfo) -> str | None:
    """The command that brings a target, or None where none does."""
    return f"pip install 'stf-infer[{info.extra}]'" if info.extra else None
