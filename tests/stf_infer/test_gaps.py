# SPDX-License-Identifier: Apache-2.0
"""Gaps that reach over the edge of what is read are filled as those of the whole row are."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import UTM, grid_transform
from stf_infer import gaps
from stf_infer.layer import Layer
from stf_infer.placement import Grid
from stf_infer.raster import Raster
from stf_infer.spec import RasterSpec
from stf_infer.strip import Strip

TYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")


def layer_of(pixels: np.ndarray, stack: ExitStack) -> Layer:
    """A layer on the grid of its own raster; 0 is nodata."""
    raster = Raster(pixels, transform=grid_transform(), crs=UTM, nodata=0, scale=1.0)
    with raster.open() as dataset:
        grid = Grid.of(dataset)
    spec = RasterSpec(role="fine_t1", bands=tuple(f"b{number}" for number in range(len(pixels))))
    return Layer(raster, spec, grid, 1, stack)


def rows_with_gaps(height: int, width: int, runs: list[tuple[int, int, int]], dtype: str = "int16") -> np.ndarray:
    """Two bands of numbers above 0, and 0 in some runs (row, first, length)."""
    pixels = np.random.default_rng(0).integers(1, 200, (2, height, width)).astype(dtype)
    for row, first, length in runs:
        pixels[:, row % height, first % width : first % width + length] = 0
    return pixels


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    height, width = draw(st.integers(1, 12)), draw(st.integers(2, 60))
    run = st.tuples(st.integers(0, 11), st.integers(0, 59), st.integers(1, 60))
    left = draw(st.integers(0, width - 1))
    return {
        "pixels": rows_with_gaps(height, width, draw(st.lists(run, max_size=8)), draw(st.sampled_from(TYPES))),
        "columns": (left, draw(st.integers(left + 1, width))),
        "step": draw(st.integers(1, 20)),
        "rows": draw(st.integers(1, 5)),
    }


@given(case=cases())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_range_of_columns_is_filled_as_the_whole_row_is(monkeypatch, case):
    monkeypatch.setattr(gaps, "_STEP", case["step"])
    monkeypatch.setattr(gaps, "_ROWS", case["rows"])
    with ExitStack() as stack:
        layer = layer_of(case["pixels"], stack)
        whole, part = Strip(layer), Strip(layer, case["columns"])
        for strip in (whole, part):
            strip.move_to(0, case["pixels"].shape[1])
        here = slice(*case["columns"])
        assert part.pixels.tobytes() == np.ascontiguousarray(whole.pixels[:, :, here]).tobytes()
        np.testing.assert_array_equal(part.valid, whole.valid[:, here])


def test_a_gap_is_a_line_between_what_lies_beyond_both_edges():
    pixels = np.zeros((1, 1, 40), np.float32)
    pixels[0, 0, [5, 35]] = 10, 40
    with ExitStack() as stack:
        strip = Strip(layer_of(pixels, stack), (10, 20))
        strip.move_to(0, 1)
    np.testing.assert_allclose(strip.pixels[0, 0], np.arange(15, 25))
    assert not strip.valid.any()


@pytest.mark.parametrize(
    ("valid_at", "columns", "looked_at"),
    [
        ((), (10, 20), [(5, 10), (0, 5), (20, 25), (25, 30), (30, 35), (35, 40)]),  # to both ends of the row
        ((7, 12, 19, 23), (10, 20), [(5, 10)]),  # only where the range begins or ends with a gap, and no further
        ((3, 10, 22), (10, 20), [(20, 25)]),
        ((10, 19), (10, 20), []),
        ((12,), (0, 40), []),  # the range ends where the row does
    ],
)
def test_no_more_is_read_than_up_to_the_next_valid_pixel(monkeypatch, valid_at, columns, looked_at):
    monkeypatch.setattr(gaps, "_STEP", 5)
    pixels = np.zeros((1, 3, 40), np.int16)
    pixels[:, 0::2] = 1  # rows without gaps are not looked at
    pixels[0, 1, list(valid_at)] = 7
    read, seen = Layer.read, []
    monkeypatch.setattr(Layer, "read", lambda layer, *where: (seen.append(where), read(layer, *where))[1])
    with ExitStack() as stack:
        Strip(layer_of(pixels, stack), columns).move_to(0, 3)
    assert seen == [(1, 2, columns) for columns in looked_at]
