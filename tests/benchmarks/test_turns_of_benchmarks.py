# SPDX-License-Identifier: Apache-2.0
"""Turns of benchmarks: what is counted."""

from __future__ import annotations

import sys

import pytest

from support import REPOSITORY

sys.path.append(str(REPOSITORY / "benchmarks"))
import _rounds


def test_short_calls_follow_one_of_their_own(monkeypatch):
    """Cold caches are not counted: but for the first turn, of which nobody knows yet how short it is."""
    made = []
    clock = iter(range(10_000))
    monkeypatch.setattr(_rounds.time, "perf_counter", lambda: next(clock) * 0.01)
    turns = _rounds.take_turns({"a": (lambda: made.append("a"), 1), "b": (lambda: made.append("b"), 2)}, 3)
    assert "".join(made) == "abab" + "ab" + "bbaa" + "aabb"
    assert turns.seconds["a"] == pytest.approx([0.01] * 3)
    assert turns.seconds["b"] == pytest.approx([0.005] * 3), "of a tile, where a call computes two"


def test_long_calls_are_made_once(monkeypatch):
    made = []
    clock = iter(range(10_000))
    monkeypatch.setattr(_rounds.time, "perf_counter", lambda: float(next(clock)))
    _rounds.take_turns({"a": (lambda: made.append("a"), 1), "b": (lambda: made.append("b"), 1)}, 2)
    assert "".join(made) == "abab" + "ab" + "ba"
