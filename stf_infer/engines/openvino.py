# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on a CPU, an Intel GPU or an NPU.

OpenVINO would compute in bf16 where the CPU offers it. A precision is stated here, never taken from the machine: fp32
is asked for by name, and bf16 only where somebody has asked for it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EngineError
from .base import Engine, EngineInfo, Noise, Outputs, batches_of, package_version
from .key import fixed_batch, graph_of, usual_batch
from .machine import cores, cpu
from .openvino_graph import pad_rounded
from .openvino_tuning import Compile, fastest
from .target import Compiled, Job, Option, Target

if TYPE_CHECKING:
    from ..bundle import Bundle
    from .store import StoredEngine

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
_BLOB = "model.blob"

_TELEMETRY = "openvino_telemetry"


def runtime() -> Any:
    """The module ``openvino``, imported so that it reports to nobody.

    By itself it sends an event to its makers when it is imported, from a process that it forks; where there is no
    network, or the process has threads, that one may stay behind for ever. Without the package for it, it sends
    nothing.
    """
    if "openvino" in sys.modules or _TELEMETRY in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[_TELEMETRY]


def target(name: str) -> Target:
    """The target of a device."""
    return OpenVinoTarget(name, name.partition("-")[2].upper())


class OpenVinoTarget(Target):
    """A device of OpenVINO; what is built is the compiled model as OpenVINO exports it."""

    opens_graph = True
    options = (
        Option(
            "hint",
            "latency: one tile as soon as possible; throughput: several at once, as many as OpenVINO says; measured: "
            "what is fastest here.",
            "measured",
            ("measured", "latency", "throughput"),
        ),
        Option("streams", "Tiles that are computed at once; 0 leaves it to the hint.", 0),
    )

    def __init__(self, name: str, device: str) -> None:
        self.name, self.kind = name, device
        self.executed = {"CPU": ("bf16",), "GPU": ("fp16",), "NPU": ("fp16",)}[device]

    def backend(self) -> str:
        return f"openvino {package_version('openvino')}"

    def device(self, options: Mapping[str, Any]) -> str:
        return str(cpu()) if self.kind == "CPU" else f"{self.kind} {_full_name(self.kind)}"

    def probe(self) -> EngineInfo:
        """Installed, with a device of its kind."""
        precisions = {
            "CPU": ("fp32", "int8", *(("bf16",) if cpu().has_bf16 else ())),
            "GPU": ("fp32", "fp16", "int8"),
            "NPU": ("fp16", "int8"),
        }[self.kind]
        info = EngineInfo(self.name, False, package_version("openvino"), precisions, extra="openvino")
        if importlib.util.find_spec("openvino") is None:
            return replace(info, reason="the package openvino is not installed")
        places = {"CPU": (), "GPU": ("/dev/dri/renderD128", "/dev/dxg"), "NPU": ("/dev/accel/accel0",)}[self.kind]
        if places and not any(Path(place).exists() for place in places):
            return replace(info, reason=f"no {self.kind} that OpenVINO could use", extra="")
        devices = (f"{cpu().name}, {cores()} cores",) if self.kind == "CPU" else (self.kind,)
        return replace(info, usable=True, builds=True, devices=devices)

    def compile(self, job: Job) -> Compiled:
        core, hint = runtime().Core(), self.hint(job.bundle, job.precision)

        def compile_for(tiles: int) -> bytes:
            job.say("compiling")
            return _exported(_compile(core, job.graph, tiles, self.kind, self.config(hint, 1, None)))

        blob, streams = self._tuned(core, compile_for, job, hint)
        (job.folder / _BLOB).write_bytes(blob)
        return Compiled((_BLOB,), {"streams": streams, "cores": cores()})

    def _tuned(self, core: Any, compile_for: Compile, job: Job, hint: str) -> tuple[bytes, int]:
        """The blob and how many of it run at once: as stated, or what is measured to be fastest."""
        if job.options["streams"]:
            return compile_for(job.batch), int(job.options["streams"])
        if self.kind != "CPU" or job.options["hint"] == "latency":
            return compile_for(job.batch), 1
        if job.options["hint"] == "throughput":
            blob = compile_for(job.batch)
            model = core.import_model(io.BytesIO(blob), self.kind, {"PERFORMANCE_HINT": "THROUGHPUT"})
            return blob, int(model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        best = fastest(
            core,
            self.kind,
            compile_for,
            lambda streams: self.config(hint, streams, None),
            cores(),
            job.batch,
            job.batch == 1 and fixed_batch(job.bundle) is None,
            job.say,
        )
        return best.blob, best.streams

    def hint(self, bundle: Bundle, precision: str) -> str:
        """What to compute in where the graph leaves it open.

        A graph that is bf16 itself says so node by node, and leaves in fp32 what has to stay: a CPU that is told bf16
        would round that, too.
        """
        return "fp32" if self.kind == "CPU" and precision in bundle.precisions else precision

    def config(self, precision: str, streams: int, threads: int | None) -> dict[str, Any]:
        """What OpenVINO is told for so many streams."""
        told: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _HINTS[precision]}
        if self.kind == "CPU":
            told |= {"PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT", "NUM_STREAMS": streams}
            if threads:
                told["INFERENCE_NUM_THREADS"] = threads
        return told

    def open(self, bundle: Bundle, stored: StoredEngine | None, precision: str, threads: int | None) -> Engine:
        return OpenVinoEngine(bundle, threads, target=self, stored=stored, precision=precision)


