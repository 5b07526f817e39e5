# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
from typing import get_args

import h5py
import numpy as np
import pytest
import torch

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.checkpoints import load_into
from stf_export.networks.cnn.dcstfn import DCSTFN, Variant
from stf_infer.errors import CheckpointError, ExportError
from support import shared_path

ROLES = ("coarse_t1", "fine_t1", "coarse_t2")


def images(bands: int, height: int = 3, width: int = 2, batch: int = 1) -> dict[str, torch.Tensor]:
    coarse = (batch, bands, height, width)
    return {
        "coarse_t1": torch.rand(coarse),
        "fine_t1": torch.rand(batch, bands, 16 * height, 16 * width),
        "coarse_t2": torch.rand(coarse),
    }


def keras_datasets(first: int = 1, tail: str = ":0") -> dict[str, np.ndarray]:
    """Random weights under Keras' names, the layers of each type numbered from ``first``."""
    rng = np.random.default_rng(3)
    widths = [(1, 32), (32, 64), (64, 128), (1, 32), (32, 64), (64, 64), (64, 128)]
    kernels = {f"conv2d_{first + i}": (3, 3, *w) for i, w in enumerate(widths)}
    deconvs = [(64, 64)] * 3 + [(64, 128)]
    kernels |= {f"conv2d_transpose_{first + i}": (3, 3, *w) for i, w in enumerate(deconvs)}
    kernels |= {f"dense_{first + i}": w for i, w in enumerate([(64, 32), (32, 1)])}
    datasets = {}
    for name, shape in kernels.items():
        bias = shape[-2] if "transpose" in name else shape[-1]
        datasets[f"{name}/{name}/kernel{tail}"] = rng.normal(size=shape).astype(np.float32)
        datasets[f"{name}/{name}/bias{tail}"] = rng.normal(size=bias).astype(np.float32)
    return datasets


@pytest.mark.parametrize("variant", get_args(Variant))
def test_keys_are_the_published_ones(variant: str):
    published = published_keys("dcstfn_pytorch_branch")
    network = networks.create("dcstfn", variant=variant)
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == 408_961
    network.load_state_dict({key: torch.zeros(shape) for key, shape in published.items()}, strict=True)


def test_golden_of_the_torch_branch():
    golden = read_golden("dcstfn_torch")
    network = load_golden_weights(networks.create("dcstfn", variant="torch"), golden)
    inputs = golden_inputs(golden)
    with torch.no_grad():
        check(golden, network(**inputs))
        check(golden, network(*(inputs[role] for role in ROLES)))


def test_golden_of_the_trained_keras_weights():
    golden = read_golden("dcstfn_trained_green")
    network = networks.create("dcstfn", bands=("green",))
    notes = load_into(network, shared_path("checkpoints", "dcstfn", "green_ep0041.hdf5"))
    assert notes == ["converted from Keras"]
    with torch.no_grad():
        check(golden, network(**golden_inputs(golden)), "output_best")


def test_keras_datasets_are_mapped_as_listed():
    """Against the published table of Keras name, torch key and transposition."""
    listed = shared_path("networks", "state_dicts", "dcstfn_keras_weights.txt").read_text().splitlines()
    with h5py.File(shared_path("checkpoints", "dcstfn", "green_ep0041.hdf5")) as file:
        arrays: dict[str, np.ndarray] = {}
        file.visititems(lambda n, item: arrays.update({n: item[()]}) if isinstance(item, h5py.Dataset) else None)
    state = DCSTFN().keras_to_torch(arrays)
    seen = 0
    for line in listed:
        if line.startswith("#"):
            continue
        path, _, key, _ = line.split("\t")
        kernel = next(a for p, a in arrays.items() if p.endswith("/".join(path.split("/")[-2:])))
        expected = kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1)
        np.testing.assert_array_equal(state[key].numpy(), expected)
        seen += 1
    assert seen == 13


@pytest.mark.parametrize("variant", get_args(Variant))
@pytest.mark.parametrize("bands", [("green",), ("green", "red"), ("a", "b", "c", "d")])
def test_joined_bands_give_what_single_bands_give(variant: str, bands: tuple[str, ...]):
    joined = networks.create("dcstfn", bands=bands, variant=variant)
    inputs = images(len(bands), batch=2)
    with torch.no_grad():
        together = joined(**inputs)
        assert together.shape == inputs["fine_t1"].shape
        for i, band in enumerate(bands):
            single = networks.create("dcstfn", bands=(band,), variant=variant)
            single.load_state_dict(joined.lane(band).state_dict(), strict=True)
            alone = single(**{role: image[:, i : i + 1] for role, image in inputs.items()})
            torch.testing.assert_close(together[:, i : i + 1], alone, rtol=0, atol=0)


