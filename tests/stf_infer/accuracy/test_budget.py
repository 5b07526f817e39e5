# SPDX-License-Identifier: Apache-2.0
"""A budget is read as it is typed, and told so that it is read to the same numbers again."""

from __future__ import annotations

import math

import pytest

from stf_infer.accuracy import DEFAULT, Budget
from stf_infer.errors import UsageError


@pytest.mark.parametrize(
    ("text", "rmse", "sam"),
    [
        ("rmse=0.5%,sam=0.05deg", 0.005, 0.05),
        ("sam=0.05deg,rmse=0.5%", 0.005, 0.05),
        (" RMSE = 0.005 , sam = .05 deg", 0.005, 0.05),
        ("rmse=1e-3", 0.001, None),
        ("sam=0.001rad", None, math.degrees(0.001)),
        ("rmse=0", 0.0, None),
        ("none", None, None),
    ],
)
def test_what_is_typed_is_read(text, rmse, sam):
    found = Budget.parse(text)
    assert (found.rmse, found.sam) == (rmse, sam)
    assert found.asks == (text != "none")
    assert Budget.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "rmse", "rmse=", "rmse=x", "rmse=-1%", "rmse=0.5%,rmse=1%", "sam=0.05", "sam=5%", "rmse=1deg", "mae=1", "1%"],
)
def test_what_cannot_be_read_says_what_can(text):
    with pytest.raises(UsageError) as caught:
        Budget.parse(text)
    assert "rmse=0.5%,sam=0.05deg" in caught.value.allowed


@pytest.mark.parametrize("text", ["rmse=0.5%,", "rmse=1e999", "none,rmse=1%", "rmse=nan"])
def test_nor_what_only_begins_well(text):
    with pytest.raises(UsageError):
        Budget.parse(text)


def test_any_numbers_survive_as_text():
    for rmse, sam in ((1 / 3, 1 / 7), (0.1 + 0.2, 1e-9), (123.456, None), (None, 2 / 3)):
        budget = Budget(rmse, sam)
        assert Budget.parse(str(budget)) == budget


def test_the_default_is_the_stated_one():
    assert str(DEFAULT) == "rmse=0.5%,sam=0.05deg"
    assert Budget.of(None) is DEFAULT
    assert Budget.of("rmse=2%") == Budget(rmse=0.02)
    assert Budget.of(Budget(sam=1.0)) == Budget(sam=1.0)
    assert str(Budget()) == "none"


@pytest.mark.parametrize("value", [float("nan"), -0.1, float("inf")])
def test_what_is_no_amount_is_refused(value):
    with pytest.raises(UsageError, match="budget of sam is no amount"):
        Budget(sam=value)
