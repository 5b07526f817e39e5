# SPDX-License-Identifier: Apache-2.0
"""The core's metrics against plain NumPy: every kernel, dtype, layout and awkward size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_oracle import all_inside, box_smooth, figures, gaussian_smooth, spectral_angles, ssim_map, uqi_map
from stf_infer import _core

KERNELS = _core.metrics_kernels()
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
# Awkward for vectors, parts, tiles and rings: one pixel, one row, one column, just a window, around 4, 8, 64, 512.
SHAPES = [(1, 1, 1), (2, 1, 700), (3, 700, 1), (2, 8, 8), (2, 11, 11), (1, 12, 13), (3, 63, 33), (2, 75, 65),
          (1, 64, 521), (2, 66, 530), (1, 140, 1037)]  # fmt: skip


def pair(shape, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    truth = 0.1 + rng.random(shape)
    prediction = truth + 0.1 * rng.standard_normal(shape)
    if np.dtype(dtype).kind in "iu":
        return (np.clip(x * 60, 0, 120).astype(dtype) for x in (prediction, truth))
    return prediction.astype(dtype), truth.astype(dtype)


def taps(name, size):
    k = np.arange(size) - size // 2
    w = np.exp(-0.5 * (k / 1.5) ** 2) if name == "gaussian" else np.ones(size)
    return w / w.sum() if name == "gaussian" else w


class Sums:
    """Output arrays of a pass."""

    def __init__(self, bands, windows=2, bins=None):
        self.pairs = np.zeros((bands, 11))
        self.pairs[:, 9], self.pairs[:, 10] = np.inf, -np.inf
        self.angle_total, self.angle_counts = np.zeros(1), np.zeros(2, np.int64)
        self.counts = np.zeros(3, np.int64)
        self.bins = bins
        self.errors = None if bins is None else np.zeros((bands, bins[2] + 2), np.int64)
        self.window_totals, self.window_counts = np.zeros((windows, bands)), np.zeros(windows, np.int64)

    def arrays(self):
        return [x for x in vars(self).values() if isinstance(x, np.ndarray)]


def measure(p, t, mask=None, *, window=("gaussian", 11), scale_p=1.0, offset_p=0.0, bins=None, **options):
    """One pass with SSIM and UQI where a window fits."""
    bands, height, width = p.shape[-3:]
    wanted = []
    for kind, weights, uniform in (("ssim", taps(*window), window[0] == "uniform"), ("uqi", np.ones(8), True)):
        rows, columns = (max(n - len(weights) + 1, 0) for n in (height, width))
        wanted.append((kind, weights, uniform, 1e-4, 9e-4, (0, rows), (0, columns)))
    sums = Sums(bands, bins=bins)
    _core.measure(
        p, t, mask, indices=wanted, scale_p=[scale_p] * bands, offset_p=[offset_p] * bands, scale_t=[1.0] * len(t),
        offset_t=[0.0] * len(t), **{**vars(sums), **options},
    )  # fmt: skip
    return sums


def check(sums, p, t, mask=None, window=("gaussian", 11)):
    p, t = p.astype(float), t.astype(float)
    use = np.isfinite(p).all(axis=0) & np.isfinite(t).all(axis=0)
    if mask is not None:
        use &= mask.astype(bool)
    a, b = p[:, use], t[:, use]
    n = use.sum()
    wanted = np.ones(use.shape, bool) if mask is None else mask.astype(bool)
    assert sums.counts.tolist() == [use.size, (~wanted).sum(), (wanted & ~use).sum()]
    assert (sums.pairs[:, 0] == n).all()
    if not n:
        return
    da, db = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    sums_of = [da**2, db**2, da * db, a - b, abs(a - b), (a - b) ** 2]
    expected = [a.mean(axis=1), b.mean(axis=1), *(x.sum(axis=1) for x in sums_of), b.min(axis=1), b.max(axis=1)]
    np.testing.assert_allclose(sums.pairs[:, 1:].T, expected, rtol=1e-11, atol=1e-11 * n * abs(b).max() ** 2)
    with np.errstate(invalid="ignore"):
        angles = spectral_angles(a, b)
    if len(p) > 1:
        assert sums.angle_counts.tolist() == [n - np.isnan(angles).sum(), np.isnan(angles).sum()]
        np.testing.assert_allclose(sums.angle_total[0], np.nansum(angles), rtol=1e-11)
    p, t = np.where(use, p, 0.0), np.where(use, t, 0.0)
    smooth = box_smooth(window[1]) if window[0] == "uniform" else gaussian_smooth(window[1], 1.5)
    for k, (size, index) in enumerate(((window[1], lambda x, y: ssim_map(x, y, smooth, 1.0)), (8, uqi_map))):
        if min(use.shape) < size:
            assert sums.window_counts[k] == 0
            continue
        inside = all_inside(use, size)
        assert sums.window_counts[k] == inside.sum()
        totals = [index(x, y)[inside].sum() for x, y in zip(p, t, strict=True)]
        np.testing.assert_allclose(sums.window_totals[k], totals, rtol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
def test_awkward_sizes(kernel, shape, holes):
    p, t = pair(shape, dtype="float32")
    mask = None
    if holes:
        mask = np.random.default_rng(1).random(shape[1:]) > 0.004
        p[0, -1, -1] = np.nan
        t[-1, 0, shape[2] // 2] = np.inf
    check(measure(p, t, mask, kernel=kernel, threads=2), p, t, mask)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["gaussian", "uniform"])
@pytest.mark.parametrize("size", [3, 7, 9, 11, 21, 31])
def test_every_window(kernel, name, size):
    p, t = pair((2, 40, 77))
    check(measure(p, t, window=(name, size), kernel=kernel), p, t, window=(name, size))


@pytest.mark.parametrize("dtypes", list(itertools.product(DTYPES, repeat=2)), ids="-".join)
def test_every_dtype_beside_every_other(dtypes):
    (p, _), (_, t) = pair((2, 20, 45), dtype=dtypes[0]), pair((2, 20, 45), dtype=dtypes[1])
    check(measure(p, t), p, t)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_are_scaled_as_they_are_read(dtype):
    p, t = pair((2, 20, 45), dtype=dtype)
    t = t.astype(float)
    check(measure(p, t, scale_p=1.25, offset_p=-0.5), p.astype(float) * 1.25 - 0.5, t)


LAYOUTS = {
    "rows turned": lambda x: x[:, ::-1],
    "bands turned": lambda x: x[::-1],
    "cut out": lambda x: np.pad(x, ((1, 0), (2, 3), (4, 1)))[1:, 2:-3, 4:-1],
    "rows of all bands": lambda x: np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_and_bands_may_lie_anywhere(layout):
    p, t = pair((3, 30, 41), dtype="float32")
    mask = np.random.default_rng(3).random((1, 30, 41)) > 0.01
    p, mask = LAYOUTS[layout](p), LAYOUTS[layout](np.repeat(mask, 3, axis=0))[0]
    p.flags.writeable = mask.flags.writeable = False
    check(measure(p, t, mask), p, t, mask)


@given(threads=st.integers(1, 9), seed=st.integers(0, 99), holes=st.booleans())
@settings(max_examples=15, deadline=None)
def test_threads_do_not_change_a_bit(threads, seed, holes):
    p, t = pair((2, 150, 600), seed, "float32")
    mask = np.random.default_rng(seed).random((150, 600)) > 0.001 if holes else None
    one, many = (measure(p, t, mask, threads=n, bins=(-0.5, 0.5, 33)) for n in (1, threads))
    for a, b in zip(one.arrays(), many.arrays(), strict=True):
        np.testing.assert_array_equal(a, b)


# One long row of several pieces, rows that do not follow one another, and less than a vector.
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize("shape", [(2, 190, 301), (3, 9, 5001), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("holes", [None, "masked", "not finite", "both"])
def test_without_windows_pixels_count_the_same(kernel, dtype, shape, dense, holes):
    p, t = pair(shape, 5, dtype)
    mask = np.random.default_rng(6).random(shape[1:]) > 0.0003 if holes in ("masked", "both") else None
    if holes in ("not finite", "both") and dtype != "int16":
        p[-1, -1, -1], t[0, 0, shape[2] // 2] = np.nan, -np.inf
        p[1, shape[1] // 2, 1], t[1, shape[1] // 2, 1] = np.inf, np.inf
    if not dense:
        p, t = (np.pad(x, ((0, 0), (1, 0), (2, 1)), constant_values=7)[:, 1:, 2:-1] for x in (p, t))
    expected, sums = measure(p, t, mask, kernel=kernel, bins=(-8, 8, 9)), Sums(len(p), bins=(-8, 8, 9))
    scales = {
        name: [float(name.startswith("scale"))] * len(p) for name in ("scale_p", "offset_p", "scale_t", "offset_t")
    }
    arrays = {name: value for name, value in vars(sums).items() if not name.startswith("window")}
    _core.measure(p, t, mask, **scales, **arrays, kernel=kernel, threads=2)
    assert sums.counts.tolist() == expected.counts.tolist()
    assert sums.angle_counts.tolist() == expected.angle_counts.tolist()
    np.testing.assert_array_equal(sums.errors, expected.errors)
    np.testing.assert_allclose(sums.pairs, expected.pairs, rtol=1e-12, atol=1e-12 * p[0].size)
    np.testing.assert_allclose(sums.angle_total, expected.angle_total, rtol=1e-12)


def test_finite_values_whose_difference_is_not():
    p, t = np.full((1, 3, 700), 1.7e308), np.full((1, 3, 700), -1.7e308)
    sums = Sums(1)
    arrays = {name: value for name, value in vars(sums).items() if not name.startswith("window")}
    _core.measure(p, t, scale_p=[1.0], offset_p=[0.0], scale_t=[1.0], offset_t=[0.0], **arrays)
    assert sums.counts.tolist() == [2100, 0, 0]
    assert sums.pairs[0, :3].tolist() == [2100, 1.7e308, -1.7e308]
    assert sums.pairs[0, 6] == np.inf


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bands", [2, 3, 6, 9])
@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-6, 1e-3, 0.3, np.pi / 4, np.pi / 2, 2.0, 3.0, np.pi])
def test_an_angle_that_is_known(kernel, dtype, bands, angle):
    """Spectra at ``angle``, of lengths far from one another: no small angle is lost in a difference of squares."""
    check_known_angle(kernel, dtype, bands, angle, 1e-13)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bands", [2, 6])
@pytest.mark.parametrize("angle", [0.0078, 0.0079, 0.02, 0.1, 0.3398, 0.3399])
def test_an_angle_around_and_between_the_limits_of_the_short_way(kernel, bands, angle):
    """It takes tan^2 from 2^-14 to 1/8, of a difference that has lost up to 14 bits of its 53."""
    check_known_angle(kernel, "float64", bands, angle, 1e-11)


def check_known_angle(kernel, dtype, bands, angle, rtol):
    rng = np.random.default_rng(bands)
    basis = np.linalg.qr(rng.standard_normal((bands, 2)))[0].T
    lengths = 10 ** rng.uniform(-3, 3, (2, 45))
    p = np.outer(basis[0], lengths[0])
    t = (np.cos(angle) * basis[0] + np.sin(angle) * basis[1])[:, None] * lengths[1]
    p, t = (x.reshape(bands, 5, 9).astype(dtype) for x in (p, t))
    found = measure(p, t, kernel=kernel)
    assert found.angle_counts.tolist() == [45, 0]
    expected = spectral_angles(p.reshape(bands, -1).astype(float), t.reshape(bands, -1).astype(float))
    np.testing.assert_allclose(found.angle_total[0], expected.sum(), rtol=rtol, atol=45 * 5e-16)
    if dtype == "float64":
        np.testing.assert_allclose(found.angle_total[0] / 45, angle, rtol=rtol, atol=5e-16)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [1e-150, 1e-85, 1e-20, 1e20, 1e85, 1e150])
def test_an_angle_of_spectra_whose_products_overflow_or_underflow(kernel, size):
    p, t = pair((4, 16, 20), dtype="float64")
    wanted = measure(p, t, kernel=kernel).angle_total[0]
    np.testing.assert_allclose(measure(size * p, size * t, kernel=kernel).angle_total[0], wanted, rtol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
def test_angles_of_all_sizes_side_by_side(kernel):
    """A pixel's angle does not depend on those of its group, and spectra of zeros are in none."""
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.standard_normal((6, 2)))[0].T
    angles = np.where(rng.random(1031) < 0.8, rng.uniform(0.01, 0.3, 1031), rng.choice([0, 1e-7, 1.5, 3], 1031))
    p = np.outer(basis[0], np.ones(1031))
    t = np.outer(basis[0], np.cos(angles)) + np.outer(basis[1], np.sin(angles))
    t[:, 700:703] = 0
    angles[700:703] = 0
    for begin in (0, 1, 5, 700):
        found = measure(p[:, None, begin:], t[:, None, begin:], kernel=kernel)
        np.testing.assert_allclose(found.angle_total[0], angles[begin:].sum(), rtol=1e-12)
        assert found.angle_counts.tolist() == [1031 - begin - 3, 3]


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_spectra_have_no_angle(kernel):
    p, _ = pair((5, 30, 41), dtype="float32")
    assert measure(p, p, kernel=kernel).angle_total[0] == 0
    np.testing.assert_allclose(measure(p, 3 * p.astype(float), kernel=kernel).angle_total[0], 0, atol=1230 * 5e-16)


