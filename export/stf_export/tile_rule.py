# SPDX-License-Identifier: Apache-2.0
"""From what was measured to the tile rule of a bundle: which tile works, and what it costs."""

from __future__ import annotations

from stf_infer.errors import TilePlanError
from stf_infer.grid import Shape, ceil_to
from stf_infer.spec import TileRule

from .contract import Contract
from .probe import Measured
from .samples import unit_of

# Pixels computed over pixels kept, on a scene of many tiles: a warning above the first, advice to come below the other.
DEAR, CHEAP = 2.0, 1.5

DEFAULT_TILE = 256


def wanted_tile(contract: Contract, tile: int | Shape | None, fixed: Shape | None = None) -> Shape:
    """The tile to export: what is asked for, or what the contract or the graph fixes, or 256.

    Args:
        contract: May fix the size.
        tile: What the user asks for; one number for a square.
        fixed: What the graph fixes.

    Raises:
        TilePlanError: What is asked for contradicts what is fixed, or is no multiple of the coarse pixel.
    """
    if contract.tile.size is not None:
        fixed = fixed or Shape(contract.tile.size, contract.tile.size)
    asked = Shape(tile, tile) if isinstance(tile, int) else tile
    if fixed is not None and asked not in (None, fixed):
        raise TilePlanError("The network takes tiles of one size only", got=asked, allowed=fixed)
    shape = asked or fixed or Shape(DEFAULT_TILE, DEFAULT_TILE)
    unit = unit_of(contract)
    if shape.height < 1 or shape.width < 1 or shape.height % unit or shape.width % unit:
        raise TilePlanError(
            "A tile must hold whole coarse pixels"
            if contract.tile.stride is None
            else "A tile must hold whole strides",
            got=shape,
            allowed=f"multiples of {unit}",
            fix=f"--tile {max(unit, ceil_to(max(shape.height, shape.width), unit))}",
        )
    return shape


def tile_rule(measured: Measured, contract: Contract, tile: Shape) -> TileRule:
    """The tile rule of a measured network.

    Raises:
        TilePlanError: The tile is no multiple of the stride, or leaves no core; the message names one that works.
    """
    sides = (tile.height, tile.width)
    blend = measured.mode == "blend" or contract.tile.mode == "blend"
    overlap = _overlap(contract, measured.stride, min(sides)) if blend else 0
    shared = overlap if blend else 2 * measured.halo
    smallest = ceil_to(shared + measured.stride, measured.stride)
    if any(s % measured.stride or s < smallest for s in sides):
        works = max(smallest, ceil_to(max(sides), measured.stride))
        raise TilePlanError(
            f"A tile must be a multiple of the stride ({measured.stride}) and hold more than the {shared} pixels that "
            f"it shares with its neighbours ({'the overlap' if blend else f'halo {measured.halo} on both sides'})",
            got=tile,
            allowed=f"multiples of {measured.stride} from {smallest}",
            fix=f"--tile {works}",
        )
    if contract.tile.halo is not None and min(sides) - shared <= measured.stride:
        raise TilePlanError(
            "A stated halo is checked on two tiles, and their cores must overlap by a pixel at least",
            got=f"{tile}, halo {measured.halo} on both sides, stride {measured.stride}",
            allowed=f"tiles from {shared + measured.stride + 1}",
        )
    because = measured.because
    if blend and measured.mode == "exact":
        because = ("asked for in the contract",)
    return TileRule(
        height=tile.height,
        width=tile.width,
        stride=measured.stride,
        halo=0 if blend else measured.halo,
        mode="blend" if blend else "exact",
        overlap=overlap,
        predicts=contract.tile.predicts,
        because=because,
    )


def overlap_cost(rule: TileRule) -> float:
    """Pixels computed over pixels kept, on a scene of many tiles."""
    shared = rule.overlap if rule.mode == "blend" else 2 * rule.halo
    unseen = 2 * rule.halo if rule.predicts == "core" else 0
    cost = 1.0
    for side in (rule.height, rule.width):
        cost *= (side - unseen) / ((side - shared) // rule.stride * rule.stride)
    return cost


def cost_warning(rule: TileRule, contract: Contract) -> str | None:
    """A sentence about a tile that wastes more than half of the work, with one that does not; None otherwise.

    Where the network fixes the size, another one is no choice of whoever exports it, and none is named.
    """
    cost = overlap_cost(rule)
    if cost <= DEAR:
        return None
    side = max(rule.height, rule.width)
    shared = rule.overlap if rule.mode == "blend" else 2 * rule.halo
    told = (
        f"a scene costs {cost:.1f} times its pixels: neighbouring tiles of {Shape(rule.height, rule.width)} share "
        f"{shared} pixels"
    )
    if contract.tile.size is not None:
        other = "; --option tile=N makes it for larger ones" if "tile" in contract.options else ""
        return f"{told}, which the network fixes{other}"
    better = side
    while True:
        better += rule.stride
        if (better / ((better - shared) // rule.stride * rule.stride)) ** 2 < CHEAP:
            break
    return f"{told}; --tile {better} brings it below {CHEAP}"


def _overlap(contract: Contract, stride: int, side: int) -> int:
    wish = contract.tile.overlap
    if wish is not None:
        return wish
    quarter = round(side / 4 / stride) * stride
    return max(0, min(max(quarter, stride), side - stride))