def test_keys_of_joined_bands_begin_with_the_band():
    one = keys_of(networks.create("dcstfn"))
    joined = keys_of(networks.create("dcstfn", bands=("green", "red")))
    assert joined == {f"{band}.{key}": shape for band in ("green", "red") for key, shape in one.items()}


def test_variants_differ_though_the_weights_fit_both():
    keras, branch = (networks.create("dcstfn", variant=variant) for variant in get_args(Variant))
    branch.load_state_dict(keras.state_dict(), strict=True)
    inputs = images(1)
    with torch.no_grad():
        assert (keras(**inputs) - branch(**inputs)).abs().max() > 1e-4


@pytest.mark.parametrize("variant", get_args(Variant))
def test_without_coarse_change_the_coarse_images_do_not_matter(variant: str):
    network = networks.create("dcstfn", variant=variant)
    x = images(1)
    with torch.no_grad():
        one = network(x["coarse_t1"], x["fine_t1"], x["coarse_t1"])
        other = network(x["coarse_t2"], x["fine_t1"], x["coarse_t2"])
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("variant", "scale"), [("keras", 10000.0), ("torch", 1.0)])
def test_contract(variant: str, scale: float):
    bands = ("green", "red", "nir")
    network = DCSTFN(bands, variant=variant)
    contract = network.contract()
    assert tuple(inspect.signature(network.forward).parameters) == ROLES
    assert tuple(i.role for i in contract.inputs) == ROLES
    for spec in contract.inputs:
        assert (spec.tensor, spec.bands, spec.from_coarse) == (spec.role, bands, None)
        assert spec.grid == ("coarse" if spec.role.startswith("coarse") else "fine")
    for values in (*(i.values for i in contract.inputs), contract.output.values):
        assert (values.unit, values.scale, values.offset) == ("reflectance", scale, 0.0)
        assert (values.minimum, values.maximum) == (None, None)
    assert (contract.ratio, contract.output.tensor, contract.output.bands) == (16, "fine_t2", bands)
    assert "10.3390/rs10071066" in contract.source
    assert networks.create(contract.network, bands=bands, **contract.options).contract() == contract
    assert network.for_export() is network


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ratio": 8}, "16"),
        ({"variant": "tf"}, "keras, torch"),
        ({"bands": ()}, "at least one band"),
        ({"bands": ("a.b", "c")}, "'a.b'"),
        ({"bands": ("", "c")}, "''"),
        ({"bands": ("forward", "c")}, "'forward'"),
        ({"bands": ("ratio", "c")}, "'ratio'"),
    ],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("dcstfn", **options)


def test_bands_of():
    for bands in (("green",), ("green", "red", "nir")):
        assert DCSTFN.bands_of(networks.create("dcstfn", bands=bands).state_dict()) == len(bands)
    assert DCSTFN.bands_of({}) is None


@pytest.mark.parametrize(("first", "tail"), [(1, ":0"), (8, ":0"), (98, ""), (7, ":0")])
def test_order_within_a_type_decides_not_the_number(first: int, tail: str):
    expected = DCSTFN().keras_to_torch(keras_datasets())
    state = DCSTFN().keras_to_torch(keras_datasets(first, tail))
    assert state.keys() == expected.keys() == DCSTFN().state_dict().keys()
    for key, tensor in state.items():
        assert torch.equal(tensor, expected[key])


def test_first_layer_of_a_process_has_no_number():
    datasets = {path.replace("dense_1", "dense"): array for path, array in keras_datasets().items()}
    expected = DCSTFN().keras_to_torch(keras_datasets())
    for key, tensor in DCSTFN().keras_to_torch(datasets).items():
        assert torch.equal(tensor, expected[key])


def without(part: str) -> dict[str, np.ndarray]:
    return {path: array for path, array in keras_datasets().items() if part not in path}


@pytest.mark.parametrize(
    ("datasets", "named"),
    [
        (without("dense_2/kernel"), "dense"),
        (without("transpose_4"), "conv2d_transpose"),
        (without("conv2d_7"), "conv2d"),
        ({**keras_datasets(), "lstm_1/kernel:0": np.zeros(3, np.float32)}, "lstm_1/kernel:0"),
    ],
)
def test_refuses_other_keras_layers(datasets: dict[str, np.ndarray], named: str):
    with pytest.raises(CheckpointError, match=named):
        DCSTFN().keras_to_torch(datasets)


def test_torch_variant_refuses_keras_weights():
    with pytest.raises(CheckpointError, match="variant=keras"):
        DCSTFN(variant="torch").keras_to_torch(keras_datasets())
