# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
import torch
from torch import nn

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.blocks.standardised import StandardisedConv2d
from stf_export.networks.diffusion.stfdiff import Activations, Norm, References, STFDiff
from stf_export.sampled_contract import sampled
from stf_export.samplers import Sampler, resolve
from stf_infer.errors import ExportError

ROLES = {
    1: ("coarse_t1", "coarse_t2", "fine_t1"),
    2: ("coarse_t1", "coarse_t2", "coarse_t3", "fine_t1", "fine_t3"),
}

VARIANTS = {
    "output": {"norm": "group", "activations": "silu"},
    "output_silu_relu": {"norm": "group", "activations": "silu_relu"},
    "output_relu_relu": {"norm": "group", "activations": "relu"},
    "output_bn_relu": {"norm": "batch", "activations": "relu"},
    "output_bn_silu": {"norm": "batch", "activations": "silu"},
}


def step_inputs(network: STFDiff, height: int, width: int, batch: int = 1) -> dict[str, torch.Tensor]:
    shape = (batch, len(network.bands), height, width)
    inputs = {role: torch.rand(shape) * 2 - 1 for role in network.conditions}
    return {**inputs, "x_t": torch.randn(shape), "t": torch.randint(0, 100, (batch,))}


def randomised(network: STFDiff) -> STFDiff:
    """Norms that do something."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.GroupNorm, nn.BatchNorm2d)):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return network


def test_keys_are_the_published_ones():
    listing = published_keys("stfdiff_GaussianDiffusion_PredNoiseNet64_depth3")
    prefix = "model."
    published = {key.removeprefix(prefix): shape for key, shape in listing.items() if key.startswith(prefix)}
    network = networks.create("stfdiff")
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == 7_482_054
    network.load_state_dict({key: torch.zeros(shape) for key, shape in published.items()}, strict=True)


def test_keys_with_two_references_are_the_published_ones():
    published = published_keys("bistfdiff_BiPredNoiseNet64_depth3")
    network = networks.create("stfdiff", references=2)
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == 7_488_966


@pytest.mark.parametrize(("multipliers", "count"), [((1, 2), 2_281_798), ((1, 2, 4, 8), 27_745_734)])
def test_published_depths_have_the_published_number_of_weights(multipliers: tuple[int, ...], count: int):
    with torch.device("meta"):
        network = networks.create("stfdiff", multipliers=multipliers)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", VARIANTS)
def test_golden(name: str):
    golden = read_golden("stfdiff_denoiser")
    network = networks.create("stfdiff", **VARIANTS[name])
    load_golden_weights(network, golden)
    with torch.no_grad():
        for step in (network, network.for_export()):
            output = step(**golden_inputs(golden))
            if network.norm == "group":
                check(golden, output, name)
                continue
            # These arrays reach 5e9, and their own float32 rounding is 3e-6 of that. The file's rtol holds for
            # single pixels, many of which are small: no other order of summation could meet it.
            check(golden, output, name, of_range=2e-5)


@pytest.mark.parametrize(("name", "steps"), [("output_n4", "timesteps_n4"), ("output", "timesteps_n10")])
def test_a_whole_sampling_from_conditions_encoded_once(name: str, steps: str):
    """DDIM with eta 0: the output is x0, clipped; the noise follows from the clipped x0."""
    golden = read_golden("stfdiff_ddim")
    network = networks.create("stfdiff")
    load_golden_weights(network, golden)
    inputs = golden_inputs(golden)
    kept = torch.from_numpy(golden.arrays["alphas_cumprod"])
    times = [int(t) for t in golden.arrays[steps]]
    with torch.no_grad():
        features = network.encode(*(inputs[role] for role in network.conditions))
        x_t = inputs["x_T"]
        for t, following in pairwise(times):
            x_0 = network.denoise(features, x_t, torch.tensor([t])).clip(-1, 1)
            noise = (x_t - kept[t].sqrt() * x_0) / (1 - kept[t]).sqrt()
            x_t = x_0 if following < 0 else kept[following].sqrt() * x_0 + (1 - kept[following]).sqrt() * noise
    check(golden, x_t, name)


@pytest.mark.parametrize("references", get_args(References))
@pytest.mark.parametrize("norm", get_args(Norm))
@pytest.mark.parametrize("activations", get_args(Activations))
def test_every_option_gives_another_function_of_every_input(references: int, norm: str, activations: str):
    torch.manual_seed(1)
    options = {"norm": norm, "activations": activations, "width": 16, "multipliers": (1, 2)}
    network = randomised(networks.create("stfdiff", bands=2, references=references, **options))
    assert network.conditions == ROLES[references]
    inputs = step_inputs(network, 8, 12)
    with torch.no_grad():
        output = network(**inputs)
        assert output.shape == (1, 2, 8, 12)
        assert torch.equal(output, network(*(inputs[role] for role in (*network.conditions, "x_t", "t"))))
        torch.testing.assert_close(
            network.for_export()(**inputs), output, rtol=0, atol=1e-5 * float(output.abs().max())
        )
        for role, tensor in inputs.items():
            other = (tensor + 50) if role == "t" else tensor.flip(-1)
            assert not torch.allclose(network(**{**inputs, role: other}), output, atol=1e-3), role


def test_activations_change_the_output():
    torch.manual_seed(2)
    networks_by_kind = {a: networks.create("stfdiff", bands=1, width=8, activations=a) for a in get_args(Activations)}
    inputs = step_inputs(networks_by_kind["silu"], 8, 8)
    state = networks_by_kind["silu"].state_dict()
    with torch.no_grad():
        outputs = []
        for network in networks_by_kind.values():
            network.load_state_dict(state)
            outputs.append(network(**inputs))
    assert not any(torch.allclose(a, b, atol=1e-3) for a, b in [(outputs[0], outputs[1]), (outputs[1], outputs[2])])


@pytest.mark.parametrize(
    ("bands", "width", "multipliers", "size"),
    [(1, 8, (1,), (5, 7)), (4, 16, (1, 2, 4), (12, 20)), (3, 24, (2, 1, 3, 1), (16, 24))],
)
def test_any_bands_width_depth_and_size(bands: int, width: int, multipliers: tuple[int, ...], size: tuple[int, int]):
    network = networks.create("stfdiff", bands=bands, width=width, multipliers=multipliers)
    with torch.no_grad():
        output = network(**step_inputs(network, *size, batch=3))
    assert output.shape == (3, bands, *size)
    assert output.isfinite().all()


def test_samples_of_a_batch_have_their_own_time():
    network = networks.create("stfdiff", bands=2, width=8)
    inputs = step_inputs(network, 8, 8, batch=3)
    inputs["t"] = torch.tensor([0, 7, 99])
    with torch.no_grad():
        together = network(**inputs)
        alone = torch.cat([network(**{role: tensor[i : i + 1] for role, tensor in inputs.items()}) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_export_folds_the_standardised_weights_and_shares_the_rest():
    network = networks.create("stfdiff", bands=2, width=8)
    twin = network.for_export()
    assert any(isinstance(m, StandardisedConv2d) for m in network.modules())
    assert not any(isinstance(m, StandardisedConv2d) for m in twin.modules())
    assert keys_of(twin) == keys_of(network)
    own = dict(network.named_parameters())
    for key, parameter in twin.named_parameters():
        if key.endswith("conv_1.weight"):
            filters = parameter.flatten(1).double()
            torch.testing.assert_close(filters.mean(1), torch.zeros(len(filters)).double(), atol=1e-7, rtol=0)
            raw = own[key].flatten(1).double()
            variance = raw.var(1, correction=0)
            torch.testing.assert_close(filters.var(1, correction=0), variance / (variance + 1e-5))
        else:
            assert parameter is own[key], key


@pytest.mark.parametrize("references", get_args(References))
@pytest.mark.parametrize("norm", get_args(Norm))
def test_contract_of_a_sampling(references: int, norm: str):
    network = networks.create("stfdiff", bands=4, references=references, norm=norm)
    step = network.contract()
    assert [i.role for i in step.inputs] == [*ROLES[references]]
    contract = sampled(step, resolve(Sampler(steps=4, eta=1.0), network.preset))
    assert [i.role for i in contract.inputs] == [*ROLES[references], "noise", "noise_1", "noise_2", "noise_3"]
    assert [i.draw for i in contract.inputs if i.grid == "noise"] == [0, 1, 2, 3]
    assert all(i.bands == network.bands for i in contract.inputs)
    assert all(i.grid == "fine" for i in step.inputs)
    values = contract.output.values
    assert (0 * values.scale + values.offset, 1 * values.scale + values.offset) == (-1, 1)
    assert contract.tile.mode == ("blend" if norm == "group" else "auto")
    assert contract.options["norm"] == norm
    assert contract.steps.timesteps == (99, 74, 49, 24)


def test_bands_of_a_state_dict():
    assert STFDiff.bands_of(networks.create("stfdiff", bands=4, width=8).state_dict()) == 4
    assert STFDiff.bands_of({}) is None


@pytest.mark.parametrize(
    "options",
    [
        {"references": 3},
        {"norm": "layer"},
        {"activations": "gelu"},
        {"width": 12},
        {"width": 0},
        {"multipliers": ()},
        {"multipliers": (1, 0)},
        {"multipliers": (1, 1.5)},
        {"bands": ()},
        {"depth": 3},
    ],
)
def test_wrong_options_are_refused(options: dict):
    with pytest.raises(ExportError):
        networks.create("stfdiff", **options)
