# SPDX-License-Identifier: Apache-2.0
"""Measuring with a clock that is told how long calls take."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from fakes import FunctionEngine, add_coarse_change, make_spec
from stf_infer.bench.latency import Effort, distribution, latency, warm_up
from stf_infer.bundle import Bundle
from stf_infer.demo import bundle_path
from stf_infer.engines import open_engine


class Clock:
    """Seconds that pass only in calls, which take what the list says, and then its last entry for ever."""

    def __init__(self, *durations):
        self.now, self.calls, self.durations = 0.0, 0, durations

    def __call__(self):
        return self.now

    def call(self, *_, **__):
        self.now += self.durations[min(self.calls, len(self.durations) - 1)]
        self.calls += 1


def engine_on(clock, **more):
    """An engine whose calls take the clock's durations."""

    def function(**inputs):
        clock.call()
        return add_coarse_change(**inputs)

    engine = FunctionEngine(make_spec(32), function)
    for name, value in more.items():
        setattr(engine, name, value)
    return engine


def feed(tiles):
    spec = make_spec(32)
    return {t.name: np.ones((tiles, *t.shape), np.float32) for t in spec.tensors}


def test_quantiles_of_numbers_that_are_known():
    found = distribution([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.n, found.p50, found.maximum, found.mean) == (5, 3.0, 5.0, 3.0)
    assert found.p90 == pytest.approx(4.6)
    assert found.p99 == pytest.approx(4.96)
    assert found.samples == (5.0, 1.0, 2.0, 4.0, 3.0)


def test_of_many_measurements_a_thousand_are_kept_evenly_with_both_ends():
    found = distribution(np.arange(5000.0))
    assert found.n == 5000
    assert len(found.samples) == 1000
    assert (found.samples[0], found.samples[-1]) == (0.0, 4999.0)
    assert set(np.diff(found.samples)) <= {5.0, 6.0, 4.0}


def test_a_single_measurement_is_all_of_its_quantiles():
    found = distribution([0.25])
    assert found.p50 == found.p90 == found.p99 == found.maximum == 0.25


def test_warm_up_ends_when_calls_have_come_to_rest():
    clock = Clock(*(1 / n for n in range(1, 9)), 0.1)  # slower and slower gains, then none
    count, stable = warm_up(clock.call, 10, clock)
    assert stable
    assert 12 <= count <= 16
    assert clock.calls == count


def test_quick_calls_are_warmed_up_for_a_while():
    clock = Clock(1e-3)
    count, stable = warm_up(clock.call, 1.0, clock)
    assert stable
    assert clock.now == pytest.approx(0.2, abs=2e-3)
    assert count == pytest.approx(200, abs=2)


def test_what_never_comes_to_rest_is_given_up_and_said():
    clock = Clock(*(0.01 * 1.2 ** (n % 13) for n in range(1000)))
    count, stable = warm_up(clock.call, 1.0, clock)
    if stable:
        pytest.fail(f"came to rest after {count}")
    assert 2.0 <= clock.now < 2.2


def test_a_few_slow_calls_are_judged_by_what_there_are():
    assert warm_up((clock := Clock(0.6)).call, 1.0, clock) == (4, True)
    assert warm_up((clock := Clock(0.6, 0.6, 0.6, 0.9)).call, 1.0, clock) == (4, False)


def test_a_call_that_takes_longer_than_all_that_is_wanted_is_made_once():
    clock = Clock(60.0)
    assert warm_up(clock.call, 1.0, clock) == (1, False)


def test_quick_calls_are_measured_for_the_seconds_and_slow_ones_for_the_runs():
    clock = Clock(0.01)
    found, _ = latency(engine_on(clock), feed(1), Effort(runs=20, seconds=1.0), clock=clock)
    assert found.tile.n == pytest.approx(100, abs=1)
    clock = Clock(2.0)
    found, _ = latency(engine_on(clock), feed(1), Effort(runs=20, seconds=1.0), clock=clock)
    assert found.tile.n == 20
    assert found.tile.p50 == found.tile.maximum == 2.0


def test_a_tile_takes_its_part_of_a_call():
    clock = Clock(0.08)
    found, device = latency(engine_on(clock), feed(4), Effort(5, 1.0), threads=3, clock=clock)
    assert found.tile.p50 == pytest.approx(0.02)
    assert (found.batch, found.threads, found.clock, found.stable) == (4, 3, "host", True)
    assert device is None


def test_the_devices_own_time_is_of_the_same_calls():
    clock = Clock(0.08)
    engine = engine_on(clock, has_device_clock=True, fixed_batch=2)
    inner = engine.infer_impl

    def infer_impl(inputs):
        if engine._device_log is not None:
            engine._device_log.append(0.01)  # each call of the graph; two make a batch
        return inner(inputs)

    engine.infer_impl = infer_impl
    host, device = latency(engine, feed(4), Effort(6, 0.1), clock=clock)
    assert device.clock == "cuda events"
    assert device.tile.n == host.tile.n == 6
    assert device.tile.p50 == pytest.approx(0.02 / 4)
    assert host.tile.p50 == pytest.approx(0.16 / 4)
    assert engine._device_log is None


def test_a_loop_on_the_host_has_the_clock_of_its_graphs():
    pytest.importorskip("onnxruntime")
    log = []
    with open_engine(Bundle.open(bundle_path("diffusion")), "onnxruntime-cpu") as engine:
        graphs = engine._step, engine._encoder
        engine.log_device_time(log)
        assert all(graph._device_log is log for graph in graphs)
        engine.log_device_time(None)
        assert all(graph._device_log is None for graph in graphs)
        assert not engine.has_device_clock


def test_garbage_is_collected_again_afterwards_even_where_a_call_fails():
    clock = Clock(0.1)
    engine = engine_on(clock)

    def broken(inputs):
        assert not gc.isenabled() or clock.calls < 3
        clock.call()
        if clock.calls > 12:
            raise RuntimeError("broken")
        return {"fine_t2": np.zeros((1, 2, 32, 32), np.float32)}

    engine.infer_impl = broken
    with pytest.raises(RuntimeError, match="broken"):
        latency(engine, feed(1), Effort(20, 0.1), clock=clock)
    assert gc.isenabled()
    assert engine._device_log is None


def test_a_part_of_an_effort_is_five_calls_or_what_there_are():
    assert Effort(20, 1.0).part(0.25) == Effort(5, 0.25)
    assert Effort(100, 4.0).part(0.5) == Effort(50, 2.0)
    assert Effort(3, 1.0).part(0.5) == Effort(3, 0.5)
