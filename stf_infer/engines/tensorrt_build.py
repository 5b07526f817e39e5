# SPDX-License-Identifier: Apache-2.0
"""Build a TensorRT or TensorRT-RTX plan from an ONNX file: the builders' API is the same.

Networks are strongly typed: precision is what the graph says, as TensorRT 11 takes nothing else. Nothing here touches a
GPU; TensorRT needs one to build all the same, TensorRT-RTX does not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EngineError
from .target import Say

_log = logging.getLogger(__name__)

# Seconds between two steps that are told.
_EVERY = 0.5


@dataclass(frozen=True)
class PlanOptions:
    """What the builder is told.

    Attributes:
        batch: Largest number of tiles in a call; the profile runs from 1 to it and is tuned for it.
        sm: Compute capability to build for without a GPU (TensorRT-RTX); None builds for the GPU that is there.
        workspace: Memory in MiB that a layer may use while it runs; 0 sets no limit.
        level: How long to search for fast kernels, 0 to 5; None leaves it to the builder.
        tf32: Whether products may round their inputs to ten bits; what is called fp32 does not.
        flags: Names of builder flags to set.
        hardware: Name of the hardware compatibility level.
        timing: File that keeps what was timed, to be read before and written after; None keeps nothing.
    """

    batch: int = 4
    sm: int | None = None
    workspace: int = 0
    level: int | None = None
    tf32: bool = False
    flags: tuple[str, ...] = ()
    hardware: str = "NONE"
    timing: Path | None = None


def logger(trt: Any) -> Any:
    """A logger for the backend that keeps its errors in ``errors`` and passes the rest on."""

    class Log(trt.ILogger):  # type: ignore[misc,name-defined]  # the class is that of the module given
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            kinds = type(self).Severity
            if severity in (kinds.ERROR, kinds.INTERNAL_ERROR):
                self.errors.append(message)
                _log.debug("%s", message)
            elif severity == kinds.WARNING:
                _log.debug("%s", message)

    return Log()


def build_plan(trt: Any, graph: Path, options: PlanOptions, say: Say = _log.info) -> bytes:
    """Parse an ONNX file and build a plan.

    Args:
        trt: The module ``tensorrt`` or ``tensorrt_rtx``.
        graph: The ONNX file; weights outside of it lie beside it.
        options: What the builder is told.
        say: Called with a line at every step.

    Returns:
        The plan, exactly as the builder gives it.

    Raises:
        EngineError: The parser refuses an operator, or the builder gives no plan; the message carries the reason.
    """
    log = logger(trt)
    builder = trt.Builder(log)
    # TensorRT 11 knows no other networks, and may have no flag for it.
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    say("reading the graph")
    _parse(trt, network, graph, log)
    config = builder.create_builder_config()
    _configure(trt, config, options)
    profile = builder.create_optimization_profile()
    for name, shapes in profile_shapes(network, options.batch).items():
        profile.set_shape(name, *shapes)
    config.add_optimization_profile(profile)
    config.progress_monitor = _monitor(trt, say)
    _load_timing(config, options.timing)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _refused(trt, log.errors, options)
    if options.timing is not None:
        _save_timing(config, options.timing)
    return bytes(plan)


def profile_shapes(network: Any, batch: int) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Smallest, usual and largest shape of every input whose batch axis is free; all else is static.

    Raises:
        EngineError: Another axis is free, or the graph takes a fixed number of tiles other than the one wanted.
    """
    shapes = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            raise EngineError(
                f"The input {tensor.name} has an axis without a size besides the batch",
                got=shape,
                fix="Export the network with this version, which makes tiles static",
            )
        if shape and shape[0] == -1:
            shapes[tensor.name] = tuple((n, *shape[1:]) for n in (1, batch, batch))
    return shapes


def _parse(trt: Any, network: Any, graph: Path, log: Any) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse_from_file(str(graph)):
        return
    reasons = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
    raise EngineError(
        f"{_title(trt)} refuses the graph",
        got="; ".join(reasons) or "; ".join(log.errors) or graph.name,
        fix="Build for another target; `stf-infer engines` lists them",
    )


def _parser_error(error: Any) -> str:
    operator, node = error.node_operator(), error.node_name()
    where = f"operator {operator}" + (f" (node {node})" if node else "") if operator else ""
    return f"{where}: {error.desc()}".removeprefix(": ")


