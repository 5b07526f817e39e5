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

*Everything.* If a change in one corner moves the opposite one at every size tried, or if no shift reproduces the
output, no halo makes tiles exact: the mode is ``blend``.

A contract may ask for blending: then only the tile that is wanted is looked at, for its stride, unless that is stated
too. It may state stride and halo instead; then only determinism, shape and unused roles are looked at here.

Everything is in fine pixels. Cost: about ten runs and two for each input, on tiles of some hundred pixels.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stf_infer.errors import ExportError, TilePlanError
from stf_infer.grid import Shape, ceil_to

from .contract import Contract
from .oracle import Oracle
from .samples import Tile, noise_tile, tensor_shape, unit_of

_log = logging.getLogger(__name__)

# Parts of the output's range (agreement of tiles) or of the largest response (reach) that count as nothing. A tenth
# of what tiled and untiled scenes may differ by.
NEGLIGIBLE = 1e-6

# Rounding in float32 makes the middles of two shifted tiles differ by less than this part of the output's range, and
# the rest of their overlap by less than this many times as much as the middles.
_ROUNDING = 1e-5
_UNEVEN = 4

# How many times the usual range a strong change spans: shows what weak weights hide.
_STRONG = 8.0

_SMALLEST, _LARGEST = 96, 512
_LARGEST_STRIDE = 128


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
    here, there = (oracle(_crop(world, contract, tile, (o, o))) for o in (0, shift))
    difference = np.abs(here[:, :, shift:, shift:] - there[:, :, :-shift, :-shift])
    inner = difference[:, :, halo : difference.shape[2] - halo, halo : difference.shape[3] - halo]
    extent = float(here.max() - here.min())
    return float(inner.max(initial=0.0)) / extent if extent else 0.0


class _WrongShapeError(ExportError):
    """The output does not fit the contract at this size; it may at another."""


@dataclass
class _Look:
    """What one tile size showed; ``halo`` is None where no core was left untouched."""

    size: Shape
    across: float
    stride: int | None = None
    halo: int | None = None
    reach: dict[str, int] = field(default_factory=dict)


