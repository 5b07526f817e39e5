# SPDX-License-Identifier: Apache-2.0
"""The scene-wide numbers of published networks as functions of whole images: what tests and training need.

The rules themselves, and how they are added up over a scene, are in :mod:`stf_infer.scene_scalars`. No torch here.
"""

from __future__ import annotations

import numpy as np

from stf_infer.scene_scalars import Means, mean_of_dates, switched_absolute_change, switched_mean_change


def stfnet_temporal_weight(
    coarse_t1: np.ndarray, coarse_t2: np.ndarray, coarse_t3: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """:func:`stf_infer.scene_scalars.switched_absolute_change` of three images ``(C, H, W)``: ``(C,)`` float64."""
    return switched_absolute_change(Means.of((coarse_t1, coarse_t2, coarse_t3), valid))


def stfmlp_alpha(
    coarse_t1: np.ndarray, coarse_t2: np.ndarray, coarse_t3: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """:func:`stf_infer.scene_scalars.switched_mean_change` of three images ``(C, H, W)``: ``(1,)`` float64."""
    return switched_mean_change(Means.of((coarse_t1, coarse_t2, coarse_t3), valid))


def densestf_level(*images: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """:func:`stf_infer.scene_scalars.mean_of_dates` of images ``(C, H, W)``: ``(C,)`` float64."""
    return mean_of_dates(Means.of(images, valid))
