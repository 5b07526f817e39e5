# SPDX-License-Identifier: Apache-2.0
"""What is said of weights that do not fit: of which network they are, and with which bands and options."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stf_export import networks
from stf_export.checkpoints import load_into
from stf_export.networks.base import FusionNetwork
from stf_infer.errors import CheckpointError, ExportError

NAMES = networks.names()

# network, an option that keys or shapes tell, its value
TOLD = [
    ("densestf", {"land_cover": True}),
    ("dstfnet", {"width": 16}),
    ("dstfnet", {"layers": 1}),
    ("dstfnet", {"series_bands": 7}),
    ("mlffgan", {"attention": False}),
    ("multitask_lunet", {"classes": 5}),
    ("mustfn", {"coarse_bands": 2}),
    ("sdcs", {"last_width": 128}),
    ("stfdiff", {"norm": "batch"}),
    ("stfdiff", {"references": 2}),
    ("stfdiff", {"width": 16}),
    ("stfmlp", {"tile": 20}),
    ("swinstfm", {"tile": 64}),
    ("ttsfnet", {"depths": 5}),
    ("unetlstm", {"classes": 3}),
]


def bare(name: str, **options: Any) -> FusionNetwork:
    """A network without numbers: keys and shapes are all that matters here."""
    with torch.device("meta"):
        return networks.create(name, **options)


def refusal(network: FusionNetwork, other: FusionNetwork) -> CheckpointError:
    """What is said when the weights of one network are loaded into another."""
    with pytest.raises(CheckpointError) as caught:
        load_into(network, dict(other.state_dict()))
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_every_network_is_known_by_its_keys(name: str):
    into = next(other for other in ("edcstfn", "deltaweave") if other != name)
    assert refusal(bare(into), bare(name)).fix == f"The keys are those of the network {name}: name that one"


@pytest.mark.parametrize(("name", "into"), [("unetlstm", "multitask_lunet"), ("multitask_lunet", "unetlstm")])
def test_a_network_that_is_derived_from_another_is_told_from_it(name: str, into: str):
    assert f"network {name}:" in refusal(bare(into), bare(name)).fix


def test_forms_of_one_network_are_not_another_network():
    error = refusal(bare("stfdiff", references=2), bare("stfdiff"))
    assert "network" not in error.fix


@pytest.mark.parametrize(("have", "want"), [(1, 3), (6, 4), (4, 7), (10, 1)])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("cnnlstm", "dcstfn")])
def test_every_network_tells_its_bands(name: str, have: int, want: int):
    error = refusal(bare(name, bands=want), bare(name, bands=have))
    assert f"made for {have} band{'s' if have > 1 else ''}: give as many band names" in error.fix


def test_joined_bands_are_counted():
    """With real tensors: the same band may lie in one file twice."""
    error = refusal(networks.create("dcstfn", bands=4), networks.create("dcstfn", bands=6))
    assert error.fix == "The weights were made for 6 bands: give as many band names"


def test_a_network_of_one_output_takes_one_name():
    with pytest.raises(ExportError, match="one band name"):
        networks.create("cnnlstm", bands=3)


@pytest.mark.parametrize(("name", "options"), TOLD)
def test_options_that_weights_tell_are_named(name: str, options: dict[str, Any]):
    ((option, value),) = options.items()
    made = bare(name, **options)
    assert made.options_of(made.state_dict())[option] == value
    typed = str(value).lower() if isinstance(value, bool) else value
    assert refusal(bare(name), made).fix == f"The weights were made with {option}={typed}: --option {option}={typed}"


@pytest.mark.parametrize("name", NAMES)
def test_what_weights_tell_is_how_the_network_was_built(name: str):
    network = bare(name)
    assert network.options_of({}) == {}
    for option, value in network.options_of(network.state_dict()).items():
        own = getattr(network, option)
        assert value == (len(own) if isinstance(own, tuple) else own)


def test_bands_and_options_are_told_together():
    error = refusal(bare("sdcs", bands=3), bare("sdcs", bands=6, last_width=128))
    assert "made for 6 bands" in error.fix
    assert "--option last_width=128" in error.fix
