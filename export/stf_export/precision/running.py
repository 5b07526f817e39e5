# SPDX-License-Identifier: Apache-2.0
"""Graphs that are on no disk yet, run in ONNX Runtime on the CPU as engines are."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir

from stf_infer.accuracy.tiles import Spec
from stf_infer.engines import Engine
from stf_infer.errors import EngineError, ExportError

from ..extras import need

# Bytes of weights up to which a graph is handed over in memory: a serialised one may have two gigabytes at most.
_IN_MEMORY = 2**30


def session(model: ir.Model, *, literal: bool = False) -> Any:
    """An ``InferenceSession`` of a model that computes what the graph says, on every processor.

    8-bit products are products of rounded numbers in float32. ONNX Runtime's own 8-bit ones add pairs in 16 bits where
    the processor has no dot products of 8-bit numbers (AVX2): large pairs are cut off.

    Args:
        model: The model; it is not changed.
        literal: Run every operator as it stands, none fused with another.

    Raises:
        ExportError: ONNX Runtime refuses it.
        MissingExtraError: ONNX Runtime is not installed.
    """
    ort = need("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    if literal:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers = ["CPUExecutionProvider"]
    with tempfile.TemporaryDirectory() as folder:
        weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
        try:
            if weights > _IN_MEMORY:
                path = Path(folder) / "model.onnx"
                ir.save(model, path, external_data="model.data")
                return ort.InferenceSession(str(path), options, providers=providers)
            held = {name: v.const_value for name, v in model.graph.initializers.items()}
            ir.external_data.load_to_model(model)
            content = ir.to_proto(model).SerializeToString()
            for name, tensor in held.items():  # what was mapped stays mapped
                model.graph.initializers[name].const_value = tensor
            return ort.InferenceSession(content, options, providers=providers)
        except Exception as error:  # onnxruntime raises classes of its own without a common base
            raise ExportError("ONNX Runtime cannot load the reduced graph", got=error) from error


class GraphEngine(Engine):
    """A model as an engine.

    Args:
        model: The model, with the contract's inputs and output.
        spec: The contract.
        precision: What it computes in, for its description.
    """

    name = "onnxruntime-cpu"

    def __init__(self, model: ir.Model, spec: Spec, precision: str) -> None:
        self._model: ir.Model | None = model
        self._precision = precision
        bundle: Any = SimpleNamespace(spec=spec)
        super().__init__(bundle)

    def open_impl(self, bundle: Any, threads: int | None) -> None:
        assert self._model is not None
        self._session = session(self._model)
        self._model = None  # it is in the session now
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
        """Name and precision."""
        return {"engine": self.name, "precision": self._precision}


class Remembered(Engine):
    """An engine that is asked the same again and again: what it gave for a batch is kept.

    Args:
        engine: The open engine.
        spec: Its contract.
    """

    def __init__(self, engine: Engine, spec: Spec) -> None:
        self._engine, self._given = engine, dict[int, dict[str, np.ndarray]]()
        bundle: Any = SimpleNamespace(spec=spec)
        super().__init__(bundle)

    def open_impl(self, bundle: Any, threads: int | None) -> None:
        self.name = self._engine.name
        self.preferred_batch, self.max_batch = self._engine.preferred_batch, self._engine.max_batch

    def infer_impl(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        key = hash(tuple((name, np.ascontiguousarray(array).tobytes()) for name, array in inputs.items()))
        if key not in self._given:
            self._given[key] = self._engine.infer(inputs)
        return self._given[key]

    def close_impl(self) -> None:
        self._given.clear()
        self._engine.close()
