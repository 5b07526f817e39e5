# SPDX-License-Identifier: Apache-2.0
"""Containers, prefixes and averaged weights are found by their keys."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from checkpoint_support import State, assert_holds, prefixed, saved, weights
from stf_export.checkpoints import load_into, load_state
from stf_export.networks.base import FusionNetwork
from stf_infer.errors import CheckpointError

CONTAINERS = ("state_dict", "model", "model_state_dict", "generator", "params", "net", "netG", "my_own_name")
PREFIXES = ("module.", "model.", "_orig_mod.", "module._orig_mod.", "model.net.", "generator.", "anything.at.all.")


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers(tmp_path: Path, network: FusionNetwork, state: State, container: str):
    optimiser = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    path = saved(tmp_path, {"epoch": 3, "optim_dict": optimiser, container: OrderedDict(state)})
    assert load_into(network, path) == [f"unwrapped {container}"]
    assert_holds(network, state)
    assert load_state(path).state.keys() == state.keys()
    assert load_state(path).notes == [f"unwrapped {container}"]


@pytest.mark.parametrize("container", [None, "state_dict"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes(tmp_path: Path, network: FusionNetwork, state: State, prefix: str, container: str | None):
    content: Any = prefixed(prefix, state)
    path = saved(tmp_path, {container: content} if container else content)
    notes = load_into(network, path)
    assert_holds(network, state)
    assert any("dropped" in note and prefix.split(".")[0] in note for note in notes)


@pytest.mark.parametrize("prefix", PREFIXES[:-1])
def test_known_prefixes_without_a_network(tmp_path: Path, state: State, prefix: str):
    assert load_state(saved(tmp_path, {"state_dict": prefixed(prefix, state)})).state.keys() == state.keys()


@pytest.mark.parametrize("wrapper", ["_orig_mod", "module"])
def test_wrappers_within_keys(tmp_path: Path, network: FusionNetwork, state: State, wrapper: str):
    inside = {key.replace("encoder.", f"encoder.{wrapper}."): tensor for key, tensor in state.items()}
    assert load_into(network, saved(tmp_path, inside)) == [f"dropped {wrapper}. from keys"]
    assert_holds(network, state)


def test_wrapper_names_that_the_network_uses_itself_stay(tmp_path: Path):
    holder = nn.Module()
    holder.module = nn.Linear(2, 3)
    expected = {key: torch.rand_like(tensor) for key, tensor in holder.state_dict().items()}
    load_into(holder, saved(tmp_path, expected))
    assert_holds(holder, expected)
    load_into(holder, saved(tmp_path, prefixed("module.", expected)))
    assert_holds(holder, expected)


def test_other_modules_of_a_training_are_left_out(tmp_path: Path, network: FusionNetwork, state: State):
    content = prefixed("model.", state) | {"loss.vgg.0.weight": torch.ones(3), "loss.vgg.0.bias": torch.ones(3)}
    notes = load_into(network, saved(tmp_path, {"state_dict": content, "pytorch-lightning_version": "2.2"}))
    assert_holds(network, state)
    assert "left out 2 entries that are not under model." in notes


def test_the_generator_is_found_beside_its_discriminator(tmp_path: Path, network: FusionNetwork, state: State):
    discriminator = {f"conv.{i}.weight": torch.ones(3) for i in range(100)}
    load_into(network, saved(tmp_path, {"discriminator": discriminator, "generator": state}))
    assert_holds(network, state)


def test_two_sets_that_fit_and_differ_are_refused(tmp_path: Path, network: FusionNetwork, state: State):
    path = saved(tmp_path, {"first": state, "second": weights(2)})
    for load in (lambda: load_into(network, path), lambda: load_state(path)):
        with pytest.raises(CheckpointError, match=r"several sets of weights.*first, second"):
            load()
    load_into(network, saved(tmp_path, {"first": state, "second": dict(state)}))
    assert_holds(network, state)


def ema_files(last: State, averaged: State) -> dict[str, dict[str, Any]]:
    return {
        "params_ema": {"params": last, "params_ema": averaged},
        "ema": {"model": last, "ema": averaged, "step": 3},
        "ema_state_dict": {"state_dict": last, "ema_state_dict": averaged},
        "lightning": {"state_dict": prefixed("model.", last), "callbacks": {"EMACallback": {"weights": averaged}}},
        "ema_pytorch": {
            **prefixed("online_model.", last),
            **prefixed("ema_model.", averaged),
            "initted": torch.tensor(True),
        },
        "swa_utils": {
            "state_dict": last,
            "averaged_model": {**prefixed("module.", averaged), "n_averaged": torch.tensor(7)},
        },
    }


@pytest.mark.parametrize("kind", list(ema_files({}, {})))
def test_averaged_weights_are_a_choice(tmp_path: Path, network: FusionNetwork, state: State, kind: str):
    averaged = weights(2)
    path = saved(tmp_path, ema_files(state, averaged)[kind])
    with pytest.raises(CheckpointError, match=r"ema=True .* ema=False"):
        load_into(network, path)
    assert "took the averaged (EMA) weights" in load_into(network, path, ema=True)
    assert_holds(network, averaged)
    assert "took the averaged (EMA) weights" not in load_into(network, path, ema=False)
    assert_holds(network, state)


@pytest.mark.parametrize("kind", list(ema_files({}, {})))
def test_equal_averaged_weights_need_no_choice(tmp_path: Path, network: FusionNetwork, state: State, kind: str):
    path = saved(tmp_path, ema_files(state, dict(state))[kind])
    assert "took the averaged (EMA) weights" not in load_into(network, path)
    assert_holds(network, state)


@pytest.mark.parametrize(("content", "has"), [("state_dict", False), ("ema_state_dict", True)])
def test_the_only_weights_are_taken_unless_others_are_asked_for(
    tmp_path: Path, network: FusionNetwork, state: State, content: str, has: bool
):
    path = saved(tmp_path, {content: state})
    for choice in (None, has):
        load_into(network, path, ema=choice)
        assert_holds(network, state)
        assert load_state(path, ema=choice).state.keys() == state.keys()
    for load in (lambda: load_into(network, path, ema=not has), lambda: load_state(path, ema=not has)):
        with pytest.raises(CheckpointError, match="averaged"):
            load()


def test_choice_without_a_network(tmp_path: Path, state: State):
    averaged = weights(2)
    path = saved(tmp_path, {"params": state, "params_ema": averaged})
    with pytest.raises(CheckpointError, match="ema=True"):
        load_state(path)
    key = "decoder.4.bias"
    assert torch.equal(load_state(path, ema=True).state[key], averaged[key])
    assert torch.equal(load_state(path, ema=False).state[key], state[key])
