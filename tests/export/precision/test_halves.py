# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from precision_support import halved, run, source
from stf_export.precision.operands import HALVES
from stf_export.precision.typed import Source
from stf_infer.errors import ExportError

IMAGE = {"x": ("n", 2, 4, 4)}
ONE = {"one": np.eye(2)[:, :, None, None]}
RNG = np.random.default_rng(5)


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_inputs_and_outputs_stay_and_weights_are_stored_in_half(tmp_path):
    given = source(tmp_path, "a = Conv(x, w, b)\ny = Relu(a)", {"w": weight(3, 2, 3, 3), "b": weight(3)}, IMAGE)
    model, _ = halved(given)
    assert [(v.name, v.dtype) for v in (*model.graph.inputs, *model.graph.outputs)] == [
        ("x", ir.DataType.FLOAT),
        ("y", ir.DataType.FLOAT),
    ]
    assert {v.dtype for v in model.graph.initializers.values()} == {ir.DataType.FLOAT16}
    assert sum(v.const_value.nbytes for v in model.graph.initializers.values()) == 2 * (3 * 2 * 9 + 3)


@pytest.mark.parametrize("precision", HALVES)
def test_every_number_is_rounded_where_the_half_rounds_it(tmp_path, precision):
    """One multiplication: the half of the product of the halves."""
    low = HALVES[precision].numpy()
    given = source(
        tmp_path, "y = Conv(x, w)", {"w": np.full((1, 1, 1, 1), 1 / 3)}, {"x": ("n", 1, 4, 4)}, bf16=precision == "bf16"
    )
    x = RNG.normal(size=(1, 1, 4, 4)).astype(np.float32)
    product = x.astype(low).astype(np.float32) * np.float32(1 / 3).astype(low).astype(np.float32)
    np.testing.assert_array_equal(run(halved(given, precision, emulate=True)[0], x=x), product.astype(low))
    assert (product.astype(low) != (x / 3).astype(low)).any()


def test_emulation_is_what_half_arithmetic_gives(tmp_path):
    """NumPy's float16, operator by operator, as ONNX's reference evaluates the half graph."""
    nodes = """p = Conv(x, one)
    a = Mul(p, k)
    b = Add(a, p)
    c = Relu(b)
    d = Concat<axis=1>(c, a)
    e = Transpose<perm=[0, 2, 3, 1]>(d)
    f = Div(e, two)
    g = Sub(f, k2)
    h = MaxPool<kernel_shape=[2, 2]>(g)
    i = Sqrt(h)
    y = MatMul(i, same)"""
    nodes = "\n".join(line.strip() for line in nodes.splitlines())
    given = source(tmp_path, nodes, {**ONE, "k": 1.7, "two": 3.0, "k2": -4.1, "same": np.eye(3)}, IMAGE)
    x = RNG.normal(size=(2, 2, 4, 4)).astype(np.float32)
    model = halved(given)[0]
    assert sum(node.op_type == "Cast" for node in model.graph) == 2
    expected = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0]
    found = run(halved(given, emulate=True)[0], x=x)
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - run(given.fresh(), x=x)).max() > 1e-4


def test_onnxruntime_does_not_round_half_graphs_on_a_cpu(tmp_path):
    """Why there is an emulation: 1000 squared is infinite in fp16, and ONNX Runtime's CPU gives its root."""
    given = source(tmp_path, "a = Conv(x, one)\nb = Mul(a, a)\nc = Sqrt(b)\ny = Conv(c, one)", ONE, IMAGE)
    x = np.full((1, 2, 4, 4), 1000.0)
    assert not np.isfinite(run(halved(given, emulate=True)[0], x=x)).any()
    assert np.isfinite(run(halved(given)[0], x=x)).all()


def test_a_weight_read_in_both_types_is_kept_in_both(tmp_path):
    given = source(
        tmp_path, "a = MatMul(x, w)\nb = Pow(a, w)\ny = Add(b, x)", {"w": np.abs(weight(4, 4))}, {"x": (4, 4)}
    )
    model, _ = halved(given)
    assert sorted(str(v.dtype) for v in model.graph.initializers.values()) == ["FLOAT", "FLOAT16"]


def test_filled_tensors_and_casts_take_the_type_of_their_readers(tmp_path):
    nodes = """s = Shape(x)
    z = ConstantOfShape<value = float[1] {0.5}>(s)
    i = Cast<to=7>(x)
    f = Cast<to=1>(i)
    a = Add(z, f)
    y = Conv(a, w)"""
    given = source(tmp_path, "\n".join(line.strip() for line in nodes.splitlines()), {"w": weight(2, 2, 1, 1)}, IMAGE)
    model, _ = halved(given)
    types = {node.op_type: node.outputs[0].dtype for node in model.graph if node.op_type in ("ConstantOfShape", "Conv")}
    assert set(types.values()) == {ir.DataType.FLOAT16}
    x = RNG.normal(size=(1, 2, 4, 4)) * 3
    np.testing.assert_allclose(run(model, x=x), run(given.fresh(), x=x), rtol=0, atol=0.02)


def test_an_output_that_is_read_again_keeps_its_name(tmp_path):
    path = tmp_path / "graph.onnx"
    from lower_support import graph

    onnx.save(graph("y = Conv(x, w)\nz = Exp(y)", {"w": weight(2, 2, 1, 1)}, IMAGE, outputs=("y", "z")), path)
    for emulate in (False, True):
        model, _ = halved(Source(path), emulate=emulate)
        assert [(v.name, v.dtype) for v in model.graph.outputs] == [(n, ir.DataType.FLOAT) for n in "yz"]


@pytest.mark.parametrize("to", [10, 16])
def test_a_reduced_graph_is_refused(tmp_path, to):
    with pytest.raises(ExportError, match="reduced already"):
        source(tmp_path, f"a = Cast<to={to}>(x)\ny = Cast<to=1>(a)", {}, IMAGE)


def test_a_quantised_graph_is_refused(tmp_path):
    nodes = "a = QuantizeLinear(x, s, z)\ny = DequantizeLinear(a, s, z)"
    path = tmp_path / "graph.onnx"
    from lower_support import graph

    model = graph("y = Mul(x, s)", {"s": 0.1}, IMAGE)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.int8(0), "z"))
    del model.graph.node[:]
    model.graph.node.extend(onnx.parser.parse_node(line) for line in nodes.splitlines())
    onnx.save(model, path)
    with pytest.raises(ExportError, match="QuantizeLinear"):
        Source(path)
