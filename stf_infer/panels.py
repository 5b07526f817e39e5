# SPDX-License-Identifier: Apache-2.0
"""Panels: ranges of columns that a wide scene is gone through in, one after the other, each from top to bottom.

What is held of a scene, rows of inputs and of sums, then depends on the width of a panel and not on that of the
scene. A tile that reaches into two panels is run once, in the first of them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .grid import Shape, TilePlan, Window, ceil_to
from .layout import BLOCK

if TYPE_CHECKING:
    from .scene import Scene

# Columns of a panel at most. Every edge has the blocks of inputs under it read twice.
WIDEST = 4096


def panels_of(scene: Scene, area: Window) -> list[Window]:
    """Cut an area into panels of whole block columns of the result, of nearly the same width.

    A single one where a raster on the fine grid has blocks as wide as that: every panel would read them all.

    Args:
        scene: The open rasters.
        area: What of it is written.
    """
    if any(layer.grid.shape == scene.shape and layer.block_columns > WIDEST // 2 for layer in scene.layers.values()):
        return [area]
    return cut(area, WIDEST, BLOCK)


def cut(area: Window, widest: int, block: int) -> list[Window]:
    """The fewest panels of at most ``widest`` columns that cover an area; all but the last are whole blocks wide."""
    width = area.shape.width
    number = -(-width // widest)
    step = ceil_to(-(-width // number), block)
    starts = range(area.x0, area.x1, step)
    return [replace(area, x0=start, x1=min(start + step, area.x1)) for start in starts]


@dataclass(frozen=True)
class Panel:
    """A panel, and what it takes to make it.

    Attributes:
        area: Window of the scene that is written.
        runs: Columns of tiles that the engine runs.
        reads: Range of fine columns that is read for them, past the scene's border too.
    """

    area: Window
    runs: tuple[int, ...]
    reads: tuple[int, int]

    @classmethod
    def of(cls, plan: TilePlan, area: Window, known: Collection[int] = ()) -> Panel:
        """The panel of an area.

        Args:
            plan: The tile plan.
            area: What is written.
            known: Columns of tiles that need not be run.
        """
        runs = tuple(ix for ix in plan.x.touching(area.x0, area.x1) if ix not in known)
        starts = [plan.x.origins[ix] for ix in runs]
        return cls(area, runs, (min([area.x0, *starts]), max([area.x1, *(start + plan.x.size for start in starts)])))

    def within(self, scene: Shape) -> tuple[int, int]:
        """The columns of the scene that are read."""
        return max(self.reads[0], 0), min(self.reads[1], scene.width)
