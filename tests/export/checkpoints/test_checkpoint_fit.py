# SPDX-License-Identifier: Apache-2.0
"""Keys, shapes, numbers and bands must agree, and what differs is named."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from checkpoint_support import State, assert_holds, prefixed, saved, weights
from stf_export import networks
from stf_export.checkpoints import load_into, load_state
from stf_export.networks.base import FusionNetwork
from stf_infer.errors import CheckpointError
from support import shared_path


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
    with pytest.raises(CheckpointError, match="those of one band: give a file for each"):
        load_into(networks.create("dcstfn", bands=BANDS), path)


def test_several_bands_of_weights_for_one_band(tmp_path: Path):
    state = networks.create("dcstfn", bands=BANDS).state_dict()
    with pytest.raises(CheckpointError, match=r"green\.\*.*name them all"):
        load_into(networks.create("dcstfn"), saved(tmp_path, state))


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
