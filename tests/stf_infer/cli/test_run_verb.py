# SPDX-License-Identifier: Apache-2.0
"""``stf-infer run`` with a real bundle: what works, and Ctrl-C."""

from __future__ import annotations

import functools
import io
import json
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from fakes import ORIGIN, block_mean, box_blur, export_blur, read_tif, smooth_field, write_tif
from stf_infer.cli import _progress
from stf_infer.noise import noise

ENGINES = ["onnxruntime-cpu", "openvino-cpu"]
HEIGHT, WIDTH = 61, 83


def expected(rasters: dict[str, Any]) -> np.ndarray:
    """The bundle's network, by NumPy: zeros around the scene, as its convolution pads."""
    fine = np.pad(read_tif(rasters["--fine-t1"]), ((0, 0), (1, 1), (1, 1)))
    return box_blur(1)(fine[None])[0][:, 1:-1, 1:-1] + np.float32(0.05)


# What works ----------------------------------------------------------------------------------------------


def test_a_scene_is_fused_and_the_figures_are_told(run, rasters, out):
    result = run("--json")
    assert result.code == 0
    data = result.data
    assert data["path"] == str(out)
    assert (data["pixels"], data["valid_fraction"], data["not_finite"]) == (HEIGHT * WIDTH, 1, 0)
    assert data["provenance"]["inputs"] == "coarse_t1=c1.tif; fine_t1=f1.tif; coarse_t2=c2.tif"
    # The interior, where the reflection of the scene beyond whole strides is not seen.
    np.testing.assert_allclose(read_tif(out)[:, : HEIGHT - 2, : WIDTH - 4], expected(rasters)[:, :-2, :-4], atol=1e-5)
    assert [p.name for p in out.parent.iterdir()] == ["f2.tif"]


def test_a_person_reads_the_same_in_words(run, out):
    result = run()
    assert result.code == 0
    text = " ".join(result.out.split())
    for word in (out.name, "Mpx/s", "9 tiles run, 0 without data", "100.0% of the pixels", "onnxruntime-cpu"):
        assert word in text


def test_a_profile_is_a_trace_and_a_table(run, tmp_path):
    path = tmp_path / "trace.json"
    result = run("--profile", path)
    assert result.code == 0
    for word in ("reader", "gather", "engine", "infer", "writer", "blend", "finish", "share"):
        assert word in result.out
    assert {e["name"] for e in json.loads(path.read_text())["traceEvents"]} >= {"read", "infer", "finish"}
    stages = run("--profile", path, "--json").data["profile"]
    assert {(row["thread"], row["name"]) for row in stages} >= {("reader", "read"), ("writer", "write")}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_same(run, rasters, out, engine):
    pytest.importorskip(engine.partition("-")[0])
    result = run("--engine", engine, "--threads", 1, "--tile-batch", 5, "--json")
    assert result.code == 0
    assert result.data["provenance"]["engine"].startswith(engine)
    np.testing.assert_allclose(read_tif(out)[:, : HEIGHT - 2, : WIDTH - 4], expected(rasters)[:, :-2, :-4], atol=1e-5)


def test_the_layout_follows_the_options(run, out):
    options = ["--format", "cog", "--compress", "lzw", "--dtype", "int16", "--no-overviews"]
    assert run(*options).code == 0
    with rasterio.open(out) as made:
        assert made.dtypes == ("int16", "int16")
        assert made.compression.name == "lzw"
        assert made.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_an_area_is_cut_out(run, out):
    west, north = ORIGIN[0] + 300, ORIGIN[1] - 600
    result = run("--aoi", f"{west},{north - 900},{west + 1200},{north}", "--json")
    assert result.data["pixels"] == 30 * 40
    with rasterio.open(out) as made:
        assert made.transform == Affine(30, 0, west, 0, -30, north)


def test_integers_with_a_stated_scale(run, tmp_path, out):
    """Landsat Collection 2, uint16."""
    fine = np.rint((smooth_field(2, HEIGHT, WIDTH) + 0.2) / 0.0000275).astype(np.uint16)
    path = write_tif(tmp_path / "l2.tif", fine)
    result = run("--scale", "fine_t1=0.0000275", "--offset", "fine_t1=-0.2", "--nodata", "fine_t1=0", fine_t1=path)
    assert result.code == 0
    with rasterio.open(out) as made:
        assert made.dtypes == ("int16", "int16")
        assert made.scales == (1e-4, 1e-4)
        # The network's zeros around the scene reach one pixel in.
        assert made.read(1)[1:-8, 1:-8].min() > 500


