# SPDX-License-Identifier: Apache-2.0
"""Kernels for a device, run on the host block by block: every bit is that of the CPU's operation.

The CPU's operations are proved against NumPy in the other files of this folder. Nothing here has run on a GPU.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from cuda_emulation import ByDlpack, OnDevice
from stf_infer import _core
from stf_infer.sampling import interpolation

PIXEL_TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]
STORED_TYPES = [np.uint8, np.uint16, np.int16, np.float32]
BORDERS = ["reflect", "edge", "zero", "mirror"]
# Around a block of 32 x 8 and a warp: one pixel, one short, one more, several blocks with an odd rest.
SIZES = [(1, 1), (1, 31), (1, 32), (2, 33), (7, 5), (8, 32), (9, 64), (17, 70)]


@pytest.fixture
def cuda(emulated_cuda):
    return emulated_cuda


def both(cuda: Any, name: str, arguments: list[Any], written: int, **more: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the CPU and the device write into argument number ``written``."""
    outputs = []
    for module in (_core, cuda):
        given = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        on_device = [OnDevice(a) if isinstance(a, np.ndarray) else a for a in given]
        getattr(module, name)(*(given if module is _core else on_device), **more)
        outputs.append(given[written])
    return outputs[0], outputs[1]


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def pixels(dtype: Any, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.uniform(-100, 100, shape).astype(dtype)
    return rng.integers(0 if np.dtype(dtype).kind == "u" else -100, 120, shape).astype(dtype)


def blank(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.full(shape, -77, dtype)


@pytest.fixture(params=["float32", "float16", "bfloat16"])
def tile_type(request):
    """Each type that the numbers of a tile may have."""
    if request.param == "bfloat16":
        pytest.importorskip("ml_dtypes")
    return np.dtype(request.param)


# Gather --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gather(cuda, border, size):
    strip = pixels(np.int16, (2, 11, 13))
    for at in ((0, 0), (-3, -40), (6, 9), (-20, 5)):
        arguments = [strip, 0, 11, numbers(0.3, -0.7), numbers(0.1, 5), -9.0, 20.0, border, *at, blank(2, *size), 3]
        cpu, device = both(cuda, "gather", arguments, 10)
        assert device.tobytes() == cpu.tobytes()


@pytest.mark.parametrize("dtype", PIXEL_TYPES)
@pytest.mark.parametrize("border", BORDERS)
def test_gather_of_every_type(cuda, dtype, border, tile_type):
    """A channel goes beyond the range of float16, and another is subnormal in it."""
    strip, scale, offset = pixels(dtype, (3, 6, 9)), numbers(0.3, 900, 3e-7), numbers(-1, 0, 1e-8)
    tile = blank(3, 5, 40, dtype=tile_type)
    for limits in ((-50.0, 90.0), (-np.inf, np.inf)):
        arguments = [strip, 0, 6, scale, offset, *limits, border, 3, -4, tile, 1]
        cpu, device = both(cuda, "gather", arguments, 10)
        assert device.tobytes() == cpu.tobytes()


@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_bilinear_of_every_type(cuda, dtype, tile_type):
    strip, scale, offset = pixels(dtype, (3, 6, 9)), numbers(0.3, 900, 3e-7), numbers(-1, 0, 1e-8)
    tile = blank(3, 19, 37, dtype=tile_type)
    for limits in ((-50.0, 90.0), (-np.inf, np.inf)):
        arguments = [strip, 0, 6, scale, offset, *limits, *positions(19, 6), *positions(37, 9), tile]
        cpu, device = both(cuda, "gather_bilinear", arguments, 11)
        assert device.tobytes() == cpu.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65519.996, 65520, 2**-25, 3 * 2**-25, 2**-149, 3.4e38])
def test_numbers_that_round_in_a_way_of_their_own(cuda, value, tile_type):
    strip, tile = np.full((1, 1, 3), value, np.float32), blank(1, 1, 3, dtype=tile_type)
    cpu, device = both(cuda, "gather", [strip, 0, 1, numbers(1), numbers(0), -np.inf, np.inf, "edge", 0, 0, tile], 10)
    assert device.tobytes() == cpu.tobytes()


