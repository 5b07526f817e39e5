# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import re
import socket
import sys
from pathlib import Path

import pystac
import pytest
from pystac.extensions.file import FileExtension
from pystac.extensions.mlm import MLMExtension

from stf_export.bundle_writer import staging
from stf_export.item import make_item, mlm_name
from stf_infer.bundle import sha256_of
from stf_infer.errors import OutputError, ParityError
from stf_infer.spec import InputSpec, TileRule, Values
from tiny_networks import contract_for

# The folder that a bundle is built in -------------------------------------------------------------------------


def write(folder, text="new"):
    (folder / "item.json").write_text(text)


def write_and_fail(out, error, **options):
    with staging(out, **options) as folder:
        write(folder)
        raise error


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_folder_appears_when_it_is_complete(tmp_path):
    out = tmp_path / "deep" / "net.stf"
    with staging(out) as folder:
        write(folder)
        assert not out.exists()
        assert folder.parent == out.parent
        assert folder.name.startswith(".net.stf.")
    assert listing(out.parent) == ["net.stf"]
    assert (out / "item.json").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, ParityError])
def test_nothing_is_left_after_a_failure(tmp_path, error):
    with pytest.raises(error):
        write_and_fail(tmp_path / "net.stf", error("what"))
    assert listing(tmp_path) == []


def test_a_bundle_is_replaced_only_by_force(tmp_path):
    out = tmp_path / "net.stf"
    with staging(out) as folder:
        write(folder, "old")
        (folder / "left.over").write_text("x")
    with pytest.raises(OutputError, match=r"at the destination already.*net\.stf.*--force"), staging(out):
        pytest.fail("not to be reached")
    with staging(out, force=True) as folder:
        write(folder)
    assert listing(tmp_path) == ["net.stf"]
    assert listing(out) == ["item.json"]


def test_a_failure_keeps_the_bundle_that_was_there(tmp_path):
    out = tmp_path / "net.stf"
    with staging(out) as folder:
        write(folder, "old")
    with pytest.raises(ZeroDivisionError):
        write_and_fail(out, ZeroDivisionError, force=True)
    assert (out / "item.json").read_text() == "old"
    assert listing(tmp_path) == ["net.stf"]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_force_replaces_nothing_but_bundles(tmp_path, kind):
    out, other = tmp_path / "net.stf", tmp_path / "other"
    other.mkdir()
    (other / "item.json").write_text("mine")
    if kind == "file":
        out.write_text("mine")
    elif kind == "folder":
        out.mkdir()
    else:
        out.symlink_to(other)
    with pytest.raises(OutputError, match="is no bundle, and is not replaced"), staging(out, force=True):
        pytest.fail("not to be reached")
    assert (other / "item.json").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written here"), staging(tmp_path / "net.stf"):
        pytest.fail("not to be reached")


def test_a_file_in_place_of_a_parent_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written here"), staging(tmp_path / "file" / "net.stf"):
        pytest.fail("not to be reached")


def test_a_full_disk_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match="No space left"):
        write_and_fail(tmp_path / "net.stf", OSError(28, "No space left on device"))
    assert listing(tmp_path) == []


# What is written ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def item(tiny_bundle):
    return json.loads((tiny_bundle.path / "item.json").read_text())


def core_errors(item):
    from pystac.validation.stac_validator import JsonSchemaSTACValidator

    validator = JsonSchemaSTACValidator()
    validator._get_schema = lambda uri: validator.schema_cache[uri]  # offline: only what pystac ships
    return validator.validate_core(item, pystac.STACObjectType.ITEM, pystac.get_stac_version())


def test_the_item_is_valid_stac(item):
    pytest.importorskip("jsonschema")
    assert core_errors(item) is not None
    with pytest.raises(pystac.errors.STACValidationError):
        core_errors({**item, "assets": 3})
    assert pystac.Item.from_dict(item).to_dict(include_self_link=False, transform_hrefs=False) == item


def test_the_item_is_valid_mlm_for_stac_model(item):
    schema = pytest.importorskip("stac_model.schema")
    model = schema.MLModelProperties(**item["properties"])
    assert [i.name for i in model.input] == ["coarse_t1", "fine_t1", "coarse_t2"]
    assert model.input[0].input.shape == [-1, 2, 48, 48]
    assert model.output[0].result.dim_order == ["batch", "bands", "height", "width"]
    assert model.total_parameters == sum((2 * 4 * 9 + 4, 2 * 4 * 9 + 4, 4 * 2 + 2))
    with pytest.raises(ValueError):
        schema.MLModelProperties(**{**item["properties"], "mlm:input": [{"name": "x"}]})


