# SPDX-License-Identifier: Apache-2.0
"""One level of the orthonormal Haar wavelet, in strided slices that every engine takes.

Each 2x2 cell of the image gives one value of each sub-band, and the sub-bands give the cell back exactly::

    a b      low        (a + b + c + d) / 2
    c d      horizontal (a + b - c - d) / 2      a step between rows
             vertical   (a - b + c - d) / 2      a step between columns
             diagonal   (a - b - c + d) / 2
"""

from __future__ import annotations

import torch
from torch.nn import functional

# Signs of a, b, c, d in each sub-band; the matrix is its own inverse after the division by 2.
SIGNS = ((1, 1, 1, 1), (1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))


def haar_split(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sub-bands low, horizontal, vertical and diagonal, each ``(N, C, H/2, W/2)``.

    Args:
        image: ``(N, C, H, W)``, H and W even.
    """
    top, bottom = image[:, :, 0::2], image[:, :, 1::2]
    a, b, c, d = top[..., 0::2], top[..., 1::2], bottom[..., 0::2], bottom[..., 1::2]
    return _mix(a, b, c, d)


def haar_join(
    low: torch.Tensor, horizontal: torch.Tensor, vertical: torch.Tensor, diagonal: torch.Tensor
) -> torch.Tensor:
    """The image ``(N, C, H, W)`` whose sub-bands ``(N, C, H/2, W/2)`` these are: :func:`haar_split` undone."""
    cells = torch.stack(_mix(low, horizontal, vertical, diagonal), dim=2)
    return functional.pixel_shuffle(cells.flatten(1, 2), 2)


def _mix(
    a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rows of :data:`SIGNS` applied and halved; sums and differences of pairs are shared."""
    rows, columns = (a + b, c + d), (a - b, c - d)
    return (
        (rows[0] + rows[1]) * 0.5,
        (rows[0] - rows[1]) * 0.5,
        (columns[0] + columns[1]) * 0.5,
        (columns[0] - columns[1]) * 0.5,
    )