def positions(size: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Between pixels all over the axis, and beyond both of its ends."""
    at = np.linspace(-1.5, length + 0.5, size)
    first = np.floor(at).astype(np.int64)
    return first, (at - first).astype(np.float32)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bilinear_of_every_size(cuda, size):
    strip = pixels(np.uint16, (3, 4, 5))
    given = [strip, 0, 4, numbers(1, 2, 3), numbers(0, 0, 1), -1e9, 1e9]
    arguments = [*given, *positions(size[0], 4), *positions(size[1], 5), blank(3, *size)]
    cpu, device = both(cuda, "gather_bilinear", arguments, 11)
    assert device.tobytes() == cpu.tobytes()


def test_rows_that_a_strip_does_not_hold(cuda):
    """The CPU refuses them; a device finds them too late, and marks them."""
    strip, one, zero = pixels(np.uint8, (1, 2, 4)), numbers(1), numbers(0)
    arguments = [strip, 3, 9, one, zero, 0.0, 1.0, "edge", 4, 0, blank(1, 2, 2)]
    on_device = [OnDevice(a) if isinstance(a, np.ndarray) else a for a in arguments]
    with pytest.raises(ValueError, match=r"the tile needs row 5 of the grid; the strip holds \[3, 5\)"):
        cuda.gather(*on_device)
    rows, weight, tile = np.array([3, 4, 4, 2]), numbers(0.5, 0, 0.5, 0.5), blank(1, 4, 4)
    columns = [np.arange(4), np.zeros(4, np.float32)]
    arguments = [strip, 3, 9, one, zero, 0.0, 255.0, rows, weight, *columns, tile]
    cuda.gather_bilinear(*(OnDevice(a) if isinstance(a, np.ndarray) else a for a in arguments))
    assert np.isnan(tile[0]).all(axis=1).tolist() == [False, False, True, True]
    assert np.array_equal(tile[0, 1], strip[0, 1].astype(np.float32))


def test_positions_of_the_runtime(cuda):
    """The very positions that coarse inputs are interpolated at."""
    first, weight = interpolation(-4, 30, 9, 4, "half-pixel")
    strip = pixels(np.int16, (1, 9, 9))
    arguments = [strip, 0, 9, numbers(1), numbers(0), -1e9, 1e9, first, weight, first, weight, blank(1, 34, 34)]
    cpu, device = both(cuda, "gather_bilinear", arguments, 11)
    assert device.tobytes() == cpu.tobytes()


# Fill ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_fill_of_every_type(cuda, dtype):
    for columns, share in ((1, 0.5), (31, 0.1), (32, 0.9), (33, 0.5), (64, 0.02), (130, 0.97)):
        strip = pixels(dtype, (2, 6, columns), columns)
        valid = (np.random.default_rng(columns).random((6, columns)) < share).astype(np.uint8)
        valid[0], valid[1] = 0, 1
        cpu, device = both(cuda, "fill_invalid", [strip, valid, np.array([3.0, 4.5])], 0)
        assert device.tobytes() == cpu.tobytes()


@pytest.mark.parametrize("begin", [0, 1, 30, 31, 32, 33, 63, 64, 95])
@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 64, 70])
def test_a_gap_that_begins_and_ends_anywhere_in_a_warp(cuda, begin, length):
    valid = np.ones((1, 131), np.uint8)
    valid[0, begin : begin + length] = 0
    cpu, device = both(cuda, "fill_invalid", [pixels(np.int16, (1, 1, 131)), valid, np.zeros(1)], 0)
    assert device.tobytes() == cpu.tobytes()


# Blend ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_blend(cuda, size):
    rng = np.random.default_rng(1)
    tile = rng.uniform(-1, 1, (2, *size)).astype(np.float32)
    along_y, along_x = (rng.random(n).astype(np.float32) for n in size)
    sums = rng.uniform(-1, 1, (2, 10, 40)).astype(np.float32)
    for at in ((3, 0), (0, -5), (11, 35), (-2, 7), (90, 0)):
        cpu, device = both(cuda, "blend", [tile, *at, along_y, along_x, sums, 3], 5)
        assert device.tobytes() == cpu.tobytes()


def test_blend_does_not_read_pixels_of_weight_zero(cuda):
    tile = np.full((1, 4, 40), np.nan, np.float32)
    tile[:, 1:3, 1:39] = 5
    along_x = np.array([0, *[1] * 38, 0], np.float32)
    cpu, device = both(
        cuda, "blend", [tile, 0, 0, numbers(0, 1, 1, 0), along_x, np.zeros((1, 4, 40), np.float32), 0], 5
    )
    assert np.isfinite(device).all()
    assert device.tobytes() == cpu.tobytes()


@pytest.mark.parametrize("dtype", STORED_TYPES)
@pytest.mark.parametrize("size", [(1, 1), (1, 255), (16, 16), (3, 257), (20, 60)], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_finalise(cuda, dtype, size, masked):
    rng = np.random.default_rng(2)
    sums = rng.uniform(-3, 3, (2, *size)).astype(np.float32)
    odd = rng.random(sums.shape)
    sums[odd < 0.2], sums[odd > 0.9], sums[(odd > 0.4) & (odd < 0.5)] = np.nan, np.inf, 1e30
    valid = (rng.random(size) < 0.7).astype(np.uint8) if masked else None
    scale, offset = numbers(100, 1e4), numbers(0.5, -3)
    stored, lost = np.zeros(sums.shape, dtype), np.array([5], np.uint64)
    cpu = np.zeros(sums.shape, dtype)
    wanted = _core.finalise(sums, valid, scale, offset, -200, 30000, 7, cpu)
    mask = None if valid is None else OnDevice(valid)
    out = [OnDevice(stored), OnDevice(lost)]
    cuda.finalise(OnDevice(sums), mask, OnDevice(scale), OnDevice(offset), -200, 30000, 7, *out)
    assert stored.tobytes() == cpu.tobytes()
    assert lost[0] == 5 + wanted


# Noise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_noise(cuda, size):
    for seed, step, y, x in ((0, 0, 0, 0), (2**63 + 5, 7, -3, 2**33)):
        cpu, device = both(cuda, "noise", [seed, step, y, x, blank(3, *size)], 4)
        assert device.tobytes() == cpu.tobytes()


# Arrays --------------------------------------------------------------------------------------------------

GOOD = np.zeros((1, 4, 6), np.float32)


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (None, "tile is a NoneType; an array on a device is wanted"),
        (GOOD, "tile lies on a device of DLPack's kind 1"),
        (OnDevice(GOOD[0]), r"tile has shape \(4, 6\); 3 dimensions are wanted"),
        (OnDevice(GOOD[:, :0]), r"tile has shape \(1, 0, 6\); no side may be 0"),
        (OnDevice(GOOD.astype(np.float64)), "tile has type <f8; <f4 is wanted"),
        (OnDevice(GOOD.astype(">f4")), "tile has type >f4; <f4 is wanted"),
        (OnDevice(GOOD[:, :, ::2]), "tile is not C-contiguous: 8 bytes along axis 2; 4 are wanted"),
        (OnDevice(GOOD[:, ::-1]), "tile is not C-contiguous: -24 bytes along axis 1; 24 are wanted"),
        (OnDevice(GOOD, data=(4096, True)), "tile is read-only"),
        (OnDevice(GOOD, data=(4098, False)), "tile lies at address 4098; a multiple of 4 is wanted"),
        (OnDevice(GOOD, data=(0, False)), "tile lies at address 0"),
        (OnDevice(GOOD, mask=OnDevice(GOOD)), "tile has a mask"),
    ],
)
def test_what_an_array_on_a_device_must_be(cuda, tile, message):
    with pytest.raises(ValueError, match=message):
        cuda.noise(0, 0, 0, 0, tile)


@pytest.mark.parametrize("dtype", PIXEL_TYPES)
def test_arrays_by_dlpack(cuda, dtype):
    strip, tile = np.ascontiguousarray(pixels(dtype, (3, 4, 5))[1:]), blank(2, 4, 5)
    cuda.gather(
        ByDlpack(strip), 0, 4, OnDevice(numbers(1, 1)), ByDlpack(numbers(0, 0)), -1e9, 1e9, "edge", 0, 0, ByDlpack(tile)
    )
    assert np.array_equal(tile, strip.astype(np.float32))


def test_tiles_of_16_bits_by_what_they_say(cuda):
    """bfloat16 as ml_dtypes and torch write it; torch says it by DLPack too."""
    strip, one, zero = OnDevice(pixels(np.uint8, (1, 3, 4))), OnDevice(numbers(1)), OnDevice(numbers(0))
    given = (strip, 0, 3, one, zero, -1e9, 1e9, "edge", 0, 0)
    bits = np.zeros((1, 3, 4), np.uint16)
    cuda.gather(*given, OnDevice(bits, typestr="<V2"))
    assert np.array_equal((bits.astype(np.uint32) << 16).view(np.float32), strip.array)
    cuda.gather(*given, OnDevice(bits, typestr="<f2"))
    assert np.array_equal(bits.view(np.float16), strip.array)
    torch = pytest.importorskip("torch")
    cuda.gather(*given, ByDlpack(torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)))
    assert np.array_equal((bits.astype(np.uint32) << 16).view(np.float32), strip.array)


@pytest.mark.parametrize("typestr", ["<f8", "<u2", ">f4", ">f2", "|V2", ">V2"])
def test_a_tile_of_another_type_is_named_beside_those_that_are_wanted(cuda, typestr):
    strip, one, zero = OnDevice(pixels(np.uint8, (1, 3, 4))), OnDevice(numbers(1)), OnDevice(numbers(0))
    tile = OnDevice(np.zeros((1, 3, 4), np.dtype(typestr)), typestr=typestr)
    wanted = rf"^tile has type {re.escape(typestr)}; float32 \(<f4\), float16 \(<f2\) or bfloat16 \(<V2\) is wanted$"
    with pytest.raises(ValueError, match=wanted):
        cuda.gather(strip, 0, 3, one, zero, 0.0, 1.0, "edge", 0, 0, tile)
    at = [OnDevice(a) for size, length in ((3, 3), (4, 4)) for a in positions(size, length)]
    with pytest.raises(ValueError, match=wanted):
        cuda.gather_bilinear(strip, 0, 3, one, zero, 0.0, 1.0, *at, tile)


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (ByDlpack(GOOD, kind=1), "tile lies on a device of DLPack's kind 1; 2, CUDA, is wanted"),
        (ByDlpack(GOOD.astype(np.int32)), "tile has type <i4; <f4 is wanted"),
        (ByDlpack(GOOD.astype(np.complex64)), r"tile has type <\?8; <f4 is wanted"),
        (ByDlpack(GOOD[:, :, ::2]), "tile is not C-contiguous: 8 bytes along axis 2; 4 are wanted"),
        (ByDlpack(GOOD[:, :0]), r"tile has shape \(1, 0, 6\); no side may be 0"),
        (ByDlpack(GOOD[0]), r"tile has shape \(4, 6\); 3 dimensions are wanted"),
    ],
)
def test_what_an_array_by_dlpack_must_be(cuda, tile, message):
    with pytest.raises(ValueError, match=message):
        cuda.noise(0, 0, 0, 0, tile)


def test_arrays_that_do_not_fit_one_another(cuda):
    one, two = OnDevice(numbers(1)), OnDevice(numbers(1, 2))
    strip, tile = OnDevice(pixels(np.uint8, (1, 3, 4))), OnDevice(blank(1, 2, 2))
    for changed, message in (
        ({3: two}, r"scale has shape \(2\); \(1,\) is wanted"),
        ({7: "wrap"}, "border is 'wrap'"),
        ({11: 0}, "unit is 0"),
        ({1: 2}, r"rows \[2, 5\) do not lie on a grid of 3 rows"),
        ({10: OnDevice(blank(2, 2, 2))}, "tile has 2 channels; the strip has 1"),
        ({0: OnDevice(np.zeros((1, 3, 4), np.int64))}, "strip has type <i8"),
        ({5: 2.0}, "low 2 is not below high 1"),
    ):
        given = dict(enumerate([strip, 0, 3, one, one, 0.0, 1.0, "edge", 0, 0, tile, 1]))
        with pytest.raises(ValueError, match=message):
            cuda.gather(*{**given, **changed}.values())
    sums, stored, lost = (
        OnDevice(blank(1, 2, 2)),
        OnDevice(np.zeros((1, 2, 2), np.uint8)),
        OnDevice(np.zeros(1, np.uint64)),
    )
    for nodata in (-1, 256, 0.5, np.nan):
        with pytest.raises(ValueError, match=r"nodata is .*; a number that \|u1 holds is wanted"):
            cuda.finalise(sums, None, one, one, 0, 1, nodata, stored, lost)
    with pytest.raises(ValueError, match=r"stored has shape \(1, 2, 3\); sums has \(1, 2, 2\)"):
        cuda.finalise(sums, None, one, one, 0, 1, 0, OnDevice(np.zeros((1, 2, 3), np.uint8)), lost)
