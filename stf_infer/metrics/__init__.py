# SPDX-License-Identifier: Apache-2.0
"""How good a prediction is: names, definitions and reports of the field's quality figures.

    from stf_infer import metrics

    report = metrics.evaluate(prediction, truth, data_range=1.0, ratio=16)
    report.pooled["rmse"], report.per_band["band_1"]["ssim"]

Needs NumPy only. :class:`Evaluation` takes a scene in blocks of rows; :func:`compare` reads two rasters that
way.
"""

from __future__ import annotations

from .comparison import Comparison, compare
from .errors import ErrorHistogram
from .evaluate import Evaluation, evaluate
from .maps import ssim_map
from .moments import Moments
from .report import Counts, MetricReport, Settings
from .spectral import SpectralAngles

__all__ = [
    "Comparison",
    "Counts",
    "ErrorHistogram",
    "Evaluation",
    "MetricReport",
    "Moments",
    "Settings",
    "SpectralAngles",
    "compare",
    "evaluate",
    "ssim_map",
]
