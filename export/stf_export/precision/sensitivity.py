# SPDX-License-Identifier: Apache-2.0
"""Which layers have to stay in float32 for a reduced graph to be within its budget: found by trials.

Errors that many roundings make are independent of each other, so their squares add up. Therefore a group of layers is
measured by a run in which it alone is reduced, and the squares of what all groups cost tell which have to be kept:
those that cost most for the work that they save. Groups that are kept are halved and measured again, until they are
single layers or the trials are spent. What was chosen is then measured as a whole, on all tiles; where it is still over
the budget, more is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from stf_infer.accuracy import Accuracy, Budget

from .layers import Layer

# Part of the budget that what is reduced may cost by the sum of squares: it is an estimate.
_TARGET = 0.9

# Groups that a network is first taken apart into.
_GROUPS = 8

# Trials that are held back for measuring what was chosen.
_HELD_BACK = 4

Measure = Callable[[Collection[Layer], bool], Accuracy]


@dataclass(frozen=True)
class Group:
    """Neighbouring layers.

    Attributes:
        layers: The layers.
        accuracy: What it costs to reduce them alone.
        excess: The same over the budget: 1 uses it up.
    """

    layers: tuple[Layer, ...]
    accuracy: Accuracy
    excess: float

    @property
    def name(self) -> str:
        """What a person calls it."""
        first, last = self.layers[0].name, self.layers[-1].name
        return first if len(self.layers) == 1 else f"{first} .. {last}"

    @property
    def work(self) -> int:
        """Multiply-adds."""
        return sum(layer.work for layer in self.layers)


@dataclass(frozen=True)
class Found:
    """What the search found.

    Attributes:
        islands: The layers to keep.
        accuracy: What the network is like then, on all tiles.
        within: Whether that is within the budget.
        groups: What was measured of parts of the network, the most costly first; empty where nothing had to be kept.
        trials: How often the network was compared.
    """

    islands: tuple[Layer, ...]
    accuracy: Accuracy
    within: bool
    groups: tuple[Group, ...]
    trials: int


def excess(accuracy: Accuracy, budget: Budget) -> float:
    """The largest figure over what the budget allows it: within the budget up to 1."""
    if not budget.asks:
        return 0.0
    if accuracy.not_finite:
        return math.inf
    parts = [] if budget.rmse is None else [_over(value, budget.rmse) for value in accuracy.rmse]
    if budget.sam is not None and accuracy.sam_deg is not None:
        parts.append(_over(accuracy.sam_deg, budget.sam))
    return max(parts, default=0.0)


def _over(value: float, allowed: float) -> float:
    if not math.isfinite(value):
        return math.inf
    return value / allowed if allowed else (math.inf if value else 0.0)


class Search:
    """A search for islands.

    Args:
        layers: The layers that may be reduced or kept, in the order in which they are computed.
        measure: Compares the network with these layers reduced with float32; on all tiles, or on a few.
        budget: How far off it may be.
        most: How often to measure at most.
        say: Called with a line at every trial.
    """

    def __init__(
        self, layers: Sequence[Layer], measure: Measure, budget: Budget, most: int, say: Callable[[str], None]
    ) -> None:
        self._layers, self._measure, self._budget, self._most, self._say = list(layers), measure, budget, most, say
        self._trials = 0
        self._all_work = max(1, sum(layer.work for layer in layers))

    def run(self) -> Found:
        """Search."""
        whole = self._whole(())
        if not whole.over(self._budget):
            return Found((), whole, True, (), self._trials)
        groups = [self._alone(part) for part in _parts(self._layers, _GROUPS)] if self._most > _HELD_BACK else []
        islands: tuple[Layer, ...] = ()
        over, expected = excess(whole, self._budget), _together(groups)
        # Where errors add up to more than they are said to, what is chosen has to cost the less.
        target = _TARGET * min(1.0, expected / over) if math.isfinite(over) and expected else _TARGET
        while groups and self._trials < self._most:
            chosen = self._choose(groups, target)
            wide = [group for group in chosen if len(group.layers) > 1]
            if wide and self._trials < self._most - _HELD_BACK - 1:
                widest = max(wide, key=lambda group: (group.work, len(group.layers)))
                at = groups.index(widest)
                groups[at : at + 1] = [self._alone(part) for part in _parts(widest.layers, 2)]
                continue
            islands = tuple(layer for group in groups if group in chosen for layer in group.layers)
            if len(islands) == len(self._layers):
                break
            whole = self._whole(islands)
            if not whole.over(self._budget):
                return Found(islands, whole, True, _worst_first(groups), self._trials)
            over = excess(whole, self._budget)
            target *= 0.8 if not math.isfinite(over) else min(0.8, _TARGET / over)
        return Found(islands, whole, False, _worst_first(groups), self._trials)

    def _whole(self, islands: Collection[Layer]) -> Accuracy:
        kept = set(islands)
        found = self._measure([layer for layer in self._layers if layer not in kept], True)
        self._tell(f"all but {len(kept)} layers" if kept else "all layers", found)
        return found

    def _alone(self, layers: Sequence[Layer]) -> Group:
        found = self._measure(layers, False)
        group = Group(tuple(layers), found, excess(found, self._budget))
        self._tell(f"only {group.name}", found)
        return group

    def _tell(self, what: str, found: Accuracy) -> None:
        self._trials += 1
        self._say(f"trial {self._trials} of at most {self._most}: {what}, {told(excess(found, self._budget))}")

    def _choose(self, groups: Sequence[Group], target: float) -> list[Group]:
        """The groups to keep, so that the squares of the others stay below the target's: the best bargain first."""
        each = self._all_work / len(self._layers)
        order = sorted(groups, key=lambda g: g.excess**2 / (g.work + each * len(g.layers)), reverse=True)
        kept: list[Group] = []
        for group in order:
            left = [other for other in groups if other not in kept]
            if _together(left) <= target:
                break
            kept.append(group)
        return kept


def told(over: float) -> str:
    """What uses up so much of the budget, for a person."""
    return "not finite" if not math.isfinite(over) else f"{over:.2g} times the budget"


def _together(groups: Sequence[Group]) -> float:
    """What reducing all of these costs, if their errors are independent."""
    return math.sqrt(sum(group.excess**2 for group in groups))


def _parts(layers: Sequence[Layer], count: int) -> list[Sequence[Layer]]:
    count = min(count, len(layers))
    edges = [round(k * len(layers) / count) for k in range(count + 1)]
    return [layers[a:b] for a, b in itertools.pairwise(edges)]


def _worst_first(groups: Sequence[Group]) -> tuple[Group, ...]:
    return tuple(sorted(groups, key=lambda group: group.excess, reverse=True))
