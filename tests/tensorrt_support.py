# SPDX-License-Identifier: Apache-2.0
"""Build an ONNX file with TensorRT-RTX, ahead of time and without a GPU."""

from __future__ import annotations

from pathlib import Path

import tensorrt_rtx as trt

BATCHES = (1, 1, 4)  # smallest, usual and largest batch of an engine


def build(path: Path, capability: str = "SM89") -> int:
    """Bytes of the engine of a strongly typed network.

    Args:
        path: The ONNX file; external data lies beside it.
        capability: The GPU to build for.

    Raises:
        RuntimeError: The parser or the builder refuses; the message carries the reason.
    """
    log = _Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        raise RuntimeError("; ".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if shape and shape[0] == -1:
            profile.set_shape(tensor.name, *((batch, *shape[1:]) for batch in BATCHES))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RuntimeError("; ".join(log.errors) or "the builder gave no engine and no reason")
    return int(engine.nbytes)


class _Log(trt.ILogger):
    """Keeps errors, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.errors.append(message)
