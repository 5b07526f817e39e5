# SPDX-License-Identifier: Apache-2.0
"""evaluate and Evaluation: which pixels count, what comes out, and what is refused."""

from __future__ import annotations

import itertools
import math
import pickle
import subprocess
import sys
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stf_infer.errors import MetricError
from stf_infer.metrics import Evaluation, evaluate

pytestmark = pytest.mark.filterwarnings("error")

PIXELWISE = ("rmse", "mae", "bias", "mse", "nrmse", "cc", "r2", "psnr")
KNOWN = {"data_range": 1.0, "ratio": 16}
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64")


def pair(seed=0, shape=(3, 24, 31)):
    rng = np.random.default_rng(seed)
    truth = 0.05 + 0.5 * rng.random(shape)
    return truth + 0.05 * rng.standard_normal(shape), truth


def all_figures(report) -> list[float]:
    per_band = [value for band in report.bands for value in report.per_band[band].values()]
    return [*per_band, *report.pooled.values()]


def test_perfect_prediction():
    _, truth = pair()
    report = evaluate(truth, truth, **KNOWN)
    for figures in (report.pooled, *report.per_band.values()):
        for name in ("rmse", "mae", "bias", "mse", "nrmse"):
            assert figures[name] == 0, name
        for name in ("r2", "ssim"):
            assert figures[name] == 1, name
        assert figures["cc"] == pytest.approx(1, abs=1e-14)
        assert figures["uqi"] == pytest.approx(1, abs=1e-14)
        assert figures["psnr"] == math.inf
    assert report.pooled["sam_deg"] == report.pooled["sam_rad"] == report.pooled["ergas"] == 0
    assert any("PSNR is infinite" in note for note in report.notes)


def test_constant_offset():
    _, truth = pair()
    report = evaluate(truth - 0.03, truth, **KNOWN)
    assert report.pooled["rmse"] == pytest.approx(0.03)
    assert report.pooled["mae"] == pytest.approx(0.03)
    assert report.pooled["bias"] == pytest.approx(-0.03)
    assert report.pooled["cc"] == pytest.approx(1)
    assert report.pooled["psnr"] == pytest.approx(-20 * math.log10(0.03))
    expected = 100 / 16 * math.sqrt(np.mean((0.03 / truth.mean(axis=(1, 2))) ** 2))
    assert report.pooled["ergas"] == pytest.approx(expected)


def test_scaled_spectra_have_no_spectral_angle():
    _, truth = pair()
    report = evaluate(1.3 * truth, truth, **KNOWN)
    assert report.pooled["sam_deg"] < 1e-13
    assert report.pooled["rmse"] > 0.05


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_real_dtype_is_computed_in_float64(dtype):
    rng = np.random.default_rng(1)
    p, t = rng.integers(0, 100, (2, 2, 12, 13)).astype(dtype)
    report = evaluate(p, t, data_range=100, ratio=4)
    exact = evaluate(p.astype(float), t.astype(float), data_range=100, ratio=4)
    assert all_figures(report) == all_figures(exact)
    assert report.pooled["rmse"] == pytest.approx(math.sqrt(((p.astype(float) - t.astype(float)) ** 2).mean()))


def test_a_plane_is_one_band_and_has_no_spectral_angle():
    p, t = pair(2, (20, 21))
    report = evaluate(p, t, **KNOWN)
    assert all_figures(report)[:-3] == all_figures(evaluate(p[None], t[None], **KNOWN))[:-3]
    assert report.bands == ("band_1",)
    assert math.isnan(report.pooled["sam_deg"])
    assert math.isnan(report.pooled["sam_rad"])
    assert any("SAM is undefined" in note for note in report.notes)


