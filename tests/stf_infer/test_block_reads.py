# SPDX-License-Identifier: Apache-2.0
"""Every block of an input is read from its file once, whatever the file's layout is and where tiles fall."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from fakes import add_coarse_change, block_mean, make_model, make_spec, write_tif
from pipeline_support import aoi
from stf_infer.errors import EngineError
from stf_infer.layer import Layer
from stf_infer.panels import cut
from stf_infer.strip import Strip

HEIGHT, WIDTH, TILE = 1100, 420, 112

LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"blockysize": 1},
    "strips": {"blockysize": 37},
    "tiles of 256": {"tiled": True, "blockxsize": 256, "blockysize": 256},
    "tiles of 512": {"tiled": True, "blockxsize": 512, "blockysize": 512},
    "odd tiles": {"tiled": True, "blockxsize": 80, "blockysize": 48},
    "tall strips": {"blockysize": 700},
}
EXACT, BLEND = {"halo": 4, "stride": 4}, {"mode": "blend", "overlap": 12, "stride": 4}


class Reads:
    """Counts how often each block of some files is read, after the samples that are taken when they are opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.positions: dict[str, list[int]] = {}
        plain, sample, reads = rasterio.open, Layer._sample, self

        class Counted(io.FileIO):
            def read(self, size: int = -1) -> bytes:
                reads.positions[Path(str(self.name)).name].append(self.tell())
                return super().read(size)

        def opened(name: Any, *args: Any, **kwargs: Any) -> Any:
            if Path(str(name)).name in reads.positions and not args and not kwargs:
                kwargs["opener"] = lambda path, mode="rb", **_: Counted(path)
            return plain(name, *args, **kwargs)

        def sampled(layer: Layer) -> np.ndarray:
            found = sample(layer)
            for positions in reads.positions.values():
                positions.clear()
            return found

        monkeypatch.setattr(rasterio, "open", opened)
        monkeypatch.setattr(Layer, "_sample", sampled)

    def of(self, path: Path) -> Counter[tuple[int, int, int]]:
        """Band, block row and block column: how often it was read."""
        counts = Counter(self.positions[path.name])
        return Counter({block: counts[offset] for block, offset in block_offsets(path).items()})


