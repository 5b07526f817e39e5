# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from golden_support import Golden, check, golden_inputs, load_golden_weights, read_golden
from stf_export import networks
from stf_export.samplers import Sampler, resolve
from stf_export.samplers.unrolled import Encoder, Step, Unrolled
from stf_infer.diffusion import advance
from stf_infer.errors import ExportError

CONDITIONS = ("coarse_t1", "coarse_t2", "fine_t1")


@pytest.fixture(scope="module")
def published() -> tuple[networks.diffusion.stfdiff.STFDiff, Golden]:
    golden = read_golden("stfdiff_ddim")
    network = networks.create("stfdiff")
    load_golden_weights(network, golden)
    return network.for_export(), golden


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("output", {}),
        ("output_n4", {"steps": 4}),
        ("output_eps_n10", {"prediction": "epsilon"}),
        ("output_eta1_n4", {"steps": 4, "eta": 1.0}),
    ],
)
def test_whole_samplings_of_stfdiff(published, name: str, asked: dict):
    network, golden = published
    sampler = resolve(Sampler(**asked), network.preset)
    inputs = golden_inputs(golden)
    drawn = golden.arrays["noise_eta1_n4"] if asked.get("eta") else []
    noises = {f"noise_{k}": torch.from_numpy(z) for k, z in enumerate(drawn, start=1)}
    unrolled = Unrolled(network, sampler, CONDITIONS, ["noise", *noises])
    with torch.no_grad():
        sample = unrolled(noise=inputs.pop("x_T"), **noises, **inputs)
    check(golden, sample, name)


def test_the_images_between_the_steps(published):
    network, golden = published
    sampler = resolve(Sampler(steps=4), network.preset)
    inputs = golden_inputs(golden)
    x, previous, states = inputs["x_T"], None, []
    with torch.no_grad():
        features = network.encode(*(inputs[role] for role in CONDITIONS))
        for number, t in enumerate(sampler.timesteps):
            states.append(x)
            output = network.denoise(features, x, torch.tensor([t]))
            x, previous = advance(sampler, number, x, output, previous, None)
    check(golden, torch.stack(states), "states_n4")


def small(name: str, **options):
    torch.manual_seed(0)
    network = networks.create(name, bands=2, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5)
    return network.for_export()


CASES = {
    "stfdiff": ({"width": 8, "multipliers": (1, 2)}, {"steps": 3, "eta": 1.0}),
    "stfdiff, two references, batch norm": (
        {"width": 8, "multipliers": (1, 2), "references": 2, "norm": "batch"},
        {"steps": 2, "name": "dpm"},
    ),
    "diffstsf": ({}, {"steps": 2}),
}


def images_for(network, sampler) -> dict[str, torch.Tensor]:
    noises = ["noise", *(f"noise_{d}" for d in sampler.draws if d is not None)]
    images = {}
    for role in (*network.conditions, *noises):
        bands = 1 if role == "pan_t1" else 2
        make = torch.randn if role in noises else torch.rand
        images[role] = make(2, bands, 32, 32)
    return images


@pytest.mark.parametrize("case", CASES)
def test_all_steps_at_once_are_the_steps_one_by_one(case: str):
    options, asked = CASES[case]
    network = small(case.partition(",")[0], **options)
    sampler = resolve(Sampler(**asked), network.preset)
    images = images_for(network, sampler)
    noises = [images[role] for role in images if role.startswith("noise")]
    unrolled = Unrolled(network, sampler, network.conditions, [r for r in images if r.startswith("noise")])
    encoder, step = Encoder(network), Step(network)
    with torch.no_grad():
        whole = unrolled(**images)
        features = encoder(*(images[role] for role in network.conditions))
        x, previous = noises[0], None
        for number, (t, draw) in enumerate(zip(sampler.timesteps, sampler.draws, strict=True)):
            output = step(*features, x, torch.full((2, 1, 1, 1), float(t)))
            x, previous = advance(sampler, number, x, output, previous, None if draw is None else noises[draw])
        torch.testing.assert_close(whole, x, rtol=0, atol=1e-4)
        for role in images:
            other = unrolled(**{**images, role: images[role].flip(-1)})
            assert not torch.allclose(other, whole, atol=1e-4), role


def test_weights_are_shared_and_constants_do_not_enter_the_state():
    network = small("stfdiff", width=8, multipliers=(1, 2))
    unrolled = Unrolled(network, resolve(Sampler(steps=5), network.preset), network.conditions, ["noise"])
    assert {id(p) for p in unrolled.parameters()} == {id(p) for p in network.parameters()}
    assert unrolled.state_dict().keys() == {f"denoiser.{key}" for key in network.state_dict()}
    times = [
        tuple(b[0, 0, 0, 0].item() for n, b in unrolled.named_buffers() if n.startswith(f"step_{k}_")) for k in range(5)
    ]
    assert len(set(times)) == 5


def test_a_sampler_and_its_noise_inputs_must_fit():
    network = small("stfdiff", width=8)
    with pytest.raises(ExportError, match="Allowed: 3"):
        Unrolled(network, resolve(Sampler(steps=3, eta=1.0), network.preset), network.conditions, ["noise"])


def test_a_learnt_variance_needs_a_network_that_has_one():
    network = small("stfdiff", width=8)
    sampler = resolve(Sampler(name="ddpm", steps=2, variance="learned"), network.preset)
    unrolled = Unrolled(network, sampler, network.conditions, ["noise", "noise_1"])
    with pytest.raises(ExportError, match="small or large"):
        unrolled(**images_for(network, sampler))
