# SPDX-License-Identifier: Apache-2.0
"""Numbers that a network needs and that only the whole scene can tell: computed once a scene, never once a tile.

Some networks were published with a step outside of the network that averages over the image it is run on. On tiles
that average would jump from tile to tile, so the exported graph takes the number as an input on the grid ``scene``.
Every rule needs means over the scene only (of values, squares, changes), so blocks of rows can be added up in any
order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import get_args

import numpy as np

from .spec import ScalarRule

# Beyond this difference of the two changes (in network values) only the date that changed less counts.
SWITCH = 0.2


class Means:
    """Means over a scene of some images and of the changes from each to the next, added up block by block.

    Args:
        images: How many images there are, in the order of the rule's roles.

    Attributes:
        images: The same.
        pixels: How many pixels were counted.
    """

    def __init__(self, images: int) -> None:
        self.images, self.pixels = images, 0
        self._sums: list[np.ndarray | float] = [0.0] * images
        self._squares: list[np.ndarray | float] = [0.0] * images
        self._changes: list[np.ndarray | float] = [0.0] * (images - 1)
        self._absolute: list[np.ndarray | float] = [0.0] * (images - 1)

    @classmethod
    def of(cls, images: Sequence[np.ndarray], valid: np.ndarray | None = None) -> Means:
        """The means of whole images ``(C, H, W)``."""
        means = cls(len(images))
        means.add(images, valid)
        return means

    def add(self, images: Sequence[np.ndarray], valid: np.ndarray | None = None) -> None:
        """Add a block.

        Args:
            images: ``(C, rows, W)`` in network values, one for each role.
            valid: Pixels to count, ``(rows, W)``; None counts all.
        """
        pixels = [np.asarray(image, np.float64).reshape(len(image), -1) for image in images]
        if valid is not None:
            kept = np.asarray(valid, bool).ravel()
            pixels = [image[:, kept] for image in pixels]
        self.pixels += pixels[0].shape[1]
        for number, image in enumerate(pixels):
            self._sums[number] = self._sums[number] + image.sum(axis=1)
            self._squares[number] = self._squares[number] + np.square(image).sum(axis=1)
        for number, (before, after) in enumerate(pairwise(pixels)):
            change = after - before
            self._changes[number] = self._changes[number] + change.sum(axis=1)
            self._absolute[number] = self._absolute[number] + np.abs(change).sum(axis=1)

    def band(self, image: int) -> np.ndarray:
        """Mean of each band of an image, float64 ``(C,)``; 0 where no pixel is valid."""
        return self._mean(self._sums[image])

    def deviation(self, image: int) -> np.ndarray:
        """Standard deviation of each band of an image over its pixels, ``(C,)``."""
        variance = self._mean(self._squares[image]) - self.band(image) ** 2
        return np.sqrt(np.maximum(variance, 0))

    def change(self, image: int) -> np.ndarray:
        """Mean of the change from an image to the next, ``(C,)``."""
        return self._mean(self._changes[image])

    def absolute_change(self, image: int) -> np.ndarray:
        """Mean of the absolute change from an image to the next, ``(C,)``."""
        return self._mean(self._absolute[image])

    def _mean(self, total: np.ndarray | float) -> np.ndarray:
        return np.atleast_1d(np.asarray(total, np.float64)) / max(self.pixels, 1)


def switched_absolute_change(means: Means) -> np.ndarray:
    """Weight of the prediction from t1 in StfNet, band by band, from images at t1, t2 and t3.

    ``a`` and ``b`` are the means of ``|t2 - t1|`` and ``|t3 - t2|`` over the scene. The weight is ``(1/(a + eps)) /
    (1/(a + eps) + 1/(b + eps))`` with eps 1e-6; 1 where ``b - a`` exceeds 0.2, and 0 where ``a - b`` does. The 0.2 is
    meant for values within -1 to 1, so it is 0.1 in reflectance.

    Returns:
        ``(C,)`` float64 in [0, 1].
    """
    return switched_weight(means.absolute_change(0), means.absolute_change(1), eps=1e-6)


def switched_mean_change(means: Means) -> np.ndarray:
    """Weight of the prediction from t1 in StfMLP, one number for all bands, from images at t1, t2 and t3.

    As :func:`switched_absolute_change`, but ``a`` is the absolute value of the mean change (gains and losses cancel),
    over all bands and pixels together, there is no eps, and values are reflectance. Two dates without any change
    count alike.

    Returns:
        ``(1,)`` float64 in [0, 1].
    """
    before, after = (np.abs(means.change(number).mean(keepdims=True)) for number in (0, 1))
    return switched_weight(before, after)


def mean_of_dates(means: Means) -> np.ndarray:
    """Level of a scene over its dates: the mean of the images' means, band by band.

    Returns:
        ``(C,)`` float64.
    """
    return np.mean([means.band(number) for number in range(means.images)], axis=0)


def standard_deviation(means: Means) -> np.ndarray:
    """Standard deviation of an image over the scene, band by band.

    Returns:
        ``(C,)`` float64.
    """
    return means.deviation(0)


RULES: dict[str, Callable[[Means], np.ndarray]] = {
    "switched-absolute-change": switched_absolute_change,
    "switched-mean-change": switched_mean_change,
    "mean-of-dates": mean_of_dates,
    "standard-deviation": standard_deviation,
}
assert set(RULES) == set(get_args(ScalarRule))


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
