# SPDX-License-Identifier: Apache-2.0
"""gather and gather_bilinear against NumPy, for every pixel type and every border."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stf_infer import _core
from stf_infer.sampling import interpolation, mirrored

PIXEL_TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]
BORDERS = ["reflect", "edge", "zero", "mirror"]
OPEN = (-np.inf, np.inf)


def pixels(dtype: Any, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Numbers over the range of a small type, so that every type holds them exactly."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.uniform(-100, 100, shape).astype(dtype)
    low = 0 if np.dtype(dtype).kind == "u" else -100
    return rng.integers(low, 120, shape).astype(dtype)


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def reflected(index: np.ndarray, length: int) -> np.ndarray:
    """Positions folded back by reflection at the centre of the outermost pixel."""
    phase = index % max(2 * (length - 1), 1)
    return np.where(phase < length, phase, 2 * (length - 1) - phase)


def expected_tile(
    grid: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
    limits: tuple[float, float],
    border: str,
    at: Any,
    size: Any,
) -> np.ndarray:
    """The tile by index arithmetic on the whole grid (C, H, W)."""
    _, height, width = grid.shape
    y, x = (np.arange(o, o + n) for o, n in zip(at, size, strict=True))
    inside = np.ix_((y >= 0) & (y < height), (x >= 0) & (x < width))
    if border == "reflect":
        rows, columns = reflected(y, height), reflected(x, width)
    elif border == "mirror":
        rows, columns = mirrored(y, height), mirrored(x, width)
    else:
        rows, columns = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    values = grid[:, rows][:, :, columns].astype(np.float32) * scale[:, None, None] + offset[:, None, None]
    values = np.clip(values, *limits).astype(np.float32)
    if border == "zero":
        kept = np.zeros_like(values)
        kept[(slice(None), *inside)] = values[(slice(None), *inside)]
        return kept
    return values


def gather(grid: np.ndarray, at: tuple[int, int], size: tuple[int, int], border: str = "reflect", **given: Any) -> Any:
    """A tile through the core, of a strip that holds the whole grid unless ``rows`` says otherwise."""
    channels = grid.shape[0]
    first, stop = given.get("rows", (0, grid.shape[1]))
    scale = given.get("scale", np.ones(channels, np.float32))
    offset = given.get("offset", np.zeros(channels, np.float32))
    tile = np.full((channels, *size), np.nan, np.float32)
    strip = np.ascontiguousarray(grid[:, first:stop])
    _core.gather(
        strip, first, grid.shape[1], scale, offset, *given.get("limits", OPEN), border, *at, tile, given.get("unit", 1)
    )
    return tile


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_every_type_and_border_agrees_with_numpy(dtype, border):
    grid = pixels(dtype, (2, 7, 9))
    scale, offset, limits = numbers(0.5, -0.25), numbers(1, 3), (-20.0, 25.0)
    for at, size in [((0, 0), (7, 9)), ((2, 3), (3, 4)), ((-3, -4), (14, 16)), ((5, 6), (6, 7)), ((-40, 33), (5, 6))]:
        got = gather(grid, at, size, border, scale=scale, offset=offset, limits=limits)
        np.testing.assert_allclose(got, expected_tile(grid, scale, offset, limits, border, at, size), rtol=1e-6)


@pytest.mark.parametrize(
    ("border", "row"),
    [
        ("reflect", [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]),
        ("edge", [0, 0, 0, 0, 1, 2, 3, 3, 3, 3]),
        ("zero", [0, 0, 0, 0, 1, 2, 3, 0, 0, 0]),
        ("mirror", [2, 1, 0, 0, 1, 2, 3, 3, 2, 1]),
    ],
)
def test_borders_are_what_their_letters_say(border, row):
    """a b c d = 0 1 2 3, three pixels past either end."""
    grid = np.arange(4, dtype=np.uint8).reshape(1, 1, 4)
    assert gather(grid, (0, -3), (1, 10), border)[0, 0].tolist() == row
    assert gather(grid.reshape(1, 4, 1), (-3, 0), (10, 1), border)[0, :, 0].tolist() == row


def test_numpy_pad_is_the_same_reflection():
    grid = pixels(np.int16, (1, 6, 5))
    padded = np.pad(grid, ((0, 0), (5, 5), (4, 4)), mode="reflect")
    np.testing.assert_array_equal(gather(grid, (-5, -4), (16, 13)), padded)


@pytest.mark.parametrize("unit", [1, 3, 4, 5])
def test_a_mirror_of_whole_coarse_pixels_is_where_the_coarse_grid_has_it(unit):
    """Fine pixel i and its coarse pixel i // unit stay together past the border."""
    length = 10
    grid = np.arange(length, dtype=np.uint8).reshape(1, 1, length)
    at = np.arange(-12, 24)
    fine = gather(grid, (0, -12), (1, 36), "mirror", unit=unit)[0, 0].astype(int)
    np.testing.assert_array_equal(fine, mirrored(at, length, unit))
    coarse = mirrored(at // unit, -(-length // unit))
    assert (fine // unit == coarse).all() or (length % unit and (abs(fine // unit - coarse) <= 1).all())
    assert sorted(set(fine)) == list(range(length))


@pytest.mark.parametrize("border", ["reflect", "edge", "mirror"])
def test_a_single_pixel_fills_every_tile(border):
    grid = np.array([[[7]]], np.uint16)
    assert (gather(grid, (-9, 4), (5, 6), border) == 7).all()


def test_a_zero_border_is_zero_in_network_values():
    """Offset and lower limit must not reach the border."""
    grid = np.full((1, 2, 2), 10, np.uint8)
    tile = gather(grid, (-1, -1), (4, 4), "zero", offset=numbers(5), limits=(3, 99))
    assert tile[0, 1:3, 1:3].tolist() == [[15, 15], [15, 15]]
    assert tile.sum() == 60


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    at=st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    border=st.sampled_from(BORDERS),
)
def test_a_strip_of_just_the_needed_rows_is_enough(shape, at, size, border):
    grid = pixels(np.float32, (2, *shape))
    if border == "reflect":
        needed = reflected(np.arange(at[0], at[0] + size[0]), shape[0])
    elif border == "mirror":
        needed = mirrored(np.arange(at[0], at[0] + size[0]), shape[0])
    else:
        needed = np.clip(np.arange(at[0], at[0] + size[0]), 0, shape[0] - 1)
    scale, offset = numbers(1, 2), numbers(0, 1)
    rows = (int(needed.min()), int(needed.max()) + 1)
    got = gather(grid, at, size, border, rows=rows, scale=scale, offset=offset)
    np.testing.assert_allclose(got, expected_tile(grid, scale, offset, OPEN, border, at, size), rtol=1e-6)


def test_limits_clip_after_scaling():
    grid = np.array([[[-100, 0, 5000, 20000]]], np.int16)
    tile = gather(grid, (0, 0), (1, 4), scale=numbers(1e-4), limits=(0, 1))
    np.testing.assert_allclose(tile[0, 0], [0, 0, 0.5, 1], rtol=1e-6)


def test_nan_stays_nan():
    grid = np.array([[[np.nan, 1.0]]], np.float32)
    tile = gather(grid, (0, 0), (1, 2), limits=(0, 1))
    assert np.isnan(tile[0, 0, 0])
    assert tile[0, 0, 1] == 1


# Bilinear ------------------------------------------------------------------------------------------------


def bilinear(grid: np.ndarray, ratio: int, rule: Any, window: tuple[int, int, int, int], strip: Any = None) -> Any:
    """Fine pixels of a window through the core; ``strip`` limits the coarse rows that it may see."""
    channels, height, width = grid.shape
    y0, y1, x0, x1 = window
    rows, row_weight = interpolation(y0, y1, height, ratio, rule)
    columns, column_weight = interpolation(x0, x1, width, ratio, rule)
    first, stop = strip or (0, height)
    tile = np.full((channels, y1 - y0, x1 - x0), np.nan, np.float32)
    one, none = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    held = np.ascontiguousarray(grid[:, first:stop])
    _core.gather_bilinear(
        held, first, height, one, none, *OPEN, rows, row_weight, columns, column_weight, tile
    )  # fmt: skip
    return tile


def expected_bilinear(grid: np.ndarray, ratio: int, rule: str) -> np.ndarray:
    """The whole grid, one axis after the other, by np.interp on explicit positions."""

    def positions(coarse: int) -> np.ndarray:
        fine = np.arange(coarse * ratio)
        if rule == "half-pixel":
            return (fine + 0.5) / ratio - 0.5
        return fine * (coarse - 1) / (coarse * ratio - 1) if coarse * ratio > 1 else np.zeros(1)

    rows, columns = positions(grid.shape[1]), positions(grid.shape[2])
    at = np.arange(grid.shape[1])
    tall = np.apply_along_axis(lambda v: np.interp(rows, at, v), 1, grid.astype(np.float64))
    at = np.arange(grid.shape[2])
    return np.apply_along_axis(lambda v: np.interp(columns, at, v), 2, tall)


@pytest.mark.parametrize("rule", ["align-corners", "half-pixel"])
@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_bilinear_agrees_with_interp(dtype, rule):
    grid = pixels(dtype, (2, 5, 4))
    got = bilinear(grid, 3, rule, (0, 15, 0, 12))
    np.testing.assert_allclose(got, expected_bilinear(grid, 3, rule), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 4), (1, 6), (6, 1), (1, 1), (2, 9)])
