# SPDX-License-Identifier: Apache-2.0
"""Which of two is faster, on a machine that does other things meanwhile.

Times that are taken one after the other tell more about what else was going on. So the two are called in turns, and
only times of the same turn are compared; the median of those ratios is what counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

Call = Callable[[], Any]

# Turns take about this many seconds, but no fewer and no more than so many of them; where the two are nearly equal
# (within this factor) three times as many.
_SECONDS, _LEAST, _MOST = 1.0, 3, 30
_CLOSE = 1.25

# Threads of a backend look for work for a while after a call, at the cost of whatever is called next.
_PAUSE = 0.003


def ratio(one: Call, other: Call) -> float:
    """How many times as long a call of ``other`` takes as one of ``one``; both have been called before."""
    ratios = _turns(one, other, _LEAST, _MOST, _SECONDS)
    if 1 / _CLOSE < statistics.median(ratios) < _CLOSE:
        ratios += _turns(one, other, 2 * _LEAST, 2 * _MOST, 2 * _SECONDS)
    return statistics.median(ratios)


def least_seconds(call: Call) -> float:
    """The shortest of a few calls; it has been called before."""
    until = time.perf_counter() + _SECONDS
    spent: list[float] = []
    while len(spent) < _LEAST - 1 or (len(spent) < _MOST and time.perf_counter() < until):
        spent.append(seconds(call))
    return min(spent)


def seconds(call: Call) -> float:
    """Time of one call, after a pause."""
    time.sleep(_PAUSE)
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _turns(one: Call, other: Call, least: int, most: int, limit: float) -> list[float]:
    ratios: list[float] = []
    until = time.perf_counter() + limit
    while len(ratios) < least or (len(ratios) < most and time.perf_counter() < until):
        if len(ratios) % 2:  # neither always follows the other
            slow, quick = seconds(other), seconds(one)
        else:
            quick, slow = seconds(one), seconds(other)
        ratios.append(slow / quick)
    return ratios
