# SPDX-License-Identifier: Apache-2.0
"""Modules and ONNX files that take samples, to bundles that give what they give."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import stf_infer
from handmade_bundle import asset, edit_item
from sample_graphs import AHEAD, STATIONS, STEPS, LastSteps, forecast, make_bundle, make_contract, write_graph
from stf_export import export_module, export_onnx
from stf_export.by_sample.trials import noise_sample, smooth_sample
from stf_infer.bundle import Bundle
from stf_infer.errors import AssetError, BundleError, ContractError, ExportError, ParityError
from stf_infer.golden import prove
from stf_infer.samples.spec import SampleInput, SampleOutput, SampleSpec, SampleValues, dims
from support import REPOSITORY


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """Must not be changed."""
    return make_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def from_torch(tmp_path_factory) -> Bundle:
    values = SampleValues(unit="mm", along="station", scale=(0.5, 2.0), offset=(0.0, 1.0))
    out = tmp_path_factory.mktemp("bundles") / "torch.stf"
    return export_module(LastSteps(), make_contract(values=values), out=out)


def history(*samples: int) -> np.ndarray:
    return np.random.default_rng(0).random((*samples, STEPS, len(STATIONS))).astype(np.float32)


@pytest.mark.parametrize("engine", ["onnxruntime-cpu", "openvino-cpu"])
def test_a_graph_gives_what_it_computes(bundle, engine):
    pytest.importorskip(engine.partition("-")[0], reason=f"needs {engine}")
    with stf_infer.open(bundle.path, engine=engine) as model:
        result = model.fuse(history=history(7), slot=np.arange(7), tile_batch=3)
    np.testing.assert_allclose(result.array, forecast(history(7), np.arange(7)), rtol=1e-6)
    assert result.provenance["network"] == "last-steps"
    assert result.provenance["bundle_sha256"] == bundle.sha256


@pytest.mark.parametrize("engine", ["onnxruntime-cpu", "openvino-cpu"])
def test_a_module_gives_what_it_computes_in_physical_values(from_torch, engine):
    pytest.importorskip(engine.partition("-")[0], reason=f"needs {engine}")
    with stf_infer.open(from_torch.path, engine=engine) as model:
        array = model.fuse(history=history(5), slot=np.arange(5)).array
    scale, offset = np.array([0.5, 2.0]), np.array([0.0, 1.0])
    expected = (forecast(history(5) * scale + offset, np.arange(5)) - offset) / scale
    np.testing.assert_allclose(array, expected, rtol=1e-5)


def test_parity_is_measured_one_by_one_and_four_at_once(bundle, from_torch):
    assert (bundle.parity["reference"], from_torch.parity["reference"]) == ("the file as given", "torch")
    for made in (bundle, from_torch):
        assert made.parity["batches"] == [1, 4]
        assert made.parity["tiles"] == 4
        assert made.parity["relative"] <= 1e-6
        assert made.properties["stf:notes"] == []
        assert made.properties["stf:probe"] == {"unused": []}
    assert from_torch.properties["stf:created"]["source"] == "module"
    assert bundle.properties["stf:created"]["source"] == "onnx"


def test_the_golden_sample_proves_an_engine(from_torch):
    inputs, output = from_torch.golden()
    assert {role: (a.shape, a.dtype.name) for role, a in inputs.items()} == {
        "history": ((STEPS, 2), "float32"),
        "slot": ((), "int64"),
    }
    np.testing.assert_allclose(output, forecast(inputs["history"], inputs["slot"]), rtol=1e-6)
    proofs = {proof.engine: proof for proof in prove(from_torch)}
    assert proofs["onnxruntime-cpu"].passed
    assert proofs["onnxruntime-cpu"].relative < 1e-5


def test_the_golden_sample_of_one_number_is_compared_by_its_size(tmp_path):
    class Sum(nn.Module):
        def forward(self, a: torch.Tensor) -> torch.Tensor:
            return 1e6 * a.sum(dim=1)

    contract = SampleSpec(
        network="sum", inputs=(SampleInput(role="a", tensor="a", dims=dims(x=9)),), output=SampleOutput(tensor="o")
    )
    made = export_module(Sum(), contract, out=tmp_path / "sum.stf")
    (proof,) = prove(made, ["onnxruntime-cpu"])
    assert proof.passed
    assert proof.relative < 1e-5


def test_nothing_stands_in_for_a_tile(bundle):
    assert bundle.spec == make_contract().model_copy(update={"name": "last"})
    contract = bundle.properties["stf:contract"]
    assert contract["kind"] == "samples"
    assert "tile" not in contract
    assert bundle.properties["stf:format"] == "1.1"


def test_a_graph_with_a_batch_of_one_runs_sample_by_sample(tmp_path):
    made = make_bundle(tmp_path, batch=1)
    assert made.parity["batches"] == [1]
    with stf_infer.open(made.path) as model:
        array = model.fuse(history=history(5), slot=2, tile_batch=4).array
    np.testing.assert_allclose(array, forecast(history(5), 2), rtol=1e-6)


def test_names_of_the_bundle(tmp_path):
    graph = write_graph(tmp_path / "g.onnx")
    named = make_contract(name="its own name")
    assert export_onnx(graph, named, out=tmp_path / "a.stf").spec.name == "its own name"
    assert export_onnx(graph, named, out=tmp_path / "b.stf", name="asked for").spec.name == "asked for"


def test_an_input_that_does_nothing_is_told(tmp_path):
    class Ignores(nn.Module):
        def forward(self, slot: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
            return history[:, -AHEAD:] + slot[:, None, None] * 0

    made = export_module(Ignores(), make_contract(), out=tmp_path / "i.stf")
    assert made.properties["stf:probe"] == {"unused": ["slot"]}
    assert "slot does not move the output" in made.properties["stf:notes"][0]


def test_a_graph_that_mixes_samples_fails_its_parity(tmp_path):
    class Mixes(nn.Module):
        def forward(self, slot: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
            return (history - history.mean(dim=0, keepdim=True))[:, -AHEAD:] + slot[:, None, None]

    with pytest.raises(ParityError, match="does not compute what torch computes"):
        export_module(Mixes(), make_contract(), out=tmp_path / "m.stf")
    assert list(tmp_path.iterdir()) == []


class WrongShape(nn.Module):
    def forward(self, slot: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        return history + slot[:, None, None]


class OtherInputs(nn.Module):
    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return past


@pytest.mark.parametrize(
    ("module", "options", "says"),
    [
        (WrongShape(), {}, r"forecast has another shape.*Got: \(1, 3, 2\).*'batch', 2, 2"),
        (OtherInputs(), {}, "forward has no parameter for slot"),
        (LastSteps(), {"tile": 64}, "not cut into tiles.*tile 64"),
    ],
)
def test_modules_that_do_not_fit(tmp_path, module, options, says):
    with pytest.raises(ExportError, match=says):
        export_module(module, make_contract(), out=tmp_path / "m.stf", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("graph", "contract", "says"),
    [
        ({"kind": "INT32"}, {}, "slot has another type.*int32.*int64"),
        ({"kind": "FLOAT"}, {}, "slot has another type.*float32.*int64"),
        ({"shape": (4, 2)}, {}, r"past \(history\) has another shape.*\('\?', 4, 2\).*'batch', 3, 2"),
        ({"batch": 4}, {}, "fixed number of samples at once.*4"),
        ({}, {"whole": False}, "inputs of the graph are not those.*past, slot.*Allowed: past"),
        (
            {},
            {"output": SampleOutput(tensor="nothing", dims=dims(ahead=2, station=2))},
            "no output of the contract's name",
        ),
        (
            {},
            {"output": SampleOutput(tensor="forecast", dims=dims(ahead=3, station=2))},
            r"output forecast has another shape.*2, 2\).*3, 2\)",
        ),
    ],
)
def test_graphs_that_do_not_fit(tmp_path, graph, contract, says):
    path = write_graph(tmp_path / "g.onnx", **graph)
    with pytest.raises(ExportError, match=says):
        export_onnx(path, make_contract(**contract), out=tmp_path / "m.stf")
    assert [p.name for p in tmp_path.iterdir()] == ["g.onnx"]


def test_a_graph_of_samples_has_no_tile(tmp_path):
    path = write_graph(tmp_path / "g.onnx")
    with pytest.raises(ExportError, match="not cut into tiles"):
        export_onnx(path, make_contract(), tile=32, out=tmp_path / "m.stf")


# Samples to try a network on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [smooth_sample, lambda spec: noise_sample(spec, np.random.default_rng(0))])
def test_trials_stay_within_what_the_network_takes(make):
    spec = SampleSpec(
        network="n",
        inputs=(
            SampleInput(role="free", tensor="a", dims=dims(x=40, y=30)),
            SampleInput(
                role="limited",
                tensor="b",
                dims=dims(x=40, part=2),
                values=SampleValues(along="part", scale=(-2.0, 1.0), minimum=(0.0, 270.0), maximum=(1.0, 300.0)),
            ),
            SampleInput(
                role="whole",
                tensor="c",
                dims=dims(x=40, part=2),
                dtype="int64",
                values=SampleValues(along="part", minimum=0, maximum=(9, 1)),
            ),
            SampleInput(role="one", tensor="d"),
        ),
        output=SampleOutput(tensor="o"),
    )
    sample = make(spec)
    assert {role: (a.shape, a.dtype.name) for role, a in sample.items()} == {
        "free": ((40, 30), "float32"),
        "limited": ((40, 2), "float32"),
        "whole": ((40, 2), "int64"),
        "one": ((), "float32"),
    }
    assert -1 <= sample["free"].min() < -0.5 < 0.5 < sample["free"].max() <= 1
    assert -2 <= sample["limited"][:, 0].min() < sample["limited"][:, 0].max() <= 0
    assert 270 <= sample["limited"][:, 1].min() < sample["limited"][:, 1].max() <= 300
    assert set(sample["whole"][:, 1].tolist()) == {0, 1}
    assert len(set(sample["whole"][:, 0].tolist())) > 5
    assert set(sample["whole"][:, 0].tolist()) <= set(range(10))


def test_a_contract_file_of_either_kind_is_read(tmp_path):
    text = 'kind = "samples"\nnetwork = "n"\n[[input]]\nrole = "a"\ntensor = "a"\n[output]\nscale = 1\n'
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ContractError, match=r"output\.tensor.*--kind samples"):
        export_onnx(write_graph(tmp_path / "g.onnx"), tmp_path / "c.toml", out=tmp_path / "m.stf")


# As a bundle ---------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(bundle, tmp_path):
    return Path(shutil.copytree(bundle.path, tmp_path / "copy.stf"))


def test_a_contract_of_another_kind_is_refused(copy):
    edit_item(copy, lambda item: item["properties"]["stf:contract"].update(kind="points"))
    with pytest.raises(BundleError, match=r"contract in the bundle is not valid.*kind"):
        Bundle.open(copy)


@pytest.mark.parametrize(("version", "asks"), [("1.9", True), ("1.1", False), ("1.0", False)])
def test_what_a_newer_format_adds_asks_for_an_update(copy, version, asks):
    def change(item):
        item["properties"]["stf:format"] = version
        item["properties"]["stf:contract"]["weather"] = 1

    edit_item(copy, change)
    with pytest.raises(BundleError) as caught:
        Bundle.open(copy)
    assert ("update stf-infer" in str(caught.value)) == asks


def test_a_golden_sample_that_does_not_fit_is_refused(copy):
    np.savez(copy / "golden.npz", input_history=np.zeros((4, 2)), input_slot=np.zeros(()), output=np.zeros((2, 2)))
    edit_item(copy, lambda item: item["assets"].update(golden=asset(copy / "golden.npz")))
    with pytest.raises(AssetError, match=r"does not fit the contract.*\(4, 2\).*\(3, 2\)"):
        Bundle.open(copy).golden()


def test_two_exports_are_equal_byte_by_byte(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one, two = (make_bundle(tmp_path / name) for name in ("a", "b") if not (tmp_path / name).mkdir())
    assert json.loads((one.path / "item.json").read_text()) == json.loads((two.path / "item.json").read_text())
    assert one.sha256 == two.sha256


def test_the_example_in_the_documentation_runs(tmp_path, monkeypatch):
    xarray = pytest.importorskip("xarray", reason="needs the extra xarray")
    pytest.importorskip("h5netcdf", reason="needs the extra xarray")
    text = (REPOSITORY / "docs" / "samples.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class LastHours" in b)
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "example"}
    exec(compile(block, "docs/samples.md", "exec"), names)
    series, found = names["series"], names["forecast"]
    assert found.dims == ("hour", "ahead", "station")
    assert found.station.values.tolist() == ["north", "south"]
    assert np.isnan(found[:5]).all()
    for ahead in range(3):
        expected = series.isel(hour=slice(5 - ahead, 100 - ahead)).sel(station=found.station)
        np.testing.assert_allclose(found.isel(ahead=ahead, hour=slice(5, None)), expected, rtol=1e-6)
    with xarray.open_dataset("forecast.nc") as written:
        xarray.testing.assert_identical(written.forecast.load(), found)
