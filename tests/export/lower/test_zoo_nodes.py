# SPDX-License-Identifier: Apache-2.0
"""What is written of each network has no more operators than what torch's exporter and its optimiser make of it."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir
import onnxscript.optimizer
import pytest

import zoo_support as zoo
from stf_export.by_sample.trials import smooth_sample
from stf_export.lower import count, simplify
from stf_export.sampled import Sampling
from stf_export.samples import scene_tile
from stf_export.torch_graph import bind, examples, trace
from stf_infer.grid import Shape

# The optimiser of torch's exporter takes most of a minute for each of them; their needless pairs are looked for below.
LARGE = ("diffstsf", "swinstfm")


def traced(name):
    """The graph of a case as torch translates it."""
    case, network = zoo.CASES[name], zoo.made(name)
    contract, module = network.contract(), network.for_export()
    if case.sampler is not None:
        sampling = Sampling.of(module, contract, case.sampler, None)
        contract, module = sampling.contract_of(sampling.steps()), sampling.unrolled(sampling.steps())
    if case.samples:
        tile = smooth_sample(contract)
    else:
        side = case.tile or contract.tile.size
        tile = scene_tile(contract, Shape(side, side))
    module = bind(module, contract)
    return trace(module, examples(contract, tile), [i.tensor for i in contract.inputs], ["output"])


@pytest.mark.parametrize("name", [name for name in zoo.CASES if name not in LARGE])
def test_never_more_operators_than_the_plain_export(name):
    model = traced(name)
    plain = model.clone()
    onnxscript.optimizer.optimize(plain)
    nodes = simplify(model)
    assert nodes.after == count(model) <= count(plain) <= nodes.before
    assert needless(model) == []


@pytest.mark.parametrize("name", LARGE)
def test_nothing_needless_is_written(name, exports):
    assert needless(ir.load(exports.bundle(name).asset("model-fp32"))) == []


def needless(model: ir.Model) -> list[str]:
    """Pairs in a row, read by nobody else, that could be one operator or none."""
    pairs = []
    for node in model.graph:
        for user in node.outputs[0].consumers() if len(node.outputs[0].uses()) == 1 else ():
            both = (node.op_type, user.op_type)
            if both[0] == both[1] and both[0] in ("Transpose", "Reshape", "Cast", "Slice", "Identity", "Unsqueeze"):
                pairs.append(" ".join(both))
    counts = Counter(node.op_type for node in model.graph)
    return pairs + ["Identity"] * counts["Identity"] + ["Constant"] * counts["Constant"]
