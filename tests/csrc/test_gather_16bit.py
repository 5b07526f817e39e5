# SPDX-License-Identifier: Apache-2.0
"""Tiles of float16 and bfloat16: the float32 tile as NumPy and ml_dtypes round it, bit by bit.

The float32 tile itself is proved in test_core_gather.py. ml_dtypes comes with onnx; the core does without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stf_infer import _core

PIXEL_TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]
BORDERS = ["reflect", "edge", "zero", "mirror"]
OPEN = (-np.inf, np.inf)
CALLS = ["gather", "gather_bilinear"]


@pytest.fixture(params=["float16", "bfloat16"])
def half(request: Any) -> np.dtype[Any]:
    """Each type of 16 bits."""
    if request.param == "bfloat16":
        pytest.importorskip("ml_dtypes")
    return np.dtype(request.param)


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def rounded(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(dtype)


def equal(got: np.ndarray, wanted: np.ndarray) -> None:
    """Equal in every bit: signs of zeros and NaN too."""
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got.view(np.uint16), wanted.view(np.uint16))


def filled(size: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A tile inside of a larger array, whose other numbers have to stay as they are."""
    held = np.full(int(np.prod(size)) + 64, -77, dtype)
    return held[32:-32].reshape(size)


def surroundings_are_kept(tile: np.ndarray) -> bool:
    held = tile.base
    assert held is not None
    return bool((held[:32] == -77).all() and (held[-32:] == -77).all())


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_every_pixel_type_and_border(half, dtype, border):
    """One channel goes beyond float16's range, one is subnormal in it, and widths are not those of vectors."""
    rng = np.random.default_rng(3)
    low = -100 if np.dtype(dtype).kind != "u" else 0
    grid = rng.integers(low, 120, (3, 7, 19)).astype(dtype)
    scale, offset = numbers(900.7, 3.3e-7, 0.01), numbers(11, 1e-8, -0.3)
    for limits in (OPEN, (-0.25, 70000.0)):
        for at, size in [
            ((0, 0), (7, 19)),
            ((-3, -4), (14, 33)),
            ((2, 3), (1, 1)),
            ((5, -9), (3, 8)),
            ((-40, 33), (2, 7)),
        ]:
            given = (grid, 0, 7, scale, offset, *limits, border, *at)
            wanted, tile = np.empty((3, *size), np.float32), filled((3, *size), half)
            _core.gather(*given, wanted)
            _core.gather(*given, tile)
            equal(tile, rounded(wanted, half))
            assert surroundings_are_kept(tile)
            if limits == OPEN and size == (14, 33) and half == np.float16:
                assert np.isinf(tile).any()


@pytest.mark.parametrize("dtype", PIXEL_TYPES)
@pytest.mark.parametrize("width", [1, 7, 8, 9, 37])
def test_bilinear_of_every_pixel_type(half, dtype, width):
    low = -100 if np.dtype(dtype).kind != "u" else 0
    grid = np.random.default_rng(4).integers(low, 120, (2, 5, 6)).astype(dtype)
    at_y, at_x = np.linspace(-1.5, 5.5, 11), np.linspace(-1.5, 6.5, width)
    places = [f(at) for at in (at_y, at_x) for f in (np.floor, lambda at: at - np.floor(at))]
    positions = [place.astype(t) for place, t in zip(places, (np.int64, np.float32) * 2, strict=True)]
    given = (grid, 0, 5, numbers(900.7, 3.3e-7), numbers(11, 1e-8), *OPEN, *positions)
    wanted, tile = np.empty((2, 11, width), np.float32), filled((2, 11, width), half)
    _core.gather_bilinear(*given, wanted)
    _core.gather_bilinear(*given, tile)
    equal(tile, rounded(wanted, half))
    assert surroundings_are_kept(tile)


def of_each(values: np.ndarray, dtype: Any) -> np.ndarray:
    """A row of numbers through the core, unchanged but for their type: the sum with -0 keeps every number."""
    tile = np.empty((1, 1, len(values)), dtype)
    _core.gather(values.reshape(1, 1, -1), 0, 1, numbers(1), numbers(-0.0), *OPEN, "edge", 0, 0, tile)
    return tile[0, 0]


