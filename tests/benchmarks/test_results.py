# SPDX-License-Identifier: Apache-2.0
"""Figures of different machines go to different files."""

from __future__ import annotations

import json
import sys

import pytest

from stf_infer.engines.machine import Cpu
from support import REPOSITORY

sys.path.append(str(REPOSITORY / "benchmarks"))
import _results


@pytest.mark.parametrize(
    ("name", "features", "wanted"),
    [
        ("AMD EPYC", ("avx", "avx2", "fma"), "amd-epyc-avx2"),
        ("AMD EPYC", ("avx2", "avx512f", "avx512_vnni", "avx512_bf16"), "amd-epyc-avx512-bf16"),
        ("Intel(R) Xeon(R) @ 2.1GHz", ("avx2", "avx512f"), "intel-r-xeon-r-2-1ghz-avx512"),
        ("Xeon", ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8"), "xeon-amx"),
        ("implementer 0x41 part 0xd42", ("asimdhp", "sve", "sve2"), "implementer-0x41-part-0xd42-sve2"),
        ("old", (), "old"),
    ],
)
def test_a_machine_by_name_and_instruction_set(name, features, wanted):
    assert _results.machine_name(Cpu(name, features)) == wanted


def test_figures_are_written_where_the_machine_says(tmp_path, monkeypatch):
    monkeypatch.setattr(_results, "RESULTS", tmp_path / "new")
    path = _results.write_results("core", {"a": 1})
    assert path == tmp_path / "new" / f"core-{_results.machine_name()}.json"
    assert json.loads(path.read_text()) == {"a": 1}
