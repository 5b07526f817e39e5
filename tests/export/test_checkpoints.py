# SPDX-License-Identifier: Apache-2.0
"""Every container, prefix and refusal of the checkpoint loader, on files written here."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stf_export import networks
from stf_export.checkpoints import load_into, load_state
from stf_export.networks.base import FusionNetwork
from stf_infer.errors import CheckpointError, UnsafeCheckpointError
from support import shared_path

State = dict[str, torch.Tensor]


class RunsCode:
    """An object whose unpickling creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


@pytest.fixture
def network() -> FusionNetwork:
    return networks.create("edcstfn")


@pytest.fixture
def state() -> State:
    return weights(1)


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


# Files ---------------------------------------------------------------------------------------------------


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


# Containers and prefixes ---------------------------------------------------------------------------------

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


# Averaged weights ----------------------------------------------------------------------------------------


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


# Strictness ----------------------------------------------------------------------------------------------


def test_missing_and_unexpected_keys_are_named(tmp_path: Path, network: FusionNetwork, state: State):
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    del state["decoder.4.bias"]
    state["decoder.6.bias"] = torch.ones(4)
    with pytest.raises(CheckpointError) as caught:
        load_into(network, saved(tmp_path, {"state_dict": state}))
    assert "1 missing: decoder.4.bias; 1 unexpected: decoder.6.bias" in str(caught.value)
    assert_holds(network, before)


def test_long_lists_are_shortened(tmp_path: Path, network: FusionNetwork, state: State):
    kept = dict(list(state.items())[:6])
    with pytest.raises(CheckpointError, match=r"12 missing: residual\.0\.1\.weight, .* and 2 more"):
        load_into(network, saved(tmp_path, kept))


@pytest.mark.parametrize("references", [1, 2])
def test_other_band_count_is_named(tmp_path: Path, references: int):
    path = saved(tmp_path, {"state_dict": prefixed("module.", weights(1, bands=6))})
    with pytest.raises(CheckpointError) as caught:
        load_into(networks.create("edcstfn", bands=4, references=references), path)
    message = str(caught.value)
    assert "EDCSTFN with 4 bands" in message
    assert "4 of another shape: encoder.0.1.weight is (32, 6, 3, 3), not (32, 4, 3, 3)" in message
    assert "made for 6 bands" in message


@pytest.mark.parametrize(("have", "given"), [("edcstfn", "dcstfn"), ("dcstfn", "edcstfn")])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_another_network_of_the_zoo_is_named(tmp_path: Path, have: str, given: str, prefix: str):
    path = saved(tmp_path, {"state_dict": prefixed(prefix, dict(networks.create(given).state_dict()))})
    with pytest.raises(CheckpointError, match=f"those of the network {given}:"):
        load_into(networks.create(have), path)


def test_weights_of_nothing_known(tmp_path: Path, network: FusionNetwork):
    with pytest.raises(CheckpointError, match=r"none of its keys, but fc\.weight") as caught:
        load_into(network, saved(tmp_path, {"fc.weight": torch.ones(3, 3)}))
    assert caught.value.fix is None


def test_nan_is_refused(tmp_path: Path, network: FusionNetwork, state: State):
    state["decoder.4.bias"] = torch.full((4,), torch.nan)
    with pytest.raises(CheckpointError, match=r"NaN.*decoder\.4\.bias"):
        load_into(network, saved(tmp_path, state))


# Numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "note"),
    [
        (torch.float16, "upcast 18 entries from float16"),
        (torch.bfloat16, "upcast 18 entries from bfloat16"),
        (torch.float64, "rounded 18 entries from float64"),
    ],
)
@pytest.mark.parametrize("safe", [True, False])
def test_other_precisions_become_float32(
    tmp_path: Path, network: FusionNetwork, state: State, dtype: torch.dtype, note: str, safe: bool
):
    other = {key: tensor.to(dtype) for key, tensor in state.items()}
    path = tmp_path / "weights.safetensors"
    save_file(other, path) if safe else torch.save(other, path)
    assert load_into(network, path) == [note]
    assert_holds(network, {key: tensor.float() for key, tensor in other.items()})
    assert all(tensor.dtype == torch.float32 for tensor in load_state(path).state.values())


def test_counters_stay_as_they_are(tmp_path: Path):
    norm = nn.BatchNorm2d(3)
    state = dict(norm.state_dict(), num_batches_tracked=torch.tensor(41), running_mean=torch.ones(3))
    path = saved(tmp_path, state)
    assert load_state(path).state["num_batches_tracked"].dtype == torch.int64
    load_into(norm, path)
    assert norm.num_batches_tracked.item() == 41
    # Files from before the counter existed.
    del state["num_batches_tracked"]
    load_into(norm, saved(tmp_path, state))
    assert norm.num_batches_tracked.item() == 41


# Bands ---------------------------------------------------------------------------------------------------

BANDS = ("green", "red", "nir")


def band_files(folder: Path) -> dict[str, Path]:
    files = {}
    for i, band in enumerate(BANDS):
        torch.manual_seed(i)
        files[band] = folder / f"{band}.pth"
        torch.save({"state_dict": networks.create("dcstfn").state_dict()}, files[band])
    return files


