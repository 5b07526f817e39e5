# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.diffusion.diffstsf import DiffSTSF, pan_details
from stf_export.sampled_contract import sampled
from stf_export.samplers import Sampler, resolve
from stf_infer.errors import ExportError

CONDITIONS = ("wfv_t2", "pan_t1", "ms_t1")


@pytest.fixture(scope="module")
def network() -> DiffSTSF:
    torch.manual_seed(0)
    return networks.create("diffstsf")


def step_inputs(height: int, width: int, *, bands: int = 4, batch: int = 1) -> dict[str, torch.Tensor]:
    return {
        "x_t": torch.randn(batch, bands, height, width),
        "timesteps": torch.randint(0, 1000, (batch,)),
        "wfv_t2": torch.rand(batch, bands, height, width),
        "pan_t1": torch.rand(batch, 1, height, width),
        "ms_t1": torch.rand(batch, bands, height, width),
    }


def test_keys_are_the_published_ones(network: DiffSTSF):
    published = published_keys("diffstsf_SuperResModel")
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == 27_788_684


def test_golden(network: DiffSTSF):
    golden = read_golden("diffstsf_denoiser")
    load_golden_weights(network, golden)
    with torch.no_grad():
        output = network(**golden_inputs(golden))
    check(golden, output)
    blocks = torch.nn.functional.avg_pool2d(output, 8)
    check(golden, blocks, "output_block_mean8")


def test_details_are_those_of_the_wavelet_package():
    golden = read_golden("diffstsf_denoiser")
    for level, details in enumerate(pan_details(golden_inputs(golden)["pan_t1"], 5), start=1):
        check(golden, details, f"pan_detail_level{level}")


def test_details_of_a_step_between_rows():
    image = torch.zeros(1, 1, 4, 4)
    image[:, :, 1:] = 1.0
    first, second = pan_details(image, 2)
    np.testing.assert_array_equal(first[0, 0], [[1, 1], [0, 0]])  # only the upper cells hold the step
    np.testing.assert_array_equal(second[0, 0], [[1]])  # low of the upper cells 1, of the lower ones 2


@pytest.mark.parametrize(("height", "width"), [(32, 64), (96, 32)])
def test_other_tiles_and_every_input_counts(network: DiffSTSF, height: int, width: int):
    torch.manual_seed(1)
    inputs = step_inputs(height, width)
    with torch.no_grad():
        output = network(**inputs)
        assert output.shape == (1, 8, height, width)
        for role, tensor in inputs.items():
            other = 999 - tensor if role == "timesteps" else tensor.flip(-1)
            assert not torch.allclose(network(**{**inputs, role: other}), output, atol=1e-3), role


def test_conditions_encoded_once_serve_every_step(network: DiffSTSF):
    torch.manual_seed(2)
    inputs = step_inputs(32, 32, batch=2)
    with torch.no_grad():
        features = network.encode(*(inputs[role] for role in CONDITIONS))
        for t in (0, 400, 999):
            times = torch.tensor([t, 999 - t])
            x_t = torch.randn(2, 4, 32, 32)
            whole = network(**{**inputs, "x_t": x_t, "timesteps": times})
            torch.testing.assert_close(network.denoise(features, x_t, times), whole, rtol=0, atol=0)


@pytest.mark.parametrize("bands", [1, 3])
def test_other_band_counts(bands: int):
    network = networks.create("diffstsf", bands=bands)
    with torch.no_grad():
        output = network(**step_inputs(32, 32, bands=bands))
    assert output.shape == (1, 2 * bands, 32, 32)
    assert output.isfinite().all()
    assert DiffSTSF.bands_of(network.state_dict()) == bands


def test_contract_of_a_sampling(network: DiffSTSF):
    contract = sampled(network.contract(), resolve(Sampler(), network.preset))
    tensors = {i.tensor: i for i in contract.inputs}
    assert set(tensors) == {*CONDITIONS, "noise"}
    assert tensors["pan_t1"].role == "fine_t1"
    assert tensors["wfv_t2"].role == "coarse_t2"
    assert tensors["pan_t1"].bands == ("pan",)
    assert contract.tile.size == 128
    assert contract.tile.mode == "blend"
    assert contract.ratio == 8
    assert len(contract.steps.timesteps) == 250


@pytest.mark.parametrize("options", [{"bands": ()}, {"bands": ("red", "red")}, {"size": 128}])
def test_wrong_options_are_refused(options: dict):
    with pytest.raises(ExportError):
        networks.create("diffstsf", **options)