def test_bands_can_be_chosen_and_turned(run, tmp_path, rasters, out):
    fine = read_tif(rasters["--fine-t1"])
    path = write_tif(tmp_path / "f.tif", np.concatenate([fine[1:], np.zeros_like(fine[:1]), fine[:1]]))
    assert run("--bands", "fine_t1=3,1", fine_t1=path).code == 0
    np.testing.assert_allclose(read_tif(out)[:, : HEIGHT - 2, : WIDTH - 4], expected(rasters)[:, :-2, :-4], atol=1e-5)


def test_a_scene_smaller_than_a_tile_works(run, tmp_path, out):
    small = smooth_field(2, 9, 7)
    coarse = block_mean(small, 4)
    result = run(
        fine_t1=write_tif(tmp_path / "a.tif", small),
        coarse_t1=write_tif(tmp_path / "b.tif", coarse, pixel=120),
        coarse_t2=write_tif(tmp_path / "c.tif", coarse, pixel=120),
    )
    assert result.code == 0
    assert read_tif(out).shape == (2, 9, 7)


def test_a_pixel_size_that_does_not_fit_can_be_accepted(run, tmp_path, refused):
    coarse = write_tif(tmp_path / "c.tif", smooth_field(2, 9, 9), pixel=300)
    refused(
        error="GridError",
        says="a pixel is 10 fine pixels wide. Allowed: about 4 (native), or 1 (resampled to the fine grid)",
        coarse_t2=coarse,
    )
    assert run("--any-ratio", coarse_t2=coarse).code == 0


def test_a_seed_gives_its_noise(run, out, noisy_bundle):
    """The network adds a hundredth of draws 0 and 1; the rest of it has no randomness."""
    results = {}
    for seed in (0, 5, 2**64 - 1):
        result = run("--seed", seed, "--json", bundle=noisy_bundle)
        assert result.code == 0
        assert result.data["provenance"]["seed"] == str(seed)
        results[seed] = read_tif(out)
    shape = results[0].shape
    for seed in (5, 2**64 - 1):
        added, base = (sum(noise(s, draw, 0, 0, shape) for draw in (0, 1)) / 100 for s in (seed, 0))
        np.testing.assert_allclose(results[seed] - results[0], added - base, atol=1e-6)
    assert run(bundle=noisy_bundle).code == 0
    assert read_tif(out).tobytes() == results[0].tobytes()
    assert "noise of seed 5" in run("--seed", 5, bundle=noisy_bundle).out


def test_samples_give_mean_and_deviation_as_bands(run, out, noisy_bundle):
    alone = []
    for seed in (7, 8, 9):
        assert run("--seed", seed, bundle=noisy_bundle).code == 0
        alone.append(read_tif(out).astype(np.float64))
    result = run("--seed", 7, "--samples", 3, "--json", bundle=noisy_bundle)
    assert result.code == 0
    data = result.data
    assert data["bands"] == ["red", "nir", "red_std", "nir_std"]
    assert (data["provenance"]["seed"], data["provenance"]["samples"], data["tiles"]) == ("7", "3", 9)
    with rasterio.open(out) as made:
        assert made.descriptions == ("red", "nir", "red_std", "nir_std")
        assert (made.tags()["STF_SEED"], made.tags()["STF_SAMPLES"]) == ("7", "3")
    np.testing.assert_allclose(read_tif(out)[:2], np.mean(alone, axis=0), atol=1e-6)
    np.testing.assert_allclose(read_tif(out)[2:], np.std(alone, axis=0, ddof=1), atol=1e-6)
    words = run("--samples", 3, bundle=noisy_bundle).out
    assert "mean and standard deviation of 3 samples, the first of seed 0" in words


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
@pytest.mark.parametrize("asked", [("--seed", 1), ("--samples", 2)])
def test_noise_of_a_network_without_noise_is_refused(refused, asked, more):
    refused(*asked, *more, error="UsageError", says="blur takes no noise: its result is always the same")


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--seed", -1), "The seed cannot be used"),
        (("--seed", 2**64), "The seed cannot be used"),
        (("--samples", 0), "The number of samples cannot be used"),
    ],
)
def test_noise_that_does_not_exist_is_refused(refused, noisy_bundle, asked, says, more):
    refused(*asked, *more, bundle=noisy_bundle, error="UsageError", says=says)


