# SPDX-License-Identifier: Apache-2.0
"""Which of two is faster: what else the machine does meets both and does not count."""

from __future__ import annotations

import pytest

from stf_infer.engines import turns


class Clock:
    """Time that passes only where somebody spends it."""

    def __init__(self):
        self.now = 0.0

    def takes(self, *spent):
        """A call that takes so long, time after time, over and over."""
        left = []

        def call():
            if not left:
                left.extend(spent)
            self.now += left.pop(0)

        return call


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(turns.time, "perf_counter", lambda: made.now)
    monkeypatch.setattr(turns, "_PAUSE", 0)
    return made


@pytest.mark.parametrize(("one", "other"), [(0.1, 0.2), (0.2, 0.1), (2.0, 1.0), (0.1, 0.11), (1e-4, 3e-4)])
def test_a_quiet_machine_gives_the_ratio_itself(clock, one, other):
    assert turns.ratio(clock.takes(one), clock.takes(other)) == pytest.approx(other / one)


def test_a_burst_of_other_work_does_not_count(clock):
    """Two thirds of the time everything takes ten times as long, for both alike."""
    slow = [0.01, 0.1, 0.1]
    assert turns.ratio(clock.takes(*slow), clock.takes(*(s * 0.8 for s in slow))) == pytest.approx(0.8)


def test_a_burst_that_meets_one_of_them_does_not_count(clock):
    assert turns.ratio(clock.takes(0.01, 0.01, 0.5), clock.takes(0.02)) == pytest.approx(2)


@pytest.mark.parametrize(("other", "factor"), [(0.11, 3), (0.2, 1)])
def test_what_is_nearly_equal_is_measured_longer(clock, other, factor):
    turns.ratio(clock.takes(0.1), clock.takes(other))
    assert clock.now == pytest.approx(factor * turns._SECONDS, abs=3 * (0.1 + other))


def test_what_takes_long_is_called_a_few_times_only(clock):
    turns.ratio(clock.takes(10.0), clock.takes(20.0))
    assert clock.now == pytest.approx(30 * turns._LEAST)


def test_what_is_quick_is_not_called_for_ever(clock):
    turns.ratio(clock.takes(1e-6), clock.takes(3e-6))
    assert clock.now == pytest.approx(4e-6 * turns._MOST)


def test_the_shortest_call_is_found(clock):
    assert turns.least_seconds(clock.takes(0.3, 0.1, 0.2)) == pytest.approx(0.1)
    assert turns.least_seconds(clock.takes(5.0)) == pytest.approx(5.0)
