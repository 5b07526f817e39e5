# SPDX-License-Identifier: Apache-2.0
"""``stf-infer run`` with a real bundle: every bad input by its message and exit code."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from fakes import ORIGIN, read_tif, smooth_field, write_tif
from stf_infer.engines import EngineInfo

ENGINES = ["onnxruntime-cpu", "openvino-cpu"]
HEIGHT, WIDTH = 61, 83


# Rasters that cannot serve -------------------------------------------------------------------------------


def test_a_missing_file(refused, tmp_path):
    refused(error="RasterError", says="A raster is missing. Got:", coarse_t1=tmp_path / "nothing.tif")


def test_a_truncated_file(refused, tmp_path):
    rng = np.random.default_rng(0)
    path = write_tif(tmp_path / "cut.tif", rng.random((2, HEIGHT, WIDTH)).astype(np.float32))
    os.truncate(path, path.stat().st_size // 2)
    refused(error="RasterError", says="cut.tif", fine_t1=path)


def test_a_file_that_is_no_raster(refused, tmp_path):
    (tmp_path / "text.tif").write_text("hello")
    refused(error="RasterError", says="A raster cannot be read", coarse_t2=tmp_path / "text.tif")


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_bands(refused, tmp_path, count):
    path = write_tif(tmp_path / "a.tif", smooth_field(count, HEIGHT, WIDTH))
    data = refused(error="BandError", says="The number of bands of fine_t1 does not match", fine_t1=path)
    assert data["got"] == f"{path}: {count}"
    assert data["fix"].startswith("State them: --bands fine_t1=")


def test_band_names_that_do_not_match(refused, tmp_path):
    path = write_tif(tmp_path / "a.tif", smooth_field(2, HEIGHT, WIDTH), names=("B4", "B8"))
    refused(error="BandError", says="red, nir not found", fine_t1=path)


def test_rasters_that_do_not_overlap(refused, tmp_path):
    away = Affine(120, 0, ORIGIN[0] + 1e6, 0, -120, ORIGIN[1])
    path = write_tif(tmp_path / "a.tif", smooth_field(2, 16, 21), transform=away)
    refused(error="GridError", says="coarse_t2 does not overlap fine_t1", coarse_t2=path)


def test_no_crs_where_a_warp_is_needed(refused, tmp_path):
    at = Affine(120, 0, ORIGIN[0] + 10, 0, -120, ORIGIN[1])
    path = write_tif(tmp_path / "a.tif", smooth_field(2, 16, 21), crs=None, transform=at)
    refused(error="GridError", says="without a CRS it cannot be warped. Got: ", coarse_t1=path)


def test_integers_without_a_scale(refused, tmp_path):
    path = write_tif(tmp_path / "a.tif", np.full((2, HEIGHT, WIDTH), 1500, np.int16))
    data = refused(error="ScaleError", says="fine_t1 holds integers and no scale", fine_t1=path)
    assert "--scale fine_t1=0.0001" in data["fix"]


def test_floats_that_hold_reflectance_times_10000(refused, tmp_path):
    path = write_tif(tmp_path / "a.tif", smooth_field(2, 16, 21) * 10_000, pixel=120)
    data = refused(error="ScaleError", says="coarse_t1 does not hold reflectance", coarse_t1=path)
    assert "--scale coarse_t1=0.0001" in data["fix"]


@pytest.mark.parametrize("role", ["fine_t1", "coarse_t2"])
def test_nothing_but_nodata(refused, tmp_path, role):
    shape, pixel = ((HEIGHT, WIDTH), 30.0) if role == "fine_t1" else ((16, 21), 120.0)
    array = np.full((2, *shape), -1, np.float32)
    path = write_tif(tmp_path / "a.tif", array, pixel=pixel, nodata=-1)
    refused(error="NodataError", says="Not one pixel is valid in all inputs", **{role: path})


def test_nothing_but_nan(refused, tmp_path):
    path = write_tif(tmp_path / "a.tif", np.full((2, HEIGHT, WIDTH), np.nan, np.float32))
    refused(error="NodataError", says="Not one pixel is valid", fine_t1=path)


def test_nan_here_and_there_is_nodata_there(run, tmp_path, out):
    fine = smooth_field(2, HEIGHT, WIDTH)
    fine[0, 20:25, 30:37] = np.nan
    result = run("--json", fine_t1=write_tif(tmp_path / "a.tif", fine))
    assert result.code == 0
    assert result.data["valid_fraction"] == pytest.approx(1 - 35 / (HEIGHT * WIDTH))
    np.testing.assert_array_equal(np.isnan(read_tif(out)), np.isnan(fine[:1]) | np.zeros((2, 1, 1), bool))


def test_points_instead_of_a_grid(refused, tmp_path, rasters):
    points = [rasterio.control.GroundControlPoint(r, c, c * 30, -r * 30) for r in (0, HEIGHT) for c in (0, WIDTH)]
    path = tmp_path / "a.tif"
    profile = {"count": 2, "height": HEIGHT, "width": WIDTH, "dtype": "float32"}
    with rasterio.open(path, "w", driver="GTiff", gcps=points, crs="EPSG:32633", **profile) as made:
        made.write(smooth_field(2, HEIGHT, WIDTH))
    refused(error="GridError", says="fine_t1 has ground control points and no grid", fine_t1=path)


# Arguments that do not fit -------------------------------------------------------------------------------


def test_a_missing_role(refused):
    refused(error="UsageError", says="Give --coarse-t2", coarse_t2=None)


def test_a_role_that_the_network_does_not_have(refused, rasters):
    refused(error="UsageError", says="Leave fine_t3 out", fine_t3=rasters["--fine-t1"])
    refused("--input", f"elevation={rasters['--fine-t1']}", error="UsageError", says="Leave elevation out")
    refused("--input", f"format={rasters['--fine-t1']}", error="UsageError", says="Leave format out")


def test_a_role_that_is_given_twice(refused, rasters):
    refused("--input", f"fine_t1={rasters['--fine-t1']}", error="UsageError", says="fine_t1 is given twice")


def test_an_unknown_engine(refused):
    data = refused("--engine", "abacus", error="EngineUnavailableError", says="no engine of that name. Got: abacus")
    assert data["allowed"].startswith("onnxruntime-cpu, onnxruntime-cuda")


def test_tiles_on_a_device_of_an_engine_without_one(refused):
    says = "Tiles cannot stay on the device. Got: the engine onnxruntime-cpu takes tiles from the host's memory"
    refused("--engine", "onnxruntime-cpu", "--tiles-on", "device", error="UsageError", says=says)


def test_an_engine_that_is_not_installed(refused, monkeypatch):
    from stf_infer.engines.openvino import OpenVinoTarget

    info = EngineInfo("openvino-cpu", usable=False, reason="the package openvino is not installed", extra="openvino")
    monkeypatch.setattr(OpenVinoTarget, "probe", lambda self: info)
    data = refused(
        "--engine", "openvino-cpu", error="EngineUnavailableError", says="the package openvino is not installed"
    )
    assert data["fix"] == "pip install 'stf-infer[openvino]'"


def test_no_engine_at_all(refused, monkeypatch):
    from stf_infer.engines import registry

    listed = [EngineInfo("a", usable=False, extra="cpu"), EngineInfo("b", usable=False, extra="openvino")]
    monkeypatch.setattr(registry, "available", lambda: listed)
    data = refused(error="EngineUnavailableError", says="No inference engine is installed")
    assert data["fix"] == "pip install 'stf-infer[cpu]' or pip install 'stf-infer[openvino]'"


@pytest.mark.parametrize(
    ("aoi", "error", "says"),
    [
        ("here", "UsageError", "The area cannot be understood. Got: here"),
        ("1,2,3", "UsageError", "The area cannot be understood"),
        ("nothing.geojson", "UsageError", "The GeoJSON file cannot be read"),
        ("0,0,1,1", "GridError", "The area does not touch fine_t1"),
        ("5,0,1,1", "UsageError", "The area is empty"),
    ],
)
def test_an_area_that_cannot_be(refused, aoi, error, says):
    refused("--aoi", aoi, error=error, says=says)


def test_a_destination_that_cannot_be(refused, tmp_path, rasters):
    refused(error="OutputError", says="folder of the destination is missing", output=tmp_path / "no" / "f2.tif")
    refused(error="OutputError", says="The destination is a folder", output=tmp_path)
    before = rasters["--fine-t1"].read_bytes()
    refused(error="UsageError", says="would overwrite an input. Got: fine_t1", output=rasters["--fine-t1"])
    assert rasters["--fine-t1"].read_bytes() == before
    refused(error="UsageError", says="No destination is named. Give -o FILE.tif", output=None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--scale", "fine_t1=much"], "--scale cannot be read. Got: fine_t1=much. Allowed: NUMBER or ROLE=NUMBER"),
        (["--scale", "1e-4x"], "--scale cannot be read"),
        (["--scale", "=1"], "--scale needs a role"),
        (["--scale", "fine_t2=1"], "--scale speaks of an input that is not given. Got: fine_t2"),
        (["--scale", "fine_t1=1", "--scale", "fine_t1=2"], "--scale is given twice. Got: fine_t1=1, fine_t1=2"),
        (["--offset", "fine_t1=low"], "--offset cannot be read"),
        (["--nodata", "coarse_t1=none"], "--nodata cannot be read"),
        (["--bands", "1,2"], "--bands needs a role. Got: 1,2. Allowed: ROLE=VALUE"),
        (["--bands", "fine_t1=1,,2"], "--bands cannot be read. Got: fine_t1=1,,2. Allowed: ROLE=N,N,..."),
        (["--input", "elevation"], "--input needs a role"),
        (["--tile-batch", "0"], "The tile batch cannot be used. Got: 0. Allowed: 1 or more"),
        (["--threads", "0"], "The number of threads cannot be used. Got: 0"),
    ],
)
def test_statements_that_cannot_be_read(refused, options, says):
    refused(*options, error="UsageError", says=says)


def test_a_scale_that_cannot_be_used(refused):
    refused("--scale", "fine_t1=0", error="ScaleError", says="The scale of fine_t1 cannot be used. Got: 0.0")
    refused("--scale", "nan", error="ScaleError", says="cannot be used")


@pytest.mark.parametrize(
    "option",
    [["--dtype", "int8"], ["--format", "png"], ["--compress", "jpeg"], ["--tile-batch", "x"], ["--tiles-on", "gpu"]],
)
def test_a_choice_that_does_not_exist(run, out, option):
    result = run("--json", *option)
    assert result.code == 2
    assert result.data["error"] == "BadParameter"
    assert option[0] in result.data["what"]
    assert list(out.parent.iterdir()) == []


# Bundles that cannot be trusted --------------------------------------------------------------------------


@pytest.fixture
def spoiled(blur_bundle, tmp_path):
    """A copy of the bundle that a test may spoil."""
    return Path(shutil.copytree(blur_bundle, tmp_path / "spoiled.stf"))


def with_href(folder: Path, href: str) -> None:
    item = json.loads((folder / "item.json").read_text())
    item["assets"]["model-fp32"]["href"] = href
    (folder / "item.json").write_text(json.dumps(item))


def test_a_bundle_with_a_changed_byte(refused, spoiled):
    graph = next(spoiled.glob("*.onnx"))
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    refused(error="AssetError", says="is not the file that was exported", bundle=spoiled)


def test_a_bundle_with_a_missing_asset(refused, spoiled):
    next(spoiled.glob("*.onnx")).unlink()
    refused(error="AssetError", says="Asset model-fp32 is missing", bundle=spoiled)


@pytest.mark.parametrize("href", ["/etc/passwd", "../secret.onnx", "a/../../secret.onnx", "file:///etc/passwd"])
def test_a_bundle_that_points_out_of_itself(refused, spoiled, href):
    with_href(spoiled, href)
    refused(error="AssetError", says="points out of the bundle", bundle=spoiled)


def test_what_is_no_bundle(refused, tmp_path, rasters):
    refused(error="BundleError", says="There is no bundle at this path", bundle=tmp_path / "nothing.stf")
    refused(error="BundleError", says="A bundle is a folder, and this is a file", bundle=rasters["--fine-t1"])
    refused(error="BundleError", says="no item.json", bundle=tmp_path)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_that_no_engine_loads(refused, spoiled, engine):
    """The hash is right and the content is not a network."""
    pytest.importorskip(engine.partition("-")[0])
    graph = next(spoiled.glob("*.onnx"))
    graph.write_bytes(b"not a network")
    item = json.loads((spoiled / "item.json").read_text())
    asset = item["assets"]["model-fp32"]
    asset["file:checksum"] = "1220" + hashlib.sha256(b"not a network").hexdigest()
    asset["file:size"] = 13
    (spoiled / "item.json").write_text(json.dumps(item))
    refused("--engine", engine, error="EngineError", says="the graph", bundle=spoiled)
