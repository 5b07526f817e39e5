# SPDX-License-Identifier: Apache-2.0
"""The search of time steps, on a denoiser whose best ones are known."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from step_bundle import Gaussian, T, every
from stf_export.steps.search import descend, shortest_path


def test_the_shortest_path_is_the_best_of_all_paths():
    rng = np.random.default_rng(3)
    costs = rng.random((9, 9)) * np.arange(9)[None]  # long jumps cost more, at random
    for jumps in range(1, 9):
        ways = [(0, *inner, 8) for inner in combinations(range(1, 8), jumps - 1)]
        best = min(ways, key=lambda way: sum(costs[i, j] for i, j in pairwise(way)))
        assert shortest_path(costs, jumps) == best[:-1]


def test_a_path_of_all_jumps_stops_everywhere():
    assert shortest_path(np.ones((4, 4)), 3) == (0, 1, 2)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("deviation", [0.1, 0.5])
def test_the_search_ends_close_to_the_best_time_steps_there_are(count, deviation):
    toy = Gaussian(deviation)
    lists = [tuple(reversed(chosen)) for chosen in combinations(range(T), count)]
    best = min(toy.error(one) for one in lists)
    spaced = tuple(T * (count - k) // count - 1 for k in range(count))
    found = descend(toy.error, [spaced], T)
    assert found.error == toy.error(found.timesteps)
    assert found.error <= best + 0.02 * toy.error(spaced)
    assert found.trials < len(lists)


def test_the_search_is_never_worse_than_its_best_start():
    toy = Gaussian(0.2)
    starts = [(15, 7), (15, 1), (9, 3)]
    assert descend(toy.error, starts, T).error <= min(toy.error(start) for start in starts)


def test_all_time_steps_have_nowhere_to_go():
    found = descend(lambda timesteps: 1.0, [every()], T)
    assert (found.timesteps, found.trials) == (every(), 1)


def test_time_steps_keep_their_order_and_their_range():
    def error(timesteps: tuple[int, ...]) -> float:
        assert list(timesteps) == sorted(set(timesteps), reverse=True)
        assert timesteps[-1] >= 0
        assert timesteps[0] < T
        return abs(timesteps[0] - 2) + abs(timesteps[1] - 1)

    assert descend(error, [(15, 14)], T).timesteps == (2, 1)
    assert descend(lambda t: -t[0] - t[1], [(1, 0)], T).timesteps == (15, 14)
