# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the part of TensorRT that needs a GPU: shapes lie in the profile, addresses are of the device."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fake_cuda import Error, FakeCuda


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
                assert len(cuda.bytes_at(address, 1)) == 1
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
                cuda.streams[handle].put(partial(self.run, dict(self.addresses), dict(self.shapes)))
                return True

            def run(self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> None:
                arrays = {}
                for name, (mode, shape, kind) in self.engine.tensors.items():
                    full = shapes.get(name, shape)
                    if mode == "input":
                        size = int(np.prod(full)) * np.dtype(kind).itemsize
                        arrays[name] = cuda.bytes_at(addresses[name], size).view(kind).reshape(full)
                result = np.ascontiguousarray(function(**arrays), np.float32)
                (out,) = (name for name, t in self.engine.tensors.items() if t[0] == "output")
                cuda.pass_time(len(result))
                cuda.bytes_at(addresses[out], result.nbytes)[:] = result.reshape(-1).view(np.uint8)

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
