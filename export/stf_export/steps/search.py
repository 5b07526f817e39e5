# SPDX-License-Identifier: Apache-2.0
"""A search for the few time steps whose sample comes closest to that of all of them.

Rules of spacing know nothing of the network. Two searches do, one after the other:

1. :func:`shortest_path`: with the noisy images of the full sampling at hand, what a single jump from one of them
   misses of any later one costs no call of the network. The chain of N jumps with the least sum is found by dynamic
   programming, as in Watson, Ho, Norouzi, Chan: Learning to Efficiently Sample from Diffusion Probabilistic Models,
   arXiv:2106.03802, 2021, where the costs are terms of the likelihood.
2. :func:`descend`: the sum is not the error of the sample, which forgets some of the jumps' errors and amplifies
   others. So time steps are moved one by one for as long as the error of the sample itself falls, by strides that
   shrink to 1 (pattern search: Hooke and Jeeves, "Direct search" solution of numerical and statistical problems,
   Journal of the ACM 8, 1961).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Timesteps = tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """Time steps that a search ended with.

    Attributes:
        timesteps: From high to low.
        error: What the search minimised.
        trials: Lists of time steps whose error was computed.
    """

    timesteps: Timesteps
    error: float
    trials: int


def shortest_path(costs: np.ndarray, steps: int) -> tuple[int, ...]:
    """The cheapest way from the first node to the last in a number of jumps.

    Args:
        costs: ``(K, K)``: what the jump from node i to node j costs, for i < j; other entries are not looked at.
        steps: Jumps, 1 to K - 1.

    Returns:
        The nodes that the jumps start from, in their order; the first is 0. Time is O(steps K^2).
    """
    count = len(costs)
    allowed = np.where(np.triu(np.ones((count, count), bool), 1), costs, np.inf)
    reached = np.full(count, np.inf)
    reached[0] = 0.0
    came_from = np.zeros((steps, count), int)
    for jump in range(steps):
        ways = reached[:, None] + allowed
        came_from[jump] = ways.argmin(0)
        reached = ways.min(0)
    nodes, node = [], count - 1
    for jump in reversed(range(steps)):
        node = int(came_from[jump, node])
        nodes.append(node)
    return tuple(reversed(nodes))


def descend(error: Callable[[Timesteps], float], starts: Sequence[Timesteps], train_steps: int) -> Found:
    """Move time steps one by one for as long as the error falls, from the best of some starts.

    The result is at least as good as every start, and no move of a single time step by 1 makes it better.

    Args:
        error: Error of a list of time steps.
        starts: Lists of the same length, from high to low.
        train_steps: T: time steps lie between 0 and T - 1.
    """
    known: dict[Timesteps, float] = {}

    def measured(timesteps: Timesteps) -> float:
        if timesteps not in known:
            known[timesteps] = error(timesteps)
        return known[timesteps]

    best = min(starts, key=measured)
    stride = max(train_steps // 4, 1)
    while stride:
        better = next((moved for moved in _moves(best, stride, train_steps) if measured(moved) < measured(best)), None)
        if better is not None:
            best = better
        else:
            stride //= 2
    return Found(best, measured(best), len(known))


def _moves(timesteps: Timesteps, stride: int, train_steps: int) -> Iterator[Timesteps]:
    """All lists in which neighbouring time steps lie a stride higher or lower together, single ones first."""
    count = len(timesteps)
    for length in range(1, count + 1):
        for first in range(count - length + 1):
            above = timesteps[first - 1] if first else train_steps
            below = timesteps[first + length] if first + length < count else -1
            for shift in (stride, -stride):
                moved = tuple(t + shift for t in timesteps[first : first + length])
                if below < moved[-1] and moved[0] < above:
                    yield (*timesteps[:first], *moved, *timesteps[first + length :])