def test_a_constant_has_a_deviation_of_exactly_zero():
    p, t = np.full((1, 100, 1000), 0.1, "float32"), np.full((1, 100, 1000), 1 / 3)
    sums = measure(p, t)
    assert sums.pairs[0, 3:6].tolist() == [0, 0, 0]
    assert sums.pairs[0, 1:3].tolist() == [float(np.float32(0.1)), 1 / 3]


def test_a_spike_at_the_first_pixel_costs_no_digits():
    p, t = pair((1, 40, 40))
    t = 1e-3 * t
    t[0, 0, 0], p[0, 0, 0] = 1e5, -1e5
    check(measure(p, t), p, t)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_errors_fall_into_their_bins(kernel, dtype):
    p, t = pair((2, 30, 61), dtype=dtype)
    low, high, bins = (-8, 8, 8) if dtype == "int16" else (-0.1, 0.15, 25)
    sums = measure(p, t, bins=(low, high, bins), kernel=kernel)
    error = p.astype(float) - t.astype(float)
    place = np.floor((error - low) / ((high - low) / bins)).astype(int)
    place = np.where(error < low, -1, np.where(error > high, bins, np.minimum(place, bins - 1)))
    expected = [np.bincount(b.ravel() + 1, minlength=bins + 2) for b in place]
    np.testing.assert_array_equal(sums.errors, expected)
    assert sums.errors.sum() == p.size
    assert (sums.errors[:, [0, -1]] > 0).all()


