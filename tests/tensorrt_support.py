# SPDX-License-Identifier: Apache-2.0
"""Build an ONNX file with TensorRT-RTX, ahead of time and without a GPU, as ``stf-infer build`` does."""

from __future__ import annotations

from pathlib import Path

import tensorrt_rtx

from stf_infer.engines.tensorrt_build import PlanOptions, build_plan


def build(path: Path, sm: int = 89) -> int:
    """Bytes of the plan of a graph, for batches of 1 to 4.

    Args:
        path: The ONNX file; external data lies beside it.
        sm: Capability of the GPU to build for.

    Raises:
        EngineError: The parser or the builder refuses; the message carries the reason.
    """
    return len(build_plan(tensorrt_rtx, path, PlanOptions(batch=4, sm=sm)))
