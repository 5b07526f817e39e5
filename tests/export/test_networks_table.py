# SPDX-License-Identifier: Apache-2.0
"""The page that a test run writes: what is ticked, and what is said where nothing is."""

from __future__ import annotations

import pytest

import networks_table
from networks_table import COLUMNS, Ran, cell, golden, network_of, page, strict_load
from stf_export import networks
from support import shared_path

PARITY = COLUMNS[0]


def ran(outcome: str = "passed", why: str = "", network: str = "", **noted) -> Ran:
    properties = noted.pop("properties", {})
    sets = {which: frozenset(noted.pop(which, ())) for which in ("lists", "goldens", "arrays", "widened")}
    assert not noted
    return Ran(outcome, why, network, properties, **sets)


def zoo(test: str, outcome: str, why: str = "", **properties) -> dict[str, Ran]:
    return {f"test_zoo.py::{test}[edcstfn]": ran(outcome, why, "edcstfn", properties=properties)}


def test_a_cell_is_ticked_by_a_test_that_passed_with_its_figure():
    tests = zoo(PARITY.test, "passed", relative=1.234e-6, batches="1, 4", nodes="90 of 100")
    assert cell(PARITY, "edcstfn", "image", tests) == "✓ 1e-06"
    assert [cell(column, "edcstfn", "image", tests) for column in COLUMNS[1:3]] == ["✓ 1, 4", "✓ 90 of 100"]
    assert cell(PARITY, "dcstfn", "image", tests) == "not run"


@pytest.mark.parametrize(
    ("outcome", "why", "shown"),
    [
        ("failed", "ParityError: a | b", "failed: ParityError: a / b"),
        ("skipped", "needs the extra tensorrt-rtx", "not run: needs the extra tensorrt-rtx"),
    ],
)
def test_everything_else_says_why(outcome: str, why: str, shown: str):
    assert cell(PARITY, "edcstfn", "image", zoo(PARITY.test, outcome, why)) == shown


def test_scenes_are_for_images_and_samples_for_the_others():
    scene, samples = (next(c for c in COLUMNS if c.title == title) for title in ("scene", "samples"))
    assert (cell(scene, "mgsfformer", "samples", {}), cell(samples, "mgsfformer", "samples", {})) == ("", "not run")
    assert (cell(scene, "edcstfn", "image", {}), cell(samples, "edcstfn", "image", {})) == ("not run", "")


def test_published_arrays_are_counted_over_all_tests_of_a_network():
    shared_path("golden")
    files = [f"edcstfn_{n}ref{grid}" for n in (1, 2) for grid in ("", "_finegrid")]
    tests = {f: ran(goldens=[f], arrays=[f"{f}/output"]) for f in files[:3]}
    tests["other"] = ran(goldens=["sdcs_cia"], arrays=["sdcs_cia/output"], widened=["sdcs_cia/output"])
    assert golden("edcstfn", tests) == "✓ 3 of 4 arrays"
    assert golden("sdcs", tests) == "✓ 1 of 3 arrays, 1 with a wider tolerance"
    assert golden("mlffgan", tests) == "not run"
    assert golden("deltaweave", tests) == "no published outputs"
    tests["broken"] = ran("failed", "AssertionError: off", goldens=files[3:])
    assert golden("edcstfn", tests) == "failed: AssertionError: off"


def test_published_keys_are_counted_by_list():
    shared_path("networks")
    tests = {str(k): ran(lists=[name]) for k, name in enumerate(("edcstfn", "edcstfn_6band", "edcstfn"))}
    assert strict_load("edcstfn", tests) == "✓ 2 lists"
    assert strict_load("stfnet", tests) == "not run"
    assert strict_load("deltaweave", tests) == "no published keys"


def test_without_the_shared_material_nothing_is_ticked(monkeypatch, tmp_path):
    monkeypatch.setattr(networks_table, "shared_root", lambda: tmp_path / "none")
    skipped = {"a": ran("skipped", "needs the shared test material", lists=["edcstfn"], goldens=["edcstfn_1ref"])}
    for column in (strict_load, golden):
        assert column("edcstfn", skipped) == "not run: needs the shared test material"
        assert column("stfnet", skipped) == "not run: needs the shared test material"


@pytest.mark.parametrize(
    ("file", "network"),
    [
        ("stfdiff_ddim/output", "stfdiff"),
        ("stf_egfa_1ref", "stf_egfa"),
        ("bistfdiff_BiPredNoiseNet64_depth3", "stfdiff"),
        ("multitask_lunet_U_Net", "multitask_lunet"),
        ("ddim_trajectories", ""),
    ],
)
def test_published_files_belong_to_the_network_that_they_are_named_by(file: str, network: str):
    assert network_of(file) == network


def test_the_page_has_a_row_for_every_network():
    text = page(zoo(PARITY.test, "passed", relative=2e-6, batches="1, 4", nodes="90 of 100"))
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert [row[0].strip(" `") for row in rows[2:]] == list(networks.names())
    ticked = [row[0].strip(" `") for row in rows[2:] if any("✓" in one for one in row)]
    assert ticked == ["edcstfn"]