def test_a_dry_run_counts_the_samples(run, noisy_bundle):
    one, many = (run("--dry-run", "--json", "--samples", k, bundle=noisy_bundle).data for k in (1, 50))
    assert (one["samples"], many["samples"]) == (1, 50)
    held = 2 * 32 * WIDTH * 4  # a row of tiles, one sample
    assert many["peak_bytes"] - one["peak_bytes"] > 49 * held
    assert "samples 50 of every tile" in " ".join(run("--dry-run", "--samples", 50, bundle=noisy_bundle).out.split())


def test_a_dry_run_shows_the_plan_and_writes_nothing(run, out):
    data = run("--dry-run", "--json", output=None).data
    assert (data["tiles"], data["tile"], data["halo"], data["stride"]) == (9, [32, 32], 1, 4)
    assert data["scene"] == [HEIGHT, WIDTH]
    assert data["grids"] == {"coarse_t1": "aligned", "fine_t1": "aligned", "coarse_t2": "aligned"}
    assert data["peak_bytes"] > 1e6
    text = " ".join(run("--dry-run").out.split())
    for word in ("scene 61 x 83", "9 of 32 x 32, exact, halo 1, stride 4", "overlap cost", "peak memory about"):
        assert word in text
    assert list(out.parent.iterdir()) == []


def test_lines_of_progress_where_there_is_no_terminal(run):
    result = run("-v")
    assert "100 % of 0.0 Mpx" in result.err
    assert "engine onnxruntime-cpu" in result.err


def test_an_interrupted_run_is_resumed(run, rasters, out):
    """The options reach the writer; what resuming does is tested there."""
    assert run("--resume").code == 0
    assert [p.name for p in out.parent.iterdir()] == ["f2.tif"]


def test_a_statement_for_one_role_beats_that_for_all(run, rasters, out):
    for order in (["--scale", "0.5", "--scale", "fine_t1=1"], ["--scale", "fine_t1=1", "--scale", "0.5"]):
        assert run(*order).code == 0
        # Half of the coarse change, all of fine_t1.
        np.testing.assert_allclose(
            read_tif(out)[:, : HEIGHT - 2, : WIDTH - 4], expected(rasters)[:, :-2, :-4] - 0.025, atol=1e-5
        )


# Ctrl-C --------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_nothing(tmp_path, out):
    """A real SIGINT to a real process, while it runs."""
    bundle = export_blur(tmp_path / "slow.stf", tile=256, passes=40)
    fine = smooth_field(2, 3000, 1500)
    coarse = block_mean(fine, 4)
    paths = {
        "--fine-t1": write_tif(tmp_path / "a.tif", fine),
        "--coarse-t1": write_tif(tmp_path / "b.tif", coarse, pixel=120),
        "--coarse-t2": write_tif(tmp_path / "c.tif", coarse, pixel=120),
    }
    command = [sys.executable, "-m", "stf_infer", "run", str(bundle), "-o", str(out), "--json", "--threads", "1"]
    command += [str(part) for pair in paths.items() for part in pair]
    # A shell that starts tests in the background has them ignore the signal, and what they start with them.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    deadline = time.monotonic() + 60
    while not list(out.parent.iterdir()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(stdout)["error"] == "Interrupted"
    assert "Traceback" not in stderr
    assert list(out.parent.iterdir()) == []


# The progress bar ----------------------------------------------------------------------------------------


def test_a_terminal_shows_a_bar_with_a_rate(monkeypatch):
    from rich.console import Console

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(_progress, "stderr_console", lambda: console)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with _progress.ProgressLine("net", "Mpx", 1e6) as progress:
        for done in range(11):
            time.sleep(0.02)
            progress(done * 1_000_000, 10_000_000)
    shown = screen.getvalue()
    for word in ("net", "100 %", "Mpx/s"):
        assert word in shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
