# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: on the CPU, and through its CUDA, TensorRT and OpenVINO providers.

``onnxruntime``, ``onnxruntime-gpu`` and ``onnxruntime-openvino`` install the same module; which providers it has is
seen from the libraries that lie in it, without importing it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EngineError
from .base import Engine, EngineInfo, package_version
from .growing import grown
from .key import fixed_batch, graph_of, usual_batch
from .machine import cores, cpu, gpus
from .target import Compiled, Job, Option, Target

if TYPE_CHECKING:
    from ..bundle import Bundle
    from .store import StoredEngine

_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")


@dataclass(frozen=True)
class _Provider:
    """An execution provider: its name, its library, what brings it, and where its tensors live."""

    name: str
    library: str = ""
    extra: str = "cpu"
    memory: str = "cpu"


_PROVIDERS = {
    "onnxruntime-cpu": _Provider("CPUExecutionProvider"),
    "onnxruntime-cuda": _Provider("CUDAExecutionProvider", "cuda", "gpu", "cuda"),
    "onnxruntime-tensorrt": _Provider("TensorrtExecutionProvider", "tensorrt", "gpu", "cuda"),
    "onnxruntime-openvino": _Provider("OpenVINOExecutionProvider", "openvino", "onnxruntime-openvino"),
}

# The free axis of the tensors of every bundle.
_BATCH = "batch"

_MODEL = "model.onnx"

_LEVELS = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC"}


def target(name: str) -> Target:
    """The target of one provider."""
    return {
        "onnxruntime-cpu": CpuTarget,
        "onnxruntime-cuda": CudaTarget,
        "onnxruntime-tensorrt": TensorRtProviderTarget,
        "onnxruntime-openvino": OpenVinoProviderTarget,
    }[name](name)


class _OnnxRuntimeTarget(Target):
    """What the providers share."""

    opens_graph = True
    precisions: tuple[str, ...] = ("fp32", "int8")

    def __init__(self, name: str) -> None:
        self.name, self.provider = name, _PROVIDERS[name]

    def backend(self) -> str:
        return f"onnxruntime {version()}"

    def device(self, options: Mapping[str, Any]) -> str:
        return str(cpu()) if self.provider.memory == "cpu" else ", ".join(map(str, gpus()[:1]))

    def probe(self) -> EngineInfo:
        """Installed, with the provider's library, and with a device for it."""
        info = EngineInfo(self.name, usable=False, extra=self.provider.extra, precisions=self.precisions)
        spec = importlib.util.find_spec("onnxruntime")
        if spec is None:
            package = "onnxruntime" if not self.provider.library else f"{_package_of(self.provider.library)}"
            return _because(info, f"the package {package} is not installed")
        info = EngineInfo(self.name, False, version(), info.precisions, extra=self.provider.extra)
        if self.provider.library and not _has_library(spec, self.provider.library):
            return _because(info, _no_library(self.provider.library))
        if self.provider.memory == "cuda" and not gpus():
            return _because(info, "no NVIDIA GPU, or no driver for it")
        devices = (
            (f"{cpu().name}, {cores()} cores",) if self.provider.memory == "cpu" else tuple(str(g) for g in gpus())
        )
        builds = type(self).compile is not _OnnxRuntimeTarget.compile
        return EngineInfo(
            self.name, True, info.version, info.precisions, extra=info.extra, builds=builds, devices=devices
        )

    def compile(self, job: Job) -> Compiled:
        raise EngineError(f"The target {self.name} opens bundles as they are; there is nothing to build")

    def provider_options(self, threads: int | None) -> dict[str, Any]:
        """Options of the provider."""
        return {}

    def tiles(self, bundle: Bundle) -> int | None:
        """Tiles to fix the free batch of a graph to when it is opened; None leaves it free."""
        return None

    def open(self, bundle: Bundle, stored: StoredEngine | None, precision: str, threads: int | None) -> Engine:
        graph = stored.files[0] if stored else bundle.asset(graph_of(bundle, precision))
        return OnnxRuntimeEngine(bundle, threads, target=self, graph=graph, stored=stored, precision=precision)


