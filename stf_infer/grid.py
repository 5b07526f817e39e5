# SPDX-License-Identifier: Apache-2.0
"""Tile plans: which window of the scene a tile reads, which part of it is kept, and with what weight.

Everything is in fine pixels, y before x. Plans are immutable; nobody else multiplies an index by a stride.

One axis of an ``exact`` plan (tile 8, halo 2; ``#`` core, ``.`` halo)::

    tile 0  ######..
    tile 1      ..####..
    tile 2          ..####..
    tile 3             ...#####     the last tile is shifted back to end with the scene

The scene's own border has no halo: there the network's own padding acts, as it would on the whole scene. Where a
graph predicts its core only, tiles begin and end a halo beyond the scene instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from .errors import TilePlanError

if TYPE_CHECKING:
    import numpy as np

    from .spec import TileRule


def ceil_to(value: int, multiple: int) -> int:
    """Smallest multiple of ``multiple`` that is not below ``value``."""
    return -(-value // multiple) * multiple


@dataclass(frozen=True)
class Shape:
    """Rows and columns."""

    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def __str__(self) -> str:
        return f"{self.height} x {self.width}"


@dataclass(frozen=True)
class Window:
    """Half-open pixel window ``[y0, y1) x [x0, x1)``."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> Shape:
        """Rows and columns of the window."""
        return Shape(self.y1 - self.y0, self.x1 - self.x0)

    def intersects(self, other: Window) -> bool:
        """Whether the windows share a pixel."""
        return self.y0 < other.y1 and other.y0 < self.y1 and self.x0 < other.x1 and other.x0 < self.x1


