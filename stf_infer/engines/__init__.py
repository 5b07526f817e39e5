# SPDX-License-Identifier: Apache-2.0
"""Inference backends: one file each, imported when opened; a missing one is listed with its reason.

Others register through the entry point group ``stf_infer.engines``: a name, and a module like those here, with
``probe() -> EngineInfo`` and ``open_engine(bundle, threads) -> Engine``.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import replace
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from ..errors import EngineUnavailableError
from .base import Engine, EngineInfo

if TYPE_CHECKING:
    from ..bundle import Bundle

__all__ = ["Engine", "EngineInfo", "available", "open_engine"]

_log = logging.getLogger(__name__)

# In order of preference where no engine is asked for.
_BUILT_IN = {
    "onnxruntime-cpu": ".onnxruntime",
    "openvino-cpu": ".openvino",
}


def _backends() -> dict[str, Any]:
    found: dict[str, Any] = dict(_BUILT_IN)
    for point in entry_points(group="stf_infer.engines"):
        found.setdefault(point.name, point)
    return found


def _module(home: Any) -> Any:
    return importlib.import_module(home, __name__) if isinstance(home, str) else home.load()


def available() -> list[EngineInfo]:
    """Every known backend, usable or not, in order of preference. Imports no backend."""
    listed = []
    for name, home in _backends().items():
        try:
            listed.append(replace(_module(home).probe(), name=name))
        except Exception as error:  # a broken plug-in must not hide the others
            listed.append(EngineInfo(name, usable=False, reason=f"{type(error).__name__}: {error}"))
    return listed


def open_engine(bundle: Bundle, name: str | None = None, threads: int | None = None) -> Engine:
    """Open an engine for a bundle.

    Args:
        bundle: The open bundle.
        name: Target name; None takes the first usable one.
        threads: CPU threads; None leaves it to the backend.

    Raises:
        EngineUnavailableError: No backend of that name, not installed, or none installed at all; the message names
            the extra.
        EngineError: The backend cannot load the bundle's graph.
    """
    listed = {info.name: info for info in available()}
    if name is None:
        usable = [info for info in listed.values() if info.usable]
        if not usable:
            extras = " or ".join(f"pip install 'stf-infer[{i.extra}]'" for i in listed.values() if i.extra)
            raise EngineUnavailableError("No inference engine is installed", fix=extras)
        name = usable[0].name
        _log.info("engine %s: the first usable of %s", name, ", ".join(listed))
    elif name not in listed:
        raise EngineUnavailableError("There is no engine of that name", got=name, allowed=", ".join(listed))
    elif not listed[name].usable:
        raise EngineUnavailableError(
            f"The engine {name} cannot be used here: {listed[name].reason}",
            fix=f"pip install 'stf-infer[{listed[name].extra}]'" if listed[name].extra else None,
        )
    try:
        engine: Engine = _module(_backends()[name]).open_engine(bundle, threads)
    except ImportError as error:
        raise EngineUnavailableError(
            f"The engine {name} is installed and cannot be imported", got=error, fix="Install its package again"
        ) from error
    return engine
