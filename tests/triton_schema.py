# SPDX-License-Identifier: Apache-2.0
"""Triton's own schema of ``config.pbtxt``, as its client ships it compiled."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from support import module_at


def parse(text: str) -> Any:
    """The configuration as Triton reads it; a field or value that the schema does not know is an error."""
    text_format = pytest.importorskip("google.protobuf.text_format")
    client = importlib.util.find_spec("tritonclient")
    if client is None:
        pytest.skip("tritonclient is not installed")
    # Its package asks for gRPC, which reading a schema does not need.
    path = Path(next(iter(client.submodule_search_locations))) / "grpc" / "model_config_pb2.py"
    return text_format.Parse(text, module_at(path, "triton_model_config").ModelConfig())
