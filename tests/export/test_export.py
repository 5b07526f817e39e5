# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import stf_export
import stf_infer
from stf_export import exporter, networks
from stf_export.contract import TileWish
from stf_export.samplers import Sampler
from stf_infer.bundle import Bundle
from stf_infer.errors import (
    ContractError,
    ExportError,
    MissingExtraError,
    OutputError,
    ParityError,
    TilePlanError,
    UnknownNetworkError,
)
from stf_infer.golden import prove
from stf_infer.noise import noise
from support import shared_path
from tiny_networks import ChannelAttention, CoarseInput, OneInput, ThreeInputs, contract_for

ONE = contract_for({"fine_t1": "fine"})


def one_layer():
    return OneInput(nn.Conv2d(2, 2, 3, padding=1))


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


# What a bundle of a module says -------------------------------------------------------------------------------


def test_the_contract_of_the_bundle_is_the_module_s_with_what_was_measured(tiny_bundle, tiny_contract):
    spec = tiny_bundle.spec
    assert spec.inputs == tiny_contract.inputs
    assert spec.output == tiny_contract.output
    assert (spec.name, spec.network, spec.ratio) == ("tiny", "tiny", 4)
    assert spec.tile.model_dump() == {
        "height": 48,
        "width": 48,
        "stride": 1,
        "halo": 1,
        "mode": "exact",
        "overlap": 0,
        "predicts": "tile",
        "because": (),
    }


def test_the_figures_of_the_export_are_in_the_item(tiny_bundle):
    parity = tiny_bundle.parity
    assert parity["reference"] == "torch"
    assert parity["relative"] <= parity["tolerance"] == 1e-5
    assert parity["batches"] == [1, 4]
    properties = tiny_bundle.properties
    assert properties["stf:probe"]["reach"] == {"coarse_t1": 1, "fine_t1": 1, "coarse_t2": 1}
    assert properties["stf:probe"]["seam"] <= 1e-6
    assert properties["stf:created"]["opset"] == 18
    assert properties["stf:graph"]["nodes"] <= properties["stf:graph"]["nodes_before"]
    assert properties["stf:created"]["torch"] == torch.__version__
    assert properties["stf:notes"] == []


def test_the_golden_tile_is_what_torch_computes(tiny_bundle):
    inputs, output = tiny_bundle.golden()
    with torch.no_grad():
        right = ThreeInputs()(**{role: torch.from_numpy(a)[None] for role, a in inputs.items()})[0].numpy()
    np.testing.assert_array_equal(output, right)
    assert np.ptp(output) > 0.05


def test_every_installed_engine_proves_the_bundle(tiny_bundle):
    proofs = [p for p in prove(tiny_bundle) if p.passed is not None]
    assert proofs
    assert [p.passed for p in proofs] == [True] * len(proofs)


def test_a_scene_through_the_bundle_is_the_scene_through_torch(tiny_bundle):
    rng = np.random.default_rng(0)
    scene = {role: rng.random((2, 101, 130), np.float32) * 0.5 for role in tiny_bundle.spec.roles}
    with stf_infer.open(tiny_bundle.path) as model:
        fused = model.fuse(**scene).array
    with torch.no_grad():
        whole = ThreeInputs()(**{role: torch.from_numpy(a)[None] for role, a in scene.items()})[0].numpy()
    assert np.abs(fused - whole).max() <= 1e-6 * np.ptp(whole)


# A module -----------------------------------------------------------------------------------------------------


def test_coarse_inputs_stay_on_the_coarse_grid(tmp_path):
    contract = contract_for({"fine_t1": "fine", "coarse_t2": "coarse"}, ratio=4)
    bundle = stf_export.export_module(CoarseInput(), contract, tile=32, out=tmp_path / "net.stf")
    assert (bundle.spec.tile.stride, bundle.spec.tile.halo) == (4, 4)
    assert bundle.golden()[0]["coarse_t2"].shape == (2, 8, 8)


def test_weights_are_loaded_into_a_module(tmp_path):
    trained = one_layer()
    with torch.no_grad():
        trained.layers[0].weight.fill_(0.1)
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "best.pth")
    bundle = stf_export.export_module(one_layer, ONE, weights=tmp_path / "best.pth", tile=32, out=tmp_path / "net.stf")
    inputs, output = bundle.golden()
    with torch.no_grad():
        np.testing.assert_array_equal(output, trained(torch.from_numpy(inputs["fine_t1"])[None])[0].numpy())
    assert any("state_dict" in note for note in bundle.properties["stf:notes"])


