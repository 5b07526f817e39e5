# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stf_export import onnx_graph
from stf_export.global_operators import global_operators
from stf_infer.errors import ExportError
from stf_infer.grid import Shape
from tiny_networks import contract_for

TILE = Shape(16, 16)
CONTRACT = contract_for({"fine_t1": "fine", "coarse_t2": "coarse"}, ratio=4)
FLOAT = TensorProto.FLOAT


def add_graph(fine=("n", 2, "h", "w"), coarse=("n", 2, "y", "x"), *, output="fine_t2", kind=FLOAT, more=()):
    """``fine_t1`` plus ``coarse_t2`` repeated 4 x 4; ``more`` inputs that nothing reads."""
    nodes = [
        helper.make_node(
            "Resize", ["coarse_t2", "", "scales"], ["enlarged"], mode="nearest", doc_string="/home/me/net.py"
        ),
        helper.make_node("Add", ["fine_t1", "enlarged"], [output]),
        helper.make_node("Identity", ["enlarged"], ["aside"]),
    ]
    if kind != FLOAT:
        nodes[0].op_type, nodes[0].input[:] = "Identity", ["coarse_t2"]
        del nodes[0].attribute[:]
    inputs = {"fine_t1": fine, "coarse_t2": coarse, **dict.fromkeys(more, (1,))}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(name, kind, [None] * 4) for name in (output, "aside")],
        [helper.make_tensor("scales", FLOAT, [4], [1, 1, 4, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"source": "/home/me"})
    return model


def dims_of(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_free_rows_and_columns_become_the_tile(tmp_path):
    model = add_graph()
    onnx_graph.pin(model, CONTRACT, TILE)
    assert {v.name: dims_of(v) for v in model.graph.input} == {
        "fine_t1": ["batch", 2, 16, 16],
        "coarse_t2": ["batch", 2, 4, 4],
    }
    assert {v.name: dims_of(v) for v in model.graph.output} == {"fine_t2": ["batch", 2, 16, 16]}
    onnx_graph.save(onnx_graph.editable(model, tmp_path), tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    assert b"/home/me" not in content
    assert onnx_graph.facts(onnx_graph.load(tmp_path / "model.onnx")) == onnx_graph.GraphFacts(18, 4, None)


def test_a_fixed_batch_of_one_stays():
    model = add_graph((1, 2, 16, 16), (1, 2, 4, 4))
    assert onnx_graph.static_tile(model, CONTRACT) == TILE
    onnx_graph.pin(model, CONTRACT, TILE)
    assert dims_of(model.graph.output[0]) == [1, 2, 16, 16]
    assert onnx_graph.facts(model).batch == 1


def test_the_fixed_tile_is_counted_in_fine_pixels():
    assert onnx_graph.static_tile(add_graph(coarse=("n", 2, 5, 6)), CONTRACT) == Shape(20, 24)
    assert onnx_graph.static_tile(add_graph(), CONTRACT) is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: add_graph(more=("noise",)), "inputs of the graph are not those.*noise"),
        (lambda: add_graph(output="out"), "no output of the contract's name.*out.*fine_t2"),
        (lambda: add_graph(kind=TensorProto.FLOAT16), "not float32"),
        (lambda: add_graph(("n", 3, "h", "w")), "fine_t1.*another shape.*\\('n', 3, 'h', 'w'\\).*2, 16, 16"),
        (lambda: add_graph(("n", 2, 32, 32)), "fine_t1.*another shape"),
        (lambda: add_graph(("n", 2, "h")), "fine_t1.*another shape"),
        (lambda: add_graph(coarse=("n", 2, 16, 16)), "coarse_t2.*another shape.*ratio"),
        (lambda: add_graph((4, 2, "h", "w"), (4, 2, "y", "x")), "fixed number of tiles at once. Got: 4"),
        (lambda: add_graph((1, 2, "h", "w")), "free batch axis and some do not"),
    ],
)
def test_graphs_that_contradict_the_contract_are_refused(model, message):
    with pytest.raises(ExportError, match=message):
        onnx_graph.pin(model(), CONTRACT, TILE)


def test_a_graph_that_gives_another_size_is_refused():
    contract = contract_for({"fine_t1": "fine", "coarse_t2": "coarse"}, ratio=4)
    model = add_graph()
    model.graph.node[1].op_type, model.graph.node[1].input[:] = "Identity", ["coarse_t2"]
    with pytest.raises(ExportError, match="fine_t2 has another shape"):
        onnx_graph.pin(model, contract, TILE)


