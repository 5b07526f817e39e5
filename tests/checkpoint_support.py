# SPDX-License-Identifier: Apache-2.0
"""Checkpoints to load, and a trap in one of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stf_export import networks

State = dict[str, torch.Tensor]


class RunsCode:
    """An object whose unpickling creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


def weights(seed: int, **options: Any) -> State:
    torch.manual_seed(seed)
    return dict(networks.create("edcstfn", **options).state_dict())


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


def saved(folder: Path, content: Any, **options: Any) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path, **options)
    return path


def assert_holds(network: nn.Module, state: State) -> None:
    own = network.state_dict()
    assert own.keys() == state.keys()
    for key, tensor in state.items():
        assert torch.equal(own[key], tensor), key
