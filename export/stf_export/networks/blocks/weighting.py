# SPDX-License-Identifier: Apache-2.0
"""How predictions from two reference dates are weighted against each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

# The eps that the field writes as 1e-8 is zero in half precision; this is the smallest number that is not.
NO_CHANGE = 2.0**-24


def inverse_weight(change_1: torch.Tensor, change_3: torch.Tensor, eps: float) -> torch.Tensor:
    """Weight of date 1 when two dates count inversely to how much changed since them; date 3 has the rest.

    The field writes ``(1/(a + eps)) / (1/(a + eps) + 1/(b + eps))``, with ``a`` and ``b`` the absolute
    changes. That is the same number as ``(b + eps) / (a + b + 2 eps)``, which is used here: one division in
    place of three, no intermediate beyond the range of half precision, and always within 0 to 1.

    Args:
        change_1: Change since date 1, any shape.
        change_3: Change since date 3, same shape.
        eps: What counts as no change. Keep it at or above ``2**-24`` where the graph may run in half
            precision: a smaller number is zero there, and two pixels without change would give 0/0.

    Returns:
        Weight in [0, 1], same shape; 0.5 where neither changed.
    """
    a, b = change_1.abs(), change_3.abs()
    return (b + eps) / (a + b + 2 * eps)


def per_scene(rule: Callable[..., np.ndarray], *images: torch.Tensor) -> torch.Tensor:
    """A rule for scene scalars, applied to each image of a batch as if it were a whole scene.

    Args:
        rule: One of :mod:`stf_export.networks.scene_scalars`.
        images: The rule's arguments, ``(N, C, H, W)`` each.

    Returns:
        ``(N, C, 1, 1)`` or ``(N, 1, 1, 1)``, as many channels as the rule gives numbers. It carries no gradient.
    """
    scenes = zip(*(image.detach().cpu().double().numpy() for image in images), strict=True)
    numbers = np.stack([rule(*scene) for scene in scenes])
    return torch.from_numpy(numbers)[:, :, None, None].to(images[0])
