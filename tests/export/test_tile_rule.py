# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from stf_export.contract import TileWish
from stf_export.probe import Measured
from stf_export.tile_rule import cost_warning, overlap_cost, tile_rule, wanted_tile
from stf_infer.errors import TilePlanError
from stf_infer.grid import Shape, TilePlan
from tiny_networks import contract_for

FINE = contract_for({"fine_t1": "fine"})
COARSE = contract_for({"fine_t1": "fine", "coarse_t2": "coarse"}, ratio=16)


def measured(stride=1, halo=0, mode="exact", because=()):
    return Measured(stride, halo, mode, because, {}, (), Shape(96, 96), 10)


def with_wish(**wish):
    return FINE.model_copy(update={"tile": TileWish(**wish)})


@pytest.mark.parametrize(
    ("contract", "asked", "fixed", "tile"),
    [
        (FINE, None, None, Shape(256, 256)),
        (FINE, 100, None, Shape(100, 100)),
        (FINE, None, Shape(40, 60), Shape(40, 60)),
        (FINE, 64, Shape(64, 64), Shape(64, 64)),
        (with_wish(size=40), None, None, Shape(40, 40)),
        (COARSE, 32, None, Shape(32, 32)),
    ],
)
def test_the_tile_is_what_is_asked_for_or_fixed(contract, asked, fixed, tile):
    assert wanted_tile(contract, asked, fixed) == tile


@pytest.mark.parametrize(
    ("contract", "asked", "fixed", "message"),
    [
        (FINE, 100, Shape(64, 64), "one size only. Got: 100 x 100. Allowed: 64 x 64"),
        (with_wish(size=40), 64, None, "Allowed: 40 x 40"),
        (COARSE, 100, None, "whole coarse pixels.*multiples of 16.*--tile 112"),
        (with_wish(mode="blend", stride=24), 100, None, "whole strides.*multiples of 24.*--tile 120"),
    ],
)
def test_other_tiles_are_refused(contract, asked, fixed, message):
    with pytest.raises(TilePlanError, match=message):
        wanted_tile(contract, asked, fixed)


def test_an_exact_rule_carries_what_was_measured():
    rule = tile_rule(measured(stride=4, halo=5), FINE, Shape(64, 96))
    assert (rule.height, rule.width, rule.stride, rule.halo, rule.mode, rule.overlap) == (64, 96, 4, 5, "exact", 0)


@pytest.mark.parametrize(
    ("found", "side", "works"),
    [
        (measured(stride=4, halo=5), 62, 64),  # no multiple
        (measured(stride=4, halo=5), 12, 16),  # 12 - 10 leaves less than a stride
        (measured(stride=16, halo=49), 112, 128),
        (measured(stride=1, halo=8), 16, 17),
        (measured(stride=4, mode="blend", because=("x",)), 6, 8),
    ],
)
def test_a_tile_that_does_not_work_is_refused_with_one_that_does(found, side, works):
    with pytest.raises(TilePlanError, match=f"--tile {works}\\.$"):
        tile_rule(found, FINE, Shape(side, side))
    rule = tile_rule(found, FINE, Shape(works, works))
    assert len(TilePlan.for_scene(rule, Shape(3 * works, 3 * works))) >= 9


@pytest.mark.parametrize(
    ("stride", "side", "wish", "overlap"),
    [(1, 256, None, 64), (16, 256, None, 64), (32, 96, None, 32), (4, 8, None, 4), (8, 8, None, 0), (1, 64, 10, 10)],
)
def test_blending_shares_a_quarter_in_whole_strides(stride, side, wish, overlap):
    rule = tile_rule(measured(stride, mode="blend", because=("why",)), with_wish(overlap=wish), Shape(side, side))
    assert (rule.mode, rule.overlap, rule.halo, rule.because) == ("blend", overlap, 0, ("why",))


def test_blending_can_be_asked_for():
    rule = tile_rule(measured(stride=2, halo=3), with_wish(mode="blend"), Shape(64, 64))
    assert (rule.mode, rule.stride, rule.halo, rule.overlap) == ("blend", 2, 0, 16)
    assert rule.because == ("asked for in the contract",)


def test_an_overlap_without_room_is_refused():
    with pytest.raises(TilePlanError, match="the overlap"):
        tile_rule(measured(mode="blend"), with_wish(overlap=64), Shape(64, 64))


@pytest.mark.parametrize("found", [measured(1, 5), measured(16, 49), measured(4, mode="blend", because=("x",))])
def test_the_cost_is_that_of_a_large_scene(found):
    rule = tile_rule(found, FINE, Shape(256, 256))
    plan = TilePlan.for_scene(rule, Shape(60_000, 60_000))
    assert overlap_cost(rule) == pytest.approx(plan.overlap_cost, rel=0.02)


def test_a_dear_tile_is_warned_about_with_the_first_cheap_one():
    warning = cost_warning(tile_rule(measured(16, 49), FINE, Shape(256, 256)), FINE)
    assert warning is not None
    assert "costs 3.2 times" in warning
    advised = int(warning.split("--tile ")[1].split()[0])
    costs = {s: overlap_cost(tile_rule(measured(16, 49), FINE, Shape(s, s))) for s in range(256, advised + 1, 16)}
    assert [s for s, cost in costs.items() if cost < 1.5] == [advised]


def test_a_cheap_tile_is_not():
    assert cost_warning(tile_rule(measured(1, 5), FINE, Shape(64, 64)), FINE) is None


@pytest.mark.parametrize(
    ("options", "told"), [({}, "which the network fixes"), ({"tile": 256}, "--option tile=N makes it for larger ones")]
)
def test_no_other_tile_is_advised_where_the_network_fixes_it(options: dict, told: str):
    contract = with_wish(size=256).model_copy(update={"options": options})
    warning = cost_warning(tile_rule(measured(16, 49), contract, Shape(256, 256)), contract)
    assert warning is not None
    assert warning.endswith(told)
    assert "--tile" not in warning
