# SPDX-License-Identifier: Apache-2.0
"""Philox against its published vectors and another implementation; noise against NumPy; bits that do not move."""

from __future__ import annotations

import numpy as np
import pytest
import randomgen
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stf_infer import _core

# Instruction sets that the loops are compiled for and this machine runs.
KERNELS = _core.metrics_kernels()

WORD = st.integers(0, 2**32 - 1)

# Words where a sign, an exponent or a quadrant changes; sqrt(1/2) is where the logarithm's exponent does.
SQRT_HALF = int(2**31.5)
EDGES = [
    *(0, 1, 2, 3, 2**32 - 1, 2**32 - 2, SQRT_HALF - 1, SQRT_HALF, SQRT_HALF + 1),
    *(2**k + d for k in (8, 23, 24, 29, 30, 31) for d in (-1, 0, 1)),
    *(3 * 2**k + d for k in (29, 30) for d in (-1, 0, 1)),
]


def tile(seed: int, step: int, y: int, x: int, *shape: int, kernel: str | None = None) -> np.ndarray:
    out = np.full(shape, np.nan, np.float32)
    _core.noise(seed, step, y, x, out, kernel)
    return out


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Words (4, ...) of counters (4, ...), as the paper writes a round: one multiplication for each half."""
    low = np.uint64(0xFFFFFFFF)
    c0, c1, c2, c3 = np.asarray(counter, np.uint64)
    k0, k1 = (np.uint64(k) for k in key)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & low, (p0 >> 32) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.stack([c0, c1, c2, c3])


def box_muller(word_1: np.ndarray, word_2: np.ndarray) -> np.ndarray:
    """float64. The cosine is a sine of the angle to the nearest zero, which a word states exactly."""
    radius = np.sqrt(-2 * np.log((np.asarray(word_1, np.float64) + 0.5) / 2**32))
    half = np.asarray(word_2, np.int64)
    half = np.where(half < 2**31, half, 2**32 - 1 - half)
    return radius * np.sin(2 * np.pi * ((2**30 - half - 0.5) / 2**32))


def expected_tile(seed: int, step: int, y: int, x: int, *shape: int) -> np.ndarray:
    c, i, j = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    counter = np.stack([c, (y + i) % 2**32, (x + j) % 2**32, np.full(shape, step)])
    words = philox(counter, (seed % 2**32, seed // 2**32))
    return box_muller(words[0], words[1])


def assert_rounded_alike(got: np.ndarray, expected: np.ndarray) -> None:
    """float32 of float64 that differ by some 1e-15: the same, but for one in millions that rounds the other way."""
    assert got.dtype == np.float32
    rounded = expected.astype(np.float32)
    np.testing.assert_array_max_ulp(got, rounded, 1)
    assert np.count_nonzero(got != rounded) <= 1 + got.size / 1e5


# Philox --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_the_known_answers_of_random123(counter, key, words):
    """The lines ``philox4x32 10`` of ``kat_vectors`` in Random123."""
    given, keys, wanted = ([int(w, 16) for w in text.split()] for text in (counter, key, words))
    assert _core.philox4x32(given, keys) == wanted


@settings(max_examples=200, deadline=None)
@given(counter=st.tuples(WORD, WORD, WORD, WORD), key=st.tuples(WORD, WORD))
@example(counter=(0, 0, 0, 0), key=(0, 0))
@example(counter=(2**32 - 1,) * 4, key=(1, 2**32 - 1))
def test_randomgen_gives_the_same_words(counter, key):
    """Its counter is one number, lowest word first, and moves on before each block; so does its key."""
    before = (sum(word << 32 * place for place, word in enumerate(counter)) - 1) % 2**128
    theirs = randomgen.Philox(counter=before, key=key[0] | key[1] << 32, number=4, width=32)
    assert _core.philox4x32(counter, key) == theirs.random_raw(4).tolist()


@pytest.mark.parametrize(("counter", "key"), [((0, 0, 0), (0, 0)), ((0, 0, 0, 2**32), (0, 0)), ((-1, 0, 0, 0), (0, 0))])
def test_words_have_32_bits_and_there_are_four_and_two(counter, key):
    with pytest.raises(TypeError):
        _core.philox4x32(counter, key)


# Box-Muller ----------------------------------------------------------------------------------------------


def normals(word_1: np.ndarray, word_2: np.ndarray, kernel: str | None = None) -> np.ndarray:
    out = np.full(word_1.shape, np.nan, np.float32)
    _core.normals(word_1.astype(np.uint32), word_2.astype(np.uint32), out, kernel)
    return out


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_edge_of_both_words(kernel):
    word_1, word_2 = (w.ravel() for w in np.meshgrid(EDGES, EDGES))
    got, expected = normals(word_1, word_2, kernel), box_muller(word_1, word_2)
    np.testing.assert_allclose(got, expected, rtol=1e-7)
    assert_rounded_alike(got, expected)


def test_the_largest_number_is_finite_and_none_is_zero():
    largest = np.sqrt(2 * np.log(2.0**33))
    got = normals(np.zeros(4), np.array([0, 2**32 - 1, 2**31 - 1, 2**31]))
    np.testing.assert_allclose(got, [largest, largest, -largest, -largest], rtol=1e-7)
    smallest = normals(np.full(2, 2**32 - 1), np.array([2**30 - 1, 2**30]))
    assert smallest[0] == -smallest[1] > 0


def test_words_all_over_their_range():
    words = np.random.default_rng(0).integers(0, 2**32, (2, 200_001), dtype=np.uint64)
    portable = normals(*words, "portable")
    assert_rounded_alike(portable, box_muller(*words))
    for kernel in KERNELS:
        assert normals(*words, kernel).tobytes() == portable.tobytes(), kernel


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_lane_of_a_vector_computes_what_a_lone_number_does(kernel):
    words = np.random.default_rng(1).integers(0, 2**32, (2, 301), dtype=np.uint64)
    together = normals(*words, kernel)
    alone = np.concatenate([normals(*words[:, k : k + 1], kernel) for k in range(words.shape[1])])
    assert together.tobytes() == alone.tobytes()


# Noise ---------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1),
    step=WORD,
    y=st.integers(-(2**33), 2**33),
    x=st.integers(-(2**33), 2**33),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 40)),
)
@example(seed=0, step=0, y=0, x=0, shape=(4, 3, 700))
@example(seed=2**64 - 1, step=2**32 - 1, y=-5, x=-300, shape=(1, 9, 513))
@example(seed=1 << 32, step=1, y=2**32 - 2, x=2**32 - 2, shape=(2, 4, 4))
@example(seed=3, step=0, y=2**31, x=2**32 - 250, shape=(1, 1, 600))
def test_a_tile_is_that_of_numpy(seed, step, y, x, shape):
    portable = tile(seed, step, y, x, *shape, kernel="portable")
    assert_rounded_alike(portable, expected_tile(seed, step, y, x, *shape))
    for kernel in KERNELS:
        assert tile(seed, step, y, x, *shape, kernel=kernel).tobytes() == portable.tobytes(), kernel


def test_the_very_numbers():
    """What is drawn today is drawn by every later version: results can be made again from their seed."""
    wanted = ["-0x1.a61aacp-1", "-0x1.cf626ep+0", "-0x1.42b8f4p-2", "0x1.2cc2c2p-1"]
    assert tile(7, 0, -1, 255, 2, 1, 2).ravel().tolist() == [float.fromhex(v) for v in wanted]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_bits_of_a_block(kernel):
    """The same block and the same sum as in cpp/test_noise.cpp, which runs on other machines too."""
    bits = tile(5, 2, -7, -300, 3, 31, 601, kernel=kernel).ravel().view(np.uint32).astype(np.uint64)
    odd = 2 * np.arange(bits.size, dtype=np.uint64) + 1
    assert int((bits * odd).sum(dtype=np.uint64)) == 0x5C395DA5A5B38F01


@settings(max_examples=60, deadline=None)
@given(
    window=st.tuples(st.integers(0, 30), st.integers(1, 31), st.integers(0, 600), st.integers(1, 601)),
    bands=st.integers(1, 3),
    kernel=st.sampled_from(KERNELS),
)
def test_a_window_is_part_of_the_whole_bit_by_bit(window, bands, kernel):
    """Widths that are no multiple of a vector, and parts of rows that begin anywhere."""
    y, rows, x, columns = window
    rows, columns = min(rows, 31 - y), min(columns, 601 - x)
    part = tile(5, 2, y - 7, x - 300, bands, rows, columns, kernel=kernel)
    assert part.tobytes() == WHOLE[:bands, y : y + rows, x : x + columns].tobytes()


WHOLE = tile(5, 2, -7, -300, 3, 31, 601)


def test_coordinates_wrap_at_32_bits():
    np.testing.assert_array_equal(tile(3, 0, -2, -2, 1, 4, 4), tile(3, 0, 2**32 - 2, 2**32 - 2, 1, 4, 4))


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 3), r"tile has shape \(2, 3\); 3 dimensions"), ((1, 0, 4), r"tile has shape \(1, 0, 4\); no side may be 0")],
)
def test_a_tile_has_bands_rows_and_columns(shape, message):
    with pytest.raises(ValueError, match=message):
        _core.noise(0, 0, 0, 0, np.empty(shape, np.float32))


def test_a_tile_is_dense_float32_that_may_be_written():
    with pytest.raises(TypeError):
        _core.noise(0, 0, 0, 0, np.empty((1, 2, 2), np.float64))
    with pytest.raises(TypeError):
        _core.noise(0, 0, 0, 0, np.empty((1, 4, 4), np.float32)[:, :, ::2])
    fixed = np.empty((1, 2, 2), np.float32)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="tile is read-only"):
        _core.noise(0, 0, 0, 0, fixed)
    for wrong in ({"seed": -1}, {"seed": 2**64}, {"step": -1}, {"step": 2**32}):
        with pytest.raises(TypeError):
            _core.noise(**{"seed": 0, "step": 0, "y": 0, "x": 0, "tile": np.empty((1, 2, 2), np.float32), **wrong})


def test_a_kernel_is_one_of_this_machine():
    words, out = np.zeros(3, np.uint32), np.empty(3, np.float32)
    with pytest.raises(ValueError, match="there is no kernel 'abacus' on this machine"):
        _core.normals(words, words, out, "abacus")
    with pytest.raises(ValueError, match="there is no kernel 'abacus' on this machine"):
        _core.noise(0, 0, 0, 0, out.reshape(1, 1, 3), "abacus")


def test_pairs_of_words_fit_the_output():
    words = np.zeros(3, np.uint32)
    with pytest.raises(ValueError, match=r"word_2 has shape \(2\); \(3,\) is wanted"):
        _core.normals(words, words[:2], np.empty(3, np.float32))
    with pytest.raises(ValueError, match=r"out has shape \(2\)"):
        _core.normals(words, words, np.empty(2, np.float32))
