# SPDX-License-Identifier: Apache-2.0
"""Every metric beside torchmetrics, scikit-image and sewar: equal, or different as docs/metrics.md states."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stf_infer.metrics import evaluate

RATIO = 16
# "Equal" in docs/metrics.md: the relative difference of two float64 computations of one definition.
EQUAL = 1e-12


@pytest.fixture(scope="module")
def pair():
    """A smooth scene with texture in four bands (C, H, W), and a blurred, biased, noisy prediction of it."""
    rng = np.random.default_rng(2024)
    y, x = np.mgrid[:96, :113] / 20
    truth = np.stack([0.25 + 0.1 * np.sin(x * (1 + b)) * np.cos(y) + 0.02 * b for b in range(4)])
    truth += 0.02 * rng.standard_normal(truth.shape)
    prediction = 0.95 * truth + 0.02 + 0.015 * rng.standard_normal(truth.shape)
    return np.clip(prediction, 0.01, 1), np.clip(truth, 0.01, 1)


@pytest.fixture(scope="module")
def ours(pair):
    return evaluate(*pair, data_range=1.0, ratio=RATIO)


def per_band(report, name):
    return [report.per_band[band][name] for band in report.bands]


def channels_last(pair):
    return tuple(np.ascontiguousarray(np.moveaxis(x, 0, -1)) for x in pair)


class TestTorchmetrics:
    @pytest.fixture
    def theirs(self):
        pytest.importorskip("torchmetrics", reason="test extra: torchmetrics")
        import torchmetrics.functional as functional

        return functional

    @pytest.fixture
    def tensors(self, pair):
        torch = pytest.importorskip("torch", reason="torchmetrics needs torch")
        return tuple(torch.from_numpy(x)[None] for x in pair)

    def test_pixelwise(self, theirs, tensors, ours):
        p, t = tensors
        flat_p, flat_t = (x[0].flatten(1).T.contiguous() for x in tensors)
        assert float(theirs.mean_squared_error(p, t)) == pytest.approx(ours.pooled["mse"], rel=EQUAL)
        assert float(theirs.mean_squared_error(p, t, squared=False)) == pytest.approx(ours.pooled["rmse"], rel=EQUAL)
        assert float(theirs.mean_absolute_error(p, t)) == pytest.approx(ours.pooled["mae"], rel=EQUAL)
        psnr = theirs.image.peak_signal_noise_ratio(p, t, data_range=1.0)
        assert float(psnr) == pytest.approx(ours.pooled["psnr"], rel=1e-6)  # computes its log in float32
        nrmse = theirs.normalized_root_mean_squared_error(flat_p, flat_t, normalization="range", num_outputs=4)
        assert nrmse.tolist() == pytest.approx(per_band(ours, "nrmse"), rel=EQUAL)
        assert theirs.pearson_corrcoef(flat_p, flat_t).tolist() == pytest.approx(per_band(ours, "cc"), rel=EQUAL)
        for band, (p_band, t_band) in enumerate(zip(tensors[0][0], tensors[1][0], strict=True)):
            mae = float(theirs.mean_absolute_error(p_band, t_band))
            assert mae == pytest.approx(per_band(ours, "aad")[band], rel=EQUAL)
        assert theirs.pearson_corrcoef(flat_p, flat_t).tolist() == pytest.approx(per_band(ours, "pcc"), rel=EQUAL)
        raw = theirs.r2_score(flat_p, flat_t, multioutput="raw_values")
        assert raw.tolist() == pytest.approx(per_band(ours, "r2"), rel=EQUAL)
        weighted = theirs.r2_score(flat_p, flat_t, multioutput="variance_weighted")
        assert float(weighted) == pytest.approx(ours.pooled["r2"], rel=EQUAL)

    def test_sam(self, theirs, tensors, ours):
        sam = float(theirs.image.spectral_angle_mapper(*tensors))
        assert sam == pytest.approx(ours.pooled["sam_rad"], rel=1e-11)  # arccos of a cosine near 1

    def test_sam_of_zero_vectors_is_nan_there_and_excluded_here(self, theirs, pair):
        torch = pytest.importorskip("torch")
        p, t = pair[0].copy(), pair[1]
        p[:, 0, 0] = 0
        theirs_sam = theirs.image.spectral_angle_mapper(*(torch.from_numpy(x)[None] for x in (p, t)))
        assert math.isnan(float(theirs_sam))
        report = evaluate(p, t, data_range=1, ratio=RATIO)
        assert math.isfinite(report.pooled["sam_rad"])
        assert report.counts.zero_vectors == 1

    def test_ergas(self, theirs, tensors, ours):
        ergas = theirs.image.error_relative_global_dimensionless_synthesis
        assert float(ergas(*tensors, ratio=RATIO)) == pytest.approx(ours.pooled["ergas"], rel=EQUAL)
        assert float(ergas(*tensors)) == pytest.approx(ours.pooled["ergas"] * RATIO / 4, rel=EQUAL)  # its default is 4

    def test_ssim_differs_at_the_border_only(self, theirs, tensors, ours):
        ssim = theirs.image.structural_similarity_index_measure
        padded, full = ssim(*tensors, data_range=1.0, return_full_image=True)
        assert float(full[..., 5:-5, 5:-5].mean()) == pytest.approx(ours.pooled["ssim"], rel=EQUAL)
        difference = abs(float(padded) - ours.pooled["ssim"])
        assert 1e-6 < difference < 5e-3  # reflects the image at its border, and averages there too

    def test_uqi_has_a_gaussian_window(self, theirs, tensors, ours):
        uqi = float(theirs.image.universal_image_quality_index(*tensors))
        assert 1e-3 < abs(uqi - ours.pooled["uqi"]) < 0.2


def test_the_histogram_is_that_of_numpy(pair):
    report = evaluate(*pair, data_range=1.0, ratio=RATIO, error_bins=(-0.05, 0.05, 40))
    for found, p, t in zip(report.errors.inside, *pair, strict=True):
        np.testing.assert_array_equal(found, np.histogram(p - t, 40, (-0.05, 0.05))[0])


class TestScikitImage:
    @pytest.fixture
    def theirs(self):
        return pytest.importorskip("skimage.metrics", reason="test extra: scikit-image")

    def test_pixelwise(self, theirs, pair, ours):
        p, t = pair
        assert theirs.mean_squared_error(t, p) == pytest.approx(ours.pooled["mse"], rel=EQUAL)
        psnr = theirs.peak_signal_noise_ratio(t, p, data_range=1.0)
        assert psnr == pytest.approx(ours.pooled["psnr"], rel=EQUAL)
        nrmse = theirs.normalized_root_mse(t, p, normalization="min-max")
        assert nrmse == pytest.approx(ours.pooled["nrmse"], rel=EQUAL)

    def test_ssim_as_wang(self, theirs, pair, ours):
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
        bands = [theirs.structural_similarity(t, p, **options) for p, t in zip(*pair, strict=True)]
        assert bands == pytest.approx(per_band(ours, "ssim"), rel=EQUAL)

    def test_ssim_uniform(self, theirs, pair):
        report = evaluate(*pair, data_range=1.0, ratio=RATIO, window="uniform")
        options = {"use_sample_covariance": False, "data_range": 1.0}
        bands = [theirs.structural_similarity(t, p, **options) for p, t in zip(*pair, strict=True)]
        assert bands == pytest.approx(per_band(report, "ssim"), rel=EQUAL)

    def test_ssim_by_default_differs_by_window_and_covariance(self, theirs, pair, ours):
        default = theirs.structural_similarity(pair[1], pair[0], data_range=1.0, channel_axis=0)
        assert 1e-4 < abs(default - ours.pooled["ssim"]) < 0.1


class TestSewar:
    @pytest.fixture
    def theirs(self):
        return pytest.importorskip("sewar.full_ref", reason="test extra: sewar")

    def test_pixelwise(self, theirs, pair, ours):
        p, t = channels_last(pair)
        assert theirs.mse(t, p) == pytest.approx(ours.pooled["mse"], rel=EQUAL)
        assert theirs.rmse(t, p) == pytest.approx(ours.pooled["rmse"], rel=EQUAL)
        assert theirs.psnr(t, p, MAX=1.0) == pytest.approx(ours.pooled["psnr"], rel=EQUAL)

    def test_ergas_takes_the_inverse_ratio(self, theirs, pair, ours):
        p, t = channels_last(pair)
        assert theirs.ergas(t, p, r=1 / RATIO) == pytest.approx(ours.pooled["ergas"], rel=EQUAL)

    def test_sam(self, theirs, pair, ours):
        p, t = channels_last(pair)
        assert theirs.sam(t, p) == pytest.approx(ours.pooled["sam_rad"], rel=1e-11)

    def test_ssim(self, theirs, pair, ours):
        from sewar.utils import Filter

        p, t = channels_last(pair)
        gaussian = {"fltr": Filter.GAUSSIAN, "sigma": 1.5, "ws": 11}
        assert theirs.ssim(t, p, MAX=1.0, fltr_specs=gaussian)[0] == pytest.approx(ours.pooled["ssim"], rel=EQUAL)
        uniform = evaluate(*pair, data_range=1.0, ratio=RATIO, window="uniform", window_size=11)
        assert theirs.ssim(t, p, MAX=1.0)[0] == pytest.approx(uniform.pooled["ssim"], rel=EQUAL)

    def test_uqi_takes_means_for_sums(self, theirs, pair, ours):
        p, t = channels_last(pair)
        assert theirs.uqi(t, p) - ours.pooled["uqi"] > 0.01
