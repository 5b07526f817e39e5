# SPDX-License-Identifier: Apache-2.0
"""What a network is asked on one tile: does it reach across, which shifts reproduce it, how far do its edges reach.

:mod:`stf_export.probe` decides which tiles are looked at, and what the answers mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from stf_infer.errors import ExportError
from stf_infer.grid import Shape, ceil_to

from .contract import Contract
from .oracle import Oracle
from .samples import Tile, noise_tile, tensor_shape, unit_of

# Parts of the output's range (agreement of tiles) or of the largest response (reach) that count as nothing. A tenth
# of what tiled and untiled scenes may differ by.
NEGLIGIBLE = 1e-6

# Rounding in float32 makes the middles of two shifted tiles differ by less than this part of the output's range, and
# the rest of their overlap by less than this many times as much as the middles.
ROUNDING = 1e-5
UNEVEN = 4

# How many times the usual range a strong change spans: shows what weak weights hide.
STRONG = 8.0

_LARGEST_STRIDE = 128


class WrongShapeError(ExportError):
    """The output does not fit the contract at this size; it may at another."""


@dataclass(frozen=True)
class Base:
    """A tile, what the network gives for it, and the world that it was cut from.

    Attributes:
        size: Rows and columns in fine pixels.
        world: Inputs of more than the tile, by role.
        inputs: The tile at the world's origin.
        output: What the network gives for it, ``(1, C, H, W)``.
        scale: The output's range, band by band ``(C, 1, 1)``.
        missed: Shift: by how much it misses, for those that were tried.
    """

    size: Shape
    world: Tile
    inputs: Tile
    output: np.ndarray
    scale: np.ndarray
    missed: dict[int, float] = field(default_factory=dict)


class Questions:
    """Asks a network.

    Args:
        oracle: The network.
        contract: Its inputs.
    """

    def __init__(self, oracle: Oracle, contract: Contract) -> None:
        self.oracle, self.contract = oracle, contract
        self.unit = unit_of(contract)
        self.runs = 0
        self._repeats = False

    def base(self, size: Shape) -> Base:
        """A world with room for shifts, its first tile, and the output there; the first one is run twice.

        Raises:
            WrongShapeError: The output is not of the contract's shape.
            ExportError: It is not finite, the same everywhere, or another one the second time.
        """
        world = noise_tile(
            self.contract,
            Shape(size.height + self._room(size.height), size.width + self._room(size.width)),
            np.random.default_rng(1),
        )
        inputs = crop(world, self.contract, size, (0, 0))
        output = self._run(inputs)
        wanted = (1, len(self.contract.output.bands), size.height, size.width)
        if output.shape != wanted:
            raise WrongShapeError(
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
        noise = 0.0 if self._repeats else float((np.abs(output - self._run(inputs)) / scale).max())
        if noise > ROUNDING:
            raise ExportError(
                "The network gives another output for the same input",
                got=f"a difference of {noise:.2g} of the output's range",
                fix="Switch off dropout, and make noise an input of the network",
            )
        self._repeats = True
        return Base(size, world, inputs, output, scale)

    def _room(self, side: int) -> int:
        return ceil_to(side // 2, self.unit)

    def _run(self, inputs: Tile) -> np.ndarray:
        self.runs += 1
        return self.oracle(inputs)

    def unused(self, base: Base) -> tuple[str, ...]:
        """Roles that do not move the output.

        Raises:
            ExportError: None does.
        """
        other = self._other(base, STRONG)
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

    def across(self, base: Base) -> float:
        """Response in the corner opposite to a changed one, over the largest response; 0 where it is negligible."""
        other = self._other(base, STRONG)
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

    def candidates(self, size: Shape) -> list[int]:
        """Shifts that a tile may have: whole coarse pixels, and a part of its sides."""
        common = math.gcd(size.height, size.width)
        limit = min(size.height // 2, size.width // 2, _LARGEST_STRIDE)
        return [s for s in range(self.unit, limit + 1, self.unit) if common % s == 0]

    def stride(self, base: Base) -> tuple[int, float] | None:
        """The smallest shift that reproduces the output, and the rounding that remains."""
        for shift in self.candidates(base.size):
            if (missed := self._missed(base, shift)) <= ROUNDING:
                return shift, missed
        return None

    def nearest_shift(self, base: Base) -> tuple[int, float]:
        """The smallest shift that comes within twice the best agreement, and by how much it misses."""
        missed = {s: self._missed(base, s) for s in self.candidates(base.size)}
        best = min(missed.values())
        return next((s, m) for s, m in missed.items() if m <= 2 * best)

    def _missed(self, base: Base, shift: int) -> float:
        """Disagreement of two tiles in the middle of their overlap, over the output's range."""
        if shift in base.missed:
            return base.missed[shift]
        difference = self._overlap_difference(base, (shift, shift))
        # At least one period, so that every phase is seen.
        margins = [(n - min(n, max(shift, n // 4))) // 2 for n in difference.shape]
        rows, columns = (slice(m, n - m) for m, n in zip(margins, difference.shape, strict=True))
        base.missed[shift] = float(difference[rows, columns].max())
        return base.missed[shift]

    def _overlap_difference(self, base: Base, shift: tuple[int, int]) -> np.ndarray:
        """Disagreement of two tiles over their overlap (H, W), over the output's range, the worst of the bands."""
        there = self._run(crop(base.world, self.contract, base.size, shift))
        dy, dx = shift
        here = base.output[0, :, dy:, dx:]
        difference = np.abs(here - there[0, :, : here.shape[1], : here.shape[2]]) / base.scale
        worst: np.ndarray = difference.max(axis=0)
        return worst

    def touched_by_cut(self, base: Base, stride: int, negligible: float) -> int | None:
        """Depth to which tiles disagree along the edges of their overlap."""
        dy = max(stride, base.size.height // 4 // stride * stride)
        # Another shift along x: nothing may hang on the difference of the coordinates.
        dx = dy + stride if 2 * (dy + stride) <= base.size.width else dy
        return _depth(self._overlap_difference(base, (dy, dx)) > negligible, stride)

    def touched_by_input(self, base: Base, role: str, stride: int) -> int | None:
        """Depth to which a window is touched when one input changes everywhere outside of it."""
        height, width = base.size.height, base.size.width
        top, left = (max(stride, n // 8 // stride * stride) for n in (height, width))
        window = (slice(top, height - top), slice(left, width - left))
        deepest = 0
        for strength in (1.0, STRONG):
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

    def _other(self, base: Base, strength: float) -> Tile:
        rng = np.random.default_rng(2)
        return {r: a[None] for r, a in noise_tile(self.contract, base.size, rng, strength=strength).items()}

    def _response(self, base: Base, changed: Tile) -> np.ndarray | None:
        """Change of the output, largest over the bands; None where strong inputs overflow."""
        output = self._run(changed)
        if not np.isfinite(output).all():
            return None
        response: np.ndarray = (np.abs(output - base.output)[0] / base.scale).max(axis=0)
        return response


def crop(world: Tile, contract: Contract, size: Shape, origin: tuple[int, int]) -> Tile:
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
