# SPDX-License-Identifier: Apache-2.0
"""The item of a bundle that takes samples, by the rules of STAC and of the MLM extension."""

from __future__ import annotations

import json
import re

import pystac
import pytest
from pystac.extensions.mlm import MLMExtension

from sample_graphs import make_bundle, make_contract
from stf_export.item import make_item
from stf_infer.samples.spec import SampleValues


@pytest.fixture(scope="module")
def item(tmp_path_factory):
    values = SampleValues(unit="mm", along="station", scale=(0.5, 2.0), offset=(0.0, 1.0))
    made = make_bundle(tmp_path_factory.mktemp("bundles"), values=values)
    return json.loads((made.path / "item.json").read_text())


def test_the_item_is_valid_stac(item):
    pytest.importorskip("jsonschema")
    from pystac.validation.stac_validator import JsonSchemaSTACValidator

    validator = JsonSchemaSTACValidator()
    validator._get_schema = lambda uri: validator.schema_cache[uri]  # offline: only what pystac ships
    assert validator.validate_core(item, pystac.STACObjectType.ITEM, pystac.get_stac_version()) is not None
    assert pystac.Item.from_dict(item).to_dict(include_self_link=False, transform_hrefs=False) == item


def test_the_item_is_valid_mlm_for_stac_model(item):
    schema = pytest.importorskip("stac_model.schema")
    model = schema.MLModelProperties(**item["properties"])
    assert [i.name for i in model.input] == ["past", "slot"]
    assert model.input[0].input.shape == [-1, 3, 2]
    assert model.input[0].input.dim_order == ["batch", "time", "station"]
    assert model.input[1].input.shape == [-1]
    assert str(model.input[1].input.data_type) == "int64"
    assert model.output[0].result.dim_order == ["batch", "ahead", "station"]
    assert model.tasks == {"regression"}


def test_mlm_s_own_rules_hold(item):
    """What the extension's schema asks for beyond types."""
    properties, assets = item["properties"], item["assets"]
    assert MLMExtension.ext(pystac.Item.from_dict(item)).architecture == "last-steps"
    assert {key for key, asset in assets.items() if "mlm:model" in asset["roles"]} == {"model-fp32"}
    assert "bands" not in properties
    assert all("bands" not in asset for asset in assets.values())
    for one in (*properties["mlm:input"], *properties["mlm:output"]):
        assert one["bands"] == []
        order = (one.get("input") or one["result"])["dim_order"]
        assert len(set(order)) == len(order)
        assert all(re.fullmatch(r"[a-z-_]+", name) for name in order)


def test_scaling_is_told_place_by_place(item):
    past, slot = item["properties"]["mlm:input"]
    assert past["value_scaling"] == [
        {"type": "z-score", "mean": 0.0, "stddev": 2.0},
        {"type": "z-score", "mean": -0.5, "stddev": 0.5},
    ]
    assert slot["value_scaling"] == [{"type": "clip", "minimum": 0.0, "maximum": 9.0}]
    assert past["description"] == "history: time, station (north, south); in mm"


@pytest.mark.parametrize(
    ("values", "scaling"),
    [
        (SampleValues(), None),
        (SampleValues(scale=10.0), [{"type": "z-score", "mean": 0.0, "stddev": 0.1}]),
        (SampleValues(minimum=0), [{"type": "clip-min", "minimum": 0}]),
        (SampleValues(maximum=1), [{"type": "clip-max", "maximum": 1}]),
        (SampleValues(along="station", scale=(1.0, 2.0)), None),  # the extension has no word for "as it is"
    ],
)
def test_scaling_in_the_extension_s_words(values, scaling):
    spec = make_contract(values=values).model_copy(update={"name": "net"})
    one = make_item(spec, {}, {}, batch=1, parameters=1)["properties"]["mlm:input"][0]
    assert one.get("value_scaling") == scaling
    assert one["input"]["shape"] == [1, 3, 2]