def test_one_file_a_band_in_any_order(tmp_path: Path):
    files = band_files(tmp_path)
    joined = networks.create("dcstfn", bands=BANDS)
    notes = load_into(joined, dict(reversed(files.items())))
    assert notes == [f"{band}: unwrapped state_dict" for band in BANDS]
    for band, path in files.items():
        assert_holds(joined.lane(band), load_state(path).state)


def test_one_keras_file_a_band():
    files = {
        "green": shared_path("checkpoints", "dcstfn", "green_ep0041.hdf5"),
        "red": shared_path("checkpoints", "dcstfn", "red_ep0054.hdf5"),
    }
    joined = networks.create("dcstfn", bands=("red", "green"))
    load_into(joined, files)
    for band, path in files.items():
        single = networks.create("dcstfn")
        load_into(single, path)
        assert_holds(joined.lane(band), dict(single.state_dict()))


def test_one_band_takes_a_mapping_too(tmp_path: Path):
    files = band_files(tmp_path)
    single = networks.create("dcstfn", bands=("red",))
    load_into(single, {"red": files["red"]})
    assert_holds(single, load_state(files["red"]).state)


def test_one_file_of_joined_bands(tmp_path: Path):
    torch.manual_seed(1)
    state = dict(networks.create("dcstfn", bands=BANDS).state_dict())
    joined = networks.create("dcstfn", bands=BANDS)
    load_into(joined, saved(tmp_path, {"state_dict": prefixed("module.", state)}))
    assert_holds(joined, state)


def test_a_bad_file_leaves_all_bands_unchanged(tmp_path: Path):
    files = band_files(tmp_path)
    torch.save(weights(1), files["nir"])
    joined = networks.create("dcstfn", bands=BANDS)
    before = {key: tensor.clone() for key, tensor in joined.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"band nir.*network edcstfn"):
        load_into(joined, files)
    assert_holds(joined, before)


@pytest.mark.parametrize("given", [(), ("green",), ("green", "red", "nir", "blue"), ("green", "red", "swir")])
def test_files_for_other_bands(tmp_path: Path, given: tuple[str, ...]):
    files = dict.fromkeys(given, tmp_path / "never_opened")
    with pytest.raises(CheckpointError, match="Allowed: green, red, nir"):
        load_into(networks.create("dcstfn", bands=BANDS), files)


def test_files_by_band_for_a_network_that_is_not_bandwise(tmp_path: Path, network: FusionNetwork):
    with pytest.raises(CheckpointError, match="one set of weights for all bands"):
        load_into(network, {"red": tmp_path / "never_opened"})


def test_one_band_of_weights_for_several_bands(tmp_path: Path):
    path = band_files(tmp_path)["green"]
    with pytest.raises(CheckpointError, match="made for 1 band:"):
        load_into(networks.create("dcstfn", bands=BANDS), path)


def test_several_bands_of_weights_for_one_band(tmp_path: Path):
    state = networks.create("dcstfn", bands=BANDS).state_dict()
    with pytest.raises(CheckpointError, match=r"green\.\*.*name them all"):
        load_into(networks.create("dcstfn"), saved(tmp_path, state))


# Keras ---------------------------------------------------------------------------------------------------


def test_a_keras_file_for_a_network_without_keras_ancestor(network: FusionNetwork):
    path = shared_path("checkpoints", "dcstfn", "green_ep0041.hdf5")
    with pytest.raises(CheckpointError, match="EDCSTFN does not know how Keras"):
        load_into(network, path)
    with pytest.raises(CheckpointError, match="Only a network of the zoo"):
        load_into(nn.Linear(2, 2), path)


def test_one_keras_file_for_several_bands():
    path = shared_path("checkpoints", "dcstfn", "green_ep0041.hdf5")
    with pytest.raises(CheckpointError, match="holds one band"):
        load_into(networks.create("dcstfn", bands=BANDS), path)


def test_a_whole_keras_model_gives_its_weights_only(tmp_path: Path):
    whole = tmp_path / "model.hdf5"
    with (
        h5py.File(shared_path("checkpoints", "dcstfn", "green_ep0041.hdf5")) as weights_only,
        h5py.File(whole, "w") as file,
    ):
        file.create_group("model_weights")
        for name in weights_only:
            weights_only.copy(name, file["model_weights"])
        file["optimizer_weights/Adam/conv2d_1/kernel:0"] = np.ones((3, 3, 1, 32), np.float32)
    expected, network = networks.create("dcstfn"), networks.create("dcstfn")
    load_into(expected, shared_path("checkpoints", "dcstfn", "green_ep0041.hdf5"))
    load_into(network, whole)
    assert_holds(network, dict(expected.state_dict()))


def test_hdf5_without_weights_or_with_weights_elsewhere(tmp_path: Path, network: FusionNetwork):
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        file["names"] = "no numbers"
    with pytest.raises(CheckpointError, match="no weights"):
        load_into(network, path)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(400))
    with h5py.File(path, "w") as file:
        file.create_dataset("kernel:0", (100,), "f4", external=[(str(secret), 0, 400)])
    with pytest.raises(CheckpointError, match="another file"):
        load_into(network, path)
