# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from fakes import read_tif
from stf_infer.baselines import BASELINES, Starfm, fuse_baseline
from stf_infer.cli import main


def call(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["baseline", *map(str, arguments)])


def pairs(rasters):
    return [part for pair in rasters.items() for part in pair]


@pytest.mark.parametrize("name", BASELINES)
def test_the_verb_writes_what_the_function_gives(name, rasters, out):
    result = call(name, *pairs(rasters), "-o", out, "--ratio", 4, "--window", 7, "--weight", "product", "--json")
    assert result.exit_code == 0, result.stderr
    roles = {flag[2:].replace("-", "_"): path for flag, path in rasters.items()}
    expected = fuse_baseline(name, ratio=4, settings=Starfm(window=7, weight="product"), **roles)
    np.testing.assert_array_equal(read_tif(out), expected.array)
    assert json.loads(result.stdout)["provenance"]["network"] == name


def test_a_person_reads_the_same_in_words(rasters, out):
    text = " ".join(call("change", *pairs(rasters), "-o", out, "--ratio", 4).stdout.split())
    for word in (out.name, "Mpx/s", "100.0% of the pixels"):
        assert word in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("starfm", "--window", "4"), "odd, 1 or more"),
        (("starfm", "--ratio", "7"), "ratio"),
        (("copy", "--unit", "furlongs"), "reflectance, kelvin, 1"),
        (("magic",), "magic"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(rasters, out, more, says):
    result = call(*more, *pairs(rasters), "-o", out)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())
    assert list(out.parent.iterdir()) == []
