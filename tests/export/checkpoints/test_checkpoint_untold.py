# SPDX-License-Identifier: Apache-2.0
"""Options that weights do not tell are asked for by name, or assumed as published and noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoint_support import saved
from golden_support import keys_of
from stf_export import networks
from stf_export.checkpoints import load_into
from stf_infer.errors import CheckpointError, ExportError
from support import shared_path

# network, options that keep it small, the option that must be said, its values
ASKED = [
    ("dcstfn", {}, "variant", ("keras", "torch")),
    ("mlffgan", {"bands": 1}, "degrade", (True, False)),
    ("stfdiff", {"bands": 1, "width": 8}, "activations", ("silu", "silu_relu", "relu")),
    ("stfdiff", {"bands": 1, "width": 8, "norm": "batch"}, "activations", ("silu", "silu_relu", "relu")),
    ("sdcs", {"bands": 1, "last_width": 128}, "fusion_input", ("sr", "mean")),
]
# network, options, the option that is assumed, its values, the published one first
ASSUMED = [
    ("edcstfn", {}, "references", (1, 2)),
    ("edcstfn", {}, "coarse_grid", ("native", "fine")),
    ("stf_egfa", {}, "references", (1, 2)),
    ("stfdcnn", {"bands": 1}, "fusion", ("additive", "modulation")),
    ("stfdcnn", {"bands": 1}, "middle", ("nearest", "mean", "given")),
    ("ganstfm", {"bands": 1}, "variant", ("authors", "survey")),
    ("mlffgan", {"bands": 1, "degrade": True}, "adain", (True, False)),
    ("mlffgan", {"bands": 1, "degrade": True}, "inputs", (3, 2)),
    ("sdcs", {"bands": 1}, "fusion_input", ("mean", "sr")),
    ("mfdgcn", {"nodes": 3, "width": 16}, "heads", (8, 4)),
]


def load(folder: Path, name: str, options: dict[str, Any], said: tuple[str, ...]) -> list[str]:
    """The notes of loading fitting weights into a network."""
    network = networks.create(name, **options)
    path = saved(folder, network.state_dict())
    return load_into(network, path, said=said)


@pytest.mark.parametrize(("name", "options", "option", "values"), ASKED)
def test_what_is_not_safe_to_assume_is_asked_for(tmp_path: Path, name, options, option, values):
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path, name, options, said=tuple(options))
    assert option in caught.value.what
    typed = [str(value).lower() for value in values]
    for value in typed:
        assert f"--option {option}={value}" in caught.value.fix
        assert f"{value} (" in caught.value.allowed
    for value in values:
        notes = load(tmp_path, name, {**options, option: value}, said=(*options, option))
        assert not any(f"assumed {option}" in note for note in notes)


@pytest.mark.parametrize(("name", "options", "option", "values"), ASSUMED)
def test_what_is_published_is_assumed_with_a_note(tmp_path: Path, name, options, option, values):
    published, *others = (str(value).lower() for value in values)
    notes = load(tmp_path, name, options, said=tuple(options))
    (note,) = (note for note in notes if note.startswith(f"assumed {option}="))
    assert note.startswith(f"assumed {option}={published} (")
    if name != "mfdgcn":  # of whose heads any divisor is allowed
        for other in others:
            assert f"{other} (" in note.partition("do not tell it from")[2]
    for value in values:
        said = load(tmp_path, name, {**options, option: value}, said=(*options, option))
        assert not any(f"assumed {option}=" in note for note in said)


@pytest.mark.parametrize(("name", "options", "option", "values"), [*ASKED, *ASSUMED])
def test_the_weights_indeed_do_not_tell(name, options, option, values):
    with torch.device("meta"):
        forms = [keys_of(networks.create(name, **{**options, option: value})) for value in values]
    assert all(form == forms[0] for form in forms)


@pytest.mark.parametrize("name", networks.names())
def test_options_that_are_asked_for_exist(name):
    with torch.device("meta"):
        network = networks.create(name)
    for kind in ("torch", "safetensors", "keras"):
        for one in network.untold(kind):
            assert one.option in network.about.options
            assert len(one.values) > 1
            if name != "mfdgcn":
                shown = {str(getattr(network, one.option)).lower()}
                assert shown <= set(one.values)
                with pytest.raises(ExportError):
                    networks.create(name, **{one.option: "no such value"})


def test_a_network_that_is_built_by_hand_is_as_it_was_meant(tmp_path: Path):
    network = networks.create("mlffgan", bands=1)
    assert load_into(network, saved(tmp_path, network.state_dict())) == []


def test_a_keras_file_tells_that_it_is_keras():
    path = shared_path("checkpoints", "dcstfn", "green_ep0041.hdf5")
    assert load_into(networks.create("dcstfn"), path, said=()) == ["converted from Keras"]
    assert len(load_into(networks.create("dcstfn", bands=("a", "b")), {"a": path, "b": path}, said=())) == 2


def test_one_file_of_several_that_does_not_tell_is_enough(tmp_path: Path):
    told = shared_path("checkpoints", "dcstfn", "green_ep0041.hdf5")
    open_one = saved(tmp_path, networks.create("dcstfn").state_dict())
    network = networks.create("dcstfn", bands=("a", "b"))
    before = network.a.fine_net.conv1.weight.clone()
    with pytest.raises(CheckpointError, match="variant"):
        load_into(network, {"a": told, "b": open_one}, said=())
    assert torch.equal(network.a.fine_net.conv1.weight, before)


def test_weights_that_do_not_fit_are_told_first(tmp_path: Path):
    path = saved(tmp_path, networks.create("edcstfn").state_dict())
    with pytest.raises(CheckpointError, match="network edcstfn"):
        load_into(networks.create("mlffgan", bands=1), path, said=())
