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
from fakes import UTM, FakeBundle, box_blur, grid_transform
from pipeline_support import GEO
from stf_infer.engines.tensorrt_runtime import TensorRtEngine
from stf_infer.fusion import FusionResult
from stf_infer.model import Model
from stf_infer.raster import Raster
from stf_infer.spec import ModelSpec, Values

VALUES = Values(scale=2.0, offset=-0.3, minimum=-0.05, maximum=1.1)
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
        self,
        spec: ModelSpec,
        function: Callable[..., np.ndarray],
        *,
        most: int = 8,
        fixed: int | None = None,
        output: str = "float32",
    ) -> Model:
        """A model on TensorRT, of a plan for up to ``most`` tiles, or for ``fixed`` ones."""
        self.trt = FakeTrt(self.cuda, function)
        self._patch.setitem(sys.modules, "tensorrt", self.trt)
        tensors = {t.name: ("input", [fixed or -1, *t.shape], "float32") for t in spec.tensors}
        tensors[spec.output.tensor] = ("output", [fixed or -1, *spec.output_shape], output)
        plan = self._folder / "model.plan"
        plan.write_bytes(plan_of(tensors, profile=[1, most, most]))
        key = SimpleNamespace(batch=most, flags={}, precision="fp32", backend="tensorrt 10.9.0", device="sm87 Orin")
        stored: Any = SimpleNamespace(key=key, files=[plan], settings={})
        bundle: Any = FakeBundle(spec)
        model = Model(bundle)
        model.take(TensorRtEngine(bundle, None, target=TARGET, stored=stored))  # type: ignore[arg-type]
        return model


def network(radius: int = 1) -> Callable[..., np.ndarray]:
    """Looks at everything that a tile holds, and at its neighbours."""
    blur = box_blur(radius)

    def compute(**tensors: np.ndarray) -> np.ndarray:
        fine = tensors["fine_t1"]
        out = blur(fine)
        for name, array in sorted(tensors.items()):
            if name != "fine_t1":
                ratio = fine.shape[-1] // array.shape[-1]
                out = out + array.repeat(ratio, -1).repeat(ratio, -2) * (0.1 + len(name) / 100)
        return out

    return compute


def stored(dtype: str, shape: tuple[int, ...], seed: int, *, holes: bool, **geo: Any) -> Raster:
    """Reflectance from 0 to 1.2 as numbers of a type, with holes of nodata."""
    rng = np.random.default_rng(seed)
    physical = rng.uniform(0, 1.2, shape)
    scale = {"uint8": 5e-3, "int16": 1e-4, "uint16": 2e-5, "float32": 1.0}[dtype]
    pixels = (physical / scale).astype(dtype)
    nodata = {"uint8": 255, "int16": -9999, "uint16": 0, "float32": -5}[dtype]
    if holes:
        empty = rng.random(shape[1:]) < 0.1
        empty[shape[1] // 3 : shape[1] // 2] = True
        empty[:3, :2] = True
        pixels[:, empty] = nodata
    return Raster(pixels, scale=scale, offset=0.0, nodata=nodata, **geo)


def rasters(dtype: str = "int16", size: tuple[int, int] = (75, 90), *, holes: bool = True, ratio: int = 4) -> Any:
    coarse = tuple(-(-side // ratio) for side in size)
    geo = {"transform": grid_transform(30 * ratio), "crs": UTM}
    return {
        "fine_t1": stored(dtype, (2, *size), 1, holes=holes, **GEO),
        "coarse_t1": stored(dtype, (2, *coarse), 2, holes=holes, **geo),
        "coarse_t2": stored(dtype, (2, *coarse), 3, holes=False, **geo),
    }


def check_equal(host: FusionResult, device: FusionResult) -> None:
    """Every bit and every figure of a run on the host and of one on the device."""
    assert host.array is not None
    assert device.array is not None
    assert device.array.tobytes() == host.array.tobytes()
    for figure in ("pixels", "valid_fraction", "not_finite", "tiles", "skipped_tiles", "seam_ratio", "bands"):
        assert getattr(device, figure) == getattr(host, figure), figure
    assert np.isfinite(host.array).any()
    assert (host.provenance["tiles_on"], device.provenance["tiles_on"]) == ("host, as stated", "device")