@dataclass(frozen=True)
class TileAxis:
    """The tiles along one axis of a scene.

    Attributes:
        length: Pixels of the scene along the axis.
        size: Pixels of a tile.
        stride: Every origin is a multiple of it.
        halo: Pixels of context that a core needs on each inner side (``exact``).
        mode: ``exact`` or ``blend``.
        overlap: Pixels that neighbours share at least (``blend``).
        predicts: ``tile``, or ``core``: the halo is needed at the scene's border too (``exact``).
    """

    length: int
    size: int
    stride: int = 1
    halo: int = 0
    mode: Literal["exact", "blend"] = "exact"
    overlap: int = 0
    predicts: Literal["tile", "core"] = "tile"

    def __post_init__(self) -> None:
        if self.length < 1:
            raise TilePlanError("A scene needs at least one pixel", got=self.length)
        if self.size < 1 or self.stride < 1 or self.size % self.stride:
            raise TilePlanError("A tile must be a multiple of the stride", got=f"{self.size} / {self.stride}")
        if self.padded > self.size and self.step < 1:
            raise TilePlanError(
                "The tile is too small for what its neighbours must share",
                got=f"tile {self.size}, shared {self.shared}, stride {self.stride}",
                allowed=f"a tile of at least {ceil_to(self.shared + self.stride, self.stride)}",
                fix="Export the network with a larger --tile",
            )

    @property
    def margin(self) -> int:
        """Pixels before the scene that the first tile reads."""
        return ceil_to(self.halo, self.stride) if self.predicts == "core" else 0

    @property
    def padded(self) -> int:
        """Length with what tiles read beyond the scene: whole strides, at least one tile."""
        after = self.halo if self.predicts == "core" else 0
        return max(ceil_to(self.margin + self.length + after, self.stride), self.size)

    @property
    def shared(self) -> int:
        """Pixels that two neighbouring tiles share at least."""
        return 2 * self.halo if self.mode == "exact" else self.overlap

    @property
    def computed(self) -> int:
        """Pixels of a tile that the network computes."""
        return self.size - 2 * self.halo if self.predicts == "core" else self.size

    @property
    def step(self) -> int:
        """Distance between the origins of neighbouring tiles."""
        return (self.size - self.shared) // self.stride * self.stride

    @cached_property
    def origins(self) -> tuple[int, ...]:
        """First pixel of every tile; the last tile ends with the padded scene."""
        last = self.padded - self.size - self.margin
        return (*range(-self.margin, last, self.step), last) if last > -self.margin else (-self.margin,)

    def __len__(self) -> int:
        return len(self.origins)

    @cached_property
    def cores(self) -> tuple[tuple[int, int], ...]:
        """Half-open ranges ``(start, stop)`` that partition the scene: what each tile owns.

        In ``exact`` mode every pixel of a core is at least ``halo`` away from the tile's inner edges (from all edges
        where the graph predicts its core only). In ``blend`` mode the cuts lie in the middle of the overlaps; they say
        who owns a pixel in reports, not what is kept.
        """
        cuts = [0]
        for here, following in pairwise(self.origins):
            end = here + self.size
            cuts.append(end - self.halo if self.mode == "exact" else (following + end) // 2)
        cuts.append(self.length)
        cuts = [min(c, self.length) for c in cuts]
        return tuple(pairwise(cuts))

    def reach(self, index: int) -> tuple[int, int]:
        """Pixels of the scene that a tile has a weight on, half-open."""
        if self.mode == "exact":
            return self.cores[index]
        return self.origins[index], min(self.origins[index] + self.size, self.length)

    def touching(self, start: int, stop: int) -> list[int]:
        """The tiles that have a weight on a pixel of ``[start, stop)``, in their order."""
        return [i for i in range(len(self)) if self.reach(i)[1] > start and self.reach(i)[0] < stop]

    def weights(self, index: int) -> np.ndarray:
        """Weight of each pixel of a tile, float32 of shape ``(size,)``.

        At every scene pixel the weights of all tiles sum to one, border included. ``exact``: 1 in the core and 0
        elsewhere. ``blend``: linear ramps over the whole overlap with each neighbour, and no ramp at the scene's
        border, divided by their sum.
        """
        import numpy as np

        origin = self.origins[index]
        if self.mode == "exact":
            start, stop = self.cores[index]
            out = np.zeros(self.size, np.float32)
            out[start - origin : max(stop, start) - origin] = 1.0
            return out
        position = origin + np.arange(self.size)
        total = sum(self._ramp(k, position) for k in self._overlapping(index))
        return (self._ramp(index, position) / total).astype(np.float32)

    def _overlapping(self, index: int) -> list[int]:
        origin = self.origins[index]
        return [k for k, other in enumerate(self.origins) if abs(other - origin) < self.size]

    def _ramp(self, index: int, position: np.ndarray) -> np.ndarray:
        """Unnormalised weight of tile ``index`` at absolute positions; 0 outside of the tile."""
        import numpy as np

        begin = self.origins[index]
        end = begin + self.size
        weight = np.where((position >= begin) & (position < end), 1.0, 0.0)
        if index > 0:
            width = self.origins[index - 1] + self.size - begin
            if width > 0:
                weight *= np.clip((position - begin + 0.5) / width, 0, 1)
        if index + 1 < len(self):
            width = end - self.origins[index + 1]
            if width > 0:
                weight *= np.clip((end - position - 0.5) / width, 0, 1)
        return weight


@dataclass(frozen=True)
class Tile:
    """One tile of a plan: its index, the window it reads (may reach past the scene) and the core it owns."""

    iy: int
    ix: int
    read: Window
    core: Window


@dataclass(frozen=True)
class TilePlan:
    """All tiles of a scene, as the product of two axes.

    Row of tiles after row of tiles is what the pipeline walks: rows above :meth:`final_rows` of a tile row will not
    be touched again.
    """

    y: TileAxis
    x: TileAxis

    @classmethod
    def for_scene(cls, rule: TileRule, scene: Shape) -> TilePlan:
        """The plan that a bundle's tile rule asks for on a scene of this shape."""
        common = {key: getattr(rule, key) for key in ("stride", "halo", "mode", "overlap", "predicts")}
        return cls(
            TileAxis(scene.height, rule.height, **common),
            TileAxis(scene.width, rule.width, **common),
        )

    @property
    def scene(self) -> Shape:
        """Rows and columns of the scene."""
        return Shape(self.y.length, self.x.length)

    @property
    def padded(self) -> Shape:
        """Rows and columns after padding to whole strides and at least one tile."""
        return Shape(self.y.padded, self.x.padded)

    @property
    def tile(self) -> Shape:
        """Rows and columns of a tile."""
        return Shape(self.y.size, self.x.size)

    def __len__(self) -> int:
        return len(self.y) * len(self.x)

    def __getitem__(self, index: tuple[int, int]) -> Tile:
        iy, ix = index
        y, x = self.y.origins[iy], self.x.origins[ix]
        return Tile(
            iy,
            ix,
            Window(y, y + self.y.size, x, x + self.x.size),
            Window(*self.y.cores[iy], *self.x.cores[ix]),
        )

    def __iter__(self) -> Iterator[Tile]:
        return (self[iy, ix] for iy in range(len(self.y)) for ix in range(len(self.x)))

    def final_rows(self, iy: int) -> int:
        """First row that a later row of tiles may still change; all rows above it are final after row ``iy``."""
        if iy + 1 == len(self.y):
            return self.y.length
        if self.y.mode == "exact":
            return self.y.cores[iy][1]
        return min(self.y.origins[iy + 1], self.y.length)

    @staticmethod
    def rows_of_batch(tiles: int, columns: int) -> int:
        """How many rows of tiles a batch of so many tiles touches at most, of so many tiles each."""
        return 1 + -(-(tiles - 1) // columns)

    def most_open_rows(self, tiles: int, columns: int) -> int:
        """How many rows wait for further tiles at most, with batches of so many tiles and rows of so many tiles."""
        most, span = 0, self.rows_of_batch(tiles, columns)
        for iy, origin in enumerate(self.y.origins):
            final = self.final_rows(iy - span) if iy >= span else max(self.y.origins[0], 0)
            most = max(most, min(origin + self.y.size, self.y.length) - final)
        return most

    @property
    def overlap_cost(self) -> float:
        """Pixels that the network computes over pixels of the scene: 1.0 would be no overlap and no padding."""
        return len(self) * self.y.computed * self.x.computed / self.scene.pixels
