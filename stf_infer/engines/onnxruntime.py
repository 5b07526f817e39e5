# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EngineError
from .base import Engine, EngineInfo, package_version

if TYPE_CHECKING:
    from ..bundle import Bundle

NAME = "onnxruntime-cpu"


def _version() -> str:
    return package_version("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")


def probe() -> EngineInfo:
    """How the backend stands on this machine, without importing it."""
    if importlib.util.find_spec("onnxruntime") is None:
        return EngineInfo(NAME, usable=False, reason="the package onnxruntime is not installed", extra="cpu")
    return EngineInfo(NAME, usable=True, version=_version(), extra="cpu")


def open_engine(bundle: Bundle, threads: int | None) -> Engine:
    """Open the bundle's fp32 graph."""
    return OnnxRuntimeEngine(bundle, threads)


class OnnxRuntimeEngine(Engine):
    """An ``InferenceSession`` of the CPU provider. ``infer`` may be called from several threads."""

    name = NAME

    def open_impl(self, bundle: Bundle, threads: int | None) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        graph = bundle.asset("model-fp32")
        try:
            self._session: Any = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own without a common base
            raise EngineError("ONNX Runtime cannot load the graph", got=f"{graph.name}: {error}") from error
        batch = self._session.get_inputs()[0].shape[0]
        self.fixed_batch = batch if isinstance(batch, int) else None

    def infer_impl(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))
        except Exception as error:
            raise EngineError("ONNX Runtime failed on a batch", got=error) from error

    def close_impl(self) -> None:
        self._session = None

    def describe(self) -> dict[str, str]:
        return {"engine": self.name, "version": _version(), "precision": "fp32", "device": "cpu"}