def test_mask_nan_inf_and_masked_arrays_leave_pixels_out_of_every_band():
    p, t = pair(3)
    mask = np.ones((24, 31), bool)
    mask[:2] = False
    p[1, 5, 6] = np.nan
    t[2, 7, 8], t[0, 0, 0] = np.inf, np.nan
    hidden = np.zeros(p.shape, bool)
    hidden[0, 9, 9] = True
    report = evaluate(np.ma.MaskedArray(p, hidden), t, mask, **KNOWN)
    assert report.counts.pixels == 24 * 31
    assert report.counts.masked == 2 * 31 + 1
    assert report.counts.not_finite == 2
    assert report.counts.excluded == 65
    assert report.counts.valid == 24 * 31 - 65
    use = mask.copy()
    use[5, 6] = use[7, 8] = use[9, 9] = False
    assert report.pooled["rmse"] == pytest.approx(math.sqrt(((p - t)[:, use] ** 2).mean()))
    same = evaluate(p, t, use.astype(np.uint8) * 255, **KNOWN)
    assert all_figures(same) == all_figures(report)


def test_what_excluded_pixels_hold_does_not_matter():
    p, t = pair(4)
    mask = np.ones((24, 31), bool)
    mask[0, 0] = mask[3, 30] = mask[20, 2] = False
    before = evaluate(p, t, mask, **KNOWN)
    p[:, ~mask], t[:, ~mask] = -1.797e308, np.finfo(float).max
    assert all_figures(evaluate(p, t, mask, **KNOWN)) == all_figures(before)


def test_inputs_stay_as_they_are():
    p, t = pair(5)
    p[0, 3, 3] = np.nan
    before = p.copy(), t.copy()
    evaluate(p, t, np.ones((24, 31), bool), **KNOWN)
    np.testing.assert_array_equal(p, before[0])
    np.testing.assert_array_equal(t, before[1])


@given(seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_the_order_of_pixels_matters_to_windows_only(seed):
    p, t = pair(seed)
    order = np.random.default_rng(seed).permutation(24 * 31)
    shuffled = [x.reshape(3, -1)[:, order].reshape(x.shape) for x in (p, t)]
    straight, mixed = evaluate(p, t, **KNOWN), evaluate(*shuffled, **KNOWN)
    for name in (*PIXELWISE, "sam_deg", "sam_rad", "ergas"):
        assert mixed.pooled[name] == pytest.approx(straight.pooled[name], rel=1e-10, abs=1e-14), name
    assert mixed.pooled["ssim"] != straight.pooled["ssim"]


@given(cuts=st.lists(st.integers(1, 23), max_size=8), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_blocks_of_rows_give_the_figures_of_the_whole(cuts, seed):
    p, t = pair(seed)
    mask = np.random.default_rng(seed).random((24, 31)) > 0.001
    p[0, 4, 4] = np.nan
    whole = evaluate(p, t, mask, **KNOWN)
    evaluation = Evaluation(3, 31, **KNOWN)
    edges = sorted({0, 24, *cuts})
    for start, stop in pairwise(edges):
        evaluation.update(p[:, start:stop], t[:, start:stop], mask[start:stop])
    parts = evaluation.report()
    assert parts.counts == whole.counts
    np.testing.assert_allclose(all_figures(parts), all_figures(whole), rtol=1e-10, atol=1e-12)


def test_tall_scenes_are_worked_on_in_blocks_with_the_same_figures():
    p, t = pair(6, (2, 200, 1500))  # more than one internal block
    report = evaluate(p, t, **KNOWN)
    np.testing.assert_allclose(report.pooled["mse"], ((p - t) ** 2).mean(), rtol=1e-12)
    evaluation = Evaluation(2, 1500, **KNOWN)
    for row in range(0, 200, 7):
        evaluation.update(p[:, row : row + 7], t[:, row : row + 7])
    np.testing.assert_allclose(all_figures(evaluation.report()), all_figures(report), rtol=1e-10)


LAYOUTS = {
    "bytes swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "bands last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0),
    "columns turned": lambda x: np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1],
    "cut out": lambda x: np.pad(x, 3)[3:-3, 3:-3, 3:-3],
    "misaligned": lambda x: np.frombuffer(b"_" + x.tobytes(), x.dtype, x.size, 1).reshape(x.shape),
    "Fortran order": np.asfortranarray,
}


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_layout_changes_a_figure(layout, dtype):
    p, t = ((100 * x).astype(dtype) for x in pair(12))
    turned = LAYOUTS[layout](p)
    turned.flags.writeable = False
    np.testing.assert_array_equal(turned, p)
    known = {"data_range": 100, "ratio": 16}
    assert all_figures(evaluate(turned, t, **known)) == all_figures(evaluate(p, t, **known))


