# SPDX-License-Identifier: Apache-2.0
"""What fusion has to beat: predictions that need no network.

Of images in memory: :func:`copy_reference`, :func:`add_coarse_change` and :func:`starfm`. Of whole scenes, through the
same stream as networks: :func:`fuse_baseline`.
"""

from .images import add_coarse_change, copy_reference, interpolate_coarse
from .scenes import BASELINES, BaselineModel, fuse_baseline
from .starfm import Starfm, starfm

__all__ = [
    "BASELINES",
    "BaselineModel",
    "Starfm",
    "add_coarse_change",
    "copy_reference",
    "fuse_baseline",
    "interpolate_coarse",
    "starfm",
]
