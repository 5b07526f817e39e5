# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import getpass
import socket
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from stf_export import onnx_graph
from stf_export.onnx_graph import IR_VERSION, OPSET
from stf_export.oracle import OnnxOracle, TorchOracle
from stf_export.samples import noise_tile
from stf_export.torch_graph import bind, to_onnx
from stf_infer.errors import ExportError
from stf_infer.grid import Shape
from tiny_networks import CoarseInput, OneInput, ThreeInputs, contract_for

THREE = {"fine_t1": "fine", "coarse_t1": "fine", "coarse_t2": "fine"}
TILE = Shape(32, 48)


def batch_of(contract, tile, count):
    rng = np.random.default_rng(0)
    tiles = [noise_tile(contract, tile, rng) for _ in range(count)]
    return {role: np.stack([t[role] for t in tiles]) for role in tiles[0]}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A module, its contract (in another order than its parameters) and its graph."""
    contract = contract_for(THREE)
    module = bind(ThreeInputs(), contract)
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    to_onnx(module, contract, TILE, path)
    return module, contract, path


def test_tensors_are_named_by_the_contract_and_static_but_for_the_batch(written):
    _, contract, path = written
    model = onnx.load(path)

    def dims(value):
        return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]

    assert {v.name: dims(v) for v in model.graph.input} == {role: ["batch", 2, 32, 48] for role in THREE}
    assert {v.name: dims(v) for v in model.graph.output} == {"fine_t2": ["batch", 2, 32, 48]}
    assert [i.name for i in model.graph.input] == [i.tensor for i in contract.inputs]


def test_the_format_is_one_that_old_engines_read(written):
    model = onnx.load(written[2])
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert model.ir_version <= IR_VERSION
    assert not model.functions
    onnx.checker.check_model(str(written[2]), full_check=True)


def test_the_file_says_nothing_about_the_machine(written):
    content = written[2].read_bytes()
    telltale = {
        str(Path.cwd()),
        str(Path.home()),
        sys.prefix,
        socket.gethostname(),
        "site-packages",
        ".py",
        "stack_trace",
    }
    if len(getpass.getuser()) > 4:
        telltale.add(getpass.getuser())
    assert [text for text in telltale if text.encode() in content] == []
    model = onnx.load(written[2])
    assert not model.metadata_props
    assert not any(n.metadata_props or n.doc_string for n in model.graph.node)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_graph_computes_what_the_module_computes(written, count):
    module, contract, path = written
    inputs = batch_of(contract, TILE, count)
    right = TorchOracle(module, contract)(inputs)
    np.testing.assert_allclose(OnnxOracle(path, contract)(inputs), right, atol=1e-6)


def test_no_input_is_folded_into_a_constant(written):
    _, contract, path = written
    inputs = batch_of(contract, TILE, 1)
    oracle = OnnxOracle(path, contract)
    before = oracle(inputs)
    for role in inputs:
        assert np.abs(oracle({**inputs, role: inputs[role] + 0.5}) - before).max() > 1e-3


def test_inputs_are_bound_by_name_whatever_the_order(written):
    module, contract, _ = written
    inputs = batch_of(contract, TILE, 1)
    direct = ThreeInputs()(**{role: torch.from_numpy(array) for role, array in inputs.items()})
    np.testing.assert_array_equal(TorchOracle(module, contract)(inputs), direct.detach().numpy())


def test_coarse_inputs_have_coarse_shapes(tmp_path):
    contract = contract_for({"fine_t1": "fine", "coarse_t2": "coarse"}, ratio=4)
    to_onnx(bind(CoarseInput(), contract), contract, TILE, tmp_path / "model.onnx")
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][1:]
        for v in onnx.load(tmp_path / "model.onnx").graph.input
    }
    assert shapes == {"fine_t1": [2, 32, 48], "coarse_t2": [2, 8, 12]}


def test_heavy_weights_lie_beside_the_file(tmp_path, monkeypatch):
    contract = contract_for({"fine_t1": "fine"})
    module = bind(OneInput(nn.Conv2d(2, 32, 3, padding=1), nn.Conv2d(32, 2, 3, padding=1)), contract)
    monkeypatch.setattr(onnx_graph, "WEIGHTS_INSIDE", 1000)
    to_onnx(module, contract, TILE, tmp_path / "model.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    inputs = batch_of(contract, TILE, 1)
    right = TorchOracle(module, contract)(inputs)
    np.testing.assert_allclose(OnnxOracle(tmp_path / "model.onnx", contract)(inputs), right, atol=1e-6)


class Named(nn.Module):
    """Parameters that are named by tensors, not by roles."""

    def forward(self, x1, y1, gain=1.0):
        return {"image": x1 + y1 * gain, "features": x1}


def test_parameters_may_be_named_by_tensors_and_outputs_come_by_name():
    contract = contract_for({"fine_t1": "fine", "coarse_t1": "fine"})
    inputs = tuple(i.model_copy(update={"tensor": t}) for i, t in zip(contract.inputs, ("y1", "x1"), strict=True))
    output = contract.output.model_copy(update={"tensor": "image"})
    contract = contract.model_copy(update={"inputs": inputs, "output": output})
    images = batch_of(contract, TILE, 1)
    result = TorchOracle(bind(Named(), contract), contract)(images)
    np.testing.assert_array_equal(result, images["fine_t1"] + images["coarse_t1"])


def test_a_forward_of_keywords_gets_roles():
    class Open(nn.Module):
        def forward(self, **images):
            return images["fine_t1"] - images["coarse_t1"]

    contract = contract_for({"coarse_t1": "fine", "fine_t1": "fine"})
    images = batch_of(contract, TILE, 1)
    result = TorchOracle(bind(Open(), contract), contract)(images)
    np.testing.assert_array_equal(result, images["fine_t1"] - images["coarse_t1"])


def module_of(forward):
    return type("Module", (nn.Module,), {"forward": forward})()


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, image: image, "no parameter for fine_t1.*forward\\(image\\)"),
        (lambda self, fine_t1, mask: fine_t1, "no input of the contract is meant for mask"),
        (lambda self, fine_t1, /: fine_t1, "no parameter for fine_t1"),
    ],
)
def test_a_forward_that_wants_something_else_is_refused(forward, message):
    with pytest.raises(ExportError, match=message):
        bind(module_of(forward), contract_for({"fine_t1": "fine"}))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, fine_t1: (fine_t1, fine_t1), "one tensor, or a dict.*tuple"),
        (lambda self, fine_t1: {"other": fine_t1}, "no tensor of the output's name.*other.*fine_t2"),
    ],
)
def test_an_output_that_is_not_one_tensor_is_refused(forward, message):
    contract = contract_for({"fine_t1": "fine"})
    with pytest.raises(ExportError, match=message):
        TorchOracle(bind(module_of(forward), contract), contract)(batch_of(contract, TILE, 1))


def test_training_mode_and_half_precision_are_left():
    contract = contract_for({"fine_t1": "fine"})
    module = OneInput(nn.Conv2d(2, 2, 1), nn.Dropout(0.5)).train().half()
    oracle = TorchOracle(bind(module, contract), contract)
    images = batch_of(contract, TILE, 1)
    np.testing.assert_array_equal(oracle(images), oracle(images))
    assert oracle(images).dtype == np.float32


def test_what_torch_cannot_translate_is_told_in_a_sentence(tmp_path):
    class Branches(nn.Module):
        def forward(self, fine_t1):
            return fine_t1 * 2 if fine_t1.sum() > 0 else fine_t1

    contract = contract_for({"fine_t1": "fine"})
    with pytest.raises(ExportError, match="cannot write this network as ONNX"):
        to_onnx(bind(Branches(), contract), contract, TILE, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
