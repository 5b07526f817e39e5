# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from stf_export import networks
from stf_export.networks.sequence.cnnlstm import CNNLSTM, SOURCES, Branches
from stf_infer.errors import ExportError


def windows(window: int = 7, batch: int = 1) -> dict[str, torch.Tensor]:
    return {name: torch.randn(batch, 1, window, window) for name in SOURCES}


def by_hand(network: CNNLSTM, inputs: dict[str, torch.Tensor]) -> float:
    """One point in NumPy, layer by layer as the figure and the choices in the docstring say."""
    state = {key: tensor.double().numpy() for key, tensor in network.state_dict().items()}

    def convolve(image: np.ndarray, key: str) -> np.ndarray:
        weight, bias = state[f"{key}.weight"], state[f"{key}.bias"]
        before, after = (weight.shape[-1] - 1) // 2, weight.shape[-1] // 2
        padded = np.pad(image, ((0, 0), (before, after), (before, after)))
        patches = sliding_window_view(padded, weight.shape[2:], axis=(1, 2))
        return np.maximum(np.einsum("cyxij,ocij->oyx", patches, weight) + bias[:, None, None], 0)

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    def lstm(steps: np.ndarray, name: str, suffix: str) -> np.ndarray:
        w_in, w_hidden = state[f"{name}.weight_ih_l0{suffix}"], state[f"{name}.weight_hh_l0{suffix}"]
        bias = state[f"{name}.bias_ih_l0{suffix}"] + state[f"{name}.bias_hh_l0{suffix}"]
        hidden = memory = np.zeros(32)
        found = []
        for step in steps:
            enter, keep, fresh, leave = np.split(w_in @ step + w_hidden @ hidden + bias, 4)
            memory = sigmoid(keep) * memory + sigmoid(enter) * np.tanh(fresh)
            hidden = sigmoid(leave) * np.tanh(memory)
            found.append(hidden)
        return np.array(found)

    numbers = []
    for name in SOURCES:
        image = inputs[name][0].double().numpy()
        for layer in (0, 2, 5):
            image = convolve(image, f"convolutions.{name}.{layer}")
        pooled = image[:, :6, :6].reshape(4, 3, 2, 3, 2).max(axis=(2, 4))
        numbers.append(pooled.transpose(1, 2, 0).ravel())
    steps = np.concatenate(numbers)[:, None]
    assert steps.shape == (108, 1)
    there, back = lstm(steps, "first_lstm", ""), lstm(steps[::-1], "first_lstm", "_reverse")[::-1]
    steps = np.hstack((there, back))
    x = np.concatenate((lstm(steps, "second_lstm", "")[-1], lstm(steps[::-1], "second_lstm", "_reverse")[-1]))
    for layer in (0, 2, 4, 6, 8):
        x = state[f"dense.{layer}.weight"] @ x + state[f"dense.{layer}.bias"]
        x = np.where(x > 0, x, np.expm1(x))
    return float((state["dense.10.weight"] @ x + state["dense.10.bias"])[0])


def test_a_point_by_hand():
    torch.manual_seed(0)
    network = networks.create("cnnlstm")
    inputs = windows()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)  # away from the origin, so that every function bends
        assert network(**inputs).item() == pytest.approx(by_hand(network, inputs), abs=1e-5)


@pytest.mark.parametrize("branches", get_args(Branches))
@pytest.mark.parametrize("window", [2, 7, 10])
def test_every_input_counts(branches: str, window: int):
    torch.manual_seed(1)
    network = networks.create("cnnlstm", branches=branches, window=window)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
        inputs = windows(window, batch=3)
        output = network(**inputs)
        assert output.shape == (3, 1)
        torch.testing.assert_close(output, network(*inputs.values()))
        for name, image in inputs.items():
            changed = network(**{**inputs, name: image + 1})
            assert not torch.allclose(changed, output, atol=1e-6), name


def test_shared_branches_have_one_set_of_convolutions():
    own, shared = (CNNLSTM(branches=b) for b in ("own", "shared"))
    counts = [sum(p.numel() for p in n.convolutions.parameters()) for n in (own, shared)]
    assert counts == [3 * counts[1], 208 + 584 + 132]


def test_points_of_a_batch_do_not_meet():
    torch.manual_seed(2)
    network = networks.create("cnnlstm")
    inputs = windows(batch=4)
    with torch.no_grad():
        alone = torch.cat([network(**{name: image[i : i + 1] for name, image in inputs.items()}) for i in range(4)])
        torch.testing.assert_close(network(**inputs), alone)


@pytest.mark.parametrize("options", [{"branches": "both"}, {"window": 1}, {"bands": 2}, {"steps": 108}])
def test_wrong_options_are_refused(options: dict):
    with pytest.raises(ExportError):
        networks.create("cnnlstm", **options)
