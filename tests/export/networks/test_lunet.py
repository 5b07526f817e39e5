# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.blocks.recurrent import ConvLSTMCell, JointGateCell, SplitGateCell, hidden_states
from stf_export.networks.sequence.lunet import MultitaskLUNet, UNetLSTM
from stf_infer.errors import ExportError

NAMES = ("unetlstm", "multitask_lunet")
OUTPUTS = ("change", "segm_first", "segm_last")


def outputs(network: UNetLSTM, sequence: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        found = network(sequence)
    return [found] if isinstance(found, torch.Tensor) else [found[name] for name in OUTPUTS]


@pytest.fixture(scope="module", params=NAMES)
def network(request: pytest.FixtureRequest) -> UNetLSTM:
    torch.manual_seed(0)
    return networks.create(request.param)


def test_keys_are_the_published_ones(network: UNetLSTM):
    listing, count = {
        "unetlstm": ("unetlstm_U_NetLSTM", 8_450_882),
        "multitask_lunet": ("multitask_lunet_U_Net", 9_430_836),
    }[network.name]
    assert keys_of(network) == published_keys(listing)
    assert sum(p.numel() for p in network.parameters()) == count


def test_golden(network: UNetLSTM):
    golden = read_golden(network.name)
    load_golden_weights(network, golden)
    found = outputs(network, golden_inputs(golden)["sequence"])
    for name, got in zip(("output", "output_segm_first", "output_segm_last"), found, strict=False):
        check(golden, got, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("bands", "dates", "classes", "size"), [(4, 1, 3, (16, 48)), (1, 3, 2, (48, 32)), (6, 4, 1, (16, 16))]
)
def test_any_bands_dates_classes_and_size(name: str, bands: int, dates: int, classes: int, size: tuple[int, int]):
    network = networks.create(name, bands=bands, dates=dates, classes=classes)
    found = outputs(network, torch.rand(dates, 2, bands, *size))
    assert [o.shape for o in found] == [(2, classes, *size)] * (3 if name == "multitask_lunet" else 1)
    assert all(o.isfinite().all() for o in found)
    assert network.bands_of(network.state_dict()) == bands


def test_every_date_counts_where_it_should():
    torch.manual_seed(1)
    network = networks.create("multitask_lunet")
    state = {key: torch.randn_like(t) * 0.2 for key, t in network.state_dict().items() if key.endswith("weight")}
    network.load_state_dict(state, strict=False)
    sequence = torch.rand(3, 1, 3, 16, 16)
    before = outputs(network, sequence)
    touched = []
    for date in range(3):
        other = sequence.clone()
        other[date] = other[date].flip(-1)
        touched.append(
            [not torch.allclose(a, b, atol=1e-6) for a, b in zip(outputs(network, other), before, strict=True)]
        )
    assert touched == [[True, True, False], [True, False, False], [True, False, True]]


def test_export_takes_the_dates_by_role(network: UNetLSTM):
    sequence = torch.rand(2, 1, len(network.bands), 16, 16)
    module = network.for_export()
    assert [i.role for i in network.contract().inputs] == ["fine_t1", "fine_t2"]
    with torch.no_grad():
        found = module(fine_t2=sequence[1], fine_t1=sequence[0])
    change = found if isinstance(found, torch.Tensor) else found[network.contract().output.tensor]
    torch.testing.assert_close(change, outputs(network, sequence)[0], rtol=0, atol=0)
    assert all(a is b for a, b in zip(module.parameters(), network.parameters(), strict=True))


def test_contract():
    contract = UNetLSTM(("red", "nir"), dates=3, classes=2).contract()
    assert [i.role for i in contract.inputs] == ["fine_t1", "fine_t2", "fine_t3"]
    assert contract.output.bands == ("unchanged", "changed")
    assert MultitaskLUNet(classes=3).contract().output.bands == ("class_1", "class_2", "class_3")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{"dates": 0}, {"classes": 0}, {"bands": ()}, {"patch_size": 32}])
def test_wrong_options_are_refused(name: str, options: dict):
    with pytest.raises(ExportError):
        networks.create(name, **options)


@pytest.mark.parametrize("kind", [SplitGateCell, JointGateCell])
def test_a_cell_starts_from_zeros(kind: type[ConvLSTMCell]):
    torch.manual_seed(2)
    cell = kind(3, 5)
    image = torch.rand(2, 3, 6, 7)
    zeros = torch.zeros(2, 5, 6, 7)
    with torch.no_grad():
        for given, started in zip(cell(image, (zeros, zeros)), cell(image, None), strict=True):
            torch.testing.assert_close(given, started)


def test_joint_gates_are_the_split_ones_in_order():
    torch.manual_seed(3)
    split, joint = SplitGateCell(2, 4), JointGateCell(2, 4)
    gates = (split.in_gate, split.forget_gate, split.out_gate, split.cell_gate)
    joint.conv.weight = nn.Parameter(torch.cat([gate.weight for gate in gates]))
    joint.conv.bias = nn.Parameter(torch.cat([gate.bias for gate in gates]))
    images = [torch.rand(1, 2, 5, 5) for _ in range(3)]
    with torch.no_grad():
        for a, b in zip(hidden_states(split, images), hidden_states(joint, images), strict=True):
            torch.testing.assert_close(a, b)


def test_a_cell_without_input_follows_its_biases():
    """With biases only: i = o = 1, f = 0 or 1, g = tanh(b): the memory is replaced or added up."""
    for forget, memories in ((-50.0, (0.5, 0.5, 0.5)), (50.0, (0.5, 1.0, 1.5))):
        cell = SplitGateCell(1, 1)
        for gate, bias in zip(
            (cell.in_gate, cell.forget_gate, cell.out_gate, cell.cell_gate),
            (50.0, forget, 50.0, 0.5493061),
            strict=True,
        ):
            nn.init.zeros_(gate.weight)
            nn.init.constant_(gate.bias, bias)
        with torch.no_grad():
            found = hidden_states(cell, [torch.zeros(1, 1, 2, 2)] * 3)
        for hidden, memory in zip(found, memories, strict=True):
            torch.testing.assert_close(hidden, torch.full((1, 1, 2, 2), memory).tanh())
