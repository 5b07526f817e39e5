# SPDX-License-Identifier: Apache-2.0
"""Outputs of published networks for weights and inputs that can be regenerated, and lists of their keys.

What is used is noted (:data:`used`), so that the table of networks can say what a test that passed was held to.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from support import module_at, shared_path


@dataclass
class Used:
    """Published material that the running test has used so far.

    Attributes:
        lists: Lists of keys.
        goldens: Golden files that were opened, or not found.
        arrays: ``file/array`` that an output was compared with.
        widened: Those of them with another tolerance than the file's.
    """

    lists: set[str] = field(default_factory=set)
    goldens: set[str] = field(default_factory=set)
    arrays: set[str] = field(default_factory=set)
    widened: set[str] = field(default_factory=set)

    def clear(self) -> None:
        """Forget all, before the next test."""
        for noted in (self.lists, self.goldens, self.arrays, self.widened):
            noted.clear()


used = Used()


@dataclass(frozen=True)
class Golden:
    """One golden file: its name, what was run (``meta``) and the arrays it gave."""

    name: str
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]


def read_golden(name: str) -> Golden:
    """A golden file by its name without suffix; skips the test where the shared material is absent."""
    used.goldens.add(name)
    with np.load(shared_path("golden", f"{name}.npz")) as archive:
        arrays = dict(archive)
    return Golden(name, json.loads(str(arrays.pop("meta"))), arrays)


@cache
def golden_weights() -> ModuleType:
    """The module that regenerates weights and inputs."""
    return module_at(shared_path("golden", "golden_weights.py"), "golden_weights")


def load_golden_weights(network: nn.Module, golden: Golden) -> nn.Module:
    """The network with the weights of the golden, strictly loaded, in evaluation mode."""
    recipe = golden.meta["weights"]
    own = network.state_dict()
    state = golden_weights().fill_state_dict(own, recipe["seed"])
    for key, tensor in state.items():
        if key in recipe["own_value_keys"]:
            state[key] = own[key]
        elif tensor.is_floating_point():
            gain = recipe["key_gains"].get(key, 1.0) * (recipe["weight_gain"] if tensor.ndim > 1 else 1.0)
            state[key] = (tensor + recipe["offsets"].get(key, 0.0)) * gain
    if "abs_sum_after_gain" in recipe:
        total = sum(float(t.double().abs().sum()) for t in state.values() if t.is_floating_point())
        np.testing.assert_allclose(total, recipe["abs_sum_after_gain"], rtol=1e-6)
    network.load_state_dict(state, strict=True)
    return network.eval()


def golden_inputs(golden: Golden) -> dict[str, torch.Tensor]:
    """Inputs by role."""
    inputs = {}
    for role, recipe in golden.meta["inputs"].items():
        array = golden.arrays.get(f"input_{role}")
        if array is None:
            make = golden_weights().input_for
            array = make(recipe["name"], tuple(recipe["shape"]), recipe["seed"], recipe["low"], recipe["high"])
        inputs[role] = torch.from_numpy(array)
    return inputs


def check(golden: Golden, got: torch.Tensor, name: str = "output", *, of_range: float | None = None) -> None:
    """Compare with an array of the golden, within the tolerance that the file states.

    ``of_range`` is another tolerance, over the largest absolute value of the array; say beside it why.
    """
    stride = golden.meta["outputs"].get(name, {}).get("stride", 1)
    tolerance, wanted = golden.meta["tolerance"], golden.arrays[name]
    limits = {"rtol": tolerance["rtol"], "atol": tolerance["atol"][name]}
    if of_range is not None:
        limits = {"rtol": 0, "atol": of_range * float(np.abs(wanted).max())}
        used.widened.add(f"{golden.name}/{name}")
    np.testing.assert_allclose(got.detach().numpy()[..., ::stride, ::stride], wanted, **limits)
    used.arrays.add(f"{golden.name}/{name}")


def published_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Key: shape of a published state dict, in its order."""
    used.lists.add(name)
    lines = shared_path("networks", "state_dicts", f"{name}.txt").read_text().splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {row[0]: ast.literal_eval(row[1]) for row in rows}


def keys_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Key: shape of a network's state dict."""
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
