# SPDX-License-Identifier: Apache-2.0
"""What the page of benchmarks shows of an outcome, of the results that are committed."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import pytest

from support import REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results"


@pytest.fixture
def sections(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    yield importlib.import_module("_sections").SECTIONS
    sys.modules.pop("_sections", None)


def of(name: str) -> Any:
    return json.loads((RESULTS / f"{name}-amd-epyc-avx2.json").read_text())


@pytest.mark.parametrize(
    ("section", "result", "shown"),
    [
        ("core", "core", lambda f: [f"{one['share']:.0%}" for one in f["operations"].values()]),
        ("metrics", "metrics", lambda f: [f"{f['speed']['libraries']['median']:.1f} times"]),
        ("overhead", "stream-10980", lambda f: [f"{one['ratio']:.3f}" for one in f["compressions"]]),
        ("memory", "memory-int8", lambda f: [f"{f['peak_ratio']:.3f} times the first"]),
        ("peers", "peers", lambda f: [f"{one['mpx_per_s']:.2f}" for one in f["peers"].values()]),
        (
            "engines",
            "engine-speed",
            lambda f: [f"{one['over_onnxruntime']['run']['median']:.2f}" for one in f["networks"].values()],
        ),
    ],
)
def test_what_a_benchmark_is_run_for_is_on_the_page(sections, section, result, shown):
    figures = of(result)
    text = "\n".join(sections[section](figures))
    for number in shown(figures):
        assert number in text


def test_a_turn_is_compared_with_that_of_the_others(sections):
    one = {"mpx_per_s": 1.0, "peak_mb": 100.0, "relative_rms": 0.0}
    peers = {"loop": {**one, "seconds": [4.0, 9.0, 30.0]}, "stf": {**one, "seconds": [2.0, 3.0, 5.0]}}
    text = "\n".join(sections["peers"]({"scene": [8, 8, 4], "tile": 4, "peers": peers}))
    assert "3.00 (2.00 to 6.00)" in text


def test_a_seam_that_nobody_could_measure_and_bars_in_names(sections):
    row = {"network": "a|b", "tile": 8, "halo": 1, "tiles": 1, "max_abs_over_range": 0.0, "seam_ratio": None}
    assert sections["tiled"]([row])[-1] == "| a\\|b | 8 | 1 | 1 | 0.0e+00 | |"


def test_steps_are_shown_by_engine(sections):
    one = {"unrolled_s": 0.2, "faster_than_stepwise": 1.5, "faster_than_authors": 20.0, "largest_difference": 1e-6}
    text = sections["steps"]({"network": "n", "tile": 64, "engines": {"onnxruntime-cpu": one}})
    assert text[-1] == "| onnxruntime-cpu | 200 ms | 1.50 times | 20.0 times | 1.0e-06 |"
