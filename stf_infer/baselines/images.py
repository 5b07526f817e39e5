# SPDX-License-Identifier: Apache-2.0
"""What fusion has to beat: two predictions that need no network.

``copy_reference`` says that nothing changed. ``add_coarse_change`` adds the change that the coarse sensor
saw, as if all fine pixels below a coarse one had changed alike.
"""

from __future__ import annotations

import numpy as np

from ..errors import UsageError
from ..sampling import interpolation


def copy_reference(fine_t1: np.ndarray) -> np.ndarray:
    """``F2 = F1``, float32 ``(C, H, W)``."""
    return np.array(fine_t1, np.float32)


def add_coarse_change(
    fine_t1: np.ndarray,
    coarse_t1: np.ndarray,
    coarse_t2: np.ndarray,
    ratio: int,
    valid: np.ndarray | None = None,
) -> np.ndarray:
    """``F2 = F1 + up(C2 - C1)``, with ``up`` of :func:`interpolate_coarse`.

    Args:
        fine_t1: ``(C, H, W)``.
        coarse_t1: ``(C, H / ratio, W / ratio)``, same unit.
        coarse_t2: The same shape.
        ratio: Fine pixels along a side of a coarse one.
        valid: bool ``(H / ratio, W / ratio)``, False where either coarse image shows no ground: such pixels take no
            part, and where no other is near, no change is added. None uses all.

    Returns:
        float32 ``(C, H, W)``.

    Raises:
        UsageError: The images do not lie on each other.
    """
    change = np.asarray(coarse_t2, np.float32) - np.asarray(coarse_t1, np.float32)
    if valid is None:
        up = interpolate_coarse(change, ratio)
    else:
        weight = interpolate_coarse(valid.astype(np.float32), ratio)
        up = interpolate_coarse(np.where(valid, change, 0), ratio) / np.maximum(weight, 1e-6)
    if up.shape != fine_t1.shape:
        raise UsageError(
            "The coarse images do not lie on the fine one", got=f"{change.shape} x {ratio}", allowed=fine_t1.shape
        )
    return np.asarray(fine_t1, np.float32) + up


def interpolate_coarse(coarse: np.ndarray, ratio: int) -> np.ndarray:
    """Bilinear interpolation that keeps the ground position: ``(..., h, w)`` to ``(..., h * ratio, w * ratio)``.

    The centre of coarse pixel ``k`` lies at fine position ``(k + 0.5) * ratio - 0.5``; beyond the outermost
    centres the edge is repeated. It is what ``half-pixel`` means in a contract.
    """
    coarse = np.asarray(coarse, np.float32)
    rows, columns = (_weights(n, ratio) for n in coarse.shape[-2:])
    return np.asarray(np.matmul(np.matmul(rows, coarse), columns.T), np.float32)


def _weights(count: int, ratio: int) -> np.ndarray:
    first, share = interpolation(0, count * ratio, count, ratio, "half-pixel")
    weights = np.zeros((count * ratio, count), np.float32)
    rows = np.arange(count * ratio)
    weights[rows, first] = 1 - share
    weights[rows, np.minimum(first + 1, count - 1)] += share
    return weights