def test_every_number_every_middle_and_what_is_beside_it(half):
    """All boundaries at which a float32 rounds to another number."""
    dropped = 13 if half == np.float16 else 16
    numbers_of = np.arange(2**16, dtype=np.uint16).view(half).astype(np.float32).view(np.uint32)
    bits = np.concatenate([numbers_of + np.uint32(d) for d in (0, 1, *((1 << dropped - 1) + np.arange(-1, 2)))])
    anything = np.random.default_rng(5).integers(0, 2**32, 200_000, np.uint32)
    values = np.concatenate([bits, anything]).view(np.float32)
    with np.errstate(invalid="ignore"):
        quiet = values * np.float32(1)  # NaN of the kind that raises becomes one that does not, as in any product
    if half == np.float16:  # middles of its subnormals are elsewhere in a float32
        steps = np.arange(0, 2**11 + 2, dtype=np.float32) * np.float32(2.0**-25)
        near = np.concatenate([steps, np.nextafter(steps, np.float32(1)), np.nextafter(steps, np.float32(-1))])
        values, quiet = np.concatenate([values, near, -near]), np.concatenate([quiet, near, -near])
    equal(of_each(values, half), rounded(quiet, half))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (65504, 65504), (65519.996, 65504), (65520, np.inf), (1e30, np.inf), (-65520, -np.inf), (np.inf, np.inf),
        (2**-24, 2**-24), (2**-25, 0), (2**-25 * 1.0001, 2**-24), (3 * 2**-25, 2**-23), (2**-149, 0),
        (1 + 2**-11, 1), (1 + 3 * 2**-11, 1 + 2**-9), (np.nan, np.nan),
    ],
)  # fmt: skip
def test_float16_rounds_to_nearest_and_ties_to_even(value, wanted):
    np.testing.assert_array_equal(of_each(numbers(value), np.float16).astype(float), [wanted])


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (65520, 65536), (3.3895313892515355e38, 3.3895313892515355e38),
        (3.4e38, np.inf), (np.inf, np.inf), (2**-133, 2**-133), (2**-134, 0), (3 * 2**-134, 2**-132),
        (1 + 2**-8, 1), (1 + 3 * 2**-8, 1 + 2**-6), (np.nan, np.nan),
    ],
)  # fmt: skip
def test_bfloat16_rounds_to_nearest_and_ties_to_even(value, wanted):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    np.testing.assert_array_equal(of_each(numbers(value), ml_dtypes.bfloat16).astype(float), [wanted])


def test_zero_keeps_its_sign(half):
    assert of_each(numbers(0.0, -0.0), half).view(np.uint16).tolist() == [0, 0x8000]


# What the boundary refuses -------------------------------------------------------------------------------


def call(name: str, tile: Any) -> None:
    """A call whose only mistake, if any, is its tile."""
    positions = [np.arange(3), numbers(0, 0, 0), np.arange(4), numbers(0, 0, 0, 0)]
    place = ("edge", 0, 0) if name == "gather" else positions
    getattr(_core, name)(np.ones((1, 3, 4), np.int16), 0, 3, numbers(1), numbers(0), 0, 1, *place, tile)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", ["float64", "complex64", "int16", "uint16", ">f4", ">f2", "V2", "float8_e5m2"])
def test_another_type_is_named_beside_those_that_are_wanted(name, dtype):
    if dtype.startswith("float8"):
        pytest.importorskip("ml_dtypes")
    tile = np.zeros((1, 3, 4), dtype)
    with pytest.raises(
        TypeError, match=r"^tile has dtype .*; float32, float16, or bfloat16 of ml_dtypes is wanted$"
    ) as met:
        call(name, tile)
    assert f"tile has dtype {tile.dtype};" in str(met.value)


@pytest.mark.parametrize("name", CALLS)
def test_bytes_of_bfloat16_in_the_other_order_are_refused(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with pytest.raises(TypeError, match="tile has dtype >V2;"):
        call(name, np.zeros((1, 3, 4), np.dtype(ml_dtypes.bfloat16).newbyteorder(">")))


@pytest.mark.parametrize("name", CALLS)
def test_a_tile_that_cannot_be_written_is_refused(name, half):
    call(name, np.zeros((1, 3, 4), half))
    closed = np.zeros((1, 3, 4), half)
    closed.flags.writeable = False
    with pytest.raises(ValueError, match=r"^tile is read-only$"):
        call(name, closed)
    odd = np.zeros(25, np.uint8)[1:].view(half).reshape(1, 3, 4)
    with pytest.raises(ValueError, match=r"^tile is not aligned: it lies at address "):
        call(name, odd)
    for other in (np.zeros((1, 3, 8), half)[:, :, ::2], np.zeros((1, 4, 3), half).transpose(0, 2, 1)):
        with pytest.raises(TypeError, match=r"^tile is not C-contiguous$"):
            call(name, other)
    with pytest.raises(ValueError, match=r"^tile has 2 channels; the strip has 1$"):
        call(name, np.zeros((2, 3, 4), half))
    with pytest.raises(ValueError, match=r"^tile has shape \(1, 0, 4\); no side may be 0$"):
        call(name, np.zeros((1, 0, 4), half))
    with pytest.raises(ValueError, match=r"^tile has shape \(3, 4\); 3 dimensions are wanted$"):
        call(name, np.zeros((3, 4), half))
