# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the CPU, in fp32."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EngineError
from .base import Engine, EngineInfo, package_version

if TYPE_CHECKING:
    from ..bundle import Bundle

NAME = "openvino-cpu"


def probe() -> EngineInfo:
    """How the backend stands on this machine, without importing it."""
    if importlib.util.find_spec("openvino") is None:
        return EngineInfo(NAME, usable=False, reason="the package openvino is not installed", extra="openvino")
    return EngineInfo(NAME, usable=True, version=package_version("openvino"), extra="openvino")


def open_engine(bundle: Bundle, threads: int | None) -> Engine:
    """Compile the bundle's fp32 graph."""
    return OpenVinoEngine(bundle, threads)


class OpenVinoEngine(Engine):
    """A compiled model with one inference request.

    OpenVINO would compute in bf16 where the CPU offers it; a precision is a property of the bundle here, never of the
    machine, so fp32 is asked for by name.
    """

    name = NAME

    def open_impl(self, bundle: Bundle, threads: int | None) -> None:
        import openvino

        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        graph = bundle.asset("model-fp32")
        try:
            self._model: Any = openvino.Core().compile_model(str(graph), "CPU", config)
        except RuntimeError as error:
            raise EngineError("OpenVINO cannot compile the graph", got=f"{graph.name}: {error}") from error
        batch = self._model.inputs[0].partial_shape[0]
        self.fixed_batch = batch.get_length() if batch.is_static else None
        self._request = self._model.create_infer_request()

    def infer_impl(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            self._request.infer(dict(inputs), share_inputs=True)
        except RuntimeError as error:
            raise EngineError("OpenVINO failed on a batch", got=error) from error
        # Copied: the request's own buffers are overwritten by the next batch.
        return {port.any_name: self._request.get_tensor(port).data.copy() for port in self._model.outputs}

    def close_impl(self) -> None:
        self._request = self._model = None

    def describe(self) -> dict[str, str]:
        return {"engine": self.name, "version": package_version("openvino"), "precision": "fp32", "device": "cpu"}
