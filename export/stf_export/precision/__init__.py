# SPDX-License-Identifier: Apache-2.0
"""Precision in the graph: fp16, bf16 and int8 written into the ONNX graph of a bundle, within an accuracy budget.

    from stf_export import reduce

    reduce("NAME.stf", "fp16")
    reduce("NAME.stf", "int8", budget="rmse=1%,sam=0.1deg", calibration="percentile")

Which parts stay in float32 is found by measuring (:mod:`~stf_export.precision.scan`,
:mod:`~stf_export.precision.sensitivity`), not by a list. No torch here.
"""

from __future__ import annotations

from .calibration import METHODS
from .reducing import PRECISIONS, Reduced, reduce
from .wanted import Reduction

__all__ = ["METHODS", "PRECISIONS", "Reduced", "Reduction", "reduce"]
