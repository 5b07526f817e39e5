# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for ``pycuda.driver`` and for the part of TensorRT that needs a GPU.

They keep the rules that a real run would break on: addresses are of memory that was allocated and not freed, a context
is current where memory is used, copies and kernels wait for their stream, shapes lie in the profile.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from typing import Any

import numpy as np


class Error(Exception):
    pass


class OutOfMemory(Error):
    pass


class FakeCuda(types.ModuleType):
    """``pycuda.driver`` with devices of the capabilities given."""

    Error, MemoryError = Error, OutOfMemory

    def __init__(self, *capabilities: tuple[int, int], limit: int = 1 << 40) -> None:
        super().__init__("pycuda.driver")
        self.memory: dict[int, np.ndarray] = {}
        self.stack: list[Any] = []
        self.limit, self.initialised, self.detached = limit, False, 0
        cuda = self

        class Device:
            def __init__(self, number: int) -> None:
                assert cuda.initialised
                self.number = number

            @staticmethod
            def count() -> int:
                return len(capabilities)

            def compute_capability(self) -> tuple[int, int]:
                return capabilities[self.number]

            def retain_primary_context(self) -> Context:
                return Context(self.number)

        class Context:
            def __init__(self, device: int) -> None:
                self.device = device

            def push(self) -> None:
                cuda.stack.append(self)

            def pop(self) -> None:
                assert cuda.stack.pop() is self

            def detach(self) -> None:
                cuda.detached += 1

        class Stream:
            def __init__(self) -> None:
                cuda.need_context()
                self.handle, self.work = id(self), []
                cuda.streams[self.handle] = self

            def synchronize(self) -> None:
                work, self.work = self.work, []
                for step in work:
                    step()

        class Event:
            """Notes the device's clock, in milliseconds, when the stream comes to it."""

            at: float | None = None

            def record(self, stream: Any) -> None:
                cuda.need_context()
                stream.work.append(lambda: setattr(self, "at", cuda.clock))

            def time_till(self, other: Any) -> float:
                assert self.at is not None
                assert other.at is not None, "the stream has not come to the event"
                return other.at - self.at

        class Allocation(int):
            def free(self) -> None:
                cuda.need_context()
                del cuda.memory[int(self)]

        self.streams: dict[int, Any] = {}
        self.clock = 0.0  # a kernel takes as many milliseconds as it has tiles, a copy takes 100
        self.Device, self.Stream, self.Event, self._Allocation = Device, Stream, Event, Allocation

    def need_context(self) -> None:
        assert self.stack, "no context is current"

    def init(self) -> None:
        self.initialised = True

    def pagelocked_empty(self, shape: Any, dtype: Any) -> np.ndarray:
        self.need_context()
        return np.full(shape, 77, dtype)  # whatever was there

    def mem_alloc(self, size: int) -> int:
        self.need_context()
        if sum(len(m) for m in self.memory.values()) + size > self.limit:
            raise OutOfMemory("cuMemAlloc failed: out of memory")
        address = 1000 + 4096 * len(self.memory)
        while address in self.memory:
            address += 1
        self.memory[address] = np.zeros(size, np.uint8)
        return self._Allocation(address)

    def memcpy_htod_async(self, to: int, array: np.ndarray, stream: Any) -> None:
        self.need_context()
        assert array.flags.c_contiguous
        raw = self.memory[int(to)]
        stream.work.append(lambda: raw.__setitem__(slice(0, array.nbytes), array.reshape(-1).view(np.uint8)))
        stream.work.append(lambda: self.pass_time(100))

    def memcpy_dtoh_async(self, array: np.ndarray, source: int, stream: Any) -> None:
        self.need_context()
        raw = self.memory[int(source)]
        stream.work.append(lambda: array.reshape(-1).view(np.uint8).__setitem__(slice(None), raw[: array.nbytes]))
        stream.work.append(lambda: self.pass_time(100))

    def pass_time(self, milliseconds: float) -> None:
        self.clock += milliseconds


def plan_of(tensors: dict[str, Any], **more: Any) -> bytes:
    """A plan that :class:`FakeTrt` loads: name to (mode, shape with the batch axis, type)."""
    return json.dumps({"tensors": tensors, **more}).encode()


