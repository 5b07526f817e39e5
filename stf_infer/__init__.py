# SPDX-License-Identifier: Apache-2.0
"""stf-infer: run trained spatiotemporal-fusion networks over whole satellite scenes.

    import stf_infer

    with stf_infer.open("NAME.stf") as model:
        model.fuse("F2.tif", fine_t1="F1.tif", coarse_t1="C1.tif", coarse_t2="C2.tif")

    stf_infer.cut_tiles("NAME.stf", fine_t1="F1.tif", coarse_t1="C1.tif", coarse_t2="C2.tif")
    stf_infer.build("NAME.stf", "openvino-cpu", precision="bf16", budget="rmse=0.5%,sam=0.05deg")

    stf_infer.metrics.evaluate(prediction, truth, data_range=1.0, ratio=16)

Importing this package loads neither an engine nor GDAL nor torch; each comes when it is first needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import accuracy, baselines, datasets, engines, errors, metrics, noise
    from .accuracy import cut_tiles
    from .bundle import Bundle
    from .engines import build
    from .fusion import FusionResult
    from .grid import Shape, TilePlan, Window
    from .model import Model, open
    from .raster import Raster
    from .samples.array import SampleArray
    from .samples.model import SampleModel
    from .samples.run import SampleResult
    from .samples.spec import Dim, SampleInput, SampleOutput, SampleSpec, SampleValues
    from .spec import InputSpec, ModelSpec, OutputSpec, TileRule, Values

__version__ = "0.1.0"

_HOME = {
    "build": "engines",
    "cut_tiles": "accuracy",
    "open": "model",
    "Model": "model",
    "Bundle": "bundle",
    "FusionResult": "fusion",
    "Raster": "raster",
    "SampleArray": "samples.array",
    "SampleModel": "samples.model",
    "SampleResult": "samples.run",
    "Dim": "samples.spec",
    "SampleInput": "samples.spec",
    "SampleOutput": "samples.spec",
    "SampleSpec": "samples.spec",
    "SampleValues": "samples.spec",
    "Shape": "grid",
    "TilePlan": "grid",
    "Window": "grid",
    "InputSpec": "spec",
    "ModelSpec": "spec",
    "OutputSpec": "spec",
    "TileRule": "spec",
    "Values": "spec",
}
_MODULES = ("accuracy", "baselines", "datasets", "engines", "errors", "metrics", "noise")

__all__ = [
    "Bundle",
    "Dim",
    "FusionResult",
    "InputSpec",
    "Model",
    "ModelSpec",
    "OutputSpec",
    "Raster",
    "SampleArray",
    "SampleInput",
    "SampleModel",
    "SampleOutput",
    "SampleResult",
    "SampleSpec",
    "SampleValues",
    "Shape",
    "TilePlan",
    "TileRule",
    "Values",
    "Window",
    "accuracy",
    "baselines",
    "build",
    "cut_tiles",
    "datasets",
    "engines",
    "errors",
    "metrics",
    "noise",
    "open",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
