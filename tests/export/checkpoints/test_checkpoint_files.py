# SPDX-License-Identifier: Apache-2.0
"""Which files are read, which are refused, and that none of them runs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from checkpoint_support import RunsCode, State, assert_holds, saved
from stf_export.checkpoints import load_into, load_state
from stf_export.networks.base import FusionNetwork
from stf_infer.errors import CheckpointError, UnsafeCheckpointError
from support import shared_path


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files(tmp_path: Path, network: FusionNetwork, state: State, zipped: bool):
    path = saved(tmp_path, state, _use_new_zipfile_serialization=zipped)
    assert load_into(network, path) == []
    assert_holds(network, state)
    assert load_state(path).state.keys() == state.keys()


def test_safetensors(tmp_path: Path, network: FusionNetwork, state: State):
    path = tmp_path / "weights.bin"  # the name does not matter
    save_file(state, path)
    assert load_into(network, path) == []
    assert_holds(network, state)


def test_a_state_dict_in_memory(network: FusionNetwork, state: State):
    assert load_into(network, state) == []
    assert_holds(network, state)


def test_published_weights_of_real_networks():
    path = shared_path("checkpoints", "dcstfn", "nir_ep0060.hdf5")
    datasets = load_state(path)
    assert datasets.notes == ["read a Keras file"]
    assert len(datasets.state) == 26
    assert sum(tensor.numel() for tensor in datasets.state.values()) == 408_961


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_not_run(
    tmp_path: Path, network: FusionNetwork, state: State, zipped: bool, inside: bool
):
    trap = tmp_path / "executed"
    content = {"state_dict": state, "hook": RunsCode(trap)} if inside else RunsCode(trap)
    path = saved(tmp_path, content, _use_new_zipfile_serialization=zipped)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    for load in (lambda: load_into(network, path), lambda: load_state(path)):
        with pytest.raises(UnsafeCheckpointError, match=r"would run code .*`\w+\.system`.*torch\.save"):
            load()
    assert not trap.exists()
    assert_holds(network, before)
    # The trap is real: an unpickler that is not careful falls into it.
    torch.load(path, weights_only=False)
    assert trap.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_plain_pickle_is_refused_and_not_run(tmp_path: Path, network: FusionNetwork, protocol: int):
    path, trap = tmp_path / "weights.pkl", tmp_path / "executed"
    path.write_bytes(pickle.dumps(RunsCode(trap), protocol=protocol))
    with pytest.raises(UnsafeCheckpointError, match="plain pickle"):
        load_into(network, path)
    assert not trap.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_pickled_network_is_refused(tmp_path: Path, network: FusionNetwork, zipped: bool):
    path = saved(tmp_path, nn.Linear(2, 2), _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeCheckpointError, match=r"`torch\.nn\.modules\.linear\.Linear`.*state_dict\(\)"):
        load_into(network, path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_archive_is_refused(tmp_path: Path, network: FusionNetwork):
    path = tmp_path / "scripted.pt"
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))
    with pytest.raises(UnsafeCheckpointError, match="TorchScript"):
        load_into(network, path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "keras"])
def test_a_truncated_file(tmp_path: Path, network: FusionNetwork, state: State, kind: str, share: float):
    path = tmp_path / "weights"
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "keras":
        with h5py.File(path, "w") as file:
            file["dense_1/kernel:0"] = np.ones((100, 100), np.float32)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="cut short or damaged") as caught:
        load_into(network, path)
    assert not isinstance(caught.value, UnsafeCheckpointError)


def test_every_short_beginning_of_a_legacy_file_is_refused(tmp_path: Path, network: FusionNetwork):
    path = saved(tmp_path, {"a": torch.ones(3)}, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            load_state(path)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\x08\x0a\x12\x07pytorch", "ONNX"),
        (b"hello, these are no weights at all", "safetensors, a PyTorch state dict"),
        (b"PK\x05\x06" + bytes(18), "not a type"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, network: FusionNetwork, content: bytes, named: str):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=named):
        load_into(network, path)


def test_a_zip_of_something_else(tmp_path: Path, network: FusionNetwork):
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.ones(3))
    with pytest.raises(CheckpointError, match=r"no PyTorch checkpoint.*a\.npy"):
        load_into(network, path)


def test_missing_file_and_folder(tmp_path: Path, network: FusionNetwork):
    with pytest.raises(CheckpointError, match="No such file"):
        load_into(network, tmp_path / "nowhere.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_into(network, tmp_path)


@pytest.mark.parametrize(
    ("content", "named"),
    [({}, "nothing in it"), ({"epoch": 3, "lr": 0.1}, "epoch, lr"), (torch.ones(3), "a Tensor"), ([1, 2], "a list")],
)
def test_files_without_weights(tmp_path: Path, network: FusionNetwork, content: Any, named: str):
    path = saved(tmp_path, content)
    for load in (lambda: load_into(network, path), lambda: load_state(path)):
        with pytest.raises(CheckpointError, match=f"no tensors by name.*{named}"):
            load()
