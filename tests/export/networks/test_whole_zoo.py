# SPDX-License-Identifier: Apache-2.0
"""What holds for every network: bands, batches and sizes are free, inputs go by name, weights load strictly."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest
import torch

from stf_export import networks
from stf_export.networks.base import FusionNetwork
from stf_infer.errors import ExportError
from zoo_support import give_weights

# Rows and columns that the network runs on, and options that keep it small. A network of the zoo that is missing
# takes 32 x 48 pixels and no option.
SIZES = {
    "dcstfn": (32, 64),
    "densestf": (66, 66),
    "diffstsf": (32, 64),
    "dstfnet": (128, 128),
    "stfmlp": (8, 8),
    "swinstfm": (32, 32),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "densestf": {"layers": (0, 1, 1, 1), "core": 2},
    "dstfnet": {"width": 8, "blocks": (1, 1, 1, 1)},
    "mfdgcn": {"nodes": 5, "history": 4, "horizon": 3, "width": 16, "heads": 2, "slots": 24},
    "mgsfformer": {"width": 8, "horizon": 12},
    "sdcs": {"last_width": 32},
    "stfdiff": {"width": 8},
    "stfmlp": {"tile": 8},
    "swinstfm": {"tile": 32},
    "ttsfnet": {"months": 4},
}
# Those that take samples, and those whose weights or layers fix the size.
FIXED = ("cnnlstm", "densestf", "mfdgcn", "mgsfformer", "stfmlp", "swinstfm", "ttsfnet")
ANY_BANDS = (1, 3, 4, 6, 7, 10)
BANDS = {"cnnlstm": (1,)}
CASES = [(name, bands) for name in networks.names() for bands in BANDS.get(name, ANY_BANDS)]


def made(name: str, bands: int, seed: int = 1) -> FusionNetwork:
    network = networks.create(name, bands=bands, **OPTIONS.get(name, {}))
    give_weights(network, seed)
    return network


def inputs(network: FusionNetwork, name: str, bands: int, batch: int, taller: int = 1) -> dict[str, torch.Tensor]:
    """Values by parameter of ``forward``; only those that must be given."""
    parameters = inspect.signature(network.forward).parameters
    needed = [p.name for p in parameters.values() if p.default is p.empty]
    needed += {"stfdcnn": ["fine_t1", "fine_t3"], "ganstfm": ["fine_t1"]}.get(name, [])
    torch.manual_seed(bands)
    height, width = SIZES.get(name, (32, 48))
    size = (taller * height, width)
    return {role: _values(network, name, role, bands, batch, size) for role in needed}


def _values(
    network: FusionNetwork, name: str, role: str, bands: int, batch: int, size: tuple[int, int]
) -> torch.Tensor:
    height, width = size
    shapes = {
        "sequence": (2, batch, bands, height, width),
        "fine_pair": (batch, 2 * bands, height, width),
        "coarse_triple": (batch, 21, height, width),
        "pan_t1": (batch, 1, height, width),
        "fine_mean": (batch, bands, 1, 1),
        "coarse_mean": (batch, bands, 1, 1),
        "history": (batch, 96, bands, 1),
        "patch": (batch, 20, 20, bands),
        **dict.fromkeys(("trmm", "gridsat", "dem"), (batch, 1, 7, 7)),
    }
    if role in ("t", "timesteps"):
        return torch.arange(batch) * 7
    if role == "calendar":
        return torch.stack((torch.arange(7) % 7, torch.arange(7)), dim=1).expand(batch, 7, 2)
    if name == "ttsfnet" and role == "sequence":
        return torch.rand(batch, 4, bands)
    if name == "mfdgcn" and role == "series":
        return torch.rand(batch, 4, 5, bands)
    if name == "dstfnet" and role == "series":
        return torch.rand(batch, 3, bands, height // 8, width // 8)
    if role in shapes:
        return torch.rand(shapes[role])
    native = name == "dcstfn" or getattr(network, "coarse_grid", "") == "native"
    ratio = 16 if native and role.startswith("coarse") else 1
    return torch.rand(batch, bands, height // ratio, width // ratio)


def outputs(result: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return result if isinstance(result, dict) else {"output": result}


@pytest.mark.parametrize(("name", "bands"), CASES)
def test_any_bands_and_batch(name: str, bands: int):
    network = made(name, bands)
    assert len(network.bands) == bands
    given = inputs(network, name, bands, batch=2)
    time_major = {"sequence"} if name in ("unetlstm", "multitask_lunet") else set()
    second = {role: value[:, 1:] if role in time_major else value[1:] for role, value in given.items()}
    with torch.no_grad():
        both, alone = outputs(network(**given)), outputs(network(**second))
    for key, output in both.items():
        assert output.isfinite().all(), key
        if output.shape[0] != 2:  # a number of all images given at once, such as the weight of a whole scene
            continue
        spread = float(output.max() - output.min())
        torch.testing.assert_close(alone[key], output[1:], rtol=1e-3, atol=1e-4 * max(spread, 1e-3))


@pytest.mark.parametrize("name", [name for name in networks.names() if name not in FIXED])
def test_any_size(name: str):
    """Twice the rows; what is fine has the size of the fine image."""
    network = made(name, 3)
    given = inputs(network, name, 3, batch=1, taller=2)
    height, width = SIZES.get(name, (32, 48))
    with torch.no_grad():
        found = outputs(network(**given))
    assert any(output.shape[-2:] == (2 * height, width) for output in found.values())
    assert all(output.isfinite().all() for output in found.values())


@pytest.mark.parametrize("name", networks.names())
def test_bands_are_named_or_counted(name: str):
    options = OPTIONS.get(name, {})
    count = BANDS.get(name, (3,))[0]
    wanted = tuple(f"b{index}" for index in range(count))
    with torch.device("meta"):
        named, counted = (networks.create(name, bands=bands, **options) for bands in (list(wanted), count))
        assert networks.create(name).bands
    assert named.bands == wanted
    assert len(counted.bands) == count
    assert not named.training
    for bands in ((), ("a", "a")):
        with pytest.raises(ExportError):
            networks.create(name, bands=bands, **options)


@pytest.mark.parametrize("name", networks.names())
def test_weights_load_strictly_and_decide_everything(name: str):
    """Two networks that were built apart agree once they have the same weights; one more or less key is refused."""
    bands = BANDS.get(name, (3,))[0]
    one, other = made(name, bands, seed=1), made(name, bands, seed=2)
    given = inputs(one, name, bands, batch=1)
    with torch.no_grad():
        before = outputs(other(**given))
        other.load_state_dict(one.state_dict(), strict=True)
        expected, found = outputs(one(**given)), outputs(other(**given))
    for key, output in expected.items():
        torch.testing.assert_close(found[key], output, rtol=0, atol=0)
    assert any(not torch.equal(before[key], output) for key, output in expected.items())
    state = one.state_dict()
    with pytest.raises(RuntimeError, match="Unexpected"):
        other.load_state_dict({**state, "nothing.weight": torch.zeros(1)}, strict=True)
    del state[next(iter(state))]
    with pytest.raises(RuntimeError, match="Missing"):
        other.load_state_dict(state, strict=True)


@pytest.mark.parametrize("name", networks.names())
def test_a_module_names_its_paper(name: str):
    kind = networks.network_class(name)
    told = sys.modules[kind.__module__].__doc__
    assert told
    assert kind.about.doi in told
    assert "(N, " in told + (kind.__doc__ or "")
