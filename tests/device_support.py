# SPDX-License-Identifier: Apache-2.0
"""A machine with a GPU that is not there: PyCUDA and TensorRT are stand-ins, kernels are emulated."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fake_cuda import FakeCuda, FakeKernels
from fake_trt import FakeTrt, plan_of
from fakes import FakeBundle
from stf_infer.engines.tensorrt_runtime import TensorRtEngine
from stf_infer.model import Model
from stf_infer.spec import ModelSpec

TARGET = SimpleNamespace(name="tensorrt-sm87", module="tensorrt", title="TensorRT", sm=87)


class Machine:
    """The stand-ins, installed as the modules that they stand for.

    Args:
        monkeypatch: Of the test.
        folder: Where plans are written.
        emulated: The emulated kernels; None where ``stf_infer._cuda`` is not built.
        given: For :class:`FakeCuda`.
    """

    def __init__(self, monkeypatch: Any, folder: Path, emulated: Any, **given: Any) -> None:
        self.cuda = FakeCuda((8, 7), **given)
        self.kernels = None if emulated is None else FakeKernels(self.cuda, emulated)
        self._patch, self._folder = monkeypatch, folder
        monkeypatch.setitem(sys.modules, "pycuda.driver", self.cuda)
        monkeypatch.setitem(sys.modules, "stf_infer._cuda", self.kernels)

    def model(
        self, spec: ModelSpec, function: Callable[..., np.ndarray], *, most: int = 8, fixed: int | None = None
    ) -> Model:
        """A model on TensorRT, of a plan for up to ``most`` tiles, or for ``fixed`` ones."""
        self.trt = FakeTrt(self.cuda, function)
        self._patch.setitem(sys.modules, "tensorrt", self.trt)
        tensors = {t.name: ("input", [fixed or -1, *t.shape], "float32") for t in spec.tensors}
        tensors[spec.output.tensor] = ("output", [fixed or -1, *spec.output_shape], "float32")
        plan = self._folder / "model.plan"
        plan.write_bytes(plan_of(tensors, profile=[1, most, most]))
        key = SimpleNamespace(batch=most, flags={}, precision="fp32", backend="tensorrt 10.9.0", device="sm87 Orin")
        stored: Any = SimpleNamespace(key=key, files=[plan], settings={})
        bundle: Any = FakeBundle(spec)
        model = Model(bundle)
        model.take(TensorRtEngine(bundle, None, target=TARGET, stored=stored))  # type: ignore[arg-type]
        return model
