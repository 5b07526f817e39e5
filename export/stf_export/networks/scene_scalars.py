# SPDX-License-Identifier: Apache-2.0
"""The scene-wide numbers of published networks as functions of whole images: what tests and training need.

The rules themselves, and how they are added up over a scene, are in :mod:`stf_infer.scene_scalars`. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stf_infer.scene_scalars import Means, switched_absolute_change, switched_mean_change


@dataclass(frozen=True)
class SceneScalar:
    """One input of a graph that holds a number of the scene.

    Attributes:
        role: Its name as an input.
        rule: Name of the function of this module that computes it.
        per: ``band``: the input is ``(N, C, 1, 1)``. ``scene``: it is ``(N, 1, 1, 1)``.
        needs: Roles of the images that the rule takes, in the order of its arguments.
    """

    role: str
    rule: str
    per: Literal["band", "scene"]
    needs: tuple[str, ...]


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


def densestf_fine_mean(fine_t1: np.ndarray, fine_t3: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Level that DenseSTF takes off the fine image and adds to its result: mean of both dates' means, ``(C,)``."""
    means = Means.of((fine_t1, fine_t3), valid)
    return (means.band(0) + means.band(1)) / 2


def densestf_coarse_mean(
    coarse_t1: np.ndarray, coarse_t2: np.ndarray, coarse_t3: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """Level that DenseSTF takes off the coarse images: mean of the three dates' means, ``(C,)``."""
    means = Means.of((coarse_t1, coarse_t2, coarse_t3), valid)
    return (means.band(0) + means.band(1) + means.band(2)) / 3
