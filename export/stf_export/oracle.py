# SPDX-License-Identifier: Apache-2.0
"""A network as a plain function of arrays by role: what probing and parity ask, whatever computes the answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stf_infer.errors import ExportError
from stf_infer.grid import Shape

from .contract import AnyContract
from .extras import need

if TYPE_CHECKING:
    from torch import nn


class Oracle(Protocol):
    """A network as a function.

    Attributes:
        fixed: The only tile it takes, or None if it takes any.
    """

    fixed: Shape | None

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Output ``(N, C, H, W)`` for inputs ``(N, C, h, w)`` by role, in network values."""
        ...


class TorchOracle:
    """A bound module (:func:`stf_export.torch_graph.bind`), float32 on the CPU.

    Args:
        module: Takes tensors in the order of the contract's inputs.
        contract: Its contract.
        fixed: The only tile the module takes, or None.
    """

    def __init__(self, module: nn.Module, contract: AnyContract, *, fixed: Shape | None = None) -> None:
        import torch

        self._torch = torch
        self._module = module
        self._roles = tuple(i.role for i in contract.inputs)
        self.fixed = fixed

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Output ``(N, C, H, W)``."""
        tensors = [self._torch.from_numpy(np.ascontiguousarray(inputs[role])) for role in self._roles]
        with self._torch.inference_mode():
            output: np.ndarray = self._module(*tensors).numpy()
        return output


class OnnxOracle:
    """An ONNX file in ONNX Runtime on the CPU.

    Args:
        path: The file.
        contract: Which tensor has which role.
        fixed: The only tile the graph takes, or None.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ExportError: ONNX Runtime cannot load the file.
    """

    def __init__(self, path: Path, contract: AnyContract, *, fixed: Shape | None = None) -> None:
        ort = need("onnxruntime")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session: Any = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            raise ExportError("ONNX Runtime cannot load the graph", got=error) from error
        self._tensors = {i.role: (i.tensor, i.dtype) for i in contract.inputs}
        self._output = contract.output.tensor
        self.fixed = fixed

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Output ``(N, C, H, W)``."""
        feed = {name: inputs[role].astype(dtype, copy=False) for role, (name, dtype) in self._tensors.items()}
        output: np.ndarray = self._session.run([self._output], feed)[0]
        return output