class _Probe:
    def __init__(self, oracle: Oracle, contract: Contract, tile: Shape, say: Callable[[str], None]) -> None:
        self.oracle, self.contract, self.tile, self.say = oracle, contract, tile, say
        self.unit = unit_of(contract)
        self.runs = 0

    def measure(self) -> Measured:
        looks: list[_Look] = []
        unused: tuple[str, ...] = ()
        refusal: Exception | None = None
        for size in self._sizes():
            self.say(f"measuring on {size} pixels")
            try:
                base = self._base(size)
            except _WrongShapeError as error:
                refusal = error
                continue
            except ExportError:
                raise
            except Exception as error:  # a foreign module may refuse a size in any way it likes
                _log.info("the network does not run on %s pixels: %s", size, error)
                refusal = error
                continue
            if not looks:
                unused = self._unused(base)
            looks.append(self._look(base))
            if looks[-1].halo is not None:
                return self._exact(looks[-1], unused)
        if isinstance(refusal, (_WrongShapeError, TilePlanError)) and not looks:
            raise refusal
        if not looks:
            raise ExportError(
                "The network runs at none of the tile sizes tried",
                got=f"{type(refusal).__name__}: {refusal}",
                allowed=", ".join(str(s) for s in self._sizes()),
                fix="Choose the tile that the network was made for with --tile",
            ) from refusal
        return self._blend(looks, unused)

    def stated(self, halo: int) -> Measured:
        """What the contract says about the tile; the caller compares overlapping tiles of the graph."""
        base = self._base(self.tile)
        stride = self.contract.tile.stride or self.unit
        return Measured(stride, halo, "exact", (), {}, self._unused(base), self.tile, self.runs)

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
        elif not self._candidates(last.size):
            stride, because = self.unit, f"a tile of {last.size} is too small to measure how it may be shifted"
        elif stride is None:
            stride, missed = self._nearest_shift(self._base(last.size))
            because += f"; shifted by {stride} pixels it differs by {missed:.1g} of its range"
        return Measured(stride, 0, "blend", (because,), {}, unused, last.size, self.runs)

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

    def _look(self, base: _Base) -> _Look:
        look = _Look(base.size, self._across(base))
        if look.across > 0:
            return look
        found = self._stride(base)
        if found is None:
            return look
        look.stride, rounding = found
        cut = self._touched_by_cut(base, look.stride, max(NEGLIGIBLE, _UNEVEN * rounding))
        if cut is None:
            return look
        for role in (spec.role for spec in self.contract.inputs if spec.grid != "scene"):
            reach = self._touched_by_input(base, role, look.stride)
            if reach is None:
                return look
            look.reach[role] = reach
        look.halo = max(cut, *look.reach.values())
        return look

    def _base(self, size: Shape) -> _Base:
        """A world with room for shifts, its first tile, and the output there, run twice."""
        world = noise_tile(
            self.contract,
            Shape(size.height + self._room(size.height), size.width + self._room(size.width)),
            np.random.default_rng(1),
        )
        inputs = _crop(world, self.contract, size, (0, 0))
        output, again = self._run(inputs), self._run(inputs)
        wanted = (1, len(self.contract.output.bands), size.height, size.width)
        if output.shape != wanted:
            raise _WrongShapeError(
                "The output of the network has another shape than the contract says",
                got=output.shape,
                allowed=f"{wanted} (batch, bands, rows, columns) for a tile of {size} fine pixels",
                fix="Check the bands, the ratio and the grid of each input in the contract",
            )
        if not np.isfinite(output).all():
            raise ExportError(
                "The network gives numbers that are not finite for inputs in their usual range",
                fix="Check the unit and scaling of each input in the contract, and the weights",
            )
        extent = output.max(axis=(0, 2, 3)) - output.min(axis=(0, 2, 3))
        if not extent.max() > 0:
            raise ExportError(
                "The output of the network is the same everywhere, whatever it is shown",
                fix="Give trained weights with --weights",
            )
        scale = np.maximum(extent, 1e-3 * extent.max())[:, None, None]
        noise = float((np.abs(output - again) / scale).max())
        if noise > _ROUNDING:
            raise ExportError(
                "The network gives another output for the same input",
                got=f"a difference of {noise:.2g} of the output's range",
                fix="Switch off dropout, and make noise an input of the network",
            )
        return _Base(size, world, inputs, output, scale)

    def _room(self, side: int) -> int:
        return ceil_to(side // 2, self.unit)

    def _run(self, inputs: Tile) -> np.ndarray:
        self.runs += 1
        return self.oracle(inputs)

    # Questions -------------------------------------------------------------------------------------------

    def _unused(self, base: _Base) -> tuple[str, ...]:
        other = self._other(base, _STRONG)
        found = []
        for role in base.inputs:
            output = self._run({**base.inputs, role: other[role]})
            if np.array_equal(output, base.output):
                found.append(role)
        if len(found) == len(base.inputs):
            raise ExportError(
                "The output of the network does not depend on any of its inputs",
                fix="Check the weights, and the unit and scaling of each input in the contract",
            )
        return tuple(found)

    def _across(self, base: _Base) -> float:
        """Response in the corner opposite to a changed one, over the largest response; 0 where it is negligible."""
        other = self._other(base, _STRONG)
        changed = dict(base.inputs)
        for role in (spec.role for spec in self.contract.inputs if spec.grid != "scene"):
            array = base.inputs[role]
            rows, columns = (max(1, n // 8) for n in array.shape[2:])
            changed[role] = array.copy()
            changed[role][:, :, :rows, :columns] = other[role][:, :, :rows, :columns]
        response = self._response(base, changed)
        if response is None or not response.max() > 0:
            return 0.0
        opposite = response[base.size.height // 2 :, base.size.width // 2 :] / response.max()
        moved = opposite > NEGLIGIBLE
        return float(np.median(opposite[moved])) if moved.mean() > 0.5 else 0.0

    def _candidates(self, size: Shape) -> list[int]:
        common = math.gcd(size.height, size.width)
        limit = min(size.height // 2, size.width // 2, _LARGEST_STRIDE)
        return [s for s in range(self.unit, limit + 1, self.unit) if common % s == 0]

    def _stride(self, base: _Base) -> tuple[int, float] | None:
        """The smallest shift that reproduces the output, and the rounding that remains."""
        for shift in self._candidates(base.size):
            if (missed := self._missed(base, shift)) <= _ROUNDING:
                return shift, missed
        return None

    def _nearest_shift(self, base: _Base) -> tuple[int, float]:
        """The smallest shift that comes within twice the best agreement, and by how much it misses."""
        missed = {s: self._missed(base, s) for s in self._candidates(base.size)}
        best = min(missed.values())
        return next((s, m) for s, m in missed.items() if m <= 2 * best)

    def _missed(self, base: _Base, shift: int) -> float:
        """Disagreement of two tiles in the middle of their overlap, over the output's range."""
        difference = self._overlap_difference(base, (shift, shift))
        # At least one period, so that every phase is seen.
        margins = [(n - min(n, max(shift, n // 4))) // 2 for n in difference.shape]
        rows, columns = (slice(m, n - m) for m, n in zip(margins, difference.shape, strict=True))
        return float(difference[rows, columns].max())

    def _overlap_difference(self, base: _Base, shift: tuple[int, int]) -> np.ndarray:
        """Disagreement of two tiles over their overlap (H, W), over the output's range, the worst of the bands."""
        there = self._run(_crop(base.world, self.contract, base.size, shift))
        dy, dx = shift
        here = base.output[0, :, dy:, dx:]
        difference = np.abs(here - there[0, :, : here.shape[1], : here.shape[2]]) / base.scale
        worst: np.ndarray = difference.max(axis=0)
        return worst

    def _touched_by_cut(self, base: _Base, stride: int, negligible: float) -> int | None:
        """Depth to which tiles disagree along the edges of their overlap."""
        dy = max(stride, base.size.height // 4 // stride * stride)
        # Another shift along x: nothing may hang on the difference of the coordinates.
        dx = dy + stride if 2 * (dy + stride) <= base.size.width else dy
        return _depth(self._overlap_difference(base, (dy, dx)) > negligible, stride)

    def _touched_by_input(self, base: _Base, role: str, stride: int) -> int | None:
        """Depth to which a window is touched when one input changes everywhere outside of it."""
        height, width = base.size.height, base.size.width
        top, left = (max(stride, n // 8 // stride * stride) for n in (height, width))
        window = (slice(top, height - top), slice(left, width - left))
        deepest = 0
        for strength in (1.0, _STRONG):
            changed = self._other(base, strength)[role]
            divisor = height // changed.shape[2]
            inner = tuple(slice(s.start // divisor, s.stop // divisor) for s in window)
            changed[:, :, inner[0], inner[1]] = base.inputs[role][:, :, inner[0], inner[1]]
            response = self._response(base, {**base.inputs, role: changed})
            if response is None or not response.max() > 0:
                continue
            depth = _depth(response[window] > NEGLIGIBLE * response.max(), stride)
            if depth is None:
                return None
            deepest = max(deepest, depth)
        return deepest

    def _other(self, base: _Base, strength: float) -> Tile:
        rng = np.random.default_rng(2)
        return {r: a[None] for r, a in noise_tile(self.contract, base.size, rng, strength=strength).items()}

    def _response(self, base: _Base, changed: Tile) -> np.ndarray | None:
        """Change of the output, largest over the bands; None where strong inputs overflow."""
        output = self._run(changed)
        if not np.isfinite(output).all():
            return None
        response: np.ndarray = (np.abs(output - base.output)[0] / base.scale).max(axis=0)
        return response


@dataclass(frozen=True)
class _Base:
    size: Shape
    world: Tile
    inputs: Tile
    output: np.ndarray
    scale: np.ndarray


def _crop(world: Tile, contract: Contract, size: Shape, origin: tuple[int, int]) -> Tile:
    """A tile of a world at ``origin`` (y, x) fine pixels, with a batch axis."""
    tile = {}
    for spec in contract.inputs:
        _, height, width = tensor_shape(spec, contract.ratio, size)
        if spec.grid == "scene":
            tile[spec.role] = world[spec.role][None]
            continue
        divisor = contract.ratio if spec.grid == "coarse" else 1
        y, x = origin[0] // divisor, origin[1] // divisor
        tile[spec.role] = np.ascontiguousarray(world[spec.role][None, :, y : y + height, x : x + width])
    return tile


def _depth(touched: np.ndarray, stride: int) -> int | None:
    """Pixels between the edges and the innermost touched pixel, it included; None if no core of a stride is left."""
    height, width = touched.shape
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    distance = np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x))
    depth = int(distance[touched].max(initial=-1)) + 1
    return depth if min(height, width) - 2 * depth >= max(stride, 2) else None
