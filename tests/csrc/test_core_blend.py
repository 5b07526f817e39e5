# SPDX-License-Identifier: Apache-2.0
"""blend and finalise against NumPy, and the GIL that they do not hold."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stf_infer import _core

STORED_TYPES = [np.uint8, np.uint16, np.int16, np.float32]
OPEN = (-np.inf, np.inf)


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@settings(max_examples=150, deadline=None)
@given(
    tile=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    rows=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    at=st.tuples(st.integers(-10, 12), st.integers(-10, 12)),
    first=st.integers(0, 5),
    seed=st.integers(0, 999),
)
def test_blend_agrees_with_numpy(tile, rows, at, first, seed):
    """Tiles may hang over every side of the rows that are held."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, (2, *tile)).astype(np.float32)
    along_y, along_x = (rng.choice([0, 0.25, 1], n).astype(np.float32) for n in tile)
    sums = rng.uniform(-1, 1, (2, *rows)).astype(np.float32)
    expected = sums.copy()
    for i in range(tile[0]):
        for j in range(tile[1]):
            y, x = at[0] + i - first, at[1] + j
            if 0 <= y < rows[0] and 0 <= x < rows[1]:
                expected[:, y, x] += along_y[i] * along_x[j] * values[:, i, j]
    _core.blend(values, *at, along_y, along_x, sums, first)
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-6)


def test_pixels_of_weight_zero_are_not_read():
    """The rim of a core may hold anything, NaN too."""
    tile = np.full((1, 4, 4), np.nan, np.float32)
    tile[:, 1:3, 1:3] = 5
    sums = np.zeros((1, 4, 4), np.float32)
    _core.blend(tile, 0, 0, numbers(0, 1, 1, 0), numbers(0, 1, 1, 0), sums, 0)
    expected = np.zeros((1, 4, 4), np.float32)
    expected[:, 1:3, 1:3] = 5
    np.testing.assert_array_equal(sums, expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tile": np.zeros((3, 3), np.float32)}, r"tile has shape \(3, 3\)"),
        ({"tile": np.zeros((2, 3, 3), np.float32)}, r"tile has 2 channels; sums has 1"),
        ({"row_weight": numbers(1)}, r"row_weight has shape \(1,?\); \(3,\) is wanted"),
        ({"column_weight": numbers(1, 1, 1, 1)}, r"column_weight has shape"),
        ({"sums": np.zeros((1, 0, 5), np.float32)}, r"sums has shape \(1, 0, 5\); no side may be 0"),
    ],
)
def test_blend_names_what_it_was_given(changed, message):
    good: dict[str, Any] = {
        "tile": np.zeros((1, 3, 3), np.float32),
        "y": 0,
        "x": 0,
        "row_weight": numbers(1, 1, 1),
        "column_weight": numbers(1, 1, 1),
        "sums": np.zeros((1, 4, 5), np.float32),
        "first_row": 0,
    }
    with pytest.raises(ValueError, match=message):
        _core.blend(*{**good, **changed}.values())


def test_blend_refuses_read_only_sums_and_other_types():
    tile, ones = np.zeros((1, 2, 2), np.float32), numbers(1, 1)
    sums = np.zeros((1, 2, 2), np.float32)
    sums.flags.writeable = False
    with pytest.raises(ValueError, match="sums is read-only"):
        _core.blend(tile, 0, 0, ones, ones, sums, 0)
    with pytest.raises(TypeError):
        _core.blend(tile, 0, 0, ones, ones, np.zeros((1, 2, 2)), 0)
    with pytest.raises(TypeError):
        _core.blend(tile.transpose(0, 2, 1)[:, ::-1], 0, 0, ones, ones, np.zeros((1, 2, 2), np.float32), 0)


# Finalise ------------------------------------------------------------------------------------------------


