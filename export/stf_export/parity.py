# SPDX-License-Identifier: Apache-2.0
"""Does the exported graph compute what the network computes?

The same four tiles go through both, and the largest difference is divided by the range of the output. One tile is a
land-like scene, three are white noise over the usual range of each input; none is one that the network was traced with.
The network takes them one by one, the graph all at once and two of them alone: tiles that touch each other show, and a
batch that was taken for a constant. Cost: four runs of the network and six of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stf_infer.errors import ParityError
from stf_infer.grid import Shape

from .contract import Contract
from .oracle import Oracle
from .samples import Tile, noise_tile, scene_tile

# Part of the output's range. Two float32 libraries that sum the same products in another order differ by some 1e-6;
# a padding, a resize convention or a weight gone wrong shows from 1e-4 up. A tiled scene may differ as much.
TOLERANCE = 1e-5

_NOISE_TILES = 3

# Which scene: not the one that the exporter traces the network with.
_SCENE = 1

# Tiles that a graph that takes several at once is also given alone.
_ALONE = 2


@dataclass(frozen=True)
class Parity:
    """What the comparison found.

    Attributes:
        reference: What the graph was compared with.
        tolerance: Largest relative difference allowed.
        max_abs: Largest absolute difference, in network values.
        relative: ``max_abs`` over the output's range.
        tiles: Tiles (or samples) compared.
        batches: Numbers of them that went through the graph at once.
    """

    reference: str
    tolerance: float
    max_abs: float
    relative: float
    tiles: int
    batches: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for an item."""
        return {**asdict(self), "batches": list(self.batches)}


def compare(
    reference: Oracle,
    graph: Oracle,
    contract: Contract,
    tile: Shape,
    *,
    named: str,
    tolerance: float = TOLERANCE,
    batched: bool = True,
) -> Parity:
    """Compare a graph with its reference on four tiles.

    Args:
        reference: What is right.
        graph: What was written.
        contract: Inputs and output of both.
        tile: Rows and columns in fine pixels.
        named: What the reference is, for the report.
        tolerance: Largest difference allowed, over the output's range.
        batched: Whether the graph takes several tiles at once.

    Raises:
        ParityError: The difference is larger, or the graph gives numbers that are not finite, or it fails on a batch.
    """
    rng = np.random.default_rng(3)
    tiles = [scene_tile(contract, tile, _SCENE), *(noise_tile(contract, tile, rng) for _ in range(_NOISE_TILES))]
    return compare_on(reference, graph, tiles, named=named, tolerance=tolerance, batched=batched)


def compare_on(
    reference: Oracle, graph: Oracle, tiles: Sequence[Tile], *, named: str, tolerance: float, batched: bool
) -> Parity:
    """Compare a graph with its reference on these tiles or samples: all at once, and the first ones alone.

    Raises:
        ParityError: As :func:`compare`.
    """
    right = np.concatenate([reference(stack([t])) for t in tiles])
    alone = min(_ALONE, len(tiles)) if batched else len(tiles)
    pairs = [(right[:alone], np.concatenate([graph(stack([t])) for t in tiles[:alone]]))]
    if batched:
        try:
            pairs.append((right, graph(stack(tiles))))
        except Exception as error:  # whatever the backend raises
            raise ParityError(
                "The graph states a free batch axis and fails on a batch",
                got=f"{len(tiles)} at once: {error}",
                fix="Write it with a batch axis that is free in every operator, or fixed at 1",
            ) from error
    for wanted, written in pairs:
        if written.shape != wanted.shape:
            raise ParityError("The graph gives another shape than the network", got=written.shape, allowed=wanted.shape)
        if not (np.isfinite(wanted).all() and np.isfinite(written).all()):
            raise ParityError("The network or its graph gives numbers that are not finite")
    extent = float(right.max() - right.min())
    worst = max(float(np.abs(written - wanted).max()) for wanted, written in pairs)
    found = Parity(
        reference=named,
        tolerance=tolerance,
        max_abs=worst,
        relative=worst / extent if extent > 0 else worst,
        tiles=len(tiles),
        batches=(1, len(tiles)) if batched else (1,),
    )
    if not found.relative <= tolerance:
        raise ParityError(
            f"The exported graph does not compute what {named} computes",
            got=f"a difference of {found.relative:.2g} of the output's range",
            allowed=f"{tolerance:.2g}",
            fix="If the network is that sensitive to rounding, state it with --tolerance",
        )
    return found


def stack(tiles: Sequence[Tile]) -> Tile:
    """Tiles (or samples) by role as one batch by role: ``(C, h, w)`` become ``(N, C, h, w)``."""
    return {role: np.stack([t[role] for t in tiles]) for role in tiles[0]}