@given(
    rows=st.lists(st.integers(1, 47), max_size=3),
    columns=st.lists(st.integers(1, 52), max_size=3),
    window=st.sampled_from([("gaussian", 11), ("uniform", 7), ("gaussian", 5)]),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_tiles_in_any_order_merge_to_the_figures_of_the_scene(rows, columns, window, order):
    p, t = pair(13, (2, 48, 53))
    mask = np.random.default_rng(13).random((48, 53)) > 0.002
    p[1, 30, 30] = np.nan
    options = {**KNOWN, "window": window[0], "window_size": window[1], "error_bins": (-0.1, 0.1, 10)}
    reach = max(window[1], 8) - 1
    parts = []
    for (top, bottom), (left, right) in itertools.product(
        pairwise(sorted({0, 48, *rows})), pairwise(sorted({0, 53, *columns}))
    ):
        above, beside = min(reach, top), min(reach, left)
        if right - left + beside < window[1]:
            return  # narrower than a window, which is refused
        tile = np.s_[..., top - above : bottom, left - beside : right]
        part = Evaluation(2, right - left + beside, context=(above, beside), **options)
        for row in range(0, bottom - top + above, 9):
            part.update(p[tile][:, row : row + 9], t[tile][:, row : row + 9], mask[tile][row : row + 9])
        parts.append(pickle.loads(pickle.dumps(part)))
    while len(parts) > 1:
        order.shuffle(parts)
        parts.append(parts.pop().merge(parts.pop()))
    whole, merged = evaluate(p, t, mask, **options), parts[0].report()
    assert merged.counts == whole.counts
    np.testing.assert_array_equal(merged.errors.counts, whole.errors.counts)
    np.testing.assert_allclose(all_figures(merged), all_figures(whole), rtol=1e-10)


def test_parts_without_context_lose_the_windows_between_them():
    p, t = pair(14)
    upper, lower = Evaluation(3, 31, **KNOWN), Evaluation(3, 31, **KNOWN)
    upper.update(p[:, :12], t[:, :12])
    lower.update(p[:, 12:], t[:, 12:])
    report = upper.merge(lower).report()
    assert report.counts.ssim_windows == 2 * 2 * 21
    assert report.counts.valid == 24 * 31
    assert report.pooled["rmse"] == pytest.approx(evaluate(p, t, **KNOWN).pooled["rmse"], rel=1e-12)


@pytest.mark.parametrize(
    "changed", [{"data_range": 2.0}, {"ratio": 8}, {"window": "uniform"}, {"error_bins": (0, 1, 3)}, {"window": None}]
)
def test_other_settings_are_not_merged(changed):
    with pytest.raises(MetricError, match="cannot be merged"):
        Evaluation(2, 13, **KNOWN).merge(Evaluation(2, 13, **{**KNOWN, **changed}))
    with pytest.raises(MetricError, match="cannot be merged"):
        Evaluation(2, 13, **KNOWN).merge(Evaluation(3, 13, **KNOWN))


def test_errors_are_counted_in_stated_bins():
    p, t = pair(15)
    p[0, 0, 0], p[0, 0, 1], p[1, 5, 5] = t[0, 0, 0] + 0.5, t[0, 0, 1] - 0.7, np.nan
    report = evaluate(p, t, **KNOWN, error_bins=(-0.2, 0.2, 16), bands=["a", "b", "c"])
    use = np.isfinite(p).all(axis=0)
    for band, counts in enumerate(report.errors.inside):
        expected, edges = np.histogram((p - t)[band][use], 16, (-0.2, 0.2))
        np.testing.assert_array_equal(counts, expected)
        np.testing.assert_allclose(report.errors.edges, edges)
    assert report.errors.counts.sum() == 3 * use.sum()
    assert report.errors.above[0] >= 1
    assert report.errors.below[0] >= 1
    data = report.as_dict()["errors"]
    assert data["counts"]["pooled"] == report.errors.inside.sum(axis=0).tolist()
    assert data["below"]["a"] == report.errors.below[0]
    assert evaluate(p, t, **KNOWN).as_dict()["errors"] is None


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_figure(threads):
    p, t = pair(16, (2, 140, 550))
    assert all_figures(evaluate(p, t, **KNOWN, threads=threads)) == all_figures(evaluate(p, t, **KNOWN))


def test_memory_does_not_grow_with_height():
    def peak(height: int) -> int:
        p, t = (x.astype(np.float32) for x in pair(7, (2, height, 256)))
        tracemalloc.start()
        try:
            evaluate(p, t, **KNOWN)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(2048) < 1.1 * peak(512)


def test_constant_bands_are_undefined_without_a_warning():
    p, t = pair(8)
    t[0] = 0.1
    p[1] = 0.2
    report = evaluate(p, t, **KNOWN, bands=["red", "green", "blue"])
    assert math.isnan(report.per_band["red"]["cc"])
    assert math.isnan(report.per_band["red"]["r2"])
    assert math.isnan(report.per_band["green"]["cc"])
    assert report.pooled["cc"] == report.per_band["blue"]["cc"]
    assert any("truth is constant in red" in note for note in report.notes)
    assert any("prediction is constant in green" in note for note in report.notes)


def test_zero_spectra_are_counted():
    p, t = pair(9)
    t[:, 2, 3] = 0
    p[:, 4, 5] = 0
    report = evaluate(p, t, **KNOWN)
    assert report.counts.zero_vectors == 2
    assert report.counts.valid == 24 * 31
    assert any("2 pixels" in note for note in report.notes)
    zeros = evaluate(p, 0 * t, **KNOWN)
    assert math.isnan(zeros.pooled["sam_deg"])
    assert math.isnan(zeros.pooled["ergas"])
    assert any("every spectrum is zero" in note for note in zeros.notes)
    assert any("left out of ERGAS" in note for note in zeros.notes)


def test_windows_full_of_holes_leave_ssim_undefined():
    p, t = pair(10)
    mask = np.ones((24, 31), bool)
    mask[::4, ::4] = False
    report = evaluate(p, t, mask, **KNOWN)
    assert math.isnan(report.pooled["ssim"])
    assert math.isnan(report.pooled["uqi"])
    assert report.counts.ssim_windows == 0
    assert sum("undefined: no window" in note for note in report.notes) == 2


@pytest.mark.parametrize(("window", "size"), [("gaussian", 11), ("uniform", 7)])
def test_settings_are_recorded(window, size):
    report = evaluate(*pair(), **KNOWN, window=window)
    assert report.settings.data_range == 1.0
    assert report.settings.ratio == 16
    assert (report.settings.ssim_window, report.settings.ssim_size) == (window, size)
    assert report.settings.ssim_sigma == (1.5 if window == "gaussian" else 0)
    assert report.settings.ssim_border == "valid"
    assert report.settings.ssim_covariance == "population"
    assert report.counts.ssim_windows == (24 - size + 1) * (31 - size + 1)


def test_without_a_window_small_images_can_be_measured():
    report = evaluate(*pair(11, (2, 1, 2)), **KNOWN, window=None)
    assert "ssim" not in report.pooled
    assert "uqi" not in report.pooled
    assert report.settings.ssim_window == "none"
    small = evaluate(*pair(11, (2, 5, 6)), **KNOWN, window_size=5)
    assert math.isfinite(small.pooled["ssim"])
    assert math.isnan(small.pooled["uqi"])
    assert any(note.startswith("UQI is undefined") for note in small.notes)


P = np.ones((2, 12, 13))
BAD = {
    "shapes": ((P, P[:1]), {}, r"Got: \(2, 12, 13\) against \(1, 12, 13\)"),
    "zero size": ((P[:, :0], P[:, :0]), {}, r"\(2, 0, 13\)"),
    "one axis": ((P[0, 0], P[0, 0]), {}, r"shape \(13,\)"),
    "four axes": ((P[None], P[None]), {}, r"shape \(1, 2, 12, 13\)"),
    "bool": ((P > 0, P), {}, "dtype bool"),
    "complex": ((P, P * 1j), {}, "dtype complex128"),
    "text": ((P.astype(str), P), {}, "dtype <U32"),
    "mask shape": ((P, P, np.ones((13, 12), bool)), {}, r"Got: shape \(13, 12\)\. Allowed: \(H, W\) = \(12, 13\)"),
    "mask dtype": ((P, P, np.ones((12, 13))), {}, "dtype float64"),
    "all masked": ((P, P, np.zeros((12, 13), bool)), {}, "156 masked, 0 not finite"),
    "all NaN": ((P * np.nan, P), {}, "0 masked, 156 not finite"),
    "range zero": ((P, P), {"data_range": 0}, "Got: 0"),
    "range below zero": ((P, P), {"data_range": -2.5}, r"Got: -2\.5"),
    "range missing": ((P, P), {"data_range": None}, "Got: None"),
    "range NaN": ((P, P), {"data_range": math.nan}, "Got: nan"),
    "range text": ((P, P), {"data_range": "wide"}, "Got: 'wide'"),
    "ratio zero": ((P, P), {"ratio": 0}, "ratio .* Got: 0"),
    "ratio below zero": ((P, P), {"ratio": -16}, "Got: -16"),
    "ratio infinite": ((P, P), {"ratio": math.inf}, "Got: inf"),
    "ratio upside down": ((P, P), {"ratio": 0.0625}, r"Got: 0\.0625.* Did you mean 16"),
    "low image": ((P[:, :10], P[:, :10]), {}, "10 rows for a window of 11 x 11"),
    "narrow image": ((P[:, :, :6], P[:, :, :6]), {"window": "uniform"}, "6 columns for a window of 7 x 7"),
    "window size": ((P, P), {"window_size": 4}, "Got: 4"),
    "window name": ((P, P), {"window": "box"}, "Got: 'box'"),
    "band count": ((P, P), {"bands": ["red"]}, r"Got: 1 \(red\)\. Allowed: 2 names"),
    "band names": ((P, P), {"bands": ["red", "red"]}, "Got: red, red"),
    "threads zero": ((P, P), {"threads": 0}, "Got: 0"),
    "threads text": ((P, P), {"threads": "all"}, "Got: 'all'"),
    "bins turned": ((P, P), {"error_bins": (1, -1, 5)}, r"Got: \(1, -1, 5\)"),
    "no bins": ((P, P), {"error_bins": (-1, 1, 0)}, r"Got: \(-1, 1, 0\)"),
    "half a bin": ((P, P), {"error_bins": (-1, 1, 1.5)}, r"1\.5"),
    "bins without edges": ((P, P), {"error_bins": 10}, "Got: 10"),
    "overflow": ((P * 1e200, P), {}, "too large to square"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_its_value(case):
    arrays, changed, message = BAD[case]
    with pytest.raises(MetricError, match=message) as caught:
        evaluate(*arrays, **{**KNOWN, **changed})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("context", [(-1, 0), (0, 1.5), 3, None])
def test_context_is_two_whole_numbers(context):
    with pytest.raises(MetricError, match="context"):
        Evaluation(2, 13, **KNOWN, context=context)


def test_rows_of_another_shape_are_refused():
    evaluation = Evaluation(2, 13, **KNOWN)
    with pytest.raises(MetricError, match=r"\(2, 4, 12\).*\(2, rows, 13\)"):
        evaluation.update(P[:, :4, :12], P[:, :4, :12])
    with pytest.raises(MetricError, match="0 pixels"):
        evaluation.report()
    evaluation.update(P[:, :4], P[:, :4])
    with pytest.raises(MetricError, match="4 rows for a window of 11"):
        evaluation.report()


def test_importing_needs_numpy_only():
    heavy = ("rasterio", "scipy", "rich", "torch", "pydantic", "click")
    code = f"import sys, stf_infer.metrics; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
