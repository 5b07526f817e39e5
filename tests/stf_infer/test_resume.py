# SPDX-License-Identifier: Apache-2.0
"""Interrupted runs go on with byte-identical pixels, or start afresh where they must."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from fakes import add_coarse_change, block_mean, grid_transform, make_model, make_spec, read_tif, write_tif
from stf_infer.errors import EngineError
from stf_infer.journal import Journal, checksum
from stf_infer.layout import BLOCK, FileOptions
from stf_infer.raster import Raster
from support import REPOSITORY

HEIGHT, WIDTH, TILE = 2 * BLOCK + 200, 150, 112
ALL = 24  # tiles, with a halo of 4
LATE = 20  # one of the tiles after the second row of blocks is on disk


@pytest.fixture(autouse=True)
def _note_every_block_row(monkeypatch):
    monkeypatch.setattr("stf_infer.output._CHECKPOINT_EVERY", 0.0)


@pytest.fixture
def rasters(tmp_path) -> dict[str, Path]:
    fine = np.random.default_rng(0).uniform(0, 1, (2, HEIGHT, WIDTH)).astype(np.float32)
    fine[:, 300:340, 20:60] = np.nan
    coarse = block_mean(fine, 4)
    return {
        "fine_t1": write_tif(tmp_path / "fine_t1.tif", fine),
        "coarse_t1": write_tif(tmp_path / "coarse_t1.tif", coarse, pixel=120),
        "coarse_t2": write_tif(tmp_path / "coarse_t2.tif", coarse * 1.1, pixel=120),
    }


def fuse(path: Path, rasters: dict[str, Any], *, stop_at: int | None = None, noted: int = 0, **options: Any) -> Any:
    """A run of ``add_coarse_change`` that fails at its nth tile, when so many block rows are noted in its journal.

    Gives the result and how many tiles were run.
    """
    rule = options.pop("rule", {"halo": 4, "stride": 4})
    calls: list[int] = []

    def function(**inputs: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == stop_at:
            wait_for(path.with_name(f".{path.name}.partial.json"), noted)
            raise EngineError("interrupted")
        return add_coarse_change(**inputs)

    result = make_model(make_spec(TILE, **rule), function).fuse(
        path, resume=options.pop("resume", True), **options, **rasters
    )
    return result, len(calls)


def wait_for(journal: Path, noted: int) -> None:
    """Until the writer, which is behind the engine, has noted so many block rows."""
    time.sleep(0.05)
    give_up = time.monotonic() + 30
    while noted and time.monotonic() < give_up:
        if journal.exists() and len(json.loads(journal.read_text())["checksums"]) >= noted:
            return
        time.sleep(0.01)


def interrupt(path: Path, rasters: dict[str, Any], at: int = LATE, **options: Any) -> None:
    with pytest.raises(EngineError, match="interrupted"):
        fuse(path, rasters, stop_at=at, **options)


def partials(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.glob(".*"))


def same_pixels(a: Path, b: Path) -> bool:
    return read_tif(a).tobytes() == read_tif(b).tobytes()


KEPT = [".out.tif.partial.json", ".out.tif.partial.tif"]


@pytest.mark.parametrize("rule", [{"halo": 4, "stride": 4}, {"mode": "blend", "overlap": 12, "stride": 4}])
@pytest.mark.parametrize("options", [{}, {"format": "cog"}, {"dtype": "int16", "compress": "deflate"}])
def test_a_run_goes_on_where_it_was_interrupted(tmp_path, rasters, rule, options):
    out, straight = tmp_path / "out.tif", tmp_path / "straight.tif"
    _, all_tiles = fuse(straight, rasters, resume=False, rule=rule, **options)
    interrupt(out, rasters, all_tiles * 2 // 3, rule=rule, **options)
    assert partials(tmp_path) == KEPT
    assert not out.exists()
    result, tiles = fuse(out, rasters, rule=rule, tile_batch=3, **options)
    assert tiles < all_tiles
    assert result.pixels == (HEIGHT - BLOCK) * WIDTH
    assert same_pixels(out, straight)
    assert partials(tmp_path) == []
    with rasterio.open(out) as a, rasterio.open(straight) as b:
        assert str(a.profile) == str(b.profile)  # nodata may be NaN
        assert a.descriptions == b.descriptions
        assert (a.scales, a.offsets, a.units) == (b.scales, b.offsets, b.units)
        assert a.tags() == b.tags()


def test_a_run_may_be_interrupted_again_and_again(tmp_path, rasters):
    out, straight = tmp_path / "out.tif", tmp_path / "straight.tif"
    fuse(straight, rasters, resume=False)
    for at in (12, 3, 1, 12):
        interrupt(out, rasters, at)
    _, tiles = fuse(out, rasters)
    assert 0 < tiles < ALL
    assert same_pixels(out, straight)


def test_a_run_that_was_killed_goes_on(tmp_path, rasters):
    """SIGKILL: nothing is cleaned up and no journal is written on the way out."""
    out, straight = tmp_path / "out.tif", tmp_path / "straight.tif"
    _, all_tiles = fuse(straight, rasters, resume=False)
    code = f"""
