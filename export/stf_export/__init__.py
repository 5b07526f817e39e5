# SPDX-License-Identifier: Apache-2.0
"""The export stage: a trained network in, a bundle out. torch and onnx live here and nowhere else.

    import stf_export

    stf_export.export("dcstfn", weights={"green": "green.hdf5"}, bands=["green"], tile=256, out="NAME.stf")
    stf_export.reduce("NAME.stf", "fp16", budget="rmse=0.5%,sam=0.05deg")

Importing this package does not import torch; its functions do.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import networks
    from .contract import Contract
    from .exporter import export, export_module, export_onnx
    from .precision import Reduction, reduce
    from .samplers import Sampler

_HOME = {
    "export": "exporter",
    "export_module": "exporter",
    "export_onnx": "exporter",
    "Contract": "contract",
    "Sampler": "samplers",
    "Reduction": "precision",
    "reduce": "precision",
}

__all__ = ["Contract", "Reduction", "Sampler", "export", "export_module", "export_onnx", "networks", "reduce"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    if name == "networks":
        return importlib.import_module(".networks", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
