# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fakes import add_coarse_change, make_spec
from handmade_bundle import asset, edit_item, make_bundle
from stf_infer.bundle import Bundle, sha256_of
from stf_infer.errors import AssetError, BundleError, BundleVersionError


@pytest.fixture
def folder(tmp_path):
    return make_bundle(tmp_path / "net.stf")


def test_a_bundle_tells_its_contract(folder):
    bundle = Bundle.open(folder)
    assert bundle.spec == make_spec(32, halo=2)
    assert bundle.path == folder
    assert bundle.item["id"] == "fake"
    assert bundle.parity["relative"] == 2e-7
    assert bundle.precisions == {"fp32": "model-fp32"}
    assert list(bundle.assets) == ["model-fp32", "model-fp32-data", "golden"]
    assert bundle.assets["model-fp32"].needs == ("model-fp32-data",)
    assert "fake" in repr(bundle)


def test_assets_are_verified_and_given_as_paths(folder):
    bundle = Bundle.open(str(folder))
    assert bundle.asset("model-fp32") == folder / "model.onnx"
    bundle.verify()


def test_a_verified_asset_is_not_read_again(folder):
    bundle = Bundle.open(folder)
    bundle.verify()
    (folder / "golden.npz").write_bytes(b"changed later")
    assert bundle.asset("golden") == folder / "golden.npz"


def test_the_identity_is_the_hash_of_the_description(folder, tmp_path):
    assert Bundle.open(folder).sha256 == hashlib.sha256((folder / "item.json").read_bytes()).hexdigest()
    copy = shutil.copytree(folder, tmp_path / "elsewhere.stf")
    assert Bundle.open(copy).sha256 == Bundle.open(folder).sha256
    edit_item(copy, lambda item: item["assets"]["golden"].update({"file:checksum": "1220" + "0" * 64}))
    assert Bundle.open(copy).sha256 != Bundle.open(folder).sha256


def test_the_golden_tile_comes_by_role(folder):
    inputs, output = Bundle.open(folder).golden()
    assert {role: a.shape for role, a in inputs.items()} == {
        "coarse_t1": (2, 8, 8),
        "fine_t1": (2, 32, 32),
        "coarse_t2": (2, 8, 8),
    }
    np.testing.assert_array_equal(output, add_coarse_change(**inputs))
    assert output.dtype == np.float32


