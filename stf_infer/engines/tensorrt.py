# SPDX-License-Identifier: Apache-2.0
"""TensorRT and TensorRT-RTX, a target for each compute capability.

TensorRT builds on the GPU that it builds for. TensorRT-RTX builds for any of a few capabilities, on a machine without a
GPU too, and compiles the last step on the device. The code that runs plans on a GPU has not been run on one.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import EngineError
from .base import Engine, EngineInfo, package_version
from .key import EngineKey
from .machine import Gpu, gpus
from .registry import RTX_CAPABILITIES
from .selection import cache_folder
from .target import Compiled, Job, Option, Target
from .tensorrt_build import build_plan, logger, options_from

if TYPE_CHECKING:
    from ..bundle import Bundle
    from .store import StoredEngine

PLAN = "model.plan"

_MALFORMED = 32  # EngineInvalidityDiagnostics of TensorRT-RTX

_WORKSPACE = Option("workspace", "Memory that a layer may use while it runs, in MiB; 0 sets no limit.", 0)
_WEIGHTS = Option(
    "weights",
    "stripped: leave them out of the plan and take them from the network when it is opened (needs a GPU to build).",
    "inside",
    ("inside", "stripped"),
)
_LEVEL = Option("level", "How long to search for fast kernels, 0 to 5.", 3)
_TF32 = Option("tf32", "Products may round fp32 to ten bits: faster, and no fp32 any more.", False)


def target(name: str) -> Target:
    """The target of a name: ``tensorrt-sm87``, ``tensorrt-rtx-sm89``."""
    sm = name.rpartition("-sm")[2]
    capability = int(sm) if sm.isdigit() else None
    return RtxTarget(name, capability or 0) if name.startswith("tensorrt-rtx") else TensorRtTarget(name, capability)


class _PlanTarget(Target):
    """What both share."""

    bounded = True
    batch = 4
    module: str
    title: str
    packages: tuple[str, ...]
    extra: str

    def backend(self) -> str:
        return f"{self.module} {package_version(*self.packages)}"

    def __init__(self, name: str, sm: int | None) -> None:
        self.name, self.sm = name, sm

    def gpu(self) -> Gpu | None:
        """The first GPU of the target's capability, or None."""
        return next((gpu for gpu in gpus() if gpu.sm == self.sm), None)

    def compile(self, job: Job) -> Compiled:
        trt = importlib.import_module(self.module)
        options = self.plan_options(job)
        plan = build_plan(trt, job.graph, options, job.say)
        self.check_plan(trt, plan)
        (job.folder / PLAN).write_bytes(plan)
        return Compiled((PLAN,), {"weights": job.options["weights"]})

    def plan_options(self, job: Job) -> Any:
        """What the builder is told."""
        return options_from(job.options, batch=job.batch, sm=None, timing=self.timing())

    def timing(self) -> Any:
        """The file of timing caches of this backend and device."""
        return None

    def check_plan(self, trt: Any, plan: bytes) -> None:
        """Refuse a plan that the backend's own loader would not take."""

    def open(self, bundle: Bundle, stored: StoredEngine | None, precision: str, threads: int | None) -> Engine:
        from .tensorrt_runtime import TensorRtEngine

        assert stored is not None, "a plan has to be built"
        return TensorRtEngine(bundle, threads, target=self, stored=stored)

    def _missing(self, info: EngineInfo) -> EngineInfo | None:
        """Why it cannot be used, as far as packages go."""
        if importlib.util.find_spec(self.module) is None:
            return replace(info, reason=f"the package {self.packages[0]} is not installed", extra=self.extra)
        return None

    def _runnable(self, info: EngineInfo, gpu: Gpu) -> EngineInfo:
        """How it stands with its GPU here."""
        info = replace(info, devices=(str(gpu),), builds=True)
        if importlib.util.find_spec("pycuda") is None:
            return replace(info, reason="the package pycuda is not installed", extra="cuda")
        return replace(info, usable=True)