@pytest.mark.parametrize("ratio", [1, 2, 5, 16])
@pytest.mark.parametrize(("rule", "align"), [("align-corners", True), ("half-pixel", False)])
def test_bilinear_agrees_with_torch_on_the_whole_scene(shape, ratio, rule, align):
    torch = pytest.importorskip("torch")
    grid = pixels(np.float32, (3, *shape))
    height, width = shape[0] * ratio, shape[1] * ratio
    truth = torch.nn.functional.interpolate(
        torch.from_numpy(grid)[None], size=(height, width), mode="bilinear", align_corners=align
    )[0].numpy()
    np.testing.assert_allclose(bilinear(grid, ratio, rule, (0, height, 0, width)), truth, rtol=1e-5, atol=2e-4)


@settings(max_examples=100, deadline=None)
@given(
    coarse=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    ratio=st.integers(1, 7),
    rule=st.sampled_from(["align-corners", "half-pixel"]),
    data=st.data(),
)
def test_a_bilinear_tile_is_the_crop_of_the_whole_scene(coarse, ratio, rule, data):
    grid = pixels(np.float32, (1, *coarse))
    height, width = coarse[0] * ratio, coarse[1] * ratio
    y0 = data.draw(st.integers(0, height - 1))
    x0 = data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
    whole = bilinear(grid, ratio, rule, (0, height, 0, width))
    first, _ = interpolation(y0, y1, coarse[0], ratio, rule)
    held = (int(first.min()), int(min(first.max() + 2, coarse[0])))
    np.testing.assert_array_equal(bilinear(grid, ratio, rule, (y0, y1, x0, x1), held), whole[:, y0:y1, x0:x1])


