# SPDX-License-Identifier: Apache-2.0
"""What was found of a precision stands in the item and comes back."""

from __future__ import annotations

import json

import pytest

from handmade_bundle import edit_item, make_bundle
from stf_infer import item_file
from stf_infer.accuracy import DEFAULT, Accuracy, Budget, Record, record, recorded
from stf_infer.bundle import Bundle
from stf_infer.errors import BundleError, OutputError

GOOD = Accuracy(("red", "nir"), (0.001, 0.002), (0.1, 0.2), 0.01, 4, 0, "real")
BAD = Accuracy(("red", "nir"), (0.001, 0.2), (0.1, 0.2), 0.01, 4, 0, "real")


@pytest.fixture
def bundle(tmp_path):
    return Bundle.open(make_bundle(tmp_path / "net.stf"))


def test_it_stands_in_the_item_and_comes_back(bundle):
    assert recorded(bundle) == {}
    record(bundle, "fp16", GOOD, DEFAULT, "ab" * 32)
    record(bundle, "int8", BAD, Budget(rmse=0.3))
    record(bundle, "int8", None, Budget())
    wanted = {"fp16": Record(DEFAULT, GOOD, "ab" * 32), "int8": Record(Budget())}
    assert recorded(bundle) == recorded(Bundle.open(bundle.path)) == wanted
    item = json.loads((bundle.path / "item.json").read_text())
    assert item["properties"]["stf:accuracy"]["fp16"] == {
        "budget": "rmse=0.5%,sam=0.05deg",
        "bands": ["red", "nir"],
        "rmse": [0.001, 0.002],
        "max_abs": [0.1, 0.2],
        "sam_deg": 0.01,
        "tiles": 4,
        "not_finite": 0,
        "source": "real",
        "tiles_sha256": "ab" * 32,
    }


def test_an_item_that_is_being_written_is_changed_in_memory(bundle):
    item = {"properties": {}}
    record(item, "fp16", GOOD, DEFAULT)
    assert Record.from_dict(item["properties"]["stf:accuracy"]["fp16"]) == Record(DEFAULT, GOOD)


@pytest.mark.parametrize(
    ("one", "proven"),
    [
        (Record(DEFAULT, GOOD), True),
        (Record(DEFAULT, BAD), False),
        (Record(Budget(rmse=0.3), BAD), True),
        (Record(Budget(), GOOD), False),
        (Record(DEFAULT), False),
    ],
)
def test_only_figures_within_a_budget_prove_something(one, proven):
    assert one.proven == proven


@pytest.mark.parametrize("stated", [[], {"fp16": 3}, {"fp16": {}}, {"fp16": {"budget": "much"}}])
def test_what_cannot_be_read_is_told(bundle, stated):
    edit_item(bundle.path, lambda item: item["properties"].update({"stf:accuracy": stated}))
    with pytest.raises(BundleError, match="states an accuracy that cannot be read"):
        recorded(Bundle.open(bundle.path))


def test_a_disk_that_is_full_leaves_the_bundle_as_it_was(bundle, monkeypatch):
    before = (bundle.path / "item.json").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(item_file, "item_text", full)
    with pytest.raises(OutputError, match="No space left on device"):
        record(bundle, "fp16", GOOD, DEFAULT)
    assert (bundle.path / "item.json").read_bytes() == before