def test_edges_of_bins():
    p = np.array([[[-1.0, -0.5, 0.0, 0.5, 1.0, -1.0000001, 1.0000001]]])
    assert measure(p, 0 * p, bins=(-1, 1, 4)).errors.tolist() == [[1, 1, 1, 1, 2, 1]]


def test_what_excluded_pixels_hold_does_not_matter():
    p, t = pair((2, 30, 40))
    mask = np.random.default_rng(0).random((30, 40)) > 0.02
    before = measure(p, t, mask)
    p[:, ~mask], t[:, ~mask] = -1.7e308, np.nan
    for a, b in zip(before.arrays(), measure(p, t, mask).arrays(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_context_is_seen_by_windows_only():
    p, t = pair((2, 50, 60))
    whole, inner = measure(p, t, first_row=20, first_column=13), measure(p[:, 20:, 13:], t[:, 20:, 13:])
    np.testing.assert_allclose(whole.pairs, inner.pairs, rtol=1e-12)
    np.testing.assert_array_equal(whole.counts, inner.counts)
    np.testing.assert_array_equal(whole.window_counts, measure(p, t).window_counts)


def test_all_figures_follow_from_the_sums():
    from stf_infer.metrics import evaluate

    p, t = pair((3, 70, 90), 5, "float32")
    mask = np.random.default_rng(0).random((70, 90)) > 0.001
    report = evaluate(p, t, mask, data_range=1, ratio=16)
    for name, expected in figures(p, t, mask).items():
        found = [report.pooled[name]]
        if len(expected) > 1:
            found = [*(report.per_band[b][name] for b in report.bands), *found]
        np.testing.assert_allclose(found, expected, rtol=1e-10, err_msg=name)


P = np.ones((2, 12, 13))
BAD = {
    "shapes": ((P, P[:1]), {}, r"\(2, 12, 13\); truth has \(1, 12, 13\)"),
    "axes": ((P[None], P[None]), {}, r"shape \(1, 2, 12, 13\); 3 dimensions"),
    "zero size": ((P[:, :0], P[:, :0]), {}, r"\(2, 0, 13\)"),
    "long integers": ((P.astype("int64"), P), {}, "dtype int64"),
    "swapped": ((P.astype(">f4"), P), {}, "swapped"),
    "columns apart": ((P[:, :, ::2], P[:, :, ::2]), {}, "16 bytes apart"),
    "misaligned": ((np.frombuffer(b"\0" * 1249, "f4", 312, 1).reshape(2, 12, 13), P), {}, "prediction is not aligned"),
    "mask shape": ((P, P, np.ones((13, 12), bool)), {}, r"\(13, 12\); \(12, 13\)"),
    "mask dtype": ((P, P, np.ones((12, 13), "u2")), {}, "dtype uint16"),
    "threads": ((P, P), {"threads": 0}, "threads is 0"),
    "kernel": ((P, P), {"kernel": "abacus"}, "'abacus'"),
    "bins": ((P, P), {"bins": (1.0, 1.0, 5), "errors": np.zeros((2, 7), np.int64)}, "5 from 1 to 1"),
    "bins' counts": ((P, P), {"bins": (0.0, 1.0, 5), "errors": np.zeros((2, 5), np.int64)}, r"\(2, 5\); 7 is wanted"),
    "pairs": ((P, P), {"pairs": np.zeros((2, 10))}, r"\(2, 10\); 11"),
    "context": ((P, P), {"first_row": -1}, "first_row is -1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_its_value(case):
    arrays, changed, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        measure(*arrays, **changed)


@pytest.mark.parametrize(("index", "message"), [
    (("ssim", np.ones(4), True, 0.0, 0.0, (0, 1), (0, 1)), "odd number"),
    (("uqi", np.ones(7), True, 0.0, 0.0, (0, 1), (0, 1)), "8 equal ones"),
    (("rmse", np.ones(7), True, 0.0, 0.0, (0, 1), (0, 1)), "'rmse'"),
    (("ssim", np.ones(7), True, 0.0, 0.0, (0, 7), (0, 1)), r"rows \[0, 7\) of 12"),
    (("ssim", np.ones(15), True, 0.0, 0.0, (0, 1), (0, 1)), r"windows of 15 cannot begin in the rows \[0, 1\) of 12"),
])  # fmt: skip
def test_windows_that_do_not_fit_are_refused(index, message):
    sums = Sums(2, 1)
    with pytest.raises(ValueError, match=message):
        _core.measure(P, P, indices=[index], scale_p=[1, 1], offset_p=[0, 0], scale_t=[1, 1], offset_t=[0, 0],
                      **vars(sums))  # fmt: skip


def test_reading_words_adds_them_up():
    words = np.random.default_rng(0).integers(0, 2**63, 300_000, np.uint64)
    for threads in (1, 3):
        assert _core.read_words(words, threads) == int(words.sum(dtype=np.uint64))
