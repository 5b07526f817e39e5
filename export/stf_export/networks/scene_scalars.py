# SPDX-License-Identifier: Apache-2.0
"""Numbers that a network needs and that only the whole scene can tell: computed once a scene, never once a tile.

Some networks were published with a step outside of the network that averages over the image it is run on. On tiles
that average would jump from tile to tile, so the exported graph takes the number as an input of its own. Here is
what each such input is and the published rule, as plain functions of the scene's images. No torch here.

Every rule needs means over the scene only (of a band, of a change, of an absolute change), so that a reader of
blocks can add them up: :func:`band_means`, :func:`mean_changes` and :func:`mean_absolute_changes` on all blocks,
weighted by their valid pixels, give the same as on the scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

# Beyond this difference of the two changes (in network values) only the date that changed less counts.
SWITCH = 0.2


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
    """Weight of the prediction from t1 in StfNet, band by band.

    ``a`` and ``b`` are the means of ``|coarse_t2 - coarse_t1|`` and ``|coarse_t3 - coarse_t2|`` over the scene. The
    weight is ``(1/(a + eps)) / (1/(a + eps) + 1/(b + eps))`` with eps 1e-6; 1 where ``b - a`` exceeds 0.2, and 0
    where ``a - b`` does. The 0.2 is meant for values within -1 to 1, so it is 0.1 in reflectance.

    Args:
        coarse_t1: Coarse image ``(C, H, W)`` in network values; any of the scene's grids.
        coarse_t2: The same at t2.
        coarse_t3: The same at t3.
        valid: Pixels to count, bool ``(H, W)``; None counts all.

    Returns:
        ``(C,)`` float64 in [0, 1].
    """
    change_12 = mean_absolute_changes(coarse_t1, coarse_t2, valid)
    change_23 = mean_absolute_changes(coarse_t2, coarse_t3, valid)
    return switched_weight(change_12, change_23, eps=1e-6)


def stfmlp_alpha(
    coarse_t1: np.ndarray, coarse_t2: np.ndarray, coarse_t3: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """Weight of the prediction from t1 in StfMLP, one number for all bands.

    As :func:`stfnet_temporal_weight`, but ``a`` is the absolute value of the mean change (gains and losses cancel),
    over all bands and pixels together, there is no eps, and values are reflectance. Two dates without any change
    count alike.

    Args:
        coarse_t1: Coarse image ``(C, H, W)`` in network values.
        coarse_t2: The same at t2.
        coarse_t3: The same at t3.
        valid: Pixels to count, bool ``(H, W)``; None counts all.

    Returns:
        ``(1,)`` float64 in [0, 1].
    """
    change_12 = np.abs(mean_changes(coarse_t1, coarse_t2, valid).mean(keepdims=True))
    change_23 = np.abs(mean_changes(coarse_t2, coarse_t3, valid).mean(keepdims=True))
    return switched_weight(change_12, change_23)


def densestf_fine_mean(fine_t1: np.ndarray, fine_t3: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Level that DenseSTF takes off the fine image and adds to its result: mean of both dates' means, ``(C,)``."""
    return (band_means(fine_t1, valid) + band_means(fine_t3, valid)) / 2


def densestf_coarse_mean(
    coarse_t1: np.ndarray, coarse_t2: np.ndarray, coarse_t3: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """Level that DenseSTF takes off the coarse images: mean of the three dates' means, ``(C,)``."""
    return (band_means(coarse_t1, valid) + band_means(coarse_t2, valid) + band_means(coarse_t3, valid)) / 3


def switched_weight(
    change_1: np.ndarray, change_3: np.ndarray, *, eps: float = 0.0, switch: float = SWITCH
) -> np.ndarray:
    """Weight of date 1 when two dates count inversely to their change, and the worse one not at all beyond a gap.

    Written as ``(b + eps) / (a + b + 2 eps)``, which is the same number without reciprocals.

    Args:
        change_1: Change between date 1 and t2, not negative, any shape.
        change_3: Change between t2 and date 3, same shape.
        eps: What counts as no change.
        switch: Gap beyond which only the date with the smaller change counts.

    Returns:
        float64 in [0, 1]; 0.5 where neither changed.
    """
    a, b = np.asarray(change_1, np.float64) + eps, np.asarray(change_3, np.float64) + eps
    weight = np.divide(b, a + b, out=np.full(np.broadcast(a, b).shape, 0.5), where=a + b > 0)
    weight[b - a > switch] = 1.0
    weight[a - b > switch] = 0.0
    return weight


def band_means(image: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Mean of each band over the valid pixels of ``(C, H, W)``, float64 ``(C,)``."""
    pixels = np.asarray(image).reshape(len(image), -1)
    if valid is not None:
        pixels = pixels[:, np.asarray(valid, bool).ravel()]
    return pixels.mean(axis=1, dtype=np.float64)


def mean_changes(before: np.ndarray, after: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Mean of ``after - before`` for each band, float64 ``(C,)``."""
    return band_means(np.subtract(after, before, dtype=np.float64), valid)


def mean_absolute_changes(before: np.ndarray, after: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Mean of ``|after - before|`` for each band, float64 ``(C,)``."""
    return band_means(np.abs(np.subtract(after, before, dtype=np.float64)), valid)
