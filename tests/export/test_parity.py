# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from stf_export.parity import TOLERANCE, compare
from stf_export.samples import scene_tile
from stf_infer.errors import ParityError
from stf_infer.grid import Shape
from stf_infer.spec import Values
from tiny_networks import contract_for

TILE = Shape(32, 32)
CONTRACT = contract_for({"fine_t1": "fine", "coarse_t2": "coarse"}, values=Values(scale=10_000.0))


class Function:
    """An oracle that counts the tiles of each run."""

    fixed = None

    def __init__(self, function):
        self.function, self.batches = function, []

    def __call__(self, inputs):
        self.batches.append(len(inputs["fine_t1"]))
        return self.function(inputs)


def network(inputs):
    return inputs["fine_t1"] + inputs["coarse_t2"].repeat(4, 2).repeat(4, 3)


def off_by(part):
    """The network with one pixel moved by a part of 10000, which is about the range of its output."""

    def graph(inputs):
        output = network(inputs)
        output[:, 0, 3, 4] += part * 10_000
        return output

    return graph


def test_equal_graphs_differ_by_nothing():
    graph = Function(network)
    found = compare(Function(network), graph, CONTRACT, TILE, named="torch")
    assert (found.max_abs, found.relative, found.tolerance) == (0.0, 0.0, TOLERANCE)
    assert (found.tiles, found.batches, found.reference) == (4, (1, 4), "torch")
    assert graph.batches == [1, 1, 4]


def test_the_figure_is_over_the_range_of_the_output():
    found = compare(Function(network), Function(off_by(1e-3)), CONTRACT, TILE, named="torch", tolerance=1e-2)
    assert found.max_abs == pytest.approx(10, rel=1e-3)
    assert 0.3e-3 < found.relative < 1.5e-3


@pytest.mark.parametrize("part", [1e-4, 1.0, np.nan, np.inf])
def test_a_graph_that_differs_is_refused(part):
    with pytest.raises(ParityError, match=r"torch computes.*Allowed: 1e-05.*--tolerance|not finite"):
        compare(Function(network), Function(off_by(part)), CONTRACT, TILE, named="torch")


def test_a_graph_that_mixes_the_tiles_of_a_batch_is_refused():
    def mixes(inputs):
        output = network(inputs)
        return output + (output[:1] - output) * 0.5

    with pytest.raises(ParityError):
        compare(Function(network), Function(mixes), CONTRACT, TILE, named="torch")
    compare(Function(network), Function(mixes), CONTRACT, TILE, named="torch", batched=False)


def test_a_graph_that_fails_on_a_batch_is_refused():
    def single(inputs):
        if len(inputs["fine_t1"]) > 1:
            raise ValueError("cannot reshape")
        return network(inputs)

    with pytest.raises(ParityError, match=r"fails on a batch.*cannot reshape"):
        compare(Function(network), Function(single), CONTRACT, TILE, named="torch")
    found = compare(Function(network), Function(single), CONTRACT, TILE, named="torch", batched=False)
    assert found.batches == (1,)


def test_a_graph_that_takes_the_batch_for_a_constant_is_refused():
    with pytest.raises(ParityError, match=r"another shape.*1, 2, 32, 32.*4, 2, 32, 32"):
        compare(Function(network), Function(lambda i: network(i)[:1]), CONTRACT, TILE, named="torch")


def test_no_tile_is_one_that_the_network_is_traced_with():
    seen = []
    compare(Function(network), Function(lambda i: seen.append(i) or network(i)), CONTRACT, TILE, named="torch")
    traced = scene_tile(CONTRACT, TILE)["fine_t1"]
    assert seen[-1]["fine_t1"].shape == (4, 2, 32, 32)
    assert all(np.abs(tile - traced).max() > 100 for tile in seen[-1]["fine_t1"])


def test_tiles_cover_the_range_and_are_all_different():
    seen = []

    def watch(inputs):
        seen.append({role: array.copy() for role, array in inputs.items()})
        return network(inputs)

    compare(Function(watch), Function(network), CONTRACT, TILE, named="torch")
    fine = np.concatenate([s["fine_t1"] for s in seen])
    assert fine.shape == (4, 2, 32, 32)
    assert fine.min() > -1
    assert 9_000 < fine[1:].max() < 10_001
    assert len({f.tobytes() for f in fine}) == 4
    assert {s["coarse_t2"].shape for s in seen} == {(1, 2, 8, 8)}