def test_bilinear_normalises_before_it_mixes():
    """Clipping to [0, 1] first: half-way between 0 and a clipped 1 is 0.5, not what 0 and 9 would give."""
    grid = np.array([[[0, 9]]], np.float32)
    tile = np.empty((1, 1, 1), np.float32)
    at, half = np.zeros(1, np.int64), numbers(0.5)
    _core.gather_bilinear(grid, 0, 1, numbers(1), numbers(0), 0, 1, at, numbers(0), at, half, tile)
    assert tile.item() == 0.5


# What the boundary refuses -------------------------------------------------------------------------------


def arguments(**changed: Any) -> tuple[Any, ...]:
    """Good arguments of gather, some of them changed."""
    good: dict[str, Any] = {
        "strip": np.zeros((2, 4, 5), np.int16),
        "first_row": 0,
        "grid_rows": 4,
        "scale": numbers(1, 1),
        "offset": numbers(0, 0),
        "low": 0.0,
        "high": 1.0,
        "border": "reflect",
        "y": 0,
        "x": 0,
        "tile": np.zeros((2, 3, 3), np.float32),
    }
    return tuple({**good, **changed}.values())


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"strip": np.zeros((4, 5), np.int16)}, r"strip has shape \(4, 5\); 3 dimensions"),
        ({"strip": np.zeros((2, 0, 5), np.int16)}, r"strip has shape \(2, 0, 5\); no side may be 0"),
        ({"first_row": 1}, r"rows \[1, 5\) do not lie on a grid of 4 rows"),
        ({"first_row": -1}, r"rows \[-1, 3\)"),
        ({"scale": numbers(1, 1, 1)}, r"scale has shape \(3\); \(2,\) is wanted|scale has shape \(3,\)"),
        ({"offset": numbers(1)}, r"offset has shape"),
        ({"low": 2.0}, r"low 2 is not below high 1"),
        ({"low": np.nan}, r"low nan is not below high 1"),
        ({"border": "wrap"}, r"border is 'wrap'; reflect, edge, zero or mirror"),
        ({"unit": 0}, r"unit is 0; 1 or more"),
        ({"tile": np.zeros((3, 3, 3), np.float32)}, r"tile has 3 channels; the strip has 2"),
        ({"tile": np.zeros((2, 3, 0), np.float32)}, r"tile has shape \(2, 3, 0\); no side may be 0"),
        ({"tile": read_only(np.zeros((2, 3, 3), np.float32))}, r"tile is read-only"),
        ({"strip": np.zeros((2, 2, 5), np.int16)}, r"needs row 2 of the grid; the strip holds \[0, 2\)"),
    ],
)
def test_gather_names_what_it_was_given(changed, message):
    with pytest.raises(ValueError, match=message):
        _core.gather(*arguments(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"strip": np.zeros((2, 4, 5), np.int64)},
        {"strip": np.zeros((2, 4, 5), np.complex64)},
        {"strip": np.zeros((2, 4, 10), np.int16)[:, :, ::2]},
        {"strip": np.zeros((2, 4, 5), ">i2")},
        {"scale": np.ones(2)},
        {"tile": np.zeros((2, 3, 3))},
        {"tile": np.zeros((2, 3, 6), np.float32)[:, :, ::2]},
        {"strip": [[[1]]]},
        {"y": 0.5},
    ],
)
def test_gather_refuses_other_types_and_layouts(changed):
    with pytest.raises(TypeError):
        _core.gather(*arguments(**changed))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rows", np.zeros(4, np.int64), r"rows has shape \(4,?\); \(3,\) is wanted"),
        ("row_weight", np.zeros(2, np.float32), r"row_weight has shape"),
        ("columns", np.zeros(1, np.int64), r"columns has shape"),
        ("column_weight", np.zeros(5, np.float32), r"column_weight has shape"),
        ("rows", np.array([0, 3, 3], np.int64), r"needs row 3 of the grid; the strip holds \[0, 3\)"),
    ],
)
def test_gather_bilinear_names_what_it_was_given(name, value, message):
    given = {
        "rows": np.zeros(3, np.int64),
        "row_weight": np.zeros(3, np.float32),
        "columns": np.zeros(2, np.int64),
        "column_weight": np.zeros(2, np.float32),
        name: value,
    }
    tile = np.zeros((1, 3, 2), np.float32)
    with pytest.raises(ValueError, match=message):
        _core.gather_bilinear(
            np.zeros((1, 3, 4), np.uint8), 0, 5, numbers(1), numbers(0), 0, 1, *given.values(), tile
        )  # fmt: skip
