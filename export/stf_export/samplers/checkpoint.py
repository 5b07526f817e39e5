# SPDX-License-Identifier: Apache-2.0
"""The noise schedule that a checkpoint carries: buffers ``alphas_cumprod`` or ``betas`` beside the weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stf_infer.errors import CheckpointError

from ..checkpoints.files import read
from ..checkpoints.unwrap import places
from .schedules import Schedule, from_betas

NAME = "checkpoint"

_LEVELS, _BETAS = "alphas_cumprod", "betas"


def schedule_of(source: str | Path | Mapping[str, Any]) -> Schedule | None:
    """The schedule in a checkpoint, or None where it has none.

    Every tensor whose key ends with ``alphas_cumprod`` is one; where there is none, every ``betas``. Copies (those of
    averaged weights, for instance) must agree.

    Args:
        source: A file or a state dict, as for the weights.

    Raises:
        CheckpointError: The file cannot be read, or holds several schedules that differ.
        ExportError: What it holds is no schedule.
    """
    content = source if isinstance(source, Mapping) else _content(source)
    tensors = [
        (" / ".join((*place.where, key)), tensor) for place in places(content) for key, tensor in place.state.items()
    ]
    for ending in (_LEVELS, _BETAS):
        found = {name: _numbers(tensor) for name, tensor in tensors if re.split(r"\.| / ", name)[-1] == ending}
        if found:
            values = _only(found)
            return Schedule(NAME, values) if ending == _LEVELS else from_betas(NAME, values)
    return None


def _content(path: str | Path) -> Any:
    contents = read(path)
    return {} if contents.kind == "keras" else contents.content


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().to(torch.float64).numpy()


def _only(found: Mapping[str, np.ndarray]) -> np.ndarray:
    first, *others = found.values()
    if any(other.shape != first.shape or not np.array_equal(other, first) for other in others):
        raise CheckpointError(
            "The checkpoint holds several noise schedules, and they differ",
            got="; ".join(
                f"{key}: {values.size} steps down to {values.ravel()[-1]:.6g}" for key, values in found.items()
            ),
            fix="Save the network that is wanted on its own",
        )
    return first
