# SPDX-License-Identifier: Apache-2.0
"""The figures of a report as other libraries compute them, in groups that each library can give.

Every call takes two float32 images ``(C, H, W)`` with values from 0 to 1 and no mask. Names that end in * give another
figure than ours by definition (docs/metrics.md says which); they are here for their speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Call = Callable[[np.ndarray, np.ndarray], object]
RATIO = 16


def numpy_pixelwise(p: np.ndarray, t: np.ndarray) -> list[float]:
    """Sums behind MSE, RMSE, NRMSE, MAE, PSNR, CC, R2, bias and ERGAS, band by band: float32 arrays, float64 sums."""
    out = []
    for a, b in zip(p, t, strict=True):
        d = a - b
        out += [d.mean(dtype=np.float64), np.einsum("yx,yx->", d, d, dtype=np.float64), b.min(), b.max()]
        out.append(np.abs(d, out=d).sum(dtype=np.float64))
        da, db = a - np.float32(a.mean(dtype=np.float64)), b - np.float32(b.mean(dtype=np.float64))
        out += [np.einsum("yx,yx->", x, y, dtype=np.float64) for x, y in ((da, da), (db, db), (da, db))]
    return [float(value) for value in out]


def numpy_angle(p: np.ndarray, t: np.ndarray) -> float:
    """SAM by its formula."""
    cosine = np.einsum("cyx,cyx->yx", p, t)
    cosine /= np.sqrt(np.einsum("cyx,cyx->yx", p, p) * np.einsum("cyx,cyx->yx", t, t))
    return float(np.arccos(np.clip(cosine, -1, 1, out=cosine), out=cosine).mean(dtype=np.float64))


def scipy_uqi(p: np.ndarray, t: np.ndarray) -> float:
    """UQI by its formula, with SciPy's running means; in float32, which costs digits in flat windows."""
    from scipy.ndimage import uniform_filter

    total = 0.0
    for a, b in zip(p, t, strict=True):
        ma, mb = uniform_filter(a, 8), uniform_filter(b, 8)
        squares = ma * ma + mb * mb
        variances = uniform_filter(a * a + b * b, 8) - squares
        covariance = uniform_filter(a * b, 8) - ma * mb
        total += float((4 * covariance * ma * mb / (variances * squares))[4:-3, 4:-3].mean(dtype=np.float64))
    return total / len(p)


def numpy_histogram(p: np.ndarray, t: np.ndarray) -> list[np.ndarray]:
    """100 bins of the error, band by band."""
    return [np.histogram(a - b, 100, (-0.5, 0.5))[0] for a, b in zip(p, t, strict=True)]


def skimage_ssim(p: np.ndarray, t: np.ndarray) -> float:
    """SSIM as Wang et al."""
    from skimage.metrics import structural_similarity

    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return float(np.mean([structural_similarity(b, a, **options) for a, b in zip(p, t, strict=True)]))


def torchmetrics_pixelwise(p: np.ndarray, t: np.ndarray) -> list[object]:
    """MSE, MAE, PSNR, CC, R2, NRMSE and ERGAS."""
    import torchmetrics.functional as functional

    x, y = _tensors(p, t)
    flat_x, flat_y = (z[0].flatten(1).T for z in (x, y))
    return [
        functional.mean_squared_error(x, y),
        functional.mean_absolute_error(x, y),
        functional.image.peak_signal_noise_ratio(x, y, data_range=1.0),
        functional.pearson_corrcoef(flat_x, flat_y),
        functional.r2_score(flat_x, flat_y, multioutput="raw_values"),
        functional.normalized_root_mean_squared_error(flat_x, flat_y, normalization="range", num_outputs=len(p)),
        functional.image.error_relative_global_dimensionless_synthesis(x, y, ratio=RATIO),
    ]


def _torchmetrics(name: str, **options: object) -> Call:
    def call(p: np.ndarray, t: np.ndarray) -> float:
        import torchmetrics.functional.image as functional

        return float(getattr(functional, name)(*_tensors(p, t), **options))

    return call


def _tensors(p: np.ndarray, t: np.ndarray) -> tuple[object, object]:
    import torch

    return torch.from_numpy(p)[None], torch.from_numpy(t)[None]


def _sewar(name: str, **options: object) -> Call:
    def call(p: np.ndarray, t: np.ndarray) -> float:
        from sewar import full_ref

        # Its images have the bands last; they are given as views, which costs it nothing at this place.
        return float(getattr(full_ref, name)(*(np.moveaxis(x, 0, -1) for x in (t, p)), **options))

    return call


PEERS: Mapping[str, Mapping[str, Call]] = {
    "pixelwise": {"numpy": numpy_pixelwise, "torchmetrics": torchmetrics_pixelwise},
    "sam": {
        "numpy": numpy_angle,
        "torchmetrics": _torchmetrics("spectral_angle_mapper"),
        "sewar": _sewar("sam"),
    },
    "ssim": {
        "scikit-image": skimage_ssim,
        "torchmetrics": _torchmetrics("structural_similarity_index_measure", data_range=1.0),
    },
    "uqi": {
        "torchmetrics*": _torchmetrics("universal_image_quality_index"),
        "sewar*": _sewar("uqi"),
        "scipy by hand": scipy_uqi,
    },
    "histogram": {"numpy": numpy_histogram},
}
