# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import json
import threading

import numpy as np
import pytest

from fakes import make_model, make_spec
from pipeline_support import inputs
from stf_infer.errors import OutputError
from stf_infer.open_rows import OpenRows
from stf_infer.profile import _MOST_SPANS as MOST_SPANS
from stf_infer.profile import Profile

WORK = {
    ("reader", "read"),
    ("reader", "gather"),
    ("engine", "infer"),
    ("writer", "blend"),
    ("writer", "finalise"),
    ("writer", "write"),
}


def model(tile=32, **rule):
    return make_model(make_spec(tile, coarse_grid="fine", **rule), lambda fine_t1, **_: fine_t1 * 1)


def test_every_stage_is_told_with_its_bytes():
    given = inputs(96, 96)
    result = model().fuse(profile=True, tile_batch=2, **given)
    told = {(stage.thread, stage.name): stage for stage in result.profile if not stage.waiting}
    assert set(told) == WORK
    tile_bytes = 2 * 32 * 32 * 4
    assert told["reader", "gather"].calls == 9
    assert told["reader", "gather"].bytes == 9 * 3 * tile_bytes
    assert told["engine", "infer"].calls == 5
    assert told["writer", "write"].bytes == result.array.nbytes
    # The fine raster once; the coarse ones are stretched where they are read.
    assert told["reader", "read"].bytes >= given["fine_t1"].data.nbytes
    assert all(stage.seconds >= 0 for stage in result.profile)


def test_a_thread_does_one_thing_at_a_time(tmp_path):
    path = tmp_path / "trace.json"
    result = model().fuse(profile=path, **inputs(100, 70))
    trace = json.loads(path.read_text())
    assert trace["otherData"]["pixels"] == result.pixels
    assert trace["otherData"]["network"] == "fake"
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    names = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
    assert names == {0: "reader", 1: "engine", 2: "writer"}
    assert {event["cat"] for event in spans} == {"work", "waiting"}
    assert min(event["ts"] for event in spans) == 0
    for lane in names:
        mine = sorted((event for event in spans if event["tid"] == lane), key=lambda event: event["ts"])
        assert mine
        for one, other in itertools.pairwise(mine):
            assert one["ts"] + one["dur"] <= other["ts"] + 1e-3
    table = {}
    for event in spans:
        table[event["name"]] = table.get(event["name"], 0) + event["dur"] / 1e6
    busy = {stage.name: 0.0 for stage in result.profile}
    for stage in result.profile:
        busy[stage.name] += stage.seconds
    assert table == pytest.approx(busy)
    assert [p.name for p in tmp_path.iterdir()] == ["trace.json"]


def test_nothing_is_told_that_nobody_asked_for():
    assert model().fuse(**inputs(40, 40)).profile == ()
    assert "profile" not in model().fuse(**inputs(40, 40)).as_dict()
    assert model().fuse(profile=True, **inputs(40, 40)).as_dict()["profile"][0]["thread"] == "reader"


def test_a_trace_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    ran = []
    network = make_model(make_spec(32, coarse_grid="fine"), lambda fine_t1, **_: ran.append(1) or fine_t1)
    with pytest.raises(OutputError, match="trace"):
        network.fuse(profile=tmp_path / "nowhere" / "trace.json", **inputs(40, 40))
    assert ran == []


def test_spans_are_not_kept_without_end():
    profile = Profile()
    for number in range(MOST_SPANS + 5):
        profile.note("infer", False, number, number + 1, 2)
    (stage,) = profile.stages
    assert (stage.calls, stage.bytes, stage.thread) == (MOST_SPANS + 5, 2 * (MOST_SPANS + 5), "engine")
    assert sum(event["ph"] == "X" for event in profile._events()) == MOST_SPANS


def test_threads_can_tell_at_once():
    profile = Profile()

    def tell():
        for _ in range(500):
            with profile.at_work("read") as span:
                span.bytes = 1

    threads = [threading.Thread(target=tell, name=name) for name in ("stf-reader", "stf-writer", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {stage.thread: (stage.calls, stage.bytes) for stage in profile.stages} == dict.fromkeys(
        ("reader", "engine", "writer"), (500, 500)
    )


# Batches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 4, 7, 50])
@pytest.mark.parametrize("mode", ["exact", "blend"])
def test_every_batch_but_the_last_is_full(batch, mode):
    """Three columns of tiles, and more: a batch goes on with the next row of tiles."""
    given = inputs(130, 90)
    rule = {"mode": mode, "overlap": 8} if mode == "blend" else {}
    fused = model(**rule)
    result = fused.fuse(tile_batch=batch, **given)
    sizes = fused.engine.batch_sizes
    assert sum(sizes) == result.tiles
    assert all(size == batch for size in sizes[:-1])
    np.testing.assert_allclose(result.array, given["fine_t1"].data, atol=1e-6)


def test_rows_without_a_valid_pixel_are_not_held(monkeypatch):
    """A batch that waits for tiles must not make the rows wait that none of its tiles touch."""
    held = []
    extend = OpenRows.extend
    monkeypatch.setattr(OpenRows, "extend", lambda rows, *a: (extend(rows, *a), held.append(len(rows._valid)))[0])
    given = inputs(640, 64)
    given["fine_t1"].data[:, 64:] = np.nan
    model().fuse(tile_batch=4, **given)
    assert max(held) <= 64


def test_a_batch_that_waits_keeps_its_rows_open():
    """Twenty rows of one tile, in batches of seven; every row ends up where it belongs."""
    given = inputs(640, 30)
    result = model().fuse(tile_batch=7, **given)
    np.testing.assert_allclose(result.array, given["fine_t1"].data, atol=1e-6)


def test_a_batch_that_waits_for_tiles_does_not_wait_for_ever(monkeypatch):
    """Two valid pixels, twenty rows of tiles apart: the first one's rows are not held until the second one comes."""
    held = []
    extend = OpenRows.extend
    monkeypatch.setattr(OpenRows, "extend", lambda rows, *a: (extend(rows, *a), held.append(len(rows._valid)))[0])
    given = inputs(1280, 64)
    fine = given["fine_t1"].data
    kept = fine[:, ::640, 5].copy()
    fine[:] = np.nan
    fine[:, ::640, 5] = kept
    fused = model()
    result = fused.fuse(tile_batch=4, **given)
    np.testing.assert_array_equal(result.array, fine)
    assert fused.engine.batch_sizes == [1, 1]
    assert max(held) <= 3 * 32


def test_a_caller_may_collect_in_a_profile_of_its_own():
    profile = Profile()
    result = model().fuse(profile=profile, **inputs(96, 96))
    assert result.profile == profile.stages
    stretches = profile.stretches
    assert min(one.start for one in stretches) == 0
    assert all(one.start <= one.end for one in stretches)
    for stage in profile.stages:
        mine = [one for one in stretches if (one.thread, one.name) == (stage.thread, stage.name)]
        assert len(mine) == stage.calls
        assert sum(one.end - one.start for one in mine) == pytest.approx(stage.seconds)
        assert sum(one.bytes for one in mine) == stage.bytes


def test_nothing_measured_has_no_stretches():
    assert Profile(wanted=False).stretches == ()
