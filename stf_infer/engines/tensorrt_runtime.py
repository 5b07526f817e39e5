# SPDX-License-Identifier: Apache-2.0
"""Run a TensorRT or TensorRT-RTX plan; PyCUDA owns context, stream and memory.

Its host logic is tested with stand-ins for both libraries. It has not been run on a GPU.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle import Bundle
from ..errors import EngineError
from .base import Engine
from .device_session import DeviceSession
from .key import graph_of
from .selection import cache_folder
from .tensorrt_build import logger, refit

if TYPE_CHECKING:
    from .store import StoredEngine
    from .tensorrt import _PlanTarget

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Binding:
    """One tensor of an engine, by name.

    Attributes:
        name: As the graph calls it.
        shape: Of one tile, without the batch axis.
        dtype: NumPy type of its elements.
        is_input: Whether it goes in.
        free: Whether the batch axis is free; otherwise ``batch`` is its length.
        batch: Largest number of tiles.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_input: bool
    free: bool
    batch: int


def bindings(trt: Any, engine: Any, batch: int) -> list[Binding]:
    """The tensors of an engine, with the largest batch of its profile where that is free."""
    found = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = tuple(engine.get_tensor_shape(name))
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        free = bool(shape) and shape[0] == -1
        largest = batch if free else int(shape[0]) if shape else 1
        if free and is_input:
            largest = int(engine.get_tensor_profile_shape(name, 0)[2][0])
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
        found.append(Binding(name, tuple(shape[1:]), dtype, is_input, free, largest))
    return found


def check_bindings(bundle: Bundle, found: list[Binding]) -> None:
    """Compare the tensors of an engine with the contract, by name.

    Raises:
        EngineError: An input or the output is missing, or has another shape or type.
    """
    wanted = {t.name: (tuple(t.shape), np.dtype(t.dtype)) for t in bundle.spec.tensors}
    inputs = {b.name: (b.shape, b.dtype) for b in found if b.is_input}
    if inputs != wanted:
        raise EngineError("The engine does not take what the contract gives", got=_told(inputs), allowed=_told(wanted))
    name, shape = bundle.spec.output.tensor, tuple(bundle.spec.output_shape)
    outputs = {b.name: b.shape for b in found if not b.is_input}
    if outputs.get(name) != shape:
        raise EngineError("The engine does not give what the contract says", got=outputs, allowed={name: shape})


def _told(tensors: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))} {dtype}" for name, (shape, dtype) in tensors.items())


