# SPDX-License-Identifier: Apache-2.0
"""The page of all benchmarks: figures of commands that work, reasons of those that do not."""

from __future__ import annotations

import json
import sys

import pytest

from support import REPOSITORY

sys.path.append(str(REPOSITORY / "benchmarks"))
import _page
import run_all


def stand_in(tmp_path, name, code, **options):
    """A benchmark that is a few lines of Python."""
    (tmp_path / f"{name}.py").write_text(code)
    return run_all.Benchmark(name, f"Title of {name}", (f"{name}.py",), **options)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(run_all, "FOLDER", tmp_path)
    return tmp_path


def written(folder, *chosen, quick=False, limit=60, keep=None):
    outcomes = run_all.run_all(chosen, quick=quick, limit=limit, target=folder / "docs" / "page.md", keep=keep)
    return (folder / "docs" / "page.md").read_text(), outcomes


PRINTS = "import json, sys; print('progress'); print(json.dumps({'rate': 1.23456, 'arguments': sys.argv[1:]}))"
WRITES = "import sys; open(sys.argv[sys.argv.index('--out') + 1], 'w').write('{\"faster\": {\"median\": 2.5}}')"


def test_figures_of_every_kind(folder):
    text, _ = written(
        folder,
        stand_in(folder, "prints", PRINTS, full=("--size", "9")),
        stand_in(folder, "writes", WRITES, json="--out"),
        stand_in(folder, "whole", "print('{\\n\"x\": 7}')", json="stdout"),
        stand_in(folder, "text", "print('a | b')", json=""),
    )
    assert "| prints | `python benchmarks/prints.py --size 9` |" in text
    assert "| rate | 1.235 |" in text
    assert "| arguments | --size, 9, --json |" in text
    assert "| faster / median | 2.5 |" in text
    assert "| x | 7 |" in text
    assert "```\na | b\n```" in text
    assert "not measured" not in text
    assert "## Title of text" in text


def test_one_that_fails_is_a_row_and_the_rest_goes_on(folder):
    text, outcomes = written(
        folder,
        stand_in(folder, "fails", "raise SystemExit('no such | engine')"),
        stand_in(folder, "hangs", "import time; time.sleep(60)"),
        stand_in(folder, "babbles", "print('no figures')"),
        stand_in(folder, "unable", "", unable=lambda: "needs a GPU"),
        stand_in(folder, "works", PRINTS),
        limit=5,
    )
    assert [bool(one.reason) for one in outcomes] == [True, True, True, True, False]
    assert "**not measured**: exit code 1: no such \\| engine" in text
    assert "**not measured**: not done after 5 s" in text
    assert "**not measured**: its figures cannot be read" in text
    assert "**not measured**: needs a GPU" in text
    assert "## Title of works" in text
    assert "## Title of fails" not in text


def test_quick_says_so(folder):
    one = stand_in(folder, "prints", PRINTS, full=("--full",), quick=("--small",))
    text, _ = written(folder, one, quick=True)
    assert "| arguments | --small, --json |" in text
    assert "not to be quoted" in text
    assert "run_all.py --quick" in text
    assert "not to be quoted" not in written(folder, one)[0]


def test_the_page_can_be_measured_in_parts(folder, monkeypatch):
    first, second = (stand_in(folder, name, PRINTS) for name in ("first", "second"))
    monkeypatch.setattr(run_all, "benchmarks", lambda: (first, second))
    text, _ = written(folder, second, keep=folder / "kept")
    assert "**not measured**: not run yet" in text
    text, outcomes = written(folder, first, keep=folder / "kept")
    assert "not measured" not in text
    assert [one.name for one in outcomes] == ["first"]
    assert text.index("## Title of first") < text.index("## Title of second")
    assert "Title of second" not in written(folder, first)[0]  # nothing was asked to be kept


@pytest.mark.parametrize("change", ["command", "machine", "broken", "missing"])
def test_what_was_kept_of_another_command_or_machine_is_not_shown(folder, monkeypatch, change):
    first, second = stand_in(folder, "first", PRINTS), stand_in(folder, "second", PRINTS, quick=("--small",))
    monkeypatch.setattr(run_all, "benchmarks", lambda: (first, second))
    written(folder, second, keep=folder / "kept")
    if change == "machine":
        monkeypatch.setattr(run_all, "this_machine", lambda: "another")
        monkeypatch.setattr(_page, "this_machine", lambda: "another")
    elif change == "broken":
        (folder / "kept" / "second.json").write_text("{")
    elif change == "missing":
        (folder / "kept" / "second.json").unlink()
    text, _ = written(folder, first, quick=change == "command", keep=folder / "kept")
    assert "## Title of second" not in text
    assert "**not measured**: not run yet" in text


def test_the_page_names_machine_and_gpu(folder, monkeypatch):
    monkeypatch.setattr(_page.machine, "gpus", lambda: ())
    text, _ = written(folder, stand_in(folder, "prints", PRINTS))
    assert str(_page.machine.cpu()) in text
    assert "Nothing on this page was measured on a GPU" in text


def test_networks_have_a_table_of_their_own(folder):
    figures = {
        "small": True,
        "rounds": 5,
        "networks": [
            {
                "network": "a",
                "parameters": 1_500_000,
                "tensors": {"fine_t1": [3, 64, 64]},
                "sampler": "ddim, 2 steps",
                "ms": {"onnxruntime-cpu": {"p50": 12.34, "least": 11.0}},
                "reasons": {"openvino-cpu": "not installed"},
            },
            {"network": "b", "reason": "not done after 60 s"},
        ],
    }
    text, _ = written(folder, stand_in(folder, "networks", f"print({json.dumps(figures)!r})"))
    assert "| a | 1.50 M | fine_t1 3x64x64; ddim, 2 steps | 12.3 (11.0) | not installed |" in text
    assert "| b | | **not measured**: not done after 60 s | | |" in text


def test_every_command_is_there():
    every = run_all.benchmarks()
    assert len({one.name for one in every}) == len(every)
    for one in every:
        assert one.script[0] == "-m" or (REPOSITORY / "benchmarks" / one.script[0]).is_file()
