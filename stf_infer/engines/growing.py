# SPDX-License-Identifier: Apache-2.0
"""How many tiles to give a CPU backend in a call: measured while an engine is built.

Tiles of a batch go through a layer together: its weights are read once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from . import turns

# What is tried must be this much better than what stands to be taken: less is noise, and each has memory of its own.
_WORTH = 0.97

# A batch is tried up to this many tiles, and only where a call takes less than so many seconds: what takes longer does
# enough with its weights once they are read.
_MOST_TILES, _SHORT = 8, 0.15


class Setting(Protocol):
    """One way to give tiles, open."""

    @property
    def tiles(self) -> int:
        """Tiles of a batch."""
        ...

    @property
    def at_once(self) -> int:
        """Tiles of a call."""
        ...

    def call(self) -> None:
        """One call."""
        ...


S = TypeVar("S", bound=Setting)


def grown(best: S, made: Callable[[int], S]) -> S:
    """The fastest number of tiles in a batch, by doubling as long as that is faster.

    Args:
        best: What to begin with; it has been called before.
        made: Gives the setting of a number of tiles.
    """
    while best.tiles < _MOST_TILES and turns.least_seconds(best.call) < _SHORT:
        more = made(2 * best.tiles)
        if better(best, more) is best:
            break
        best = more
    return best


def better(best: S, other: S) -> S:
    """The other one, if it takes that much less time for a tile."""
    other.call()
    each = turns.ratio(best.call, other.call) * best.at_once / other.at_once
    return other if each < _WORTH else best