class FakeTrt(types.ModuleType):
    """The runtime of TensorRT (``rtx`` False) or TensorRT-RTX; an engine computes a function of its inputs."""

    class ILogger:
        class Severity:
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class TensorIOMode:
        INPUT, OUTPUT = "input", "output"

    def __init__(self, cuda: FakeCuda, function: Callable[..., np.ndarray], *, rtx: bool = False) -> None:
        super().__init__("tensorrt_rtx" if rtx else "tensorrt")
        self.host_code: list[bool] = []
        self.refitted: list[str] = []
        self.missing: list[str] = []
        self.kernels: list[bytes] = []
        self.fail: str = ""
        trt = self

        class Runtime:
            engine_host_code_allowed = False

            def __init__(self, log: Any) -> None:
                cuda.need_context()
                self.log = log

            def deserialize_cuda_engine(self, plan: bytes) -> Any:
                trt.host_code.append(self.engine_host_code_allowed)
                try:
                    return Engine(json.loads(plan))
                except ValueError:
                    self.log.log(self.log.Severity.ERROR, "plan.header.size == blobSize failed")
                    return None

        class Engine:
            def __init__(self, facts: Any) -> None:
                self.tensors, self.profile = facts["tensors"], facts.get("profile", [1, 4, 4])
                self.num_io_tensors = len(self.tensors)

            def get_tensor_name(self, index: int) -> str:
                return list(self.tensors)[index]

            def get_tensor_mode(self, name: str) -> str:
                return self.tensors[name][0]

            def get_tensor_shape(self, name: str) -> list[int]:
                return self.tensors[name][1]

            def get_tensor_dtype(self, name: str) -> str:
                return self.tensors[name][2]

            def get_tensor_profile_shape(self, name: str, number: int) -> list[list[int]]:
                return [[n, *self.tensors[name][1][1:]] for n in self.profile]

            def create_execution_context(self, config: Any = None) -> Any:
                return None if trt.fail == "context" else Execution(self)

        class RtxEngine(Engine):
            def create_runtime_config(self) -> Any:
                return types.SimpleNamespace(
                    create_runtime_cache=Kernels, set_runtime_cache=lambda cache: trt.kernels.append(cache.content)
                )

        class Kernels:
            content = b""

            def deserialize(self, content: bytes) -> bool:
                self.content = content
                return True

            def serialize(self) -> bytes:
                return self.content + b"compiled"

        class Execution:
            def __init__(self, engine: Engine) -> None:
                self.engine, self.addresses, self.shapes = engine, {}, {}

            def set_tensor_address(self, name: str, address: int) -> bool:
                assert address in cuda.memory
                self.addresses[name] = address
                return True

            def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
                least, _, most = self.engine.get_tensor_profile_shape(name, 0)
                self.shapes[name] = shape
                return least[0] <= shape[0] <= most[0] and trt.fail != "shape"

            def execute_async_v3(self, handle: int) -> bool:
                if trt.fail == "execute":
                    return False
                if trt.fail == "cuda":
                    raise Error("an illegal memory access was encountered")
                cuda.streams[handle].work.append(self.run)
                return True

            def run(self) -> None:
                arrays = {}
                for name, (mode, shape, kind) in self.engine.tensors.items():
                    full = self.shapes.get(name, shape)
                    if mode == "input":
                        raw = cuda.memory[self.addresses[name]]
                        size = int(np.prod(full)) * np.dtype(kind).itemsize
                        arrays[name] = raw[:size].view(kind).reshape(full)
                result = np.ascontiguousarray(function(**arrays), np.float32)
                (out,) = (name for name, t in self.engine.tensors.items() if t[0] == "output")
                cuda.pass_time(len(result))
                cuda.memory[self.addresses[out]][: result.nbytes] = result.reshape(-1).view(np.uint8)

        class Refitter:
            def __init__(self, engine: Engine, log: Any) -> None:
                self.log = log

            def get_missing_weights(self) -> list[str]:
                return trt.missing

            def refit_cuda_engine(self) -> bool:
                return trt.fail != "refit"

        class OnnxParserRefitter:
            num_errors = 1

            def __init__(self, refitter: Refitter, log: Any) -> None:
                pass

            def refit_from_file(self, path: str) -> bool:
                trt.refitted.append(path)
                return trt.fail != "parse"

            def get_error(self, index: int) -> Any:
                return types.SimpleNamespace(
                    node_operator=lambda: "Conv", node_name=lambda: "n7", desc=lambda: "its weights are another size"
                )

        if rtx:
            Engine = RtxEngine  # type: ignore[misc]
        self.Runtime, self.Refitter, self.OnnxParserRefitter = Runtime, Refitter, OnnxParserRefitter

    @staticmethod
    def nptype(kind: str) -> Any:
        return np.dtype(kind)