def _configure(trt: Any, config: Any, options: PlanOptions) -> None:
    if options.sm is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{options.sm}"), 0)
    if options.workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace << 20)
    if options.level is not None:
        config.builder_optimization_level = options.level
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)  # set where nobody asks
    for name in options.flags:
        config.set_flag(getattr(trt.BuilderFlag, name))
    if options.hardware != "NONE":
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, options.hardware)


def _refused(trt: Any, errors: list[str], options: PlanOptions) -> EngineError:
    reason = "; ".join(errors) or "the builder gave no plan and no reason"
    fix = None
    if "workspace" in reason.lower():
        fix = "Allow more with --option workspace=MIB, or leave the limit out"
    elif "out of memory" in reason.lower() or "outofmemory" in reason.lower():
        fix = "Build with a smaller --tile-batch, or limit memory with --option workspace=MIB"
    elif {"REFIT", "REFIT_IDENTICAL", "STRIP_PLAN"} & set(options.flags) and options.sm is not None:
        fix = "Plans without weights cannot be built without a GPU; leave --option weights=stripped out"
    return EngineError(f"{_title(trt)} cannot build the network", got=reason, fix=fix)


def _title(trt: Any) -> str:
    return "TensorRT-RTX" if "rtx" in trt.__name__ else "TensorRT"


def _monitor(trt: Any, say: Say) -> Any:
    """Tells of the builder's phases, the outer ones, not more often than twice a second."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.phases: dict[str, tuple[int, int]] = {}  # depth and number of steps
            self.told = 0.0

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            depth = self.phases[parent][0] + 1 if parent in self.phases else 0
            self.phases[name] = depth, steps
            self.tell(name, 0)

        def step_complete(self, name: str, step: int) -> bool:
            self.tell(name, step + 1)
            return True

        def phase_finish(self, name: str) -> None:
            self.phases.pop(name, None)

        def tell(self, name: str, done: int) -> None:
            depth, steps = self.phases.get(name, (9, 0))
            now = time.monotonic()
            if depth < 3 and now - self.told > _EVERY:
                self.told = now
                say(f"{name[:1].lower()}{name[1:]}, {done} of {steps}")

    return Monitor()


# Timing caches -------------------------------------------------------------------------------------------------


def _load_timing(config: Any, path: Path | None) -> None:
    if path is None:
        return
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    cache = config.create_timing_cache(content)
    if not config.set_timing_cache(cache, False):  # of another GPU or version: begin a new one
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)


def _save_timing(config: Any, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".tmp")
        beside.write_bytes(bytes(config.get_timing_cache().serialize()))
        beside.replace(path)
    except OSError as error:
        _log.info("the timing cache cannot be kept: %s", error)


# Weights -------------------------------------------------------------------------------------------------------


def refit(trt: Any, engine: Any, graph: Path, log: Any) -> None:
    """Put the weights of an ONNX file into an engine that was built without them.

    Raises:
        EngineError: The file cannot be read, lacks weights that the engine needs, or the engine refuses them.
    """
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(graph)):
        reasons = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
        raise EngineError("The weights cannot be read from the network", got="; ".join([*reasons, *log.errors]))
    missing = list(refitter.get_missing_weights())
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise EngineError("The network lacks weights that the engine needs", got=", ".join(missing[:5]) + more)
    if not refitter.refit_cuda_engine():
        raise EngineError("The engine refuses the weights of the network", got="; ".join(log.errors) or None)


def options_from(given: Mapping[str, Any], *, batch: int, sm: int | None, timing: Path | None) -> PlanOptions:
    """The builder's options from those of a target."""
    flags = []
    if given["weights"] == "stripped":
        flags += ["STRIP_PLAN", "REFIT_IDENTICAL"]
    if given.get("version_compatible"):
        flags.append("VERSION_COMPATIBLE")
    levels = {"this": "NONE", "same": "SAME_COMPUTE_CAPABILITY", "ampere": "AMPERE_PLUS"}
    return PlanOptions(
        batch=batch,
        sm=sm,
        workspace=given["workspace"],
        level=given["level"] if given["level"] != 3 else None,
        tf32=given["tf32"],
        flags=tuple(flags),
        hardware=levels[given.get("hardware", "this")],
        timing=timing,
    )
