# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from stf_infer.bench.settings import PRECISIONS, Settings, StatedScene
from stf_infer.errors import UsageError
from stf_infer.raster import Raster


def test_defaults_are_written_out_as_plain_values():
    told = Settings().as_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["runs"] == 20
    assert told["out"] == "stf-bench"
    assert told["bundles"] == told["scenes"] == []


def test_a_scene_keeps_what_was_stated_about_its_rasters():
    scene = StatedScene("mine", {"fine_t1": Raster("f1.tif", bands=(1, 2), scale=1e-4)}, Raster(Path("t.tif")))
    told = Settings(scenes=(scene,)).as_dict()
    assert told["scenes"] == [
        {
            "name": "mine",
            "inputs": {"fine_t1": {"data": "f1.tif", "bands": [1, 2], "scale": 1e-4}},
            "truth": {"data": "t.tif"},
        }
    ]
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_is_known(precision):
    assert Settings(precisions=(precision,)).precisions == (precision,)


def test_the_first_batch_and_threads_are_those_of_everything():
    assert Settings().batch is None
    assert Settings().thread_count is None
    assert Settings(batches=(4, 1), threads=(2, 1)).batch == 4
    assert Settings(batches=(4, 1), threads=(2, 1)).thread_count == 2


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"precisions": ("fp8",)}, "fp32, fp16, bf16, int8"),
        ({"batches": (0,)}, "--batch"),
        ({"threads": (2, -1)}, "--threads"),
        ({"runs": 0}, "--runs"),
        ({"repeats": 0}, "--repeats"),
        ({"side": 0}, "--side"),
        ({"limit": 0}, "--limit"),
        ({"steps": (0,)}, "--steps"),
        ({"tile": (0, 5)}, "--tile"),
        ({"seconds": -1.0}, "--seconds"),
        ({"seconds": float("nan")}, "--seconds"),
        ({"seed": 2**64}, "seed"),
        ({"data_range": 0.0}, "--data-range"),
        ({"change": float("nan")}, "--change"),
        ({"root": Path()}, "--dataset"),
        ({"dataset": "CIA", "scenes": (StatedScene("a", {}),)}, "dataset"),
        ({"scenes": (StatedScene("a", {}), StatedScene("a", {}))}, "twice"),
        ({"engines": ("openvino-cpu", "openvino-cpu")}, "twice"),
        ({"bundles": (Path("a.stf"), Path("a.stf"))}, "twice"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(stated, words):
    with pytest.raises(UsageError, match=words):
        Settings(**stated)