class TensorRtEngine(Engine):
    """A plan on the GPU, with memory for its largest batch. One thread at a time."""

    has_device_clock = True

    def __init__(self, bundle: Bundle, threads: int | None, *, target: _PlanTarget, stored: StoredEngine) -> None:
        self.name, self._target, self._stored = target.name, target, stored
        super().__init__(bundle, threads)

    def open_impl(self, bundle: Bundle, threads: int | None) -> None:
        self._cuda: Any = importlib.import_module("pycuda.driver")
        trt = importlib.import_module(self._target.module)
        self._cuda.init()
        self._device = self._cuda.Device(_device_number(self._cuda, self._target))
        self._context = self._device.retain_primary_context()
        self._memory: dict[str, Any] = {}
        self._host: dict[str, np.ndarray] = {}
        self._runtime: Any = None
        self._engine: Any = None
        self._execution: Any = None
        self._stream: Any = None
        self._kernels: Any = None
        try:
            self._prepare(trt, bundle)
        except BaseException:
            self._release()
            raise

    def _prepare(self, trt: Any, bundle: Bundle) -> None:
        with self._current():
            self._log = logger(trt)
            self._runtime = trt.Runtime(self._log)
            self._engine = self._load(trt, bundle)
            self._bindings = bindings(trt, self._engine, self._stored.key.batch)
            check_bindings(bundle, self._bindings)
            free = [b for b in self._bindings if b.is_input and b.free]
            if free:
                self.max_batch = min(b.batch for b in free)
            else:
                self.fixed_batch = self._bindings[0].batch
            self.preferred_batch = self._bindings[0].batch
            # The kernels that blend outputs take float32.
            self.holds_tiles = all(b.dtype == np.float32 for b in self._bindings if not b.is_input)
            self._execution = self._execution_context()
            self._stream = self._cuda.Stream()
            self._allocate()

    def _load(self, trt: Any, bundle: Bundle) -> Any:
        if self._stored.key.flags.get("version_compatible"):
            # Such plans carry host code; their hash stands in item.json, or they would not have come this far.
            self._runtime.engine_host_code_allowed = True
        plan = self._stored.files[0].read_bytes()
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(
                f"{self._target.title} cannot load the plan", got="; ".join(self._log.errors) or f"{len(plan)} bytes"
            )
        if self._stored.settings.get("weights") == "stripped":
            refit(trt, engine, bundle.asset(graph_of(bundle, self._stored.key.precision)), self._log)
        return engine

    def _execution_context(self) -> Any:
        """A context; TensorRT-RTX compiles its kernels for the device now, or takes them from the user's cache."""
        if not hasattr(self._engine, "create_runtime_config"):
            return self._created(self._engine.create_execution_context())
        config = self._engine.create_runtime_config()
        self._kernels = config.create_runtime_cache()
        with contextlib.suppress(OSError):
            self._kernels.deserialize(self._kernel_file.read_bytes())  # refused by itself where it does not fit
        config.set_runtime_cache(self._kernels)
        return self._created(self._engine.create_execution_context(config))

    def _created(self, context: Any) -> Any:
        if context is None:
            raise EngineError(
                f"{self._target.title} cannot prepare the plan on this device",
                got="; ".join(self._log.errors) or None,
                fix="Free memory of the GPU, or build with a smaller --tile-batch",
            )
        return context

    @property
    def _kernel_file(self) -> Path:
        return cache_folder() / "kernels" / f"{self._stored.key.digest()}-{self._stored.key.device}.cache"

    def _allocate(self) -> None:
        """Memory on both sides for the largest batch of every tensor."""
        try:
            for one in self._bindings:
                shape = (one.batch, *one.shape)
                self._host[one.name] = self._cuda.pagelocked_empty(shape, one.dtype)
                self._memory[one.name] = self._cuda.mem_alloc(self._host[one.name].nbytes)
        except self._cuda.MemoryError as error:
            raise EngineError(
                "The GPU has too little memory for the engine",
                got=error,
                fix="Build with a smaller --tile-batch, or free memory of the GPU",
            ) from error

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """The GPU's context is current on this thread, and only meanwhile."""
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def infer_impl(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tiles = len(next(iter(inputs.values())))
        cuda = self._cuda
        with self._current():
            try:
                for one in self._bindings:
                    if not one.is_input:
                        continue
                    part = self._host[one.name][:tiles]
                    np.copyto(part, inputs[one.name])
                    cuda.memcpy_htod_async(self._memory[one.name], part, self._stream)
                began = self._mark()
                self._execute(self._memory, tiles)
                ended = self._mark()
                outputs = [one for one in self._bindings if not one.is_input]
                for one in outputs:
                    cuda.memcpy_dtoh_async(self._host[one.name][:tiles], self._memory[one.name], self._stream)
                self._stream.synchronize()
                if self._device_log is not None:
                    self._device_log.append(began.time_till(ended) / 1e3)  # CUDA says milliseconds
            except cuda.Error as error:
                raise EngineError(f"{self._target.title} failed on a batch", got=error) from error
            # Copied: the pinned memory is overwritten by the next batch.
            return {one.name: self._host[one.name][:tiles].copy() for one in outputs}

    def _execute(self, addresses: Mapping[str, Any], tiles: int) -> None:
        """Queue the plan over so many tiles; tensors without an address lie in the engine's own memory."""
        for one in self._bindings:
            self._execution.set_tensor_address(one.name, int(addresses.get(one.name, self._memory[one.name])))
            shape = (tiles, *one.shape)
            if one.is_input and one.free and not self._execution.set_input_shape(one.name, shape):
                raise EngineError(f"The engine refuses the shape of {one.name}", got=shape)
        if not self._execution.execute_async_v3(self._stream.handle):
            raise EngineError(f"{self._target.title} failed on a batch", got="; ".join(self._log.errors) or None)

    def device(self) -> DeviceSession:
        return DeviceSession(self._cuda, self._context, self._stream, self._execute)

    def _mark(self) -> Any:
        """An event in the stream, after what has been put there; None where nobody asks for the device's time."""
        if self._device_log is None:
            return None
        event = self._cuda.Event()
        event.record(self._stream)
        return event

    def close_impl(self) -> None:
        with self._current():
            self._keep_kernels()
        self._release()

    def _release(self) -> None:
        """Free everything; also what was prepared of an engine that could not be opened."""
        with self._current():
            for memory in self._memory.values():
                memory.free()
            self._memory.clear()
            self._host.clear()
            # In this order: each refers to the next.
            self._execution = self._kernels = self._engine = self._runtime = self._stream = None
        self._context.detach()

    def _keep_kernels(self) -> None:
        if self._kernels is None:
            return
        try:
            self._kernel_file.parent.mkdir(parents=True, exist_ok=True)
            self._kernel_file.write_bytes(bytes(self._kernels.serialize()))
        except OSError as error:
            _log.info("compiled kernels cannot be kept: %s", error)

    def describe(self) -> dict[str, str]:
        key = self._stored.key
        version = key.backend.rpartition(" ")[2]
        return {"engine": self.name, "version": version, "precision": key.precision, "device": key.device}


def _device_number(cuda: Any, target: _PlanTarget) -> int:
    """The first device whose capability is the target's."""
    for number in range(cuda.Device.count()):
        major, minor = cuda.Device(number).compute_capability()
        if major * 10 + minor == target.sm:
            return number
    raise EngineError(f"No GPU of this machine runs {target.name}", got=f"{cuda.Device.count()} GPUs")
