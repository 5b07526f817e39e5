# SPDX-License-Identifier: Apache-2.0
"""Measure how a network may be tiled: the shifts it is equivariant to, how far it sees, whether it sees everything.

The network is asked, never read: whatever answers (:mod:`stf_export.oracle`), the same questions are put.

*Stride.* Two tiles cut from one world, shifted by ``s`` along both axes, must agree in their middles. The smallest
``s`` for which they do is the stride; where an input lies on the coarse grid, only multiples of the
ratio are asked for.

*Halo.* A core must not be touched by anything beyond the tile's inner edges, and two things lie there. What the
input holds there: everything outside of a window is replaced, role by role, weakly and strongly, and the farthest
pixel inside that moves is counted. And that the tile ends there, so that borders are padded where the scene goes on:
two overlapping tiles are compared, and the farthest pixel from an edge that differs is counted. The second may reach
farther than the first (a one-sided kernel behind another) and the other way round; the halo is the larger::

    tile A  |- - - - - - - - - - - - - -|
    tile B              |- - - - - - - - - - - - - -|
    A - B               |x x 0 0 0 0 x x|              halo 2

*Everything.* If a change in one corner moves the opposite one on the smallest tile, the far end of a strip as long as
the largest is looked at before anything between. If that moves, too, or if no shift reproduces the output at any size,
no halo makes tiles exact: the mode is ``blend``.

A contract may ask for blending: then only the tile that is wanted is looked at, for its stride, unless that is stated
too. It may state stride and halo instead; then only determinism, shape and unused roles are looked at here.

Everything is in fine pixels. Cost: about ten runs and two for each input, on tiles of some hundred pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stf_infer.errors import ExportError, TilePlanError
from stf_infer.grid import Shape

from .contract import Contract
from .oracle import Oracle
from .samples import Tile
from .tile_questions import NEGLIGIBLE, UNEVEN, Base, Questions, WrongShapeError, crop

_log = logging.getLogger(__name__)

_SMALLEST, _LARGEST = 96, 512

# Where no shift reproduces the output, the one that comes nearest is looked for on a tile of at least this size: what a
# tile's statistics do to it hides a stride on a smaller one, and costs more time to no end on a larger one.
_ENOUGH = 128


@dataclass(frozen=True)
class Measured:
    """What probing found.

    Attributes:
        stride: Shifts by multiples of it reproduce the output (``blend``: the one that comes nearest).
        halo: Fine pixels from a tile's inner edge that the edge can touch; 0 in ``blend``.
        mode: ``exact`` or ``blend``.
        because: The measurements that rule out ``exact``.
        reach: Role: how many fine pixels away a change of this input is felt; empty in ``blend``.
        unused: Roles that do not move the output.
        size: The tile that the figures were measured on.
        runs: How often the network was run.
    """

    stride: int
    halo: int
    mode: Literal["exact", "blend"]
    because: tuple[str, ...]
    reach: dict[str, int]
    unused: tuple[str, ...]
    size: Shape
    runs: int


def measure(oracle: Oracle, contract: Contract, tile: Shape, progress: Callable[[str], None] | None = None) -> Measured:
    """Measure stride, halo and mode of a network, or take them from the contract where they are stated.

    Args:
        oracle: The network.
        contract: Its inputs.
        tile: The tile that is wanted; used where the network takes no other.
        progress: Called with a line about what is being measured.

    Raises:
        ExportError: The network runs at no size, is not deterministic, gives numbers that are not finite or an
            output that is not of the contract's shape, or does not react to its inputs at all.
    """
    probe = _Probe(oracle, contract, tile, progress or _log.info)
    return probe.measure() if contract.tile.halo is None else probe.stated(contract.tile.halo)


def seam(oracle: Oracle, contract: Contract, world: Tile, tile: Shape, shift: int, halo: int) -> float:
    """Largest difference of two overlapping tiles outside of their halos, over the output's range.

    Args:
        oracle: The network.
        contract: Its inputs.
        world: Inputs of at least ``tile + shift`` fine pixels along both axes.
        tile: Rows and columns of a tile.
        shift: How far the tiles are apart along both axes.
        halo: Fine pixels that are ignored along the overlap's edges.
    """
    here, there = (oracle(crop(world, contract, tile, (o, o))) for o in (0, shift))
    difference = np.abs(here[:, :, shift:, shift:] - there[:, :, :-shift, :-shift])
    inner = difference[:, :, halo : difference.shape[2] - halo, halo : difference.shape[3] - halo]
    extent = float(here.max() - here.min())
    return float(inner.max(initial=0.0)) / extent if extent else 0.0


@dataclass
class _Look:
    """What one tile size showed; ``halo`` is None where no core was left untouched."""

    base: Base
    across: float
    stride: int | None = None
    halo: int | None = None
    reach: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> Shape:
        return self.base.size


def _is_enough(size: Shape) -> bool:
    return min(size.height, size.width) >= _ENOUGH


class _Probe(Questions):
    def __init__(self, oracle: Oracle, contract: Contract, tile: Shape, say: Callable[[str], None]) -> None:
        super().__init__(oracle, contract)
        self.tile, self.say = tile, say
        self.refusal: Exception | None = None

    def measure(self) -> Measured:
        looks: list[_Look] = []
        unused: tuple[str, ...] = ()
        sizes = self._sizes()
        for size in sizes:
            base = self._try(size)
            if base is None:
                continue
            if not looks:
                unused = self.unused(base)
            looks.append(self._look(base))
            if looks[-1].halo is not None:
                return self._exact(looks[-1], unused)
            if len(looks) == 1 and looks[0].across > 0 and size != sizes[-1]:
                far = self._far_end(Shape(size.height, sizes[-1].width))
                if far is not None:
                    looks.append(far)
                    break
        if not looks:
            raise self._refused(sizes)
        return self._blend(looks, unused)

    def _try(self, size: Shape) -> Base | None:
        """What the network gives at a size, or None where it does not run; the reason is kept."""
        self.say(f"measuring on {size} pixels")
        try:
            return self.base(size)
        except WrongShapeError as error:
            self.refusal = error
        except ExportError:
            raise
        except Exception as error:  # a foreign module may refuse a size in any way it likes
            _log.info("the network does not run on %s pixels: %s", size, error)
            self.refusal = error
        return None

    def _refused(self, sizes: list[Shape]) -> Exception:
        if isinstance(self.refusal, (WrongShapeError, TilePlanError)):
            return self.refusal
        error = ExportError(
            "The network runs at none of the tile sizes tried",
            got=f"{type(self.refusal).__name__}: {self.refusal}",
            allowed=", ".join(str(s) for s in sizes),
            fix="Choose the tile that the network was made for with --tile",
        )
        error.__cause__ = self.refusal
        return error

    def _far_end(self, strip: Shape) -> _Look | None:
        """A look at a strip where a change at one end moves the other; None where it does not, or cannot be run."""
        base = self._try(strip)
        if base is None:
            return None
        across = self.across(base)
        return _Look(base, across) if across > 0 else None

    def stated(self, halo: int) -> Measured:
        """What the contract says about the tile; the caller compares overlapping tiles of the graph."""
        base = self.base(self.tile)
        stride = self.contract.tile.stride or self.unit
        return Measured(stride, halo, "exact", (), {}, self.unused(base), self.tile, self.runs)

    # What the sizes said ---------------------------------------------------------------------------------

    def _exact(self, look: _Look, unused: tuple[str, ...]) -> Measured:
        assert look.stride is not None
        assert look.halo is not None
        return Measured(look.stride, look.halo, "exact", (), look.reach, unused, look.size, self.runs)

    def _blend(self, looks: list[_Look], unused: tuple[str, ...]) -> Measured:
        last = looks[-1]
        stride = last.stride
        if last.across > 0:
            because = (
                f"measured: a change in one corner of a {last.size} tile moves the opposite corner by "
                f"{last.across:.1g} of the response"
            )
        elif stride is None:
            because = f"measured: no shift reproduces the output (tried on {last.size} pixels)"
        else:
            because = f"measured: the edges of a {last.size} tile reach too far into it to leave a core"
        if self.contract.tile.stride is not None:
            stride = self.unit
        elif not self.candidates(last.size):
            stride, because = self.unit, f"a tile of {last.size} is too small to measure how it may be shifted"
        elif stride is None:
            stride, missed = self.nearest_shift(self._base_for_shifts(looks))
            because += f"; shifted by {stride} pixels it differs by {missed:.1g} of its range"
        return Measured(stride, 0, "blend", (because,), {}, unused, last.size, self.runs)

    def _base_for_shifts(self, looks: list[_Look]) -> Base:
        """The smallest tile that is enough, of those that were looked at if one is, else the last."""
        looked = [look.base for look in looks if _is_enough(look.size)]
        sizes = [s for s in self._sizes() if _is_enough(s)]
        base = self._try(sizes[0]) if sizes and not looked else None
        return base or (looked or [looks[-1].base])[0]

    # One size --------------------------------------------------------------------------------------------

    def _sizes(self) -> list[Shape]:
        """Tile sizes to look at, small ones first; only the one that is wanted where no size could make it exact."""
        if self.oracle.fixed is not None:
            return [self.oracle.fixed]
        if self.contract.tile.mode == "blend":
            return [self.tile]
        cells = next((n for n in (6, 8, 12, 16, 24, 32, 48, 96) if n * self.unit >= _SMALLEST), 6)
        side = cells * self.unit
        sizes = {Shape(side, side)}
        while 2 * side <= _LARGEST or len(sizes) < 2:
            side *= 2
            sizes.add(Shape(side, side))
        if self.tile.height % self.unit == 0 and self.tile.width % self.unit == 0:
            sizes.add(self.tile)
        return sorted(sizes, key=lambda s: (s.pixels, s.height))

    def _look(self, base: Base) -> _Look:
        look = _Look(base, self.across(base))
        if look.across > 0:
            return look
        found = self.stride(base)
        if found is None:
            return look
        look.stride, rounding = found
        cut = self.touched_by_cut(base, look.stride, max(NEGLIGIBLE, UNEVEN * rounding))
        if cut is None:
            return look
        for role in (spec.role for spec in self.contract.inputs if spec.grid != "scene"):
            reach = self.touched_by_input(base, role, look.stride)
            if reach is None:
                return look
            look.reach[role] = reach
        look.halo = max(cut, *look.reach.values())
        return look