def test_hashing_works_across_chunks(tmp_path):
    path = tmp_path / "large"
    content = os.urandom(3 * (1 << 20) + 17)
    path.write_bytes(content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()


# What is refused when it is opened ----------------------------------------------------------------------------


def test_paths_that_are_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"no bundle at this path.*stf-infer export"):
        Bundle.open(tmp_path / "none.stf")
    (tmp_path / "file.stf").write_text("x")
    with pytest.raises(BundleError, match="is a folder, and this is a file"):
        Bundle.open(tmp_path / "file.stf")
    (tmp_path / "empty.stf").mkdir()
    with pytest.raises(BundleError, match=r"holds no item\.json"):
        Bundle.open(tmp_path / "empty.stf")
    (tmp_path / "empty.stf" / "item.json").mkdir()
    with pytest.raises(BundleError, match=r"item\.json cannot be read"):
        Bundle.open(tmp_path / "empty.stf")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
        ("\xff", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "no JSON object"),
        ("{}", "no properties"),
        ('{"properties": 3}', "no properties"),
    ],
)
def test_descriptions_that_are_none(folder, text, message):
    (folder / "item.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match=message):
        Bundle.open(folder)


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0", "x"])
def test_an_unknown_format_says_both_versions(folder, version):
    edit_item(folder, lambda item: item["properties"].update({"stf:format": version}))
    with pytest.raises(BundleVersionError, match=f"Got: {version}. Allowed: 1.x"):
        Bundle.open(folder)


@pytest.mark.parametrize("version", [None, 1.0, []])
def test_a_format_that_is_not_stated(folder, version):
    edit_item(folder, lambda item: item["properties"].update({"stf:format": version}))
    with pytest.raises(BundleVersionError, match="does not say which bundle format"):
        Bundle.open(folder)


def test_a_newer_minor_format_is_read(folder):
    edit_item(folder, lambda item: item["properties"].update({"stf:format": "1.7"}))
    assert Bundle.open(folder).spec.name == "fake"


def test_what_a_newer_minor_format_adds_to_the_contract_asks_for_an_update(folder):
    def change(item):
        item["properties"]["stf:format"] = "1.7"
        item["properties"]["stf:contract"]["sampler"] = {}

    edit_item(folder, change)
    with pytest.raises(BundleError, match=r"sampler.*format 1\.7: update stf-infer"):
        Bundle.open(folder)


def test_every_mistake_of_a_contract_is_listed(folder):
    def change(item):
        contract = item["properties"]["stf:contract"]
        contract["ratio"] = 0
        contract["tile"]["mode"] = "guess"
        del contract["output"]

    edit_item(folder, change)
    with pytest.raises(BundleError, match=r"(?s)ratio.*output.*tile.mode"):
        Bundle.open(folder)


def test_a_contract_that_contradicts_itself(folder):
    edit_item(folder, lambda item: item["properties"]["stf:contract"]["tile"].update(stride=3))
    with pytest.raises(BundleError, match="no multiple of the stride"):
        Bundle.open(folder)


@pytest.mark.parametrize("contract", [None, 3, {}])
def test_no_contract(folder, contract):
    edit_item(folder, lambda item: item["properties"].update({"stf:contract": contract}))
    with pytest.raises(BundleError, match="contract in the bundle is not valid"):
        Bundle.open(folder)


@pytest.mark.parametrize("assets", [None, [], {"golden": "golden.npz"}])
def test_no_assets(folder, assets):
    edit_item(folder, lambda item: item.update(assets=assets))
    with pytest.raises(BundleError, match="states no assets"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "href",
    [
        "/etc/passwd",
        "../other/model.onnx",
        "engines/../../model.onnx",
        "https://example.com/model.onnx",
        "file:///etc/passwd",
        "C:/model.onnx",
        "C:\\model.onnx",
        "\\\\host\\share",
        "s3://bucket/key",
    ],
)
def test_paths_out_of_the_bundle(folder, href):
    edit_item(folder, lambda item: item["assets"]["golden"].update(href=href))
    with pytest.raises(AssetError, match="golden points out of the bundle"):
        Bundle.open(folder)


@pytest.mark.parametrize("href", [None, "", 3, ["golden.npz"], "golden\0.npz"])
def test_paths_that_are_none(folder, href):
    edit_item(folder, lambda item: item["assets"]["golden"].update(href=href))
    with pytest.raises(AssetError, match="golden has no path"):
        Bundle.open(folder)


@pytest.mark.parametrize("checksum", [None, "", 5, "1220", "1220" + "0" * 63, "1220" + "g" * 64, "1114" + "0" * 64])
def test_assets_without_a_hash(folder, checksum):
    edit_item(folder, lambda item: item["assets"]["golden"].update({"file:checksum": checksum}))
    with pytest.raises(AssetError, match="golden has no SHA-256 in file:checksum"):
        Bundle.open(folder)


@pytest.mark.parametrize("extra", [{"file:size": "big"}, {"stf:precision": 16}, {"stf:needs": "x"}, {"stf:needs": [1]}])
def test_assets_described_wrongly(folder, extra):
    edit_item(folder, lambda item: item["assets"]["golden"].update(extra))
    with pytest.raises(AssetError, match="golden is not described as an asset"):
        Bundle.open(folder)


def test_an_asset_that_needs_one_that_is_not_there(folder):
    edit_item(folder, lambda item: item["assets"].pop("model-fp32-data"))
    with pytest.raises(AssetError, match=r"does not have. Got: model-fp32-data"):
        Bundle.open(folder)


# What is refused when an asset is asked for -------------------------------------------------------------------


def test_an_asset_that_is_not_stated(folder):
    with pytest.raises(AssetError, match=r"no asset of that name. Got: model-int8. Allowed: model-fp32"):
        Bundle.open(folder).asset("model-int8")


def test_a_missing_file(folder):
    (folder / "golden.npz").unlink()
    bundle = Bundle.open(folder)
    with pytest.raises(AssetError, match="golden is missing"):
        bundle.golden()
    assert bundle.asset("model-fp32").exists()


def test_a_folder_in_place_of_a_file(folder):
    (folder / "golden.npz").unlink()
    (folder / "golden.npz").mkdir()
    with pytest.raises(AssetError, match="golden is missing"):
        Bundle.open(folder).verify()


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "golden.npz"])
def test_a_changed_byte(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(AssetError, match=r"is not the file that was exported. Got: SHA-256"):
        Bundle.open(folder).verify()


def test_weights_beside_a_graph_are_verified_with_it(folder):
    (folder / "model.onnx.data").write_bytes(b"weighty" * 1000)
    with pytest.raises(AssetError, match=r"model-fp32-data .*is not the file"):
        Bundle.open(folder).asset("model-fp32")


def test_a_truncated_file_is_found_by_its_size(folder):
    (folder / "golden.npz").write_bytes((folder / "golden.npz").read_bytes()[:-1])
    with pytest.raises(AssetError, match=r"bytes. Allowed: .* bytes"):
        Bundle.open(folder).asset("golden")


@pytest.mark.parametrize("inside", [True, False])
def test_links_may_not_leave_the_bundle(folder, tmp_path, inside):
    target = (folder if inside else tmp_path) / "moved.npz"
    (folder / "golden.npz").rename(target)
    (folder / "golden.npz").symlink_to(target)
    if inside:
        assert Bundle.open(folder).asset("golden").exists()
    else:
        with pytest.raises(AssetError, match="link out of the bundle"):
            Bundle.open(folder).asset("golden")


def test_a_linked_folder_is_out_of_the_bundle_too(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "golden.npz").rename(outside / "golden.npz")
    (folder / "inner").symlink_to(outside)
    edit_item(folder, lambda item: item["assets"]["golden"].update(href="inner/golden.npz"))
    with pytest.raises(AssetError, match="link out of the bundle"):
        Bundle.open(folder).asset("golden")


def test_a_bundle_that_is_reached_through_a_link_is_one(folder, tmp_path):
    (tmp_path / "link.stf").symlink_to(folder)
    Bundle.open(tmp_path / "link.stf").verify()


@pytest.mark.parametrize("drop", ["output", "input_fine_t1"])
def test_a_golden_tile_that_does_not_fit(folder, drop):
    with np.load(folder / "golden.npz") as data:
        arrays = {name: data[name] for name in data.files if name != drop}
    np.savez(folder / "golden.npz", **arrays)
    edit_item(folder, lambda item: item["assets"].update(golden=asset(folder / "golden.npz")))
    with pytest.raises(AssetError, match="does not fit the contract"):
        Bundle.open(folder).golden()


def test_a_golden_tile_never_runs_code(folder):
    np.savez(folder / "golden.npz", output=np.array([object()]), allow_pickle=True)
    edit_item(folder, lambda item: item["assets"].update(golden=asset(folder / "golden.npz")))
    with pytest.raises(AssetError, match="golden tile cannot be read"):
        Bundle.open(folder).golden()


def test_a_golden_tile_that_is_no_archive(folder):
    (folder / "golden.npz").write_bytes(b"PK\x03\x04 no archive")
    edit_item(folder, lambda item: item["assets"].update(golden=asset(folder / "golden.npz")))
    with pytest.raises(AssetError, match="golden tile cannot be read"):
        Bundle.open(folder).golden()


def test_reading_a_bundle_loads_nothing_heavy(folder):
    code = (
        "import sys; from stf_infer.bundle import Bundle; Bundle.open(sys.argv[1]).verify();"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'openvino', 'pystac', 'rasterio', 'numpy'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