import os, signal, sys
import stf_infer.output
from fakes import add_coarse_change, make_model, make_spec
stf_infer.output._CHECKPOINT_EVERY = 0.0
calls = iter(range(1000))
def function(**inputs):
    if next(calls) == {all_tiles * 2 // 3}:
        os.kill(os.getpid(), signal.SIGKILL)
    return add_coarse_change(**inputs)
model = make_model(make_spec({TILE}, halo=4, stride=4), function)
model.fuse({str(out)!r}, resume=True, **{ {k: str(v) for k, v in rasters.items()}!r})
"""
    paths = [str(REPOSITORY / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    assert partials(tmp_path) == KEPT
    _, tiles = fuse(out, {k: str(v) for k, v in rasters.items()})
    assert tiles < all_tiles
    assert same_pixels(out, straight)
    assert partials(tmp_path) == []


@pytest.mark.parametrize("stage", ["build_overviews", "make_cog"])
def test_a_run_that_was_interrupted_at_its_very_end_runs_no_tile_again(tmp_path, rasters, stage, monkeypatch):
    """The overviews are begun in the unfinished file; they are made again."""
    options = {"format": "cog"} if stage == "make_cog" else {}
    out, straight = tmp_path / "out.tif", tmp_path / "straight.tif"
    fuse(straight, rasters, resume=False, **options)
    made = getattr(FileOptions, stage)
    with monkeypatch.context() as patch:

        def interrupted(self: FileOptions, *given: Any) -> None:
            made(self, *given)
            raise KeyboardInterrupt

        patch.setattr(FileOptions, stage, interrupted)
        with pytest.raises(KeyboardInterrupt):
            fuse(out, rasters, **options)
    assert partials(tmp_path) == KEPT
    _, tiles = fuse(out, rasters, **options)
    assert tiles == 0
    assert same_pixels(out, straight)
    with rasterio.open(out, overview_level=0) as a, rasterio.open(straight, overview_level=0) as b:
        np.testing.assert_array_equal(a.read(), b.read())


def test_without_resume_nothing_is_kept_and_nothing_continued(tmp_path, rasters):
    out = tmp_path / "out.tif"
    interrupt(out, rasters, resume=False)
    assert partials(tmp_path) == []
    interrupt(out, rasters, resume=True)
    assert partials(tmp_path) == KEPT
    _, all_tiles = fuse(out, rasters, resume=False)
    assert all_tiles == ALL
    assert partials(tmp_path) == []


# Starting afresh -----------------------------------------------------------------------------------------


def changed_file(rasters: dict[str, Any]) -> dict[str, Any]:
    path = rasters["coarse_t2"]
    write_tif(path, read_tif(path) + np.float32(0.1), pixel=120)
    return rasters


@pytest.mark.parametrize(
    "change",
    [
        changed_file,
        lambda r: {**r, "fine_t1": Raster(r["fine_t1"], scale=0.5)},
        lambda r: {**r, "fine_t1": Raster(r["fine_t1"], nodata=7)},
        lambda r: {**r, "fine_t1": Raster(r["fine_t1"], bands=(2, 1))},
        lambda r: {**r, "coarse_t1": r["coarse_t2"]},
        lambda r: {**r, "compress": "lzw"},
        lambda r: {**r, "dtype": "int16"},
        lambda r: {**r, "aoi": (500_000, 5_200_000, 502_000, 5_300_000)},
    ],
)
def test_another_run_does_not_continue(tmp_path, rasters, change):
    out, straight = tmp_path / "out.tif", tmp_path / "straight.tif"
    interrupt(out, rasters)
    other = change(dict(rasters))
    _, all_tiles = fuse(straight, other, resume=False)
    _, tiles = fuse(out, other)
    assert tiles == all_tiles
    assert same_pixels(out, straight)


def test_arrays_are_told_apart_by_their_pixels(tmp_path):
    fine = np.random.default_rng(0).uniform(0, 1, (2, HEIGHT, WIDTH)).astype(np.float32)
    coarse = block_mean(fine, 4)
    rasters = {"fine_t1": Raster(fine, transform=grid_transform()), "coarse_t1": coarse, "coarse_t2": coarse}
    out = tmp_path / "out.tif"
    interrupt(out, rasters)
    _, tiles = fuse(out, {**rasters, "coarse_t2": coarse.copy()})
    assert tiles < ALL
    interrupt(out, rasters)
    other = coarse.copy()
    other[1, -1, -1] += 1
    _, tiles = fuse(out, {**rasters, "coarse_t2": other})
    assert tiles == ALL


def flip_a_byte(folder: Path) -> None:
    """In the data of the first block: the file still opens."""
    path = folder / KEPT[1]
    with rasterio.open(path) as held:
        at = int(held.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", 1)) + 200
    content = bytearray(path.read_bytes())
    content[at] ^= 0x55
    path.write_bytes(content)


def wrong_checksum(folder: Path) -> None:
    path = folder / KEPT[0]
    journal = json.loads(path.read_text())
    journal["checksums"][0] ^= 1
    path.write_text(json.dumps(journal))


@pytest.mark.parametrize(
    "spoil",
    [
        flip_a_byte,
        wrong_checksum,
        lambda folder: (folder / KEPT[0]).write_text("{"),
        lambda folder: (folder / KEPT[0]).write_text("[]"),
        lambda folder: (folder / KEPT[0]).write_text('{"identity": {}, "checksums": ["x"]}'),
        lambda folder: (folder / KEPT[0]).unlink(),
        lambda folder: (folder / KEPT[1]).unlink(),
        lambda folder: (folder / KEPT[1]).write_bytes(b"II*\0"),
        lambda folder: os.truncate(folder / KEPT[1], 5000),
    ],
)
def test_what_is_spoiled_is_not_believed(tmp_path, rasters, spoil):
    out, straight = tmp_path / "out.tif", tmp_path / "straight.tif"
    fuse(straight, rasters, resume=False)
    interrupt(out, rasters)
    spoil(tmp_path)
    _, tiles = fuse(out, rasters)
    assert tiles == ALL
    assert same_pixels(out, straight)
    assert partials(tmp_path) == []


def test_rows_before_a_spoiled_block_are_kept(tmp_path, rasters):
    out, straight = tmp_path / "out.tif", tmp_path / "straight.tif"
    _, all_tiles = fuse(straight, rasters, resume=False)
    interrupt(out, rasters, all_tiles - 2, noted=2)
    path = tmp_path / KEPT[0]
    journal = json.loads(path.read_text())
    assert len(journal["checksums"]) == 2
    journal["checksums"][1] ^= 1
    path.write_text(json.dumps(journal))
    result, _ = fuse(out, rasters)
    assert result.pixels == (HEIGHT - BLOCK) * WIDTH
    assert same_pixels(out, straight)


# The journal ---------------------------------------------------------------------------------------------


def test_a_journal_is_read_back_for_the_same_run_only(tmp_path):
    path = tmp_path / "journal.json"
    journal = Journal(path, {"tile": (1, 2), "name": "x"})
    journal.add(np.ones((1, 2, 3), np.int16))
    journal.save()
    again = Journal.load(path, {"tile": (1, 2), "name": "x"})
    assert again is not None
    assert again.checksums == [checksum(np.ones((1, 2, 3), np.int16))]
    assert Journal.load(path, {"tile": (1, 3), "name": "x"}) is None
    assert Journal.load(tmp_path / "other.json", {}) is None
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_checksum_is_of_the_pixels_whatever_their_layout():
    block = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    assert checksum(block) == checksum(np.asfortranarray(block))
    assert checksum(block) != checksum(block + 1)
