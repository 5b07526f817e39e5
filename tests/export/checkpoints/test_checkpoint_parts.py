# SPDX-License-Identifier: Apache-2.0
"""Networks whose stages have a file each, and keys that some code bases saved without need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from checkpoint_support import State, assert_holds, prefixed, saved
from stf_export import networks
from stf_export.checkpoints import load_into
from stf_infer.errors import CheckpointError

STAGES = ("stage_1", "stage_2")


@pytest.fixture
def stage_files(tmp_path: Path) -> dict[str, Path]:
    """A checkpoint for each stage, as it is trained: by itself."""
    files = {}
    for seed, stage in enumerate(STAGES):
        torch.manual_seed(seed)
        files[stage] = tmp_path / f"{stage}.pth"
        state = dict(networks.create("stfdcnn", bands=3, part="unit").state_dict())
        torch.save({"state_dict": prefixed("module.", state)}, files[stage])
    return files


def test_one_file_a_stage_in_any_order(stage_files: dict[str, Path]):
    network = networks.create("stfdcnn", bands=3)
    notes = load_into(network, dict(reversed(stage_files.items())))
    assert notes == [f"{s}: {n}" for s in STAGES for n in ("unwrapped state_dict", "dropped module. from keys")]
    for stage, path in stage_files.items():
        unit = networks.create("stfdcnn", bands=3, part="unit")
        load_into(unit, path)
        assert_holds(network.get_submodule(stage), dict(unit.state_dict()))


def test_both_stages_in_one_file(tmp_path: Path):
    torch.manual_seed(0)
    state = dict(networks.create("stfdcnn", bands=3).state_dict())
    network = networks.create("stfdcnn", bands=3)
    load_into(network, saved(tmp_path, state))
    assert_holds(network, state)


@pytest.mark.parametrize("given", [("stage_1",), ("stage_1", "stage_3"), ("red", "nir")])
def test_files_for_other_stages(tmp_path: Path, given: tuple[str, ...]):
    files = dict.fromkeys(given, tmp_path / "never_opened")
    with pytest.raises(CheckpointError, match=r"exactly the stages of the network.*Allowed: stage_1, stage_2"):
        load_into(networks.create("stfdcnn"), files)


def test_the_file_of_one_stage_alone(stage_files: dict[str, Path]):
    network = networks.create("stfdcnn", bands=3)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_into(network, stage_files["stage_2"])
    assert caught.value.fix == (
        "The weights are those of one stage: give a file for each, --weights stage_1=FILE --weights stage_2=FILE"
    )
    assert_holds(network, before)


def test_a_stage_of_other_bands_leaves_both_unchanged(tmp_path: Path, stage_files: dict[str, Path]):
    torch.save(networks.create("stfdcnn", bands=6, part="unit").state_dict(), stage_files["stage_2"])
    network = networks.create("stfdcnn", bands=3)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"STFDCNN, stage stage_2.*made for 6 bands"):
        load_into(network, stage_files)
    assert_holds(network, before)


def test_a_single_stage_takes_one_file_only(stage_files: dict[str, Path]):
    with pytest.raises(CheckpointError, match="one set of weights"):
        load_into(networks.create("stfdcnn", bands=3, part="unit"), stage_files)


def test_the_file_of_one_band_alone(tmp_path: Path):
    state = networks.create("dcstfn").state_dict()
    with pytest.raises(CheckpointError, match="those of one band: give a file for each, --weights red=FILE"):
        load_into(networks.create("dcstfn", bands=("red", "nir")), saved(tmp_path, state))


def test_a_stage_is_known_as_the_network_it_is_of(stage_files: dict[str, Path]):
    with pytest.raises(CheckpointError, match="those of the network stfdcnn:"):
        load_into(networks.create("edcstfn"), stage_files["stage_1"])


@pytest.fixture
def edges() -> State:
    """STF-EGFA's weights as an older version of its libraries saved them."""
    torch.manual_seed(2)
    state = dict(networks.create("stf_egfa", bands=2).state_dict())
    return state | {"ed.spatial.kernel": torch.zeros(2, 3, 3)}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_gradient_kernels_are_ignored_with_a_note(tmp_path: Path, edges: State, prefix: str):
    network = networks.create("stf_egfa", bands=2)
    notes = load_into(network, saved(tmp_path, prefixed(prefix, edges)))
    assert "left out what holds nothing trained: ed.spatial.kernel" in notes
    del edges["ed.spatial.kernel"]
    assert_holds(network, edges)


@pytest.mark.parametrize("extra", ["ed.spatial_2.kernel", "ed.conv.kernel", "spatial.kernel", "ed.pool.kernel"])
def test_no_other_key_is_ignored(tmp_path: Path, edges: State, extra: str):
    network = networks.create("stf_egfa", bands=2)
    with pytest.raises(CheckpointError, match=f"1 unexpected: {extra}"):
        load_into(network, saved(tmp_path, {**edges, extra: torch.zeros(1)}))


def test_gradient_kernels_are_ignored_within_another_module(edges: State):
    holder = nn.ModuleDict({"fusion": networks.create("stf_egfa", bands=2)})
    holder.load_state_dict(prefixed("fusion.", edges), strict=True)
    with pytest.raises(RuntimeError, match=r"other\.spatial"):
        holder.load_state_dict({**prefixed("fusion.", edges), "other.spatial.kernel": torch.zeros(1)}, strict=True)
