# SPDX-License-Identifier: Apache-2.0
"""Calls timed in turns: what else the machine does meets all of them alike, and ratios are taken within a turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Call = Callable[[], Any]

# Threads of a backend look for work for a while after a call, at the cost of whatever is called next.
PAUSE = 0.003

# A call that takes less than so many seconds finds the processor's caches full of another contender's weights, and its
# threads beside ours. Whoever uses one of them calls it again and again: so such a call is made twice, the first one
# unseen.
_SHORT = 0.2


@dataclass(frozen=True)
class Turns:
    """Seconds of a tile, turn by turn, by contender."""

    seconds: Mapping[str, list[float]]

    def ratios(self, one: str, other: str) -> list[float]:
        """How many times faster ``one`` is than ``other``, turn by turn, sorted."""
        return sorted(b / a for a, b in zip(self.seconds[one], self.seconds[other], strict=True))

    def ratio(self, one: str, other: str) -> float:
        """The median of :meth:`ratios`."""
        return statistics.median(self.ratios(one, other))

    def ratio_of_least(self, one: str, other: str) -> float:
        """How many times faster the best call of ``one`` is than the best of ``other``."""
        return min(self.seconds[other]) / min(self.seconds[one])

    def spread(self, one: str, other: str) -> tuple[float, float]:
        """Lower and upper quartile of :meth:`ratios`."""
        low, _, high = statistics.quantiles(self.ratios(one, other), n=4)
        return low, high

    def median(self, name: str) -> float:
        """Median time of a tile."""
        return statistics.median(self.seconds[name])


def take_turns(calls: Mapping[str, tuple[Call, int]], rounds: int) -> Turns:
    """Time calls in turns, A B C A B C, every second turn backwards, after two of each that do not count.

    Short calls follow one of their own that does not count either.

    Args:
        calls: Name to the call, and how many tiles it computes.
        rounds: Turns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(2):
        for call, _ in calls.values():
            call()
    order = list(calls)
    for _ in range(rounds):
        for name in order:
            call, tiles = calls[name]
            if seconds[name] and min(seconds[name]) * tiles < _SHORT:
                call()
            time.sleep(PAUSE)
            began = time.perf_counter()
            call()
            seconds[name].append((time.perf_counter() - began) / tiles)
        order.reverse()
    return Turns(seconds)
