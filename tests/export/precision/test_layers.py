# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from precision_support import source
from stf_export.precision.layers import kept, layers_of
from stf_infer.errors import UsageError

W = np.ones((2, 2, 3, 3), np.float32)


@pytest.fixture
def layers(tmp_path):
    nodes = """a = Conv<pads=[1, 1, 1, 1]>(x, w)
    b = Relu(a)
    c = Exp(b)
    d = Conv<pads=[1, 1, 1, 1]>(c, w)
    e = MatMul(d, d)
    y = Conv<pads=[1, 1, 1, 1]>(e, v)"""
    nodes = "\n".join(line.strip() for line in nodes.splitlines())
    given = source(tmp_path, nodes, {"w": W, "v": W}, {"x": ("n", 2, 4, 4)})
    model = given.fresh()
    for old, new in (("w", "module.encoder.0.weight"), ("v", "decoder.out.weight")):
        model.graph.initializers[old].name = new
    return layers_of(model)


def test_layers_are_products_and_what_lies_between(layers):
    assert [layer.name for layer in layers][0::2] == ["encoder.0", "encoder.0#2", "decoder.out"]
    assert [len(layer.nodes) for layer in layers] == [1, 2, 1, 1, 1]


def test_work_is_in_multiply_adds(layers):
    conv = 2 * 4 * 4 * 2 * 9
    assert [layer.work for layer in layers] == [conv, 0, conv, 2 * 4 * 4 * 4, conv]


@pytest.mark.parametrize(
    ("node", "shape", "kernel", "work"),
    [
        ("y = Conv<group=2>(x, w)", (4, 5, 5), (6, 2, 3, 3), 6 * 3 * 3 * 2 * 9),
        ("y = ConvTranspose<strides=[2, 2]>(x, w)", (4, 5, 5), (4, 3, 2, 2), 4 * 5 * 5 * 3 * 4),
        ("y = MatMul(x, w)", (5, 4), (4, 3), 5 * 4 * 3),
        ("y = Gemm(x, w)", (), (4, 3), 4 * 3),
    ],
)
def test_work_of_each_product(tmp_path, node, shape, kernel, work):
    given = source(tmp_path, node, {"w": np.ones(kernel)}, {"x": ("n", *shape) if shape else ("n", 4)})
    assert [layer.work for layer in layers_of(given.fresh())] == [work]


def test_layers_are_named_by_layer_module_pattern_or_node(layers):
    def names(*patterns: str) -> list[str]:
        return [layer.name for layer in kept(layers, patterns)]

    assert names("decoder.out") == ["decoder.out"]
    assert names("encoder") == ["encoder.0", "encoder.0#2"]
    assert names("*.0") == ["encoder.0"]
    assert names("*") == [layer.name for layer in layers]
    assert names(layers[1].nodes[1]) == [layers[1].name]
    assert names("decoder", "decoder.out") == ["decoder.out"]
    assert names() == []
    with pytest.raises(UsageError, match=r"decoder\.out"):
        names("decoder.uot")
