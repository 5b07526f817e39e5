# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from precision_support import run, source
from stf_export import onnx_graph
from stf_export.precision.integers import first_and_last, products, quantise
from stf_export.precision.typed import Source
from stf_infer.errors import ExportError

RNG = np.random.default_rng(3)

# Operator, shape of its input, shape of its weight, axis of the channels that it gives.
PRODUCTS = {
    "Conv": ("y = Conv(x, w)", (2, 4, 5, 5), (3, 4, 3, 3), 0),
    "grouped": ("y = Conv<group=2>(x, w)", (2, 4, 5, 5), (6, 2, 3, 3), 0),
    "ConvTranspose": ("y = ConvTranspose<strides=[2, 2]>(x, w)", (2, 4, 5, 5), (4, 3, 2, 2), 1),
    "MatMul": ("y = MatMul(x, w)", (2, 5, 4), (4, 3), 1),
    "Gemm": ("y = Gemm(x, w)", (5, 4), (4, 3), 1),
    "Gemm, transposed": ("y = Gemm<transB=1>(x, w)", (5, 4), (3, 4), 0),
    "batched": ("y = MatMul(x, w)", (2, 5, 4), (2, 4, 3), None),
}


def weights(*shape: int) -> np.ndarray:
    """Channels of different sizes along every axis, as trained ones are."""
    made = RNG.normal(size=shape)
    for axis, length in enumerate(shape):
        made *= np.geomspace(1, 20, length).reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return made.astype(np.float32)


def reduced(given: Source, x: np.ndarray, nodes=None) -> ir.Model:
    model = given.fresh()
    names = [node.name for node in products(model)] if nodes is None else nodes
    quantise(model, names, {str(node.inputs[0].name): float(np.abs(x).max()) for node in products(model)})
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    return model


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_within_its_steps(tmp_path, name):
    """|y - q| <= sum |x| dw / 2 + |w| dx / 2 + dx dw / 4, with the steps dx and dw of input and channel."""
    node, shape, kernel, axis = PRODUCTS[name]
    x, w = RNG.normal(size=shape).astype(np.float32), weights(*kernel)
    given = source(tmp_path, node, {"w": w}, {"x": ("n", *shape[1:])})
    model = reduced(given, x)
    assert [node.op_type for node in model.graph].count("QuantizeLinear") == 1
    (held,) = [v for v in model.graph.initializers.values() if v.dtype == ir.DataType.INT8 and v.shape.rank() > 1]
    assert np.abs(held.const_value.numpy()).max() == 127
    scale = model.graph.initializers["w_scale"].const_value.numpy()
    assert scale.shape == (() if axis is None else (kernel[axis],))
    # The bound, by the same operator on absolute values and steps.
    wide = scale if axis is None else scale.reshape([-1 if k == axis else 1 for k in range(len(kernel))])
    dw, dx = np.broadcast_to(wide, kernel), np.float32(np.abs(x).max() / 127)

    def product(a, b):
        return run(source(tmp_path, node, {"w": b}, {"x": ("n", *shape[1:])}).fresh(), x=a)

    ones = np.ones_like(x)
    bound = product(np.abs(x), dw / 2) + product(ones * dx / 2, np.abs(w)) + product(ones * dx / 2, dw / 2)
    difference = np.abs(run(model, x=x) - product(x, w))
    assert (difference <= bound * 1.001).all()
    assert difference.max() > bound.max() / 100