class CpuTarget(_OnnxRuntimeTarget):
    """The CPU provider; what is built is the graph as ONNX Runtime has optimised it for this processor.

    It merges products with their biases, and picks layouts, only where every shape is known: tiles come in a number
    that is fixed, which is measured where an engine is built.
    """

    options = (Option("optimisation", "How far the graph is rewritten.", "all", tuple(_LEVELS)),)

    def tiles(self, bundle: Bundle) -> int | None:
        # Samples come by the dozen, in numbers that differ from call to call; tiles one by one.
        return 1 if usual_batch(bundle) == 1 else None

    def compile(self, job: Job) -> Compiled:
        job.say("optimising the graph")
        stated = job.batch if self.tiles(job.bundle) else None
        best = self._optimised(job, stated)
        if stated == 1 and fixed_batch(job.bundle) is None:
            best.call()
            best = grown(best, lambda tiles: self._measured(job, tiles))
        best.path.rename(job.folder / _MODEL)
        for other in job.folder.glob("*-tiles.onnx"):
            other.unlink()
        return Compiled((_MODEL,))

    def _measured(self, job: Job, tiles: int) -> _Optimised:
        job.say(f"measuring {tiles} tiles at once")
        return self._optimised(job, tiles)

    def _optimised(self, job: Job, tiles: int | None) -> _Optimised:
        import onnxruntime as ort

        path = job.folder / f"{tiles or 'any'}-tiles.onnx"
        options = session_options(None, tiles)
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[job.options["optimisation"]])
        options.optimized_model_filepath = str(path)
        return _Optimised(tiles or 1, path, _session(job.graph, options, self.provider.name, {}))


@dataclass(frozen=True)
class _Optimised:
    """A graph for a number of tiles, open."""

    tiles: int
    path: Path
    session: Any

    @property
    def at_once(self) -> int:
        """Tiles of a call."""
        return self.tiles

    def call(self) -> None:
        """One call."""
        feed = {i.name: np.full(i.shape, 0.1, np.float32) for i in self.session.get_inputs()}
        self.session.run(None, feed)


class CudaTarget(_OnnxRuntimeTarget):
    """The CUDA provider; it opens the graph itself."""

    precisions = ("fp32", "fp16", "int8")

    def provider_options(self, threads: int | None) -> dict[str, Any]:
        # TF32 would round the inputs of products to ten bits, in what is called fp32.
        return {"device_id": 0, "use_tf32": 0}


class OpenVinoProviderTarget(_OnnxRuntimeTarget):
    """The OpenVINO provider on the CPU; it opens the graph itself.

    It could write a graph with its engine inside, and cannot read that one again on a CPU (1.24.1).
    """

    def provider_options(self, threads: int | None) -> dict[str, Any]:
        return {"device_type": "CPU", "precision": "FP32", **({"num_of_threads": threads} if threads else {})}


class TensorRtProviderTarget(_OnnxRuntimeTarget):
    """The TensorRT provider; what is built is a graph with TensorRT's engine inside.

    Such engines are tied to GPU and version, which the key names, and take minutes: none is made while a bundle opens.
    """

    precisions = ("fp32", "fp16", "int8")
    opens_graph = False
    batch = 4
    bounded = True
    options = (Option("workspace", "Memory that a layer may use, in MiB.", 0),)

    def backend(self) -> str:
        return f"{super().backend()}, tensorrt {package_version('tensorrt', 'tensorrt-cu12', 'tensorrt-cu13')}"

    def compile(self, job: Job) -> Compiled:
        job.say("compiling")
        options = session_options(None)
        context = job.folder / "model_ctx.onnx"
        for key, value in (("enable", "1"), ("file_path", str(context)), ("embed_mode", "1")):
            options.add_session_config_entry(f"ep.context_{key}", value)
        _session(job.graph, options, self.provider.name, self.compile_options(job))
        if not context.is_file():
            raise EngineError(f"The provider {self.provider.name} wrote no engine", got=self.backend())
        return Compiled((context.name,))

    def compile_options(self, job: Job) -> dict[str, Any]:
        """Options of the provider while it compiles: the profile comes from the contract's tiles."""

        def profile(batch: int) -> str:
            return ",".join(f"{t.name}:{'x'.join(map(str, (batch, *t.shape)))}" for t in job.bundle.spec.tensors)

        workspace = job.options["workspace"]
        return {
            "device_id": 0,
            "trt_profile_min_shapes": profile(1),
            "trt_profile_opt_shapes": profile(job.batch),
            "trt_profile_max_shapes": profile(job.batch),
            "trt_dump_ep_context_model": True,
            "trt_ep_context_file_path": str(job.folder / "model_ctx.onnx"),
            "trt_ep_context_embed_mode": 1,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(job.folder),
            **({"trt_max_workspace_size": workspace << 20} if workspace else {}),
        }


