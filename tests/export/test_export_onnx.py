# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx
import pytest
from torch import nn

import stf_export
from stf_infer.engines import open_engine
from stf_infer.errors import (
    ExportError,
    ParityError,
    TilePlanError,
)
from stf_infer.golden import prove
from tiny_networks import OneInput, contract_for

ONE = contract_for({"fine_t1": "fine"})


def one_layer():
    return OneInput(nn.Conv2d(2, 2, 3, padding=1))


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


def blur_graph(path, height="h", width="w", batch="n", pads=(1, 1, 1, 1), shape=None):
    """A 3 x 3 mean of two bands; ``shape`` is baked into a Reshape at the end."""
    weight = np.zeros((2, 2, 3, 3), np.float32)
    weight[0, 0] = weight[1, 1] = 1 / 9
    nodes = [onnx.helper.make_node("Conv", ["fine_t1", "w"], ["y" if shape else "fine_t2"], pads=list(pads))]
    weights = [onnx.numpy_helper.from_array(weight, "w")]
    if shape:
        nodes.append(onnx.helper.make_node("Reshape", ["y", "s"], ["fine_t2"]))
        weights.append(onnx.numpy_helper.from_array(np.array(shape, np.int64), "s"))
    graph = onnx.helper.make_graph(
        nodes,
        "blur",
        [onnx.helper.make_tensor_value_info("fine_t1", 1, [batch, 2, height, width])],
        [onnx.helper.make_tensor_value_info("fine_t2", 1, [None, 2, None, None])],
        weights,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def test_a_free_graph_becomes_static_and_is_measured(tmp_path):
    bundle = stf_export.export_onnx(blur_graph(tmp_path / "m.onnx"), ONE, tile=40, out=tmp_path / "net.stf")
    tile = bundle.spec.tile
    assert (tile.height, tile.stride, tile.halo, tile.mode) == (40, 1, 1, "exact")
    assert bundle.parity["reference"] == "the file as given"
    assert bundle.parity["batches"] == [1, 4]
    assert "torch" not in bundle.properties["stf:created"]
    assert bundle.properties["stf:created"]["opset"] == 17
    model = onnx.load(bundle.asset("model-fp32"))
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", 2, 40, 40]
    assert all(p.passed for p in prove(bundle) if p.passed is not None)


def test_a_static_graph_fixes_the_tile_and_the_batch(tmp_path):
    path = blur_graph(tmp_path / "m.onnx", height=32, width=64, batch=1)
    bundle = stf_export.export_onnx(path, ONE, out=tmp_path / "net.stf")
    assert (bundle.spec.tile.height, bundle.spec.tile.width, bundle.spec.tile.halo) == (32, 64, 1)
    assert bundle.parity["batches"] == [1]
    assert bundle.properties["mlm:input"][0]["input"]["shape"] == [1, 2, 32, 64]
    with pytest.raises(TilePlanError, match=r"one size only. Got: 16 x 16. Allowed: 32 x 64"):
        stf_export.export_onnx(path, ONE, tile=16, out=tmp_path / "other.stf")


@pytest.mark.parametrize("engine", ["onnxruntime-cpu", "openvino-cpu"])
def test_a_static_batch_serves_any_number_of_tiles(tmp_path, engine):
    path = blur_graph(tmp_path / "m.onnx", height=32, width=32, batch=1)
    bundle = stf_export.export_onnx(path, ONE, out=tmp_path / "net.stf")
    tiles = np.random.default_rng(0).random((5, 2, 32, 32), np.float32)
    with open_engine(bundle, engine) as opened:
        assert opened.fixed_batch == 1 or engine == "openvino-cpu"  # OpenVINO takes every batch tile by tile
        every = opened.infer({"fine_t1": tiles})["fine_t2"]
        alone = [opened.infer({"fine_t1": tile[None]})["fine_t2"][0] for tile in tiles]
    np.testing.assert_array_equal(every, np.stack(alone))


def test_a_graph_with_a_batch_that_is_free_in_name_only_is_refused(tmp_path):
    path = blur_graph(tmp_path / "m.onnx", height=32, width=32, shape=(1, 2, 32, 32))
    with pytest.raises(ParityError, match="free batch axis and fails on a batch"):
        stf_export.export_onnx(path, ONE, out=tmp_path / "net.stf")
    assert listing(tmp_path) == ["m.onnx"]


def test_a_graph_that_does_not_keep_the_size_is_refused(tmp_path):
    path = blur_graph(tmp_path / "m.onnx", pads=(0, 0, 0, 0))
    with pytest.raises(ExportError, match=r"another shape.*30, 30.*2, 32, 32"):
        stf_export.export_onnx(path, ONE, tile=32, out=tmp_path / "net.stf")


def test_a_contract_can_be_a_file(tmp_path):
    from stf_export.contract_toml import to_toml

    (tmp_path / "c.toml").write_text(to_toml(ONE))
    bundle = stf_export.export_onnx(
        blur_graph(tmp_path / "m.onnx"), tmp_path / "c.toml", tile=32, out=tmp_path / "n.stf"
    )
    assert bundle.spec.inputs == ONE.inputs
