# SPDX-License-Identifier: Apache-2.0
"""``stf-infer compare`` as a user calls it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner

from stf_infer.cli import main

GRID = Affine(30, 0, 500000, 0, -30, 5000000)


@pytest.fixture
def files(tmp_path):
    """Paths of a prediction (as our writer stores one), a truth and a fine image at t1, 20 x 24, 2 bands."""
    rng = np.random.default_rng(3)
    truth = (0.1 + 0.3 * rng.random((2, 20, 24))).round(4)

    def write(name, values, tags=None, **profile):
        with rasterio.open(
            tmp_path / name, "w", driver="GTiff", count=len(values), height=20, width=24, dtype="int16",
            crs="EPSG:32633", transform=GRID, nodata=-32768, **profile
        ) as file:  # fmt: skip
            file.write(np.round(values * 1e4).astype("int16"))
            file.descriptions = ("red", "nir")[: len(values)]
            if tags is not None:
                file.scales, file.units = (1e-4, 1e-4), ("reflectance", "reflectance")
                file.update_tags(**tags)
        return str(tmp_path / name)

    return {
        "f2": write("F2.tif", truth + 0.01, {"STF_RATIO": "16"}),
        "truth": write("T.tif", truth, {}),
        "f1": write("F1.tif", truth - 0.05, {}),
        "raw": write("RAW.tif", truth),
        "folder": tmp_path,
    }


def call(*arguments):
    return CliRunner().invoke(main, ["compare", *arguments])


def test_people_get_a_table(files):
    done = call(files["f2"], files["truth"])
    assert done.exit_code == 0, done.stderr
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert rows["red"][1:4] == rows["nir"][1:4] == ["0.01", "0.01", "0.01"]
    assert "pooled" in rows
    assert "ratio 16" in done.stdout


def test_of_an_ensemble_the_mean_is_compared(files):
    """Its deviations can be, where they are stated."""
    path = str(files["folder"] / "samples.tif")
    with rasterio.open(files["f2"]) as f2, rasterio.open(path, "w", **{**f2.profile, "count": 4}) as out:
        out.write(np.concatenate([f2.read(), np.full((2, 20, 24), 100, np.int16)]))
        out.descriptions, out.scales, out.units = ("red", "nir", "red_std", "nir_std"), (1e-4,) * 4, f2.units * 2
        out.update_tags(STF_RATIO="16", STF_SAMPLES="8")
    for bands, rmse in (((), 0.01), (("--bands", "prediction=red,nir"), 0.01), (("--bands", "prediction=3,4"), None)):
        done = call(path, files["truth"], "--json", *bands)
        assert done.exit_code == 0, done.stderr
        found = json.loads(done.stdout)["report"]["pooled"]["rmse"]
        assert found == pytest.approx(rmse) if rmse else found > 0.1


def test_programs_get_one_object(files):
    done = call(files["f2"], files["truth"], "--json")
    assert done.exit_code == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["report"]["bands"] == ["red", "nir"]
    assert data["report"]["pooled"]["rmse"] == pytest.approx(0.01)
    assert data["report"]["pooled"]["psnr"] == pytest.approx(40)
    assert data["report"]["settings"]["ratio"] == 16
    assert data["report"]["counts"]["valid"] == 480
    assert data["references"] == []


def test_references_are_measured_beside_it(files):
    done = call(files["f2"], files["truth"], "--reference", files["f1"], "--reference", files["truth"], "--json")
    first, second = json.loads(done.stdout)["references"]
    assert first["raster"] == files["f1"]
    assert first["report"]["pooled"]["bias"] == pytest.approx(-0.05)
    assert second["report"]["pooled"]["rmse"] == 0
    assert second["report"]["pooled"]["psnr"] is None  # infinite: JSON has no word for it, the note has
    assert any("PSNR is infinite" in note for note in second["report"]["notes"])


def test_references_are_shown_beside_it(files):
    table = call(files["f2"], files["truth"], "--reference", files["f1"]).stdout
    assert "F2.tif against T.tif" in table
    row = next(line.split() for line in table.partition("Pooled")[2].splitlines() if line.strip().startswith("RMSE ↓"))
    assert row[2:] == ["0.01", "0.05"]


def test_options_reach_the_measurement(files):
    done = call(files["f2"], files["truth"], "--data-range", "2", "--ratio", "20", "--ssim-window", "uniform",
                "--ssim-size", "5", "--json")  # fmt: skip
    settings = json.loads(done.stdout)["report"]["settings"]
    assert (settings["data_range"], settings["ratio"]) == (2, 20)
    assert (settings["ssim_window"], settings["ssim_size"]) == ("uniform", 5)
    none = json.loads(call(files["f2"], files["truth"], "--ssim-window", "none", "--json").stdout)
    assert "ssim" not in none["report"]["pooled"]


def test_mask_and_statements(files):
    mask = files["folder"] / "M.tif"
    with rasterio.open(mask, "w", driver="GTiff", count=1, height=20, width=24, dtype="uint8", crs="EPSG:32633",
                       transform=GRID) as file:  # fmt: skip
        file.write(np.tri(20, 24, -1, dtype="uint8")[None])
    done = call(files["f2"], files["raw"], "--scale", "truth=0.0001", "--mask", str(mask), "--bands", "truth=1,nir",
                "--ssim-window", "none", "--json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["report"]["pooled"]["rmse"] == pytest.approx(0.01)
    assert data["report"]["counts"]["valid"] == 190


def test_errors_are_counted_in_stated_bins(files):
    """The prediction is 0.01 too high in every pixel; t1 is 0.05 too low, which lies below the bins."""
    arguments = (files["f2"], files["truth"], "--reference", files["f1"], "--histogram", "-0.04,0.04,8")
    data = json.loads(call(*arguments, "--json").stdout)
    errors, of_f1 = data["report"]["errors"], data["references"][0]["report"]["errors"]
    assert (errors["low"], errors["high"], errors["bins"]) == (-0.04, 0.04, 8)
    assert sum(errors["counts"]["pooled"]) == 2 * 480
    assert errors["counts"]["red"][4] + errors["counts"]["red"][5] == 480  # the edge between them is 0.01
    assert of_f1["below"] == {"red": 480, "nir": 480, "pooled": 960}
    assert sum(of_f1["counts"]["pooled"]) == 0
    assert json.loads(call(files["f2"], files["truth"], "--json").stdout)["report"]["errors"] is None


def test_errors_are_shown_in_few_rows(files):
    shown = call(files["f2"], files["truth"], "--histogram=-0.105,0.095,100").stdout.partition("Errors (")[2]
    rows = {line.split("  ")[0].strip(): line.split()[-2:] for line in shown.splitlines() if "%" in line}
    assert len(rows) == 22
    assert rows["0.005 to 0.015"] == ["100.00%", "100.00%"]
    assert rows["below -0.105"] == rows["above 0.095"] == ["0.00%", "0.00%"]


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        (("f2", "nowhere.tif"), "RasterError", "nowhere.tif"),
        (("f2", "raw"), "ScaleError", "--scale truth="),
        (("raw", "raw"), "MetricError", "--data-range"),
        (("raw", "raw", "--data-range", "10000"), "MetricError", "--ratio"),
        (("f2", "truth", "--ratio", "0.0625"), "MetricError", "16"),
        (("f2", "truth", "--ssim-size", "4"), "MetricError", "odd"),
        (("f2", "truth", "--histogram", "-1,1"), "UsageError", "LOW,HIGH,BINS"),
        (("f2", "truth", "--histogram", "a,b,c"), "UsageError", "a,b,c"),
        (("f2", "truth", "--histogram", "1,-1,10"), "MetricError", "low below high"),
        (("f2", "truth", "--histogram", "0,1,2.5"), "MetricError", "bins"),
        (("f2", "truth", "--histogram", "0,nan,4"), "MetricError", "bins"),
        (("f2", "truth", "--scale", "truth=much"), "UsageError", "truth=much"),
        (("f2", "truth", "--scale", "reference=1"), "UsageError", "reference"),
        (("f2", "truth", "--mask", "nowhere.tif"), "RasterError", "nowhere.tif"),
    ],
)
def test_bad_input_has_exit_code_2_and_names_the_way_out(files, arguments, error, word):
    given = [files.get(a, a) for a in arguments]
    done = call(*given, "--json")
    assert done.exit_code == 2
    data = json.loads(done.stdout)
    assert data["error"] == error
    assert word in done.stderr
