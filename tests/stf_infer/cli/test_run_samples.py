# SPDX-License-Identifier: Apache-2.0
"""The verbs with a real bundle that takes samples: run, info, check, export."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from click.testing import CliRunner

from sample_graphs import AHEAD, STATIONS, STEPS, forecast, make_bundle, make_contract, write_graph
from stf_export.contract_toml import to_toml
from stf_infer.cli import main
from stf_infer.samples.spec import SampleValues


def call(*arguments):
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Must not be changed."""
    return make_bundle(tmp_path_factory.mktemp("bundles"), values=SampleValues(unit="mm")).path


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "h.npy", histories(6))
    np.save(tmp_path / "s.npy", np.arange(6))
    return {"history": tmp_path / "h.npy", "slot": tmp_path / "s.npy"}


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def histories(*samples):
    shape = (*samples, STEPS, len(STATIONS))
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def inputs(files, **changed):
    given = {**files, **changed}
    return [part for role, path in given.items() if path is not None for part in ("--input", f"{role}={path}")]


def test_run_tells_what_it_did(bundle, files, out):
    result = call("run", bundle, *inputs(files), "-o", out / "fc.npz", "--tile-batch", "4", "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert (data["samples"], data["skipped"], data["not_finite"], data["dims"]) == (6, 0, 0, {"sample": 6})
    assert data["path"] == str(out / "fc.npz")
    assert data["provenance"]["inputs"] == "history=h.npy; slot=s.npy"
    np.testing.assert_array_equal(np.load(out / "fc.npz")["forecast"], forecast(histories(6), np.arange(6)))
    shown = call("run", bundle, *inputs(files), "-o", out / "fc.npy").stdout
    for words in ("6 samples (sample 6)", "6 run, 0 with a missing value", "last on onnxruntime-cpu"):
        assert words in shown


def test_missing_values_are_told_on_stderr(bundle, files, out):
    history = histories(6)
    history[3, 0, 0] = np.nan
    np.save(files["history"], history)
    result = call("run", bundle, *inputs(files), "-o", out / "fc.npy", "--nodata", "history=0", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["skipped"] == 2
    assert "2 of 6 samples have a missing value" in " ".join(result.stderr.split())
    assert np.isnan(np.load(out / "fc.npy")).all(axis=(1, 2)).tolist() == [True, False, False, True, False, False]


def test_netcdf_with_renamed_dims(bundle, files, tmp_path, out):
    xarray = pytest.importorskip("xarray", reason="needs the extra xarray")
    pytest.importorskip("h5netcdf", reason="needs the extra xarray")
    held = xarray.Dataset(
        {"rain": (("site", "hour", "run"), histories(6).transpose(2, 1, 0).astype("int16")), "n": ("run", range(6))},
        coords={"site": ["south", "north"], "run": range(10, 16)},
    )
    held.to_netcdf(tmp_path / "obs.nc", engine="h5netcdf")
    result = call(
        *("run", bundle, "--input", f"history={tmp_path}/obs.nc:rain", "--input", f"slot={tmp_path}/obs.nc:n"),
        *("--dims", "history=station,time,run", "--scale", "history=0.5", "-o", out / "fc.nc"),
    )
    assert result.exit_code == 0, result.stderr
    with xarray.open_dataset(out / "fc.nc") as written:
        assert written.forecast.dims == ("run", "ahead", "station")
        expected = forecast(histories(6)[..., ::-1] / 2, np.arange(6))
        np.testing.assert_array_equal(written.forecast, expected)
        assert written.station.values.tolist() == list(STATIONS)
        assert written.run.values.tolist() == list(range(10, 16))
        assert written.forecast.units == "mm"


def test_a_dry_run_writes_nothing(bundle, files, out):
    result = call("run", bundle, *inputs(files), "--dry-run", "-o", out / "fc.npy", "--json")
    data = json.loads(result.stdout)
    assert (data["samples"], data["calls"], data["shape"]) == (6, 1, [6, AHEAD, 2])
    assert list(out.iterdir()) == []
    shown = call("run", bundle, *inputs(files), "--dry-run").stdout
    assert "6 (sample 6), in at most 1 engine calls" in shown
    assert "6 x 2 x 2" in shown


@pytest.mark.parametrize(
    ("options", "changed", "error", "says"),
    [
        ([], {"slot": None}, "UsageError", "takes other inputs. Got: history. Allowed: history, slot. Give slot="),
        (["--fine-t1", "f.tif"], {}, "UsageError", "Leave fine_t1 out"),
        ([], {"history": "none.npy"}, "SampleError", "A file is missing. Got: none.npy"),
        (["--aoi", "0,0,1,1"], {}, "UsageError", "--aoi has no meaning for last, which takes samples"),
        (["--resume"], {}, "UsageError", "--resume has no meaning"),
        (["--seed", "0"], {}, "UsageError", "--seed has no meaning"),
        (["--bands", "history=1"], {}, "UsageError", "--bands has no meaning"),
        (["--format", "cog"], {}, "UsageError", "--format has no meaning"),
        (["--no-overviews"], {}, "UsageError", "--no-overviews has no meaning"),
        (["--any-ratio"], {}, "UsageError", "--any-ratio has no meaning"),
        (["--tiles-on", "host"], {}, "UsageError", "--tiles-on has no meaning"),
        (["--dims", "history=run,,station"], {}, "UsageError", "--dims cannot be read"),
        (["--dims", "past=run,time,station"], {}, "UsageError", "--dims speaks of an input that is not given"),
        (["--dims", "history=run,hour,station", "--dims", "slot=run"], {}, "DimError", "history has no dim time"),
        (["--scale", "history=0"], {}, "ScaleError", "The scale of history cannot be used"),
        (["--offset", "slot=4.5"], {}, "SampleError", "slot takes whole numbers that the network knows. Got: "),
        (["--offset", "slot=7"], {}, "SampleError", "10. Allowed: 0 to 9."),
        (["--tile-batch", "0"], {}, "UsageError", "tile batch cannot be used"),
        (["--engine", "nothing"], {}, "EngineUnavailableError", "no engine of that name"),
    ],
)
def test_bad_input_is_refused(bundle, files, out, options, changed, error, says):
    result = call("run", bundle, *inputs(files, **changed), "-o", out / "fc.npy", *options, "--json")
    assert result.exit_code == 2, result.stderr
    told = json.loads(result.stdout)
    assert told["error"] == error
    assert set(told) == {"error", "what", "got", "allowed", "fix"}
    assert says in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert list(out.iterdir()) == []


def test_a_destination_is_needed_and_says_what_it_is(bundle, files, out):
    assert "No destination is named" in call("run", bundle, *inputs(files)).stderr
    result = call("run", bundle, *inputs(files), "-o", out / "fc.tif", "--json")
    assert (result.exit_code, json.loads(result.stdout)["error"]) == (2, "OutputError")


def test_info_shows_dims_and_units(bundle):
    shown = " ".join(call("info", bundle).stdout.split())
    for words in (
        "last last-steps, takes samples",
        "history time 3, station 2 (north, south) float32 mm as it is",
        "slot one number int64 as trained 0..9",
        "forecast ahead 2, station 2 (north, south) float32 mm as it is",
        "of the range against the file as given, 4 samples",
    ):
        assert words in shown
    data = json.loads(call("info", bundle, "--json").stdout)
    assert data["contract"]["kind"] == "samples"
    assert data["contract"]["inputs"][1]["dtype"] == "int64"


def test_info_shows_lists_and_limits(tmp_path):
    values = SampleValues(along="station", scale=(0.5, 2.0), offset=(0.0, -1.0), minimum=0)
    shown = " ".join(call("info", make_bundle(tmp_path, values=values).path).stdout.split())
    assert "x [0.5, 2] + [0, -1] along station, clipped to 0.." in shown


def test_check_proves_the_golden_sample(bundle):
    result = call("check", bundle, "--json")
    assert result.exit_code == 0, result.stderr
    proofs = {e["engine"]: e["passed"] for e in json.loads(result.stdout)["engines"]}
    assert proofs["onnxruntime-cpu"] is True
    assert call("check", bundle).exit_code == 0


def test_export_with_a_contract_file(tmp_path):
    (tmp_path / "c.toml").write_text(to_toml(make_contract()))
    graph, made = write_graph(tmp_path / "g.onnx"), tmp_path / "made.stf"
    result = call("export", "--onnx", graph, "--contract", tmp_path / "c.toml", "-o", made, "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert (data["tile"], data["roles"]) == (None, ["history", "slot"])
    assert data["parity"]["batches"] == [1, 4]
    shown = call("export", "--onnx", graph, "--contract", tmp_path / "c.toml", "-o", made, "--force").stdout
    assert "takes samples, whole" in shown
    refused = call(
        "export", "--onnx", graph, "--contract", tmp_path / "c.toml", "-o", tmp_path / "x.stf", "--tile", "8"
    )
    assert refused.exit_code == 2
    assert "not cut into tiles" in refused.stderr


def test_rasters_have_no_dims_option(tmp_path):
    from fakes import make_spec
    from handmade_bundle import make_bundle as handmade

    folder = handmade(tmp_path / "net.stf", make_spec())
    result = call("run", folder, "--fine-t1", "f.tif", "--dims", "fine_t1=y,x", "-o", tmp_path / "o.tif", "--json")
    assert result.exit_code == 2
    assert "--dims has no meaning for rasters" in result.stderr


def test_an_engine_that_was_built_gives_the_same(files, tmp_path, out):
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("needs the extra openvino")
    path = make_bundle(tmp_path).path
    built = call("build", path, "--target", "openvino-cpu", "--tile-batch", "4", "--json")
    assert built.exit_code == 0, built.stderr
    assert call("check", path, "--engine", "openvino-cpu").exit_code == 0
    result = call("run", path, *inputs(files), "--engine", "openvino-cpu", "-o", out / "fc.npy", "--json")
    assert json.loads(result.stdout)["provenance"]["engine"].startswith("openvino-cpu")
    np.testing.assert_allclose(np.load(out / "fc.npy"), forecast(histories(6), np.arange(6)), rtol=1e-6)