def test_a_network_that_sees_everything_is_blended_and_says_why(tmp_path):
    network = OneInput(nn.Conv2d(2, 2, 3, padding=1), ChannelAttention())
    bundle = stf_export.export_module(network, ONE, tile=64, out=tmp_path / "net.stf")
    tile = bundle.spec.tile
    assert (tile.mode, tile.overlap, tile.halo) == ("blend", 16, 0)
    assert tile.because[0] == "ReduceMean over all rows and columns"
    assert tile.because[1].startswith("measured: ")
    assert bundle.properties["stf:probe"]["seam"] > 1e-6


def test_blending_and_its_overlap_can_be_asked_for(tmp_path):
    contract = ONE.model_copy(update={"tile": TileWish(size=32, mode="blend", overlap=12)})
    tile = stf_export.export_module(one_layer(), contract, out=tmp_path / "net.stf").spec.tile
    assert (tile.height, tile.mode, tile.overlap, tile.because) == (32, "blend", 12, ("asked for in the contract",))


class AddsNoise(nn.Module):
    """A convolution, with each of its pixels moved by noise."""

    def __init__(self):
        super().__init__()
        self.network = one_layer()

    def forward(self, fine_t1, noise):
        return self.network(fine_t1) + 0.1 * noise


def test_a_network_that_takes_noise_is_measured_on_noise_and_drawn_noise_in_a_run(tmp_path):
    contract = contract_for({"fine_t1": "fine", "noise": "noise"})
    network = AddsNoise()
    bundle = stf_export.export_module(network, contract, tile=32, out=tmp_path / "net.stf")
    assert (bundle.spec.tile.mode, bundle.spec.tile.halo) == ("exact", 1)
    assert bundle.properties["stf:probe"]["reach"] == {"fine_t1": 1, "noise": 0}
    golden, _ = bundle.golden()
    np.testing.assert_allclose(golden["noise"], noise(0, 0, 0, 0, (2, 32, 32)), atol=2.0**-8)
    assert all(proof.passed for proof in prove(bundle) if proof.passed is not None)
    fine = np.random.default_rng(0).random((2, 50, 70), np.float32)
    with stf_infer.open(bundle.path) as model, torch.no_grad():
        fused = model.fuse(seed=4, fine_t1=fine).array
        expected = network(torch.from_numpy(fine)[None], torch.from_numpy(noise(4, 0, 0, 0, fine.shape))[None])[0]
    np.testing.assert_allclose(fused, expected.numpy(), atol=1e-5)


def test_warnings_are_logged_and_kept(tmp_path, caplog):
    class Ignores(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(2, 2, 13, padding=6)

        def forward(self, fine_t1, coarse_t1):
            return self.layer(fine_t1)

    contract = contract_for({"fine_t1": "fine", "coarse_t1": "fine"})
    with caplog.at_level(logging.WARNING, "stf_export"):
        bundle = stf_export.export_module(Ignores(), contract, tile=32, out=tmp_path / "net.stf")
    notes = bundle.properties["stf:notes"]
    assert len(notes) == 2
    assert "coarse_t1 does not move the output" in notes[0]
    assert "costs 2.6 times its pixels" in notes[1]
    assert [r.getMessage() for r in caplog.records if r.name.startswith("stf_export")] == notes


def test_progress_names_every_step(tmp_path):
    lines: list[str] = []
    stf_export.export_module(one_layer(), ONE, tile=32, out=tmp_path / "net.stf", progress=lines.append)
    assert [line.split()[0] for line in lines] == ["loading", "measuring", "writing", "comparing", "writing"]


def test_the_name_is_the_folder_s_or_the_one_given(tmp_path):
    assert (
        stf_export.export_module(one_layer(), ONE, tile=32, out=tmp_path / "net.stf", name="My net").spec.name
        == "My net"
    )


def test_two_exports_are_equal_but_for_the_time(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, second = (
        stf_export.export_module(one_layer(), ONE, tile=32, out=tmp_path / f"{n}.stf", name="net") for n in "ab"
    )
    assert first.sha256 == second.sha256


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"tile": 2}, TilePlanError, "halo 1 on both sides.*--tile 3"),
        ({"tile": 32, "tolerance": 0.0}, ExportError, "tolerance is a part of the output's range"),
        ({"tile": 32, "tolerance": 1e-12}, ParityError, "--tolerance"),
    ],
)
def test_nothing_is_left_of_an_export_that_fails(tmp_path, kwargs, error, message):
    network = OneInput(
        *[layer for _ in range(4) for layer in (nn.Conv2d(2, 2, 1), nn.Tanh())], nn.Conv2d(2, 2, 3, padding=1)
    )
    with pytest.raises(error, match=message):
        stf_export.export_module(network, ONE, out=tmp_path / "net.stf", **kwargs)
    assert listing(tmp_path) == []