def block_offsets(path: Path) -> dict[tuple[int, int, int], int]:
    with rasterio.open(path, "r") as held:
        rows, columns = held.block_shapes[0]
        bands = held.indexes if held.interleaving.name == "band" else [1]
        return {
            (band, y, x): int(held.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=band))
            for band in bands
            for y in range(-(-held.height // rows))
            for x in range(-(-held.width // columns))
        }


@pytest.fixture
def reads(monkeypatch) -> Reads:
    """With a cache of blocks that holds next to nothing, so that a block that is asked for again is read again."""
    monkeypatch.setattr("stf_infer.model._GDAL_CACHE", 1)
    return Reads(monkeypatch)


def scene(folder: Path, layout: str, interleave: str = "band", holes: bool = False) -> dict[str, Path]:
    fine = np.random.default_rng(0).integers(1, 9999, (2, HEIGHT, WIDTH)).astype(np.int16)
    if holes:
        fine[:, 300:700, 100:200] = -1
    common = {"scale": 1e-4, "nodata": -1, "compress": "deflate"}
    coarse = write_tif(folder / "coarse.tif", block_mean(fine, 4), pixel=120, **common)
    path = write_tif(folder / "fine.tif", fine, interleave=interleave, **common, **LAYOUTS[layout])
    return {"fine_t1": path, "coarse_t1": coarse, "coarse_t2": coarse}


def fuse(rasters: dict[str, Path], reads: Reads, rule: dict[str, Any], *, stop_at: int = -1, **options: Any) -> Any:
    reads.positions = {rasters["fine_t1"].name: []}
    calls: list[int] = []

    def function(**inputs: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == stop_at:
            raise EngineError("interrupted")
        return add_coarse_change(**inputs)

    model = make_model(make_spec(TILE, **rule), function)
    model._threads = 1  # GDAL's own threads would have to wait for Python's lock
    return model.fuse(**options, **rasters)


@pytest.mark.parametrize("rule", [EXACT, BLEND], ids=["exact", "blend"])
@pytest.mark.parametrize("interleave", ["band", "pixel"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_block_is_read_once(tmp_path, reads, layout, interleave, rule):
    rasters = scene(tmp_path, layout, interleave)
    fuse(rasters, reads, rule, tile_batch=3)
    counts = reads.of(rasters["fine_t1"])
    assert len(counts) >= 2
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("rule", [EXACT, BLEND], ids=["exact", "blend"])
@pytest.mark.parametrize("layout", ["strips", "tiles of 256", "odd tiles"])
def test_an_area_reads_no_block_twice_and_none_of_other_rows(tmp_path, reads, layout, rule):
    rasters = scene(tmp_path, layout, holes=True)
    fuse(rasters, reads, rule, aoi=aoi(500, 700, 30, 300))
    counts = reads.of(rasters["fine_t1"])
    rows = LAYOUTS[layout]["blockysize"]
    assert set(counts.values()) == {0, 1}
    read = {y for (_, y, _), count in counts.items() if count}
    assert min(read) >= (500 - 2 * TILE) // rows
    assert max(read) <= (700 + 2 * TILE) // rows + 1


@pytest.mark.parametrize("rule", [EXACT, BLEND], ids=["exact", "blend"])
@pytest.mark.parametrize("layout", ["strips", "tiles of 256", "tiles of 512"])
def test_a_run_that_goes_on_reads_no_block_twice(tmp_path, reads, layout, rule, monkeypatch):
    monkeypatch.setattr("stf_infer.output._CHECKPOINT_EVERY", 0.0)
    rasters, out = scene(tmp_path, layout), tmp_path / "out.tif"
    with pytest.raises(EngineError, match="interrupted"):
        fuse(rasters, reads, rule, output=out, resume=True, stop_at=40)
    assert max(reads.of(rasters["fine_t1"]).values()) == 1
    result = fuse(rasters, reads, rule, output=out, resume=True)
    assert 0 < result.pixels < HEIGHT * WIDTH
    counts = reads.of(rasters["fine_t1"])
    assert set(counts.values()) == ({0, 1} if layout != "tiles of 512" else {1} | ({0} & set(counts.values())))


@pytest.mark.parametrize("rule", [EXACT, BLEND], ids=["exact", "blend"])
@pytest.mark.parametrize("layout", ["tiles of 256", "odd tiles"])
def test_only_blocks_under_the_edge_of_a_panel_are_read_twice(tmp_path, reads, layout, rule, monkeypatch):
    rasters, edge = scene(tmp_path, layout, holes=True), 220
    monkeypatch.setattr("stf_infer.model.panels_of", lambda _, area: cut(area, edge, edge))
    assert fuse(rasters, reads, rule, output=tmp_path / "out.tif").panels == 2
    counts, columns = reads.of(rasters["fine_t1"]), LAYOUTS[layout]["blockxsize"]
    assert set(counts.values()) <= {1, 2}
    twice = {x for (_, _, x), count in counts.items() if count == 2}
    assert twice
    assert min(twice) >= (edge - TILE) // columns
    assert max(twice) <= (edge + TILE) // columns


def test_blocks_are_counted_where_they_are_read_twice(tmp_path, reads):
    """The count itself: without whole blocks a seam is read twice."""
    rasters = scene(tmp_path, "tiles of 256")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stf_infer.layer.Layer.whole_blocks", lambda layer, stop: stop)
        fuse(rasters, reads, EXACT)
    assert max(reads.of(rasters["fine_t1"]).values()) > 1


@pytest.mark.parametrize("tallest", [1024, 500])
@pytest.mark.parametrize("layout", ["tiles of 256", "tall strips"])
def test_rows_are_held_up_to_the_end_of_a_block_and_no_further(tmp_path, reads, monkeypatch, layout, tallest):
    """A block of more rows than may be held is read in parts: memory comes first."""
    monkeypatch.setattr("stf_infer.layer._TALLEST_BLOCK", tallest)
    held, move = [], Strip.move_to
    monkeypatch.setattr(Strip, "move_to", lambda strip, *a: (move(strip, *a), held.append(len(strip.valid)))[0])
    fuse(scene(tmp_path, layout), reads, EXACT)
    rows = LAYOUTS[layout]["blockysize"]
    assert max(held) <= TILE + (rows - 1 if rows <= tallest else 0)