class OnnxRuntimeEngine(Engine):
    """An ``InferenceSession``. On the CPU ``infer`` may be called from several threads."""

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None,
        *,
        target: _OnnxRuntimeTarget,
        graph: Path,
        stored: StoredEngine | None,
        precision: str,
    ) -> None:
        self.name, self._target, self._graph, self._stored = target.name, target, graph, stored
        self._precision, self._memory = precision, target.provider.memory
        self._held: dict[str, Any] = {}
        super().__init__(bundle, threads)

    def open_impl(self, bundle: Bundle, threads: int | None) -> None:
        import onnxruntime as ort

        options = session_options(threads, self._target.tiles(bundle) if self._stored is None else None)
        if self._stored is not None:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            self.preferred_batch = self._stored.key.batch
            self.max_batch = self._stored.key.batch if self._target.bounded else None
        provider = self._target.provider
        self._session = _session(self._graph, options, provider.name, self._target.provider_options(threads))
        if provider.name not in self._session.get_providers():
            raise EngineError(
                f"ONNX Runtime cannot start its {provider.name}",
                got=f"only {', '.join(self._session.get_providers())}",
                fix="Look at its log for the library that is missing, or take --engine onnxruntime-cpu",
            )
        batch = self._session.get_inputs()[0].shape[0]
        if isinstance(batch, int):
            self.fixed_batch = self.preferred_batch = batch

    def infer_impl(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in self._session.get_outputs()]
        try:
            found = self._session.run(names, dict(inputs)) if self._memory == "cpu" else self._run_bound(inputs, names)
        except Exception as error:
            raise EngineError("ONNX Runtime failed on a batch", got=error) from error
        return dict(zip(names, found, strict=True))

    def _run_bound(self, inputs: Mapping[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
        """Run with inputs and outputs in the device's memory; inputs of the same shape keep their place there."""
        import onnxruntime as ort

        binding = self._session.io_binding()
        for name, array in inputs.items():
            array = np.ascontiguousarray(array)
            held = self._held.get(name)
            if held is not None and tuple(held.shape()) == array.shape:
                held.update_inplace(array)
            else:
                held = self._held[name] = ort.OrtValue.ortvalue_from_numpy(array, self._memory, 0)
            binding.bind_ortvalue_input(name, held)
        for name in names:
            binding.bind_output(name, self._memory)
        self._session.run_with_iobinding(binding)
        found: list[np.ndarray] = binding.copy_outputs_to_cpu()
        return found

    def close_impl(self) -> None:
        self._held.clear()
        self._session = None

    def describe(self) -> dict[str, str]:
        device = "cpu" if self._memory == "cpu" else self._target.device({})
        return {"engine": self.name, "version": version(), "precision": self._precision, "device": device}


@cache
def version() -> str:
    """Version of the module, as its source states it: where packages overwrite each other, theirs may be another's."""
    spec = importlib.util.find_spec("onnxruntime")
    text = Path(spec.origin).read_text(encoding="utf-8") if spec is not None and spec.origin else ""
    stated = re.search(r"""^__version__ = ["']([^"']+)""", text, re.MULTILINE)
    return stated[1] if stated else package_version(*_PACKAGES)


def session_options(threads: int | None, tiles: int | None = None) -> Any:
    """Options that every session has; a free batch is fixed to so many tiles."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    if tiles:
        options.add_free_dimension_override_by_name(_BATCH, tiles)
    return options


def _session(graph: Path, options: Any, provider: str, provider_options: dict[str, Any]) -> Any:
    import onnxruntime as ort

    providers: list[Any] = [(provider, {k: str(v) for k, v in provider_options.items()})]
    if provider != "CPUExecutionProvider":
        providers.append("CPUExecutionProvider")
    try:
        return ort.InferenceSession(str(graph), options, providers=providers)
    except Exception as error:  # onnxruntime raises classes of its own without a common base
        raise EngineError("ONNX Runtime cannot load the graph", got=f"{graph.name}: {error}") from error


def _because(info: EngineInfo, reason: str) -> EngineInfo:
    return EngineInfo(info.name, False, info.version, info.precisions, reason, info.extra)


def _package_of(library: str) -> str:
    return "onnxruntime-openvino" if library == "openvino" else "onnxruntime-gpu"


def _has_library(spec: Any, library: str) -> bool:
    folders = [Path(place) / "capi" for place in spec.submodule_search_locations or ()]
    return any(list(folder.glob(f"*onnxruntime_providers_{library}.*")) for folder in folders)


def _no_library(library: str) -> str:
    """Why a provider is missing from the onnxruntime that is installed."""
    installed = [name for name in _PACKAGES if package_version(name)]
    package = _package_of(library)
    if len(installed) > 1:
        return f"{' and '.join(installed)} overwrite each other; uninstall all, then install {package} alone"
    return f"the installed {installed[0] if installed else 'onnxruntime'} has no such provider; {package} has it"