class _Call:
    """A tile, or a few, that a request computes."""

    def __init__(self, request: Any, inputs: dict[str, np.ndarray]) -> None:
        self._request = request
        self._inputs: dict[str, np.ndarray] | None = inputs  # shared: they have to live as long as it computes
        self._outputs: dict[str, np.ndarray] = {}
        request.start_async(inputs, share_inputs=True)

    def finish(self) -> None:
        """Wait for it, if nobody has, and copy what came of it: the request's next call overwrites its arrays."""
        if self._inputs is not None:
            self._request.wait()
            ports = self._request.model_outputs
            self._outputs = {port.any_name: self._request.get_tensor(port).data.copy() for port in ports}
            self._inputs = None

    def take(self) -> dict[str, np.ndarray]:
        """What came of it; to be asked for once."""
        self.finish()
        outputs, self._outputs = self._outputs, {}
        return outputs


class OpenVinoEngine(Engine):
    """A compiled model with two inference requests a stream: none waits for a tile while others are being fetched."""

    ahead = 1

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None,
        *,
        target: OpenVinoTarget,
        stored: StoredEngine | None,
        precision: str,
    ) -> None:
        self.name, self._target, self._stored, self._precision = target.name, target, stored, precision
        super().__init__(bundle, threads)

    def open_impl(self, bundle: Bundle, threads: int | None) -> None:
        core, kind = runtime().Core(), self._target.kind
        if self._stored is None:
            graph = bundle.asset(graph_of(bundle, self._precision, self._target.executed))
            # Samples come by the dozen, in numbers that differ from call to call; tiles one by one.
            size = 1 if usual_batch(bundle) == 1 else None
            config = self._target.config(self._target.hint(bundle, self._precision), 1, threads)
            self._model: Any = _compile(core, graph, size, kind, config)
            streams = 1
        else:
            # What was measured holds for that many cores, and not where the caller says how many threads to take.
            settings = self._stored.settings
            streams = settings["streams"] if settings["cores"] == cores() and threads is None else 1
            config = self._target.config(self._target.hint(bundle, self._precision), streams, threads)
            self._model = self._import(core, config)
        batch = self._model.inputs[0].partial_shape[0]
        self._size = batch.get_length() if batch.is_static else None
        self._requests = deque(self._model.create_infer_request() for _ in range(streams * (1 + self.ahead)))
        self._calls: deque[_Call] = deque()  # the last one of each request, oldest first
        self.preferred_batch = streams * (self._size or 1)

    def _import(self, core: Any, config: dict[str, Any]) -> Any:
        assert self._stored is not None
        blob = self._stored.files[0]
        try:
            return core.import_model(io.BytesIO(blob.read_bytes()), self._target.kind, config)
        except RuntimeError as error:
            raise EngineError("OpenVINO cannot load the engine", got=f"{blob.name}: {_last_line(error)}") from error

    def infer_impl(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._begin(inputs)()

    def start(self, inputs: Mapping[str, np.ndarray], noise: Noise | None = None) -> Outputs:
        tiles = self._checked_tiles(inputs)
        waits = self._begin(inputs)
        return lambda: self._checked_outputs(waits(), tiles)

    def _begin(self, inputs: Mapping[str, np.ndarray]) -> Outputs:
        tiles = len(next(iter(inputs.values())))
        parts = [dict(inputs)] if self._size is None else list(batches_of(inputs, self._size))
        with _naming_failures():
            calls = [self._call(part) for part in parts]

        def outputs() -> dict[str, np.ndarray]:
            with _naming_failures():
                results = [call.take() for call in calls]
            if len(results) == 1 and len(next(iter(results[0].values()))) == tiles:
                return results[0]
            return {name: np.concatenate([result[name] for result in results])[:tiles] for name in results[0]}

        return outputs

    def _call(self, inputs: dict[str, np.ndarray]) -> _Call:
        """Give a request its next call; where each has one, that of the oldest is waited for."""
        if len(self._calls) == len(self._requests):
            self._calls.popleft().finish()
        self._calls.append(_Call(self._requests[0], inputs))
        self._requests.rotate(-1)
        return self._calls[-1]

    def close_impl(self) -> None:
        for call in self._calls:  # arrays that it still computes with must not go
            with contextlib.suppress(RuntimeError):
                call.finish()
        self._calls.clear()
        self._requests.clear()
        self._model = None

    def describe(self) -> dict[str, str]:
        return {
            "engine": self.name,
            "version": package_version("openvino"),
            "precision": self._precision,
            "device": self._target.kind.lower(),
        }


@contextlib.contextmanager
def _naming_failures() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise EngineError("OpenVINO failed on a batch", got=_last_line(error)) from error


def _compile(core: Any, graph: Path, batch: int | None, kind: str, config: dict[str, Any]) -> Any:
    """Compile a graph, with every shape static unless the batch is None."""
    try:
        model = core.read_model(str(graph))
        shapes = {port.any_name: port.partial_shape for port in model.inputs}
        if batch is None:
            pass
        elif any(shape[0].is_dynamic for shape in shapes.values()):
            model.reshape({name: [batch, *list(shape)[1:]] for name, shape in shapes.items()})
        elif batch not in (1, fixed := model.inputs[0].shape[0]):
            raise EngineError("The graph takes another number of tiles", got=batch, allowed=fixed)
        if kind == "CPU":
            pad_rounded(model)
        return core.compile_model(model, kind, config)
    except RuntimeError as error:
        raise EngineError("OpenVINO cannot compile the graph", got=f"{graph.name}: {_last_line(error)}") from error


def _exported(model: Any) -> bytes:
    stream = io.BytesIO()
    model.export_model(stream)
    return stream.getvalue()


@cache
def _full_name(kind: str) -> str:
    core = runtime().Core()
    return str(core.get_property(kind, "FULL_DEVICE_NAME")) if kind in core.available_devices else ""


def _last_line(error: Exception) -> str:
    """OpenVINO's reason without the trace of its own sources."""
    lines = [line for line in str(error).splitlines() if line and not line.startswith("Exception from")]
    return lines[0] if lines else str(error)
