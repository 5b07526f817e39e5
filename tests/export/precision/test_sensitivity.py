# SPDX-License-Identifier: Apache-2.0
"""The search on networks that are made of numbers: what a layer costs is stated, and squares add up."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from stf_export.precision.layers import Layer
from stf_export.precision.sensitivity import Found, Search, excess
from stf_infer.accuracy import Accuracy, Budget

BUDGET = Budget(rmse=0.01)


def accuracy(rmse: float, sam: float | None = None) -> Accuracy:
    lost = 0 if math.isfinite(rmse) else 5
    return Accuracy(("red", "nir"), (rmse / 2, rmse), (rmse, rmse), sam, 2, lost, "procedural")


def search(
    costs: Mapping[str, float], work: Mapping[str, int] | None = None, most: int = 64, factor: float = 1.0
) -> tuple[Found, list[str]]:
    """Search a network of these layers; together they cost ``factor`` times the root of the sum of squares."""
    layers = [Layer(name, (name,), (work or {}).get(name, 10)) for name in costs]
    lines: list[str] = []

    def measure(reduced, everywhere) -> Accuracy:
        together = math.sqrt(sum(costs[layer.name] ** 2 for layer in reduced))
        return accuracy(together * (factor if len(reduced) > 1 else 1))

    return Search(layers, measure, BUDGET, most, lines.append).run(), lines


def names(found: Found) -> list[str]:
    return [layer.name for layer in found.islands]


def test_excess_is_the_largest_part_of_the_budget():
    assert excess(accuracy(0.02), BUDGET) == 2
    assert excess(accuracy(0.01, 0.3), Budget(rmse=0.01, sam=0.1)) == pytest.approx(3)
    assert excess(accuracy(0.01), Budget(sam=0.1)) == 0
    assert excess(accuracy(math.nan), BUDGET) == math.inf
    assert excess(accuracy(0.02), Budget()) == 0
    assert excess(accuracy(0.0), Budget(rmse=0.0)) == 0
    assert excess(accuracy(0.1), Budget(rmse=0.0)) == math.inf


def test_one_trial_where_nothing_has_to_be_kept():
    found, lines = search({f"l{k}": 0.001 for k in range(50)})
    assert (found.islands, found.within, found.trials, len(lines)) == ((), True, 1, 1)


@pytest.mark.parametrize("bad", [0, 57, 199])
@pytest.mark.parametrize("cost", [0.05, math.inf])
def test_the_one_bad_layer_of_two_hundred_is_found(bad, cost):
    found, lines = search({f"l{k}": cost if k == bad else 0.0001 for k in range(200)})
    assert names(found) == [f"l{bad}"]
    assert found.within
    assert found.trials == len(lines) <= 24
    assert found.groups[0].name == f"l{bad}"


def test_several_bad_layers():
    costs = {f"l{k}": 0.03 if k in (3, 40, 41) else 0.0005 for k in range(64)}
    found, _ = search(costs)
    assert set(names(found)) >= {"l3", "l40", "l41"}
    assert len(names(found)) <= 6
    assert found.accuracy.worst[1] <= 0.01


def test_of_equal_costs_the_cheaper_layer_is_kept():
    costs = {f"l{k}": 0.004 for k in range(8)}  # 0.0113 together
    found, _ = search(costs, {f"l{k}": 1 if k == 5 else 1000 for k in range(8)})
    assert "l5" in names(found)
    assert len(names(found)) <= 4


def test_errors_that_add_up_to_more_than_their_squares():
    found, _ = search({f"l{k}": 0.001 + 0.0005 * k for k in range(12)}, factor=2.5)
    assert found.within
    assert found.accuracy.worst[1] <= 0.01


@pytest.mark.parametrize("most", [1, 2, 5, 9, 16])
def test_trials_are_bounded(most):
    found, lines = search({f"l{k}": 0.05 for k in range(100)}, most=most)
    assert len(lines) == found.trials <= max(most, 9)
    assert not found.within or found.islands


def test_a_network_that_cannot_be_reduced_says_what_costs_most():
    found, _ = search({"a": 0.5, "b": 0.02, "c": 0.9}, factor=1.0)
    assert [group.name for group in found.groups][:2] == ["c", "a"]
    assert not found.within or set(names(found)) == {"a", "b", "c"}
