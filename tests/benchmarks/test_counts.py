# SPDX-License-Identifier: Apache-2.0
"""Instructions of calls: counted where valgrind is, and the reason where they are not."""

from __future__ import annotations

import shutil
import sys

import pytest

from support import REPOSITORY

sys.path.append(str(REPOSITORY / "benchmarks"))
import _counts


@pytest.mark.skipif(shutil.which("callgrind_control") is None, reason="needs valgrind")
def test_twice_the_work_takes_twice_the_instructions():
    code = "import sys\ncalls = {n: (lambda n=n: sum(range(int(sys.argv[1]) * n))) for n in (0, 1, 2)}"
    counts, vectors = _counts.instructions(code, 300_000)
    assert list(counts) == ["0", "1", "2"]
    assert counts["2"] / counts["1"] == pytest.approx(2, rel=0.05)
    assert abs(counts["0"]) < 0.05 * counts["1"]
    assert vectors


@pytest.mark.skipif(shutil.which("callgrind_control") is None, reason="needs valgrind")
def test_why_nothing_was_counted():
    counts, why = _counts.instructions("raise ValueError('no such image')")
    assert counts == {}
    assert "no such image" in why or "valgrind failed" in why


def test_without_valgrind(monkeypatch):
    monkeypatch.setattr(_counts.shutil, "which", lambda _: None)
    assert _counts.instructions("calls = {}") == ({}, "valgrind is not installed")
