# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import inspect
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import stf_infer
from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import export, networks
from stf_export.networks.gan.mlffgan import MLFFGAN, Inputs, down_and_up
from stf_infer.errors import ExportError
from stf_infer.grid import Shape, TilePlan
from zoo_support import give_weights

ROLES = {3: ("coarse_t1", "fine_t1", "coarse_t2"), 2: ("fine_t1", "coarse_t2")}
FLAGS = (True, False)


def images(network: MLFFGAN, height: int, width: int, batch: int = 1) -> dict[str, torch.Tensor]:
    return {role: torch.rand(batch, len(network.bands), height, width) for role in network.roles}


@pytest.mark.parametrize("inputs", get_args(Inputs))
@pytest.mark.parametrize("adain", FLAGS)
def test_keys_are_the_published_ones(inputs: int, adain: bool):
    published = published_keys("mlffgan_generator")
    network = networks.create("mlffgan", inputs=inputs, adain=adain)
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == 5_925_285
    network.load_state_dict({key: torch.zeros(shape) for key, shape in published.items()}, strict=True)


def test_keys_without_attention():
    published = published_keys("mlffgan_generator")
    network = networks.create("mlffgan", attention=False)
    assert keys_of(network) == {k: s for k, s in published.items() if not k.startswith("SignE_List")}
    assert len(network.state_dict()) == 96
    assert sum(p.numel() for p in network.parameters()) == 5_747_206


@pytest.mark.parametrize(
    ("array", "options"),
    [
        ("output", {}),
        ("output_two_input", {"inputs": 2}),
        ("output_no_adain", {"adain": False}),
        ("output_no_attention", {"attention": False}),
        ("output_no_attention", {"attention": False, "inputs": 2}),
        ("output_degraded_inputs", {"degrade": True}),
    ],
)
def test_golden(array: str, options: dict):
    golden = read_golden("mlffgan_generator")
    network = load_golden_weights(networks.create("mlffgan", **options), golden)
    inputs = golden_inputs(golden)
    wanted = {role: inputs[role] for role in ROLES[options.get("inputs", 3)]}
    with torch.no_grad():
        check(golden, network(**wanted), array)
        check(golden, network(*wanted.values()), array)


def test_golden_of_the_step_before_the_network():
    golden = read_golden("mlffgan_generator")
    check(golden, down_and_up(golden_inputs(golden)["coarse_t2"], 16), "degraded_coarse_t2")


def test_down_and_up_sees_the_first_pixel_of_each_block_only():
    image = torch.rand(1, 2, 12, 8)
    changed = image.clone()
    kept = torch.zeros(12, 8, dtype=torch.bool)
    kept[::4, ::4] = True
    changed[:, :, ~kept] += 1
    assert torch.equal(down_and_up(image, 4), down_and_up(changed, 4))
    assert torch.equal(down_and_up(image, 1), image)
    flat = torch.full((1, 1, 8, 8), 0.3)
    torch.testing.assert_close(down_and_up(flat, 4), flat)


@pytest.mark.parametrize("inputs", get_args(Inputs))
@pytest.mark.parametrize(("bands", "size"), [(1, (32, 48)), (7, (48, 32))])
def test_any_bands_and_size(inputs: int, bands: int, size: tuple[int, int]):
    network = networks.create("mlffgan", bands=bands, inputs=inputs)
    with torch.no_grad():
        out = network(**images(network, *size, batch=2))
    assert out.shape == (2, bands, *size)
    assert out.isfinite().all()


def test_samples_of_a_batch_do_not_mix():
    network = networks.create("mlffgan", bands=1)
    x = images(network, 32, 32, batch=2)
    with torch.no_grad():
        torch.testing.assert_close(network(**x)[1:], network(**{r: i[1:] for r, i in x.items()}), rtol=1e-4, atol=1e-5)


def test_ratio_of_the_step_before_the_network():
    one = networks.create("mlffgan", bands=1)
    other = networks.create("mlffgan", bands=1, degrade=True, ratio=8)
    other.load_state_dict(one.state_dict())
    x = images(one, 32, 48)
    seen = {r: down_and_up(i, 8) if r.startswith("coarse") else i for r, i in x.items()}
    with torch.no_grad():
        torch.testing.assert_close(other(**x), one(**seen), rtol=0, atol=0)


