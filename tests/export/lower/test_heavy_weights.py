# SPDX-License-Identifier: Apache-2.0
"""Weights beside the graph: the limit is lowered, so that small networks show what large ones get."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

import stf_infer
from stf_export import export_module, export_onnx, onnx_graph
from stf_infer.bundle import Bundle, sha256_of
from stf_infer.errors import BundleError, ExportError
from tiny_networks import OneInput, contract_for

CONTRACT = contract_for({"fine_t1": "fine"})


def network():
    return OneInput(nn.Conv2d(2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 2, 3, padding=1))


@pytest.fixture
def heavy(monkeypatch):
    monkeypatch.setattr(onnx_graph, "WEIGHTS_INSIDE", 2000)


@pytest.fixture
def bundle(heavy, tmp_path):
    return export_module(network(), CONTRACT, tile=32, out=tmp_path / "heavy.stf")


def tensors_outside(path: Path) -> dict[str, dict[str, str]]:
    model = onnx.load(str(path), load_external_data=False)
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }


def test_weights_lie_beside_the_graph_and_are_listed(bundle):
    files = sorted(p.name for p in bundle.path.iterdir())
    assert files == ["golden.npz", "item.json", "model.onnx", "model.onnx.data"]
    assets = json.loads((bundle.path / "item.json").read_text())["assets"]
    data = assets["model-fp32-data"]
    assert assets["model-fp32"]["stf:needs"] == ["model-fp32-data"]
    assert data["href"] == "model.onnx.data"
    assert data["file:checksum"] == "1220" + sha256_of(bundle.path / "model.onnx.data")
    assert data["file:size"] == (bundle.path / "model.onnx.data").stat().st_size == 2 * (32 * 2 * 9) * 4
    assert bundle.parity["relative"] <= 1e-6


def test_no_path_but_the_file_s_name_is_written(bundle):
    outside = tensors_outside(bundle.path / "model.onnx")
    assert outside
    assert {entry["location"] for entry in outside.values()} == {"model.onnx.data"}
    assert str(bundle.path).encode() not in (bundle.path / "model.onnx").read_bytes()


def test_small_constants_stay_in_the_graph(bundle):
    """What an engine must know to build: shapes, axes, sizes."""
    model = onnx.load(str(bundle.path / "model.onnx"), load_external_data=False)
    inside = [t for t in model.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
    assert all(numpy_helper.to_array(t).nbytes <= 1024 for t in inside)
    onnx.checker.check_model(str(bundle.path / "model.onnx"), full_check=True)


def test_a_copy_runs_without_the_original(bundle, tmp_path):
    copy = shutil.copytree(bundle.path, tmp_path / "elsewhere" / "copy.stf")
    shutil.rmtree(bundle.path)
    opened = Bundle.open(copy)
    opened.verify()
    inputs, expected = opened.golden()
    with stf_infer.open(copy, engine="onnxruntime-cpu") as model:
        spec = opened.spec
        raster = inputs["fine_t1"]
        assert raster.shape == spec.tensor_shape(spec.inputs[0])
        result = model.fuse(fine_t1=raster)
    np.testing.assert_allclose(result.array, expected, atol=1e-5 * np.ptp(expected))


def test_a_bundle_without_its_weights_is_refused(bundle):
    (bundle.path / "model.onnx.data").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx\.data"):
        Bundle.open(bundle.path).verify()


def test_a_file_with_weights_beside_it_is_taken_over(bundle, heavy, tmp_path):
    again = export_onnx(bundle.path / "model.onnx", CONTRACT, out=tmp_path / "again.stf")
    assert tensors_outside(again.path / "model.onnx")
    assert again.parity["relative"] == 0
    assert sha256_of(again.path / "model.onnx.data") == sha256_of(bundle.path / "model.onnx.data")


def test_weights_beside_a_file_come_into_it_where_they_are_light(bundle, monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_graph, "WEIGHTS_INSIDE", 2**29)
    again = export_onnx(bundle.path / "model.onnx", CONTRACT, out=tmp_path / "again.stf")
    assert not (again.path / "model.onnx.data").exists()
    assert tensors_outside(again.path / "model.onnx") == {}
    assert again.parity["relative"] == 0


def test_a_file_whose_weights_are_gone_is_refused(bundle, tmp_path):
    shutil.copy(bundle.path / "model.onnx", tmp_path / "alone.onnx")
    with pytest.raises(ExportError, match=r"not beside it.*model\.onnx\.data"):
        export_onnx(tmp_path / "alone.onnx", CONTRACT, out=tmp_path / "again.stf")
    assert not (tmp_path / "again.stf").exists()


def test_builds_for_tensorrt_rtx(bundle):
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    from tensorrt_support import build

    assert build(bundle.path / "model.onnx") > 0


MEASURE = """
import sys
import torch
from torch import nn
from stf_export import export_module, onnx_graph
from stf_export.contract import TileWish
from tiny_networks import OneInput, contract_for

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2048, 2048) for _ in range(9))
    def forward(self, x):
        tokens = x.reshape(-1, 2 * 16 * 16 // 2048 or 1, 512).repeat(1, 1, 4)
        for layer in self.layers:
            tokens = tokens + 0.1 * torch.tanh(layer(tokens))
        return tokens[..., :512].reshape(-1, 2, 16, 16)

torch.set_num_threads(1)
onnx_graph.WEIGHTS_INSIDE = 2**24
contract = contract_for({"fine_t1": "fine"}).model_copy(update={"tile": TileWish(size=16, mode="blend")})
network = OneInput(Tokens())
small = OneInput(nn.Conv2d(2, 2, 3, padding=1))
export_module(small, contract, tile=16, out=sys.argv[1] + "/small.stf")  # what the packages themselves take
before = peak()
export_module(network, contract, tile=16, out=sys.argv[1] + "/large.stf")
print(sum(p.numel() for p in network.parameters()) * 4, peak() - before)
"""


def test_weights_are_not_copied_as_a_whole(tmp_path):
    """An export of 151 MB of weights takes no more than once and a half as much on top of what they take themselves."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs the peak of a process's memory from /proc")
    path = [str(Path(__file__).parents[2]), *sys.path]
    script = f"import sys; sys.path[:0] = {path!r}\n{MEASURE}"
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    weights, grown = map(int, run.stdout.split()[-2:])
    assert weights > 150e6
    assert grown < 1.5 * weights