class TensorRtTarget(_PlanTarget):
    """TensorRT 10 and 11. Plans are tied to version and GPU, unless options say otherwise."""

    module, title, extra = "tensorrt", "TensorRT", "tensorrt"
    packages = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-cu11")
    options = (
        _WORKSPACE,
        _WEIGHTS,
        _LEVEL,
        _TF32,
        Option(
            "hardware",
            "Where the plan runs: on this GPU, on any of the same capability, or on Ampere and newer (may be slower).",
            "this",
            ("this", "same", "ampere"),
        ),
        Option("version_compatible", "The plan runs with later TensorRT of the same major version too.", False),
    )

    def probe(self) -> EngineInfo:
        """Installed, with a GPU of its capability."""
        info = EngineInfo(self.name, False, package_version(*self.packages), _precisions(self.sm), extra=self.extra)
        if missing := self._missing(info):
            return missing
        gpu = self.gpu()
        if gpu is None:
            there = ", ".join(f"sm{g.sm}" for g in gpus()) or "none"
            wanted = f"of capability sm{self.sm}" if self.sm else ""
            return replace(info, reason=f"no NVIDIA GPU {wanted} ({there} here)".replace("  ", " "), extra="")
        return self._runnable(info, gpu)

    def device(self, options: Mapping[str, Any]) -> str:
        gpu = self.gpu()
        sm, name = (gpu.sm, gpu.name) if gpu else (self.sm, "")
        if options["hardware"] == "ampere":
            return "sm80 and newer" if sm and sm >= 80 else f"sm{sm}"
        return f"sm{sm}" if options["hardware"] == "same" else f"sm{sm} {name}".strip()

    def differences(self, stored: EngineKey, here: EngineKey) -> tuple[str, ...]:
        found = stored.differences(here)
        if stored.flags.get("version_compatible") and later(stored.backend, here.backend):
            return tuple(part for part in found if part != "backend")
        return found

    def timing(self) -> Any:
        gpu = self.gpu()
        name = f"{self.backend()} {gpu.name if gpu else self.sm}".replace(" ", "-").replace("/", "-")
        return cache_folder() / "timing" / f"{name}.cache"


class RtxTarget(_PlanTarget):
    """TensorRT-RTX: plans for one capability, built ahead of time, with or without a GPU."""

    module, title, extra = "tensorrt_rtx", "TensorRT-RTX", "tensorrt-rtx"
    packages = ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx")
    options = (_WORKSPACE, _WEIGHTS, _LEVEL, _TF32)

    sm: int

    def __init__(self, name: str, sm: int) -> None:
        super().__init__(name, sm)

    def probe(self) -> EngineInfo:
        """Installed; and, to run, with a GPU of its capability."""
        info = EngineInfo(self.name, False, package_version(*self.packages), _precisions(self.sm), extra=self.extra)
        if missing := self._missing(info):
            return missing
        if self.sm not in RTX_CAPABILITIES:
            offered = ", ".join(f"sm{sm}" for sm in RTX_CAPABILITIES)
            return replace(info, reason=f"{self.title} builds for {offered}", extra="")
        gpu = self.gpu()
        if gpu is None:
            why = f"runs on an NVIDIA GPU of capability {self.sm // 10}.{self.sm % 10}, and there is none here"
            return replace(info, builds=True, reason=why, extra="")
        return self._runnable(info, gpu)

    def device(self, options: Mapping[str, Any]) -> str:
        return f"sm{self.sm}"

    def plan_options(self, job: Job) -> Any:
        if job.options["weights"] == "stripped" and self.gpu() is None:
            raise EngineError(
                f"{self.title} cannot leave weights out of a plan that it builds without a GPU",
                got="weights=stripped",
                allowed="weights=inside",
                fix=f"Build it on a machine with a GPU of capability sm{self.sm}, or leave the option out",
            )
        # Timing caches and builds without a GPU exclude each other.
        return options_from(job.options, batch=job.batch, sm=self.sm, timing=None)

    def check_plan(self, trt: Any, plan: bytes) -> None:
        _, diagnostics = trt.Runtime(logger(trt)).get_engine_validity(plan)
        if int(diagnostics) & _MALFORMED:
            raise EngineError(f"{self.title} does not know its own plan", got=f"{len(plan)} bytes")


def _precisions(sm: int | None) -> tuple[str, ...]:
    """What the tensor cores of a capability compute in; precision itself is in the graph."""
    return ("fp32", "fp16", "int8") if sm is not None and sm < 80 else ("fp32", "fp16", "bf16", "int8")


def later(stored: str, here: str) -> bool:
    """Whether a backend is the same major version as another, and not older: ``tensorrt 10.9`` and ``10.13``."""
    numbers = []
    for backend in (stored, here):
        parts = backend.rpartition(" ")[2].split(".")
        if not all(part.isdigit() for part in parts):
            return False
        numbers.append(tuple(map(int, parts)))
    return numbers[0][0] == numbers[1][0] and numbers[0] <= numbers[1]