@pytest.mark.parametrize("name", [name for name in PRODUCTS if name != "batched"])
def test_the_pairs_are_those_of_onnxruntime(tmp_path, name):
    """``onnxruntime.quantization`` with the options that TensorRT takes writes a graph of the same numbers."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    node, shape, kernel, _ = PRODUCTS[name]
    x, w = RNG.normal(size=shape).astype(np.float32), weights(*kernel)
    given = source(tmp_path, node, {"w": w}, {"x": ("n", *shape[1:])})
    most = float(np.abs(x).max())
    operator = node.split()[2].partition("(")[0].partition("<")[0]
    writer = QDQQuantizer(
        ir.to_proto(given.fresh()),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range={"x": TensorData(lowest=np.float32(-most), highest=np.float32(most))},
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=[operator],
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": [operator],
        },
    )
    writer.quantize_model()
    theirs = ir.from_proto(writer.model.model)
    theirs.graph.sort()
    np.testing.assert_allclose(run(reduced(given, x), x=x), run(theirs, x=x), rtol=1e-5, atol=1e-4)


def test_what_several_products_read_is_held_once_and_biases_stay(tmp_path):
    nodes = "a = Conv(x, w, b)\nc = Conv(x, w, b)\ny = Add(a, c)"
    given = source(tmp_path, nodes, {"w": weights(2, 2, 1, 1), "b": np.ones(2)}, {"x": ("n", 2, 4, 4)})
    model = reduced(given, RNG.normal(size=(1, 2, 4, 4)))
    operators = [node.op_type for node in model.graph]
    assert operators.count("QuantizeLinear") == 1
    assert operators.count("DequantizeLinear") == 2
    assert model.graph.initializers["b"].dtype == ir.DataType.FLOAT
    assert "w" not in model.graph.initializers  # it is stored in 8 bits only


def test_a_weight_that_another_layer_reads_in_float32_stays(tmp_path):
    nodes = "a = Conv(x, w)\ny = Conv(a, w)"
    given = source(tmp_path, nodes, {"w": weights(2, 2, 1, 1)}, {"x": ("n", 2, 4, 4)})
    names = [node.name for node in given.fresh().graph]
    model = reduced(given, RNG.normal(size=(1, 2, 4, 4)), names[:1])
    assert model.graph.initializers["w"].dtype == ir.DataType.FLOAT
    assert [node.op_type for node in model.graph] == [
        "DequantizeLinear",
        "QuantizeLinear",
        "DequantizeLinear",
        "Conv",
        "Conv",
    ]


def test_zeros_are_held(tmp_path):
    given = source(tmp_path, "y = Conv(x, w)", {"w": np.zeros((2, 2, 1, 1))}, {"x": ("n", 2, 4, 4)})
    assert not run(reduced(given, np.zeros(1)), x=np.zeros((1, 2, 4, 4))).any()


def test_first_and_last_layers_of_every_path(tmp_path):
    nodes = """a = Conv(x, w)
    b = Conv(z, w)
    c = Add(a, b)
    d = Conv(c, w)
    e = Relu(d)
    f = MatMul(e, e)
    g = Conv(f, w)
    h = Conv(g, w)
    y = Add(h, x)"""
    nodes = "\n".join(line.strip() for line in nodes.splitlines())
    image = ("n", 2, 4, 4)
    given = source(tmp_path, nodes, {"w": weights(2, 2, 1, 1)}, {"x": image, "z": image})
    model = given.fresh()
    results = {str(node.name): node.outputs[0].name for node in model.graph}
    assert {results[name] for name in first_and_last(model)} == {"a", "b", "h"}
    # The product of two activations is none that is reduced.
    assert [node.outputs[0].name for node in products(model)] == ["a", "b", "d", "g", "h"]


def test_nothing_to_reduce_and_old_operator_sets_are_refused(tmp_path):
    given = source(tmp_path, "y = Relu(x)", {}, {"x": (1, 2)})
    with pytest.raises(ExportError, match="No product"):
        quantise(given.fresh(), [], {})
    old = source(tmp_path, "y = Conv(x, w)", {"w": weights(2, 2, 1, 1)}, {"x": (1, 2, 4, 4)}, opset=12)
    with pytest.raises(ExportError, match="13 or newer"):
        reduced(old, np.ones(1))


def test_weights_beside_the_file(tmp_path, monkeypatch):
    nodes = "a = Conv(x, w)\nb = Conv(a, w)\ny = Conv(b, v)"
    kernel = {"w": weights(16, 16, 3, 3), "v": weights(4, 16, 1, 1)}
    given = source(tmp_path, nodes, kernel, {"x": ("n", 16, 9, 9)})
    monkeypatch.setattr(onnx_graph, "WEIGHTS_INSIDE", 2000)
    (tmp_path / "beside").mkdir()
    path = tmp_path / "beside" / "model.onnx"
    onnx_graph.save(given.fresh(), path)
    assert path.with_name("model.onnx.data").exists()
    x = RNG.normal(size=(1, 16, 9, 9)).astype(np.float32)
    model = reduced(Source(path), x)
    np.testing.assert_array_equal(run(model, x=x), run(reduced(given, x), x=x))
    (tmp_path / "out").mkdir()
    onnx_graph.save(model, tmp_path / "out" / "model.onnx")
    assert (tmp_path / "out" / "model.onnx.data").stat().st_size < path.with_name("model.onnx.data").stat().st_size / 3
