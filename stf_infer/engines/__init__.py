# SPDX-License-Identifier: Apache-2.0
"""Inference backends: one file each, imported when opened; a missing one is listed with its reason.

Others register through the entry point group ``stf_infer.engines``: a name, and a :class:`Target`, or a module with
``probe() -> EngineInfo`` and ``open_engine(bundle, threads) -> Engine``.
"""

from __future__ import annotations

from .base import Engine, EngineInfo
from .building import BuildReport, build, update
from .opening import open_engine
from .registry import available
from .target import Compiled, Job, Option, Target

__all__ = [
    "BuildReport",
    "Compiled",
    "Engine",
    "EngineInfo",
    "Job",
    "Option",
    "Target",
    "available",
    "build",
    "open_engine",
    "update",
]