def finalise(sums: Any, dtype: Any, nodata: float, *, valid: Any = None, **given: Any) -> tuple[np.ndarray, int]:
    """Stored numbers and the count of values that were not finite."""
    sums = np.atleast_3d(np.array(sums, np.float32)).reshape(-1, *np.shape(sums)[-2:])
    channels = sums.shape[0]
    stored = np.zeros(sums.shape, dtype)
    scale = np.full(channels, given.get("scale", 1), np.float32)
    offset = np.full(channels, given.get("offset", 0), np.float32)
    mask = None if valid is None else np.array(valid, np.uint8)
    return stored, _core.finalise(sums, mask, scale, offset, *given.get("limits", OPEN), nodata, stored)


@pytest.mark.parametrize("dtype", STORED_TYPES)
def test_scale_offset_and_limits(dtype):
    stored, _ = finalise([[-1, 0, 0.5, 2]], dtype, 99, scale=10, offset=3, limits=(4, 20))
    assert stored[0, 0].tolist() == [4, 4, 8, 20]


def test_integers_are_rounded_to_even_and_floats_are_not():
    sums = [[0.5, 1.5, 2.5, -0.5, 2.4, 2.6]]
    assert finalise(sums, np.int16, -1)[0][0, 0].tolist() == [0, 2, 2, 0, 2, 3]
    np.testing.assert_array_equal(finalise(sums, np.float32, np.nan)[0][0], numbers(*sums[0])[None])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_every_integer_and_every_half_between_two(dtype):
    limits = np.iinfo(dtype)
    halves = np.arange(2 * limits.min - 5, 2 * limits.max + 6, dtype=np.float32) / 2
    near = [np.nextafter(halves, np.float32(side)) for side in (-1e9, 1e9)]
    for sums in (halves, *near):
        stored, _ = finalise(sums[None, None], dtype, 7)
        wanted = np.clip(np.rint(sums.astype(np.float64)), limits.min, limits.max)
        np.testing.assert_array_equal(stored[0, 0], np.where(wanted == 7, 8, wanted).astype(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("limits", [(-1e9, 1e9), (-np.inf, np.inf), (np.nan, np.nan), (1e9, 2e9), (-2e9, -1e9)])
def test_limits_beyond_the_range_of_a_type(dtype, limits):
    """They limit to what the type holds; a limit that is no number limits nothing."""
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    stored, _ = finalise([[-np.float32(3e38), 5, 3e38]], dtype, 7, limits=limits)
    wanted = [most] * 3 if limits[0] == 1e9 else [least] * 3 if limits[1] == -1e9 else [least, 5, most]
    assert stored[0, 0].tolist() == wanted


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_integers_saturate(dtype):
    limits = np.iinfo(dtype)
    stored, bad = finalise([[-1e9, 1e9]], dtype, 7)
    assert stored[0, 0].tolist() == [limits.min, limits.max]
    assert bad == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("at", ["min", "max", "middle"])
def test_a_value_never_becomes_nodata_by_accident(dtype, at):
    limits = np.iinfo(dtype)
    nodata = {"min": limits.min, "max": limits.max, "middle": 100}[at]
    stored, _ = finalise([[nodata, 1e9, -1e9]], dtype, nodata, valid=[[1, 1, 1]])
    assert (stored != nodata).all()
    assert abs(int(stored[0, 0, 0]) - nodata) == 1


@pytest.mark.parametrize(
    ("dtype", "nodata"), [(np.uint8, 255), (np.uint16, 0), (np.int16, -9999), (np.float32, np.nan)]
)
def test_invalid_and_not_finite_become_nodata(dtype, nodata):
    sums = [[[1, np.nan, 3, np.inf, -np.inf, np.nan]], [[1, 2, 3, 4, 5, 6]]]
    stored, bad = finalise(sums, dtype, nodata, valid=[[1, 1, 0, 1, 1, 0]])
    np.testing.assert_array_equal(stored[0, 0], np.array([1, *[nodata] * 5], dtype))
    np.testing.assert_array_equal(stored[1, 0], np.array([1, 2, nodata, 4, 5, nodata], dtype))
    assert bad == 3  # the NaN under the invalid pixel is no news


def test_channels_have_their_own_scale():
    stored = np.zeros((2, 1, 2), np.int16)
    sums = np.ones((2, 1, 2), np.float32)
    _core.finalise(sums, None, numbers(10, 100), numbers(1, 2), *OPEN, -1, stored)
    assert stored.tolist() == [[[11, 11]], [[102, 102]]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stored": np.zeros((1, 2, 4), np.int16)}, r"stored has shape \(1, 2, 4\); sums has \(1, 2, 3\)"),
        ({"valid": np.zeros((3, 2), np.uint8)}, r"valid has shape \(3, 2\); sums has"),
        ({"valid": np.zeros((2, 3), bool)}, r"valid must be a C-contiguous uint8 array"),
        ({"valid": np.zeros((2, 6), np.uint8)[:, ::2]}, r"valid must be a C-contiguous uint8 array"),
        ({"scale": numbers(1, 1)}, r"scale has shape \(2,?\)"),
        ({"offset": numbers(1, 1)}, r"offset has shape"),
        ({"sums": np.zeros((2, 3), np.float32)}, r"sums has shape \(2, 3\)"),
    ],
)
def test_finalise_names_what_it_was_given(changed, message):
    good: dict[str, Any] = {
        "sums": np.zeros((1, 2, 3), np.float32),
        "valid": np.ones((2, 3), np.uint8),
        "scale": numbers(1),
        "offset": numbers(0),
        "low": -1.0,
        "high": 1.0,
        "nodata": -1,
        "stored": np.zeros((1, 2, 3), np.int16),
    }
    with pytest.raises(ValueError, match=message):
        _core.finalise(*{**good, **changed}.values())


@pytest.mark.parametrize(("dtype", "nodata"), [(np.int16, -40000), (np.uint8, -1), (np.int16, 0.5), (np.int32, 0)])
def test_finalise_refuses_a_nodata_value_or_a_type_it_cannot_store(dtype, nodata):
    with pytest.raises(TypeError):
        finalise([[1.0]], dtype, nodata)


# The GIL -------------------------------------------------------------------------------------------------


def _big_calls() -> dict[str, Any]:
    """Each operation on arrays that keep it busy for a while."""
    strip = np.zeros((6, 700, 1500), np.float32)
    tile = np.zeros_like(strip)
    mask = np.zeros((700, 1500), np.uint8)
    ones, rows, columns = np.ones(6, np.float32), np.ones(700, np.float32), np.ones(1500, np.float32)
    at_y, at_x = np.arange(700) * 0, np.arange(1500) * 0
    return {
        "gather": lambda: _core.gather(strip, 0, 700, ones, ones, *OPEN, "reflect", 0, 0, tile),
        "gather_bilinear": lambda: _core.gather_bilinear(
            strip, 0, 700, ones, ones, *OPEN, at_y, rows, at_x, columns, tile
        ),
        "fill_invalid": lambda: _core.fill_invalid(strip, mask, np.zeros(6)),
        "blend": lambda: _core.blend(tile, 0, 0, rows, columns, strip, 0),
        "finalise": lambda: _core.finalise(strip, mask, ones, ones, *OPEN, np.nan, tile),
    }


def _ticks_in_the_middle(calls: list[tuple[float, float]], ticks: list[float]) -> int:
    """Moments at which this thread ran while the other one was well inside of a call."""
    return sum(a + 0.3 * (b - a) < t < b - 0.3 * (b - a) for a, b in calls for t in ticks)


@pytest.mark.parametrize("name", ["gather", "gather_bilinear", "fill_invalid", "blend", "finalise"])
def test_other_threads_run_meanwhile(name):
    """While one thread is inside of the core all the time, this thread gets on with Python."""
    call, stop, calls = _big_calls()[name], threading.Event(), []

    def work() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            call()
            calls.append((began, time.perf_counter()))

    thread = threading.Thread(target=work)
    thread.start()
    ticks: list[float] = []
    deadline = time.perf_counter() + 10
    while time.perf_counter() < deadline and not _ticks_in_the_middle(calls[-3:], ticks[-300:]):
        ticks.append(time.perf_counter())
        time.sleep(0.0005)
    stop.set()
    thread.join()
    assert _ticks_in_the_middle(calls[-4:], ticks[-400:])  # none, if a call held the lock from end to end