def test_the_item_speaks_to_pystac_s_extensions(item):
    opened = pystac.Item.from_dict(item)
    mlm = MLMExtension.ext(opened)
    assert (mlm.mlm_name, mlm.architecture, mlm.framework) == ("tiny", "tiny", "ONNX")
    assert [i.bands for i in mlm.input] == [["red", "nir"]] * 3
    for asset in opened.assets.values():
        assert FileExtension.ext(asset).checksum.startswith("1220")


def test_mlm_s_own_rules_hold(item):
    """What the extension's schema asks for beyond types: roles, artifact types, bands, names."""
    properties, assets = item["properties"], item["assets"]
    models = {key for key, asset in assets.items() if "mlm:model" in asset["roles"]}
    assert models == {"model-fp32"}
    assert {key for key, asset in assets.items() if "mlm:artifact_type" in asset} == models
    named = {band["name"] for band in properties["bands"]}
    for one in (*properties["mlm:input"], *properties["mlm:output"]):
        assert set(one["bands"]) <= named
        assert "bands" in (one.get("input") or one["result"])["dim_order"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["mlm:framework_version"])
    assert item["geometry"] is None
    assert "bbox" not in item


def test_assets_carry_their_hash_and_size(tiny_bundle, item):
    assert listing(tiny_bundle.path) == ["golden.npz", "item.json", "model.onnx"]
    for asset in item["assets"].values():
        path = tiny_bundle.path / asset["href"]
        assert asset["file:checksum"] == "1220" + sha256_of(path)
        assert asset["file:size"] == path.stat().st_size


def test_nothing_tells_of_the_machine(tiny_bundle):
    for path in tiny_bundle.path.iterdir():
        content = path.read_bytes()
        for telltale in (str(Path.home()), str(Path.cwd()), sys.prefix, socket.gethostname(), str(tiny_bundle.path)):
            assert telltale.encode() not in content


def test_the_bundle_can_be_read_by_others(tiny_bundle):
    umask = os.umask(0)
    os.umask(umask)
    assert tiny_bundle.path.stat().st_mode & 0o777 == 0o777 & ~umask


def test_the_time_of_the_export_can_be_fixed(monkeypatch):
    spec = contract_for({"fine_t1": "fine"}).measured("net", TileRule(height=8, width=8))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    item = make_item(spec, {}, {}, batch=None, parameters=1)
    assert item["properties"]["datetime"] == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    ("values", "scaling"),
    [
        (Values(), None),
        (Values(scale=10_000.0), {"type": "scale", "value": 1e-4}),
        (Values(scale=2.0, offset=-1.0), {"type": "z-score", "mean": 0.5, "stddev": 0.5}),
        (Values(minimum=0, maximum=1), {"type": "clip", "minimum": 0, "maximum": 1}),
        (Values(minimum=0), {"type": "clip-min", "minimum": 0}),
        (Values(maximum=1), {"type": "clip-max", "maximum": 1}),
    ],
)
def test_scaling_in_the_extension_s_words(values, scaling):
    spec = contract_for({"fine_t1": "fine"}, values=values).measured("net", TileRule(height=8, width=8))
    one = make_item(spec, {}, {}, batch=1, parameters=1)["properties"]["mlm:input"][0]
    assert one.get("value_scaling") == (None if scaling is None else [scaling])
    assert one["input"]["shape"] == [1, 2, 8, 8]


def test_noise_is_no_band_of_an_image():
    contract = contract_for({"fine_t1": "fine"})
    noise = InputSpec(role="noise", tensor="x_t", bands=("latent_1", "latent_2"), grid="noise", draw=3)
    spec = contract.model_copy(update={"inputs": (*contract.inputs, noise)}).measured(
        "net", TileRule(height=8, width=8)
    )
    properties = make_item(spec, {}, {}, batch=None, parameters=1)["properties"]
    assert [band["name"] for band in properties["bands"]] == ["red", "nir"]
    described = properties["mlm:input"][1]
    assert described["bands"] == []
    assert described["description"] == "noise: standard normal noise on the fine grid, draw 3"
    assert described["input"]["shape"] == [-1, 2, 8, 8]
    assert "value_scaling" not in described


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("edcstfn-4", "edcstfn-4"),
        ("4bands", "stf-4bands"),
        ("netz für MODIS", "netz f-r MODIS"),
        ("a", "a-network"),
        ("_x_", "x-network"),
        ("", "stf"),
        ("net.stf.", "net.stf"),
    ],
)
def test_names_are_made_to_fit_the_extension(name, allowed):
    assert mlm_name(name) == allowed
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", mlm_name(name))