def test_files_that_are_no_graphs_are_refused(tmp_path):
    with pytest.raises(ExportError, match="no ONNX file at this path"):
        onnx_graph.load(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ExportError, match=r"cannot be read as ONNX|no ONNX model"):
        onnx_graph.load(tmp_path / "text.onnx")


def test_a_graph_that_breaks_the_rules_is_refused(tmp_path):
    model = add_graph((1, 2, 16, 16), (1, 2, 4, 4))
    onnx_graph.pin(model, CONTRACT, TILE)
    model.graph.node[1].input[0] = "nowhere"
    with pytest.raises(ExportError, match="breaks the rules"):
        onnx_graph.save(onnx_graph.editable(model, tmp_path), tmp_path / "model.onnx")


def test_documentation_goes_everywhere():
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["y"], doc_string="inner")], "b", [], [])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    model = helper.make_model(helper.make_graph([node], "g", [], [], doc_string="outer"), producer_name="p")
    onnx_graph.strip(model)
    assert b"inner" not in model.SerializeToString()
    assert b"outer" not in model.SerializeToString()
    assert model.producer_name == "p"


def one_node(op, *inputs, dims=(1, 2, 16, 16), weights=(), **attributes):
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *inputs], ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, dims)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


AXES = ("axes", np.array([2, 3], np.int64))
MAP = ("map", np.zeros((8, 8), np.float32))

NAMED = [
    (one_node("GlobalAveragePool"), "GlobalAveragePool over a whole tile"),
    (one_node("InstanceNormalization", "s", "b"), "InstanceNormalization over a whole tile"),
    (one_node("ReduceMean", "axes", weights=[AXES]), "ReduceMean over all rows and columns"),
    (one_node("ReduceMax"), "ReduceMax over all rows and columns"),
    (one_node("AveragePool", kernel_shape=[16, 16]), "AveragePool over a whole tile"),
    (one_node("LayerNormalization", "s", axis=2), "LayerNormalization over rows and columns"),
    (one_node("Resize", "", "r", coordinate_transformation_mode="align_corners"), "Resize with aligned corners"),
    (one_node("Add", "map", dims=(1, 2, 8, 8), weights=[MAP]), "Add of a map that is fixed to the tile"),
    (one_node("DFT", "", dims=(1, 16, 16, 1)), "DFT over a whole tile"),
]
LOCAL = [
    one_node("Conv", "w"),
    one_node("ReduceMean", "axes", weights=[("axes", np.array([1], np.int64))]),
    one_node("AveragePool", kernel_shape=[2, 2]),
    one_node("LayerNormalization", "s", axis=-1, dims=(1, 16, 16, 2)),
    one_node("Resize", "", "r", coordinate_transformation_mode="half_pixel"),
    one_node("Softmax", axis=1),
    one_node("Add", "bias", weights=[("bias", np.zeros((2, 1, 1), np.float32))]),
    one_node("Mul", "kernel", weights=[("kernel", np.zeros((3, 5), np.float32))]),
]


@pytest.mark.parametrize(("model", "why"), NAMED, ids=[why for _, why in NAMED])
def test_global_operators_are_named(model, why):
    assert global_operators(model, TILE) == (why,)


@pytest.mark.parametrize("model", LOCAL, ids=[m.graph.node[0].op_type for m in LOCAL])
def test_local_operators_are_not(model):
    assert global_operators(model, TILE) == ()


def test_attention_over_all_positions_is_named_and_counted():
    nodes = [
        helper.make_node("Reshape", ["x", "tokens"], ["t"]),
        helper.make_node("Transpose", ["t"], ["u"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["u", "t"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "u"], ["y"]),
        helper.make_node("GlobalMaxPool", ["x"], ["p"]),
        helper.make_node("GlobalMaxPool", ["x"], ["q"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, (1, 2, 16, 16))],
        [helper.make_tensor_value_info("y", FLOAT, (1, 256, 2))],
        [onnx.numpy_helper.from_array(np.array([1, 2, 256], np.int64), "tokens")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    assert global_operators(model, TILE) == (
        "Softmax over all positions",
        "MatMul over all positions",
        "GlobalMaxPool over a whole tile, 2 times",
    )