def test_an_existing_bundle_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "net.stf").mkdir()
    (tmp_path / "net.stf" / "item.json").write_text("old")

    def never():
        raise AssertionError("not to be called")

    with pytest.raises(OutputError, match="--force"):
        stf_export.export_module(never, ONE, tile=32, out=tmp_path / "net.stf")
    stf_export.export_module(one_layer(), ONE, tile=32, out=tmp_path / "net.stf", force=True)
    Bundle.open(tmp_path / "net.stf").verify()


def test_a_contract_without_the_fine_image_is_refused(tmp_path):
    with pytest.raises(ContractError, match="fine_t1 is missing"):
        stf_export.export_module(one_layer(), contract_for({"coarse_t1": "fine"}), out=tmp_path / "net.stf")


def test_tiles_that_behave_otherwise_at_the_exported_size_are_caught(tmp_path):
    class LargeTilesDrift(nn.Module):
        def forward(self, fine_t1):
            ramp = torch.linspace(0, 1, fine_t1.shape[-1]) if fine_t1.shape[-1] > 300 else torch.zeros(1)
            return fine_t1 * 2 + ramp

    with pytest.raises(ExportError, match=r"overlapping tiles disagree.*size"):
        stf_export.export_module(LargeTilesDrift(), ONE, tile=320, out=tmp_path / "net.stf")


@pytest.mark.parametrize("package", ["torch", "onnx", "pystac", "onnxruntime"])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)  # what makes an import fail
    with pytest.raises(MissingExtraError, match=rf"package {package}.*pip install 'stf-infer\[export(,cpu)?\]'"):
        stf_export.export_module(one_layer, ONE, out=tmp_path / "net.stf")


def test_importing_the_stage_loads_no_torch():
    code = (
        "import sys, stf_export, stf_export.exporter, stf_export.cli;"
        "sys.exit(', '.join({'torch', 'onnx', 'onnxruntime', 'pystac'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# A network of the zoo -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def edcstfn(tmp_path_factory):
    """EDCSTFN of two bands with random weights, in a file."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "edcstfn.pth"
    torch.save(networks.create("edcstfn", bands=2).state_dict(), path)
    return path


def test_a_network_of_the_zoo(edcstfn, tmp_path):
    bundle = stf_export.export("edcstfn", edcstfn, bands=["red", "nir"], tile=64, out=tmp_path / "net.stf")
    spec = bundle.spec
    assert spec.network == "edcstfn"
    assert spec.roles == ("coarse_t1", "fine_t1", "coarse_t2")
    assert spec.output.bands == ("red", "nir")
    assert (spec.tile.halo, spec.tile.mode) == (5, "exact")  # five 3x3 layers in a row
    assert bundle.properties["stf:created"]["source"] == "network"


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"network": "edcfn"}, UnknownNetworkError, "edcstfn"),
        ({"options": {"depth": 3}}, ExportError, "no option of that name. Got: depth"),
        ({"options": {"references": 3}}, ExportError, "references"),
        ({"bands": 3}, ExportError, "2 bands|shape"),
    ],
)
def test_what_does_not_fit_the_network(edcstfn, tmp_path, kwargs, error, message):
    arguments = {
        "network": "edcstfn",
        "weights": edcstfn,
        "bands": 2,
        "tile": 32,
        "out": tmp_path / "net.stf",
        **kwargs,
    }
    with pytest.raises(error, match=message):
        stf_export.export(**arguments)
    assert listing(tmp_path) == []


def test_bands_are_those_of_the_weights_and_the_trained_network_is_exact(tmp_path):
    weights = shared_path("checkpoints", "dcstfn", "green_ep0041.hdf5")
    bundle = stf_export.export("dcstfn", {"green": weights}, tile=128, out=tmp_path / "net.stf")
    assert bundle.spec.output.bands == ("green",)
    assert (bundle.spec.tile.stride, bundle.spec.tile.mode) == (16, "exact")
    assert bundle.parity["relative"] < 1e-5
    assert json.loads((bundle.path / "item.json").read_text())["properties"]["stf:probe"]["unused"] == []


def test_the_doors_are_attributes_of_the_package():
    assert stf_export.export is exporter.export
    assert stf_export.export_module is exporter.export_module
    assert stf_export.export_onnx is exporter.export_onnx
    assert stf_export.Sampler is Sampler
