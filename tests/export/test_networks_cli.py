# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from stf_export import networks
from stf_infer.cli import main


def call(*arguments: str):
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["networks", *arguments])


@pytest.fixture(scope="module")
def listed() -> dict[str, dict]:
    rows = json.loads(call("--json").stdout)["networks"]
    return {row["name"]: row for row in rows}


def test_every_network_is_listed_with_its_paper_and_options(listed):
    assert tuple(listed) == networks.names()
    for name, row in listed.items():
        about = networks.about(name)
        assert (row["title"], row["family"], row["paper"]) == (about.title, about.family, about.paper)
        assert row["options"] == about.options
        assert row["inputs"]
        assert (row["doi"] is None) == (name == "deltaweave")  # it has no paper


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("edcstfn", "image", ""),
        ("stfnet", "image", ""),
        ("unetlstm", "image", ""),
        ("stfdiff", "image", ""),
        ("diffstsf", "image", ""),
        ("mgsfformer", "samples", ""),
        ("mfdgcn", "samples", ""),
        ("cnnlstm", "samples", ""),
        ("ttsfnet", "samples", ""),
        ("densestf", "image", ""),
    ],
)
def test_status(listed, name, status, reason):
    assert listed[name]["status"] == status
    assert reason in listed[name]["reason"]
    assert bool(listed[name]["reason"]) == (status not in ("image", "samples"))


def test_grids_and_tiles_are_those_of_the_contract(listed):
    grids = {i["role"]: (i["grid"], i["from_coarse"]) for i in listed["dcstfn"]["inputs"]}
    assert grids == {"coarse_t1": ("coarse", None), "fine_t1": ("fine", None), "coarse_t2": ("coarse", None)}
    assert {"coarse_t1": ("fine", "align-corners")}.items() <= {
        i["role"]: (i["grid"], i["from_coarse"]) for i in listed["edcstfn"]["inputs"]
    }.items()
    assert {"temporal_weight": "scene"}.items() <= {i["role"]: i["grid"] for i in listed["stfnet"]["inputs"]}.items()
    assert (listed["swinstfm"]["tile"], listed["swinstfm"]["mode"]) == (256, "blend")
    assert listed["edcstfn"]["tile"] == "auto"
    assert (listed["densestf"]["tile"], listed["densestf"]["halo"]) == (72, 32)
    assert listed["edcstfn"]["halo"] is None


def test_rasters_that_are_only_read_are_listed_too(listed):
    rows = {i["role"]: i for i in listed["densestf"]["inputs"]}
    assert [role for role, i in rows.items() if i["only_read"]] == ["fine_t3", "coarse_t3"]
    assert rows["fine_mean"]["statistic"] == {"rule": "mean-of-dates", "of": ["fine_t1", "fine_t3"]}
    shown = call("densestf").stdout
    assert "fine_mean: a number for the whole scene, mean-of-dates of fine_t1, fine_t3; blue" in shown
    assert "fine_t3: fine grid, read only for a number of the scene; blue" in shown


def test_networks_that_take_samples_are_listed_with_their_dims(listed):
    row = listed["mgsfformer"]
    assert [(i["role"], i["dims"]) for i in row["inputs"]] == [("history", {"time": 96, "station": 7, "channel": 1})]
    assert (row["tile"], row["mode"], row["ratio"]) == (None, None, None)
    assert all(i["dims"] is None for i in listed["edcstfn"]["inputs"])
    assert "history(96x7x1)" in call().stdout
    shown = call("mfdgcn").stdout
    assert "calendar: step 24, part 2; any dims of samples beside" in shown
    assert "tile     none" in shown


def test_a_person_sees_a_line_for_each_network(listed):
    shown = call().stdout
    lines = {line.split()[0]: line for line in shown.splitlines() if line[:1].isalpha()}
    assert set(networks.names()) <= set(lines)
    for name in ("edcstfn", "dcstfn"):
        assert networks.about(name).doi in lines[name]
        assert next(iter(networks.about(name).options)) in lines[name]
    assert "temporal_weight**" in shown
    assert "72, halo 32" in shown


def test_one_network_is_shown_with_options_and_paper():
    shown = call("edcstfn").stdout
    assert networks.about("edcstfn").doi in shown
    assert all(option in shown for option in networks.about("edcstfn").options)
    assert "coarse_t1: fine grid, interpolated from the coarse grid (align-corners)" in shown


def test_an_unknown_network_is_named_with_the_nearest():
    told = call("edcstfm", "--json")
    assert told.exit_code == 2
    assert json.loads(told.stdout)["fix"] == "Did you mean edcstfn"


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    told = call("--json")
    assert told.exit_code == 2
    assert json.loads(told.stdout)["error"] == "MissingExtraError"
    assert "stf-infer[export]" in told.stderr
