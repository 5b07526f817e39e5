# SPDX-License-Identifier: Apache-2.0
"""How long a call of an engine takes: warmed up until calls agree, then often enough and for long enough."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engines import Engine
from ..engines.base import Noise
from .result import Distribution, Latency

Clock = Callable[[], float]

# Single measurements that a result keeps.
_KEPT = 1000

# Calls have come to rest where the medians of the last so many and of as many before them agree within this part.
_WINDOW, _TOLERANCE = 4, 0.05
# Clocks rise and threads start for a while, however many calls fit into it; and nobody waits for rest for ever: so many
# times the seconds that are measured afterwards, and no more than so many calls.
_LEAST_SECONDS, _PATIENCE, _MOST_CALLS = 0.2, 2.0, 500


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        runs: Calls at least.
        seconds: Seconds at least.
    """

    runs: int
    seconds: float

    def part(self, share: float) -> Effort:
        """A share of it, of five calls or what there are."""
        return Effort(min(self.runs, max(5, round(self.runs * share))), self.seconds * share)


def distribution(seconds: Sequence[float]) -> Distribution:
    """Quantiles of measurements, and the measurements themselves.

    Quantiles are interpolated linearly between the two nearest measurements: ``p`` lies at ``p (n - 1)`` of the sorted
    ones, counted from 0.
    """
    values = np.asarray(seconds, np.float64)
    p50, p90, p99 = np.percentile(values, (50, 90, 99))
    kept = np.linspace(0, len(values) - 1, min(len(values), _KEPT)).round().astype(int)
    return Distribution(
        n=len(values),
        p50=float(p50),
        p90=float(p90),
        p99=float(p99),
        maximum=float(values.max()),
        mean=float(values.mean()),
        samples=tuple(float(value) for value in values[kept]),
    )


def warm_up(call: Callable[[], Any], seconds: float, clock: Clock = time.perf_counter) -> tuple[int, bool]:
    """Call until calls take equally long.

    Args:
        call: What is called.
        seconds: As long as will be measured; twice that is waited at most.
        clock: Seconds that go on.

    Returns:
        How many calls that took, and whether they agreed in the end.
    """
    began = clock()
    least, most = min(_LEAST_SECONDS, seconds), _PATIENCE * seconds
    spent: list[float] = []
    while True:
        start = clock()
        call()
        now = clock()
        spent.append(now - start)
        if now - began >= least and _at_rest(spent, _WINDOW):
            return len(spent), True
        if now - began >= most or len(spent) >= _MOST_CALLS:
            return len(spent), _at_rest(spent, min(_WINDOW, len(spent) // 2))


def _at_rest(spent: Sequence[float], window: int) -> bool:
    """Whether the last ``window`` calls took as long as those before them; not so where there are too few."""
    if window == 0 or len(spent) < 2 * window:
        return False
    last, before = (statistics.median(part) for part in (spent[-window:], spent[-2 * window : -window]))
    return abs(last - before) <= _TOLERANCE * max(last, before)


def latency(
    engine: Engine,
    feed: Mapping[str, np.ndarray],
    effort: Effort,
    *,
    threads: int | None = None,
    noise: Noise | None = None,
    clock: Clock = time.perf_counter,
) -> tuple[Latency, Latency | None]:
    """Calls of an open engine with the same tiles, back to back.

    Args:
        engine: The engine; its first call has been made.
        feed: A batch by tensor name, in network values.
        effort: How much is measured.
        threads: CPU threads that the engine was opened with, as it is told.
        noise: Where the draws of a sampler come from that is looped on the host: a call is then a whole sampling.
        clock: Seconds that go on; the host's.

    Returns:
        What the caller waits for; and what the device says of the same calls, None where it says nothing.

    Raises:
        EngineError: A call fails.
    """
    batch = len(next(iter(feed.values())))

    def call() -> None:
        engine.infer(feed, noise)

    count, stable = warm_up(call, effort.seconds, clock)
    on_host: list[float] = []
    on_device: list[float] = []
    with _no_collection(), _device_log(engine) as log:
        until = clock() + effort.seconds
        while len(on_host) < effort.runs or clock() < until:
            log.clear()
            start = clock()
            call()
            on_host.append((clock() - start) / batch)
            on_device.append(sum(log) / batch)
    common: dict[str, Any] = {"batch": batch, "threads": threads, "warm_up": count, "stable": stable}
    host = Latency(**common, tile=distribution(on_host))
    if not engine.has_device_clock:
        return host, None
    return host, Latency(**common, tile=distribution(on_device), clock="cuda events")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python does not look for garbage meanwhile."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _device_log(engine: Engine) -> Iterator[list[float]]:
    """A list that gets the device's time of every call of its graph."""
    log: list[float] = []
    engine.log_device_time(log)
    try:
        yield log
    finally:
        engine.log_device_time(None)