def test_tiles_begin_where_every_16th_pixel_does(tmp_path):
    """The scene, by the pipeline, is a blend of the network on windows whose corners are multiples of 16."""
    network = networks.create("mlffgan", bands=1, degrade=True)
    give_weights(network)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    options = {"degrade": True, "adain": True, "inputs": 3}
    bundle = export("mlffgan", tmp_path / "w.safetensors", bands=1, tile=64, options=options, out=tmp_path / "m.stf")
    assert bundle.properties["stf:notes"] == []
    assert bundle.spec.tile.stride == 16
    scene = {role: torch.rand(1, 1, 112, 96) for role in ROLES[3]}
    with stf_infer.open(bundle.path, engine="onnxruntime-cpu") as model:
        fused = model.fuse(**{role: image[0].numpy() for role, image in scene.items()}).array
    plan = TilePlan.for_scene(bundle.spec.tile, Shape(112, 96))
    expected = np.zeros((1, 112, 96))
    for tile in plan:
        y, x = slice(tile.read.y0, tile.read.y1), slice(tile.read.x0, tile.read.x1)
        assert (y.start % 16, x.start % 16) == (0, 0)
        with torch.no_grad():
            result = network(**{role: image[..., y, x] for role, image in scene.items()})[0].numpy()
        expected[:, y, x] += result * plan.y.weights(tile.iy)[:, None] * plan.x.weights(tile.ix)
    assert len(plan) > 1
    np.testing.assert_allclose(fused, expected, atol=1e-4 * np.ptp(expected))


@pytest.mark.parametrize("inputs", get_args(Inputs))
@pytest.mark.parametrize(
    ("options", "size", "named"),
    [
        ({}, (40, 32), "multiples of 16"),
        ({}, (32, 33), "multiples of 16"),
        ({}, (16, 64), "at least 32"),
        ({"degrade": True, "ratio": 10}, (64, 80), "multiples of 80"),
    ],
)
def test_refuses_other_sizes(inputs: int, options: dict, size: tuple[int, int], named: str):
    network = networks.create("mlffgan", bands=1, inputs=inputs, **options)
    with pytest.raises(ExportError, match=named):
        network(**images(network, *size))


@pytest.mark.parametrize("inputs", get_args(Inputs))
@pytest.mark.parametrize("degrade", FLAGS)
def test_contract(inputs: int, degrade: bool):
    bands = ("green", "red", "nir")
    network = MLFFGAN(bands, inputs=inputs, degrade=degrade, ratio=8)
    contract = network.contract()
    assert tuple(inspect.signature(network.forward).parameters) == ROLES[inputs]
    assert tuple(i.role for i in contract.inputs) == ROLES[inputs]
    for spec in contract.inputs:
        assert (spec.tensor, spec.bands, spec.grid) == (spec.role, bands, "fine")
        assert (spec.values.unit, spec.values.scale, spec.values.minimum) == ("reflectance", 1.0, 0.0)
    assert (contract.output.tensor, contract.output.bands, contract.ratio) == ("fine_t2", bands, 8)
    assert (contract.tile.mode, contract.tile.size) == ("blend", None)
    assert contract.tile.stride == (16 if degrade else None)
    assert "10.1109/TGRS.2022.3169916" in contract.source
    assert networks.create(contract.network, bands=bands, **contract.options).contract() == contract
    assert copy.deepcopy(network).contract() == contract


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"inputs": 4}, "3, 2"),
        ({"adain": "yes"}, "True, False"),
        ({"attention": None}, "True, False"),
        ({"degrade": 2}, "True, False"),
        ({"ratio": 0}, "1 or more"),
        ({"bands": ()}, "at least one band"),
    ],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("mlffgan", **options)


def test_bands_of():
    for bands in (1, 4):
        assert MLFFGAN.bands_of(networks.create("mlffgan", bands=bands).state_dict()) == bands
    assert MLFFGAN.bands_of({}) is None
