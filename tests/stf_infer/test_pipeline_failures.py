# SPDX-License-Identifier: Apache-2.0
"""The stream: progress is told, and a failure stops every stage."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from fakes import (
    add_coarse_change,
    make_model,
    make_spec,
)
from pipeline_support import aoi, fuse, inputs, only_fine
from stf_infer.errors import EngineError, RasterError, UsageError
from stf_infer.layer import Layer
from stf_infer.output import ArrayWriter


@pytest.mark.parametrize("area", [None, aoi(5, 50, 9, 30)])
@pytest.mark.parametrize("rule", [{"halo": 2}, {"mode": "blend", "overlap": 8}])
def test_progress_grows_to_the_total(area, rule):
    steps: list[tuple[int, int]] = []
    result = fuse(
        only_fine(lambda x: x),
        inputs(61, 83),
        16,
        aoi=area,
        progress=lambda done, total: steps.append((done, total)),
        **rule,
    )
    done = [d for d, _ in steps]
    assert done == sorted(done)
    assert {t for _, t in steps} == {result.pixels}
    assert done[-1] == result.pixels
    assert len(set(done)) > 2


def test_time_in_the_engine_is_part_of_the_time():
    def slow(fine_t1: np.ndarray, **_: Any) -> np.ndarray:
        time.sleep(0.01)
        return fine_t1

    result = fuse(slow, inputs(32, 32), 16, coarse_grid="fine")
    assert 0.04 <= result.engine_seconds <= result.seconds
    assert result.mpx_per_second == pytest.approx(32 * 32 / 1e6 / result.seconds)
    shown = result.as_dict()
    assert "array" not in shown
    assert (shown["tiles"], shown["path"]) == (4, None)


def stage_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name in ("stf-reader", "stf-writer")]


@pytest.mark.parametrize("error", [EngineError("the engine has failed"), RuntimeError("odd"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [0, 3])
def test_an_error_in_the_engine_stops_the_others(error, at):
    calls = []

    def fail(fine_t1: np.ndarray, **_: Any) -> np.ndarray:
        calls.append(1)
        if len(calls) > at:
            raise error
        return fine_t1

    with pytest.raises(type(error)):
        fuse(fail, inputs(200, 200), 16)
    assert len(calls) == at + 1
    assert stage_threads() == []


def test_an_error_while_reading_stops_the_others(monkeypatch):
    read = Layer.read_into

    def damaged(self: Layer, first: int, left: int, pixels: np.ndarray, valid: np.ndarray) -> None:
        if first > 60:
            raise RasterError("fine_t1 is damaged")
        read(self, first, left, pixels, valid)

    monkeypatch.setattr(Layer, "read_into", damaged)
    with pytest.raises(RasterError, match="damaged"):
        fuse(only_fine(lambda x: x), inputs(400, 200), 16)
    assert stage_threads() == []


def test_an_error_while_writing_stops_the_others(monkeypatch):
    def full(self: ArrayWriter, rows: np.ndarray, first: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(ArrayWriter, "write", full)
    calls = []
    with pytest.raises(OSError, match="no space"):
        fuse(lambda fine_t1, **_: calls.append(1) or fine_t1, inputs(400, 400), 16)
    assert len(calls) < 25 * 25
    assert stage_threads() == []


def test_an_error_in_progress_surfaces():
    def refuse(done: int, total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fuse(only_fine(lambda x: x), inputs(61, 83), 16, progress=refuse)


def test_ctrl_c_after_the_last_tile_stops_the_writer(monkeypatch):
    """The interrupt reaches the caller's thread while it waits for the others."""
    join, interrupted = threading.Thread.join, []

    def interrupt_once(self: threading.Thread, timeout: float | None = None) -> None:
        if self.name == "stf-reader" and not interrupted:
            interrupted.append(self)
            raise KeyboardInterrupt
        join(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        fuse(only_fine(lambda x: x), inputs(61, 83), 16)
    assert interrupted
    assert stage_threads() == []


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda x: x[:, :1], r"output fine_t2 is not what the contract says. Got: \(1, 1, 16, 16\)"),
        (lambda x: x[:, :, :8], r"Got: \(1, 2, 8, 16\). Allowed: \(1, 2, 16, 16\)"),
        (lambda x: x[0], r"Got: \(2, 16, 16\)"),
    ],
)
def test_an_engine_that_gives_another_shape_is_named(give, message):
    with pytest.raises(EngineError, match=message):
        fuse(only_fine(give), inputs(40, 40), 16)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_holds_a_tile(batch):
    model = make_model(make_spec(16), add_coarse_change)
    with pytest.raises(UsageError, match=f"tile batch.*Got: {batch}. Allowed: 1 or more"):
        model.fuse(tile_batch=batch, **inputs(40, 40))
    with pytest.raises(UsageError, match="tile batch"):
        model.estimate(tile_batch=batch, **inputs(40, 40))
