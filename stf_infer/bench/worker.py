# SPDX-License-Identifier: Apache-2.0
"""One row of a bench, in a process of its own: memory is the engine's own, and a crash is a row's reason."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import golden
from ..accuracy.gate import record_of
from ..baselines.scenes import BaselineName
from ..bundle import Bundle
from ..engines import Engine
from ..engines.host_loop import HostLoop
from ..engines.key import usual_batch
from ..engines.machine import cores
from ..engines.opening import Candidate
from ..engines.target import Say
from ..errors import EngineError
from ..model import Model
from ..samples.spec import SampleSpec
from . import baseline_rows, nvml, on_scenes
from .energy import Meter
from .latency import Effort, latency
from .on_scenes import Found, Round
from .result import Latency, Row
from .rows import Planned
from .scenes import BenchScene
from .settings import Settings

# Other numbers of tiles and threads are measured for this part of what the run's own are.
_SWEPT = 0.25
_BATCHES = (1, 2, 4)


@dataclass(frozen=True)
class Task:
    """What the process of a row is sent.

    Attributes:
        planned: The engine.
        settings: What to measure.
        scenes: What to fuse.
        references: What the fp32 engine of the same bundle made, by name of the scene.
    """

    planned: Planned
    settings: Settings
    scenes: tuple[BenchScene, ...] = ()
    references: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class BaselineTask:
    """What the process of a baseline is sent: its name, what to measure, and what to fuse."""

    name: BaselineName
    settings: Settings
    scenes: tuple[BenchScene, ...]


def measure_baseline(task: BaselineTask, say: Say) -> dict[str, Any]:
    """Measure a baseline; as :func:`measure`."""
    common = _round(task.settings, say)
    row = baseline_rows.measure(task.name, task.scenes, common, threads=task.settings.thread_count)
    return row.model_dump(mode="json")


def _round(settings: Settings, say: Say) -> Round:
    return Round(row="", folder=settings.out, repeats=settings.repeats, meter=Meter, say=say)


def measure(task: Task, say: Say) -> dict[str, Any]:
    """Measure one engine.

    Args:
        task: What to measure.
        say: Called with a line at every step.

    Returns:
        The row, as plain values.

    Raises:
        StfError: The engine cannot be opened, does not give the golden output, or fails.
    """
    return _Measurement(task, say).run().model_dump(mode="json")


class _Measurement:
    def __init__(self, task: Task, say: Say) -> None:
        self.task, self.planned, self.settings, self.say = task, task.planned, task.settings, say
        self.effort = Effort(self.settings.runs, self.settings.seconds)
        self.threads = self.settings.thread_count

    def run(self) -> Row:
        self.say("loading")
        began = time.perf_counter()
        self.bundle = Bundle.open(self.planned.row.bundle)
        self.candidate = self.planned.find(self.bundle, self.settings.batch)
        engine = self.open(self.threads)
        load = time.perf_counter() - began
        with engine:
            batch = self.settings.batch or usual_batch(self.bundle, engine.preferred_batch)
            first = self.first_call(engine, batch)
            self.say("calls")
            found, on_device = self.latency(engine, batch, self.threads, self.effort)
            told, on_cpu = _told(engine, self.candidate), engine.describe().get("device") == "cpu"
            # Before larger batches: the memory of this process is that of a run so far.
            fused = self.fuse(engine, found)
            sweep = self.other_batches(engine, batch)
        sweep += self.other_threads(batch, on_cpu)
        held_to = record_of(self.bundle, self.candidate)
        return self.planned.row.model_copy(
            update={
                "engine": told,
                "load": load,
                "first_call": first,
                "latency": found,
                "on_device": on_device,
                "sweep": tuple(sweep),
                **vars(fused),
                "budget": "" if held_to is None else held_to.told(),
            }
        )

    def open(self, threads: int | None) -> Engine:
        """The engine, with the steps that are asked for."""
        engine = self.candidate.open(self.bundle, threads)
        if self.planned.steps is not None:
            assert isinstance(engine, HostLoop)
            resampled = importlib.import_module("stf_export.steps.resampled")  # needs no torch
            engine.sampler = resampled.spaced(engine.sampler, self.planned.steps)
        return engine

    def first_call(self, engine: Engine, batch: int) -> float:
        """Seconds of the first call, whose result is held to the golden output.

        Raises:
            EngineError: It gives something else.
        """
        self.say("the first call")
        feed, noise = self.bundle.golden_feed(batch), golden.golden_noise(self.bundle.spec, batch)
        began = time.perf_counter()
        result = engine.infer(feed, noise)[self.bundle.spec.output.tensor]
        seconds = time.perf_counter() - began
        if self.planned.steps is not None:
            return seconds  # the golden output is that of the bundle's own steps
        _, right = self.bundle.golden()
        off = golden.difference(result, right, exact=golden.is_exact(engine))[1]
        allowed = max(self.candidate.tolerance, golden.tolerance_in(self.bundle))
        if not off <= allowed:
            raise EngineError(
                f"The engine {self.candidate} does not give the golden output of the bundle",
                got=f"a difference of {off:.2g} of its range",
                allowed=f"{allowed:.2g}",
                fix=f"`stf-infer check {self.bundle.path}` tells more",
            )
        return seconds

    def latency(
        self, engine: Engine, batch: int, threads: int | None, effort: Effort
    ) -> tuple[Latency, Latency | None]:
        """Calls with so many golden tiles."""
        noise = golden.golden_noise(self.bundle.spec, batch)
        return latency(engine, self.bundle.golden_feed(batch), effort, threads=threads, noise=noise)

    def fuse(self, engine: Engine, found: Latency) -> Found:
        """Every scene through this engine."""
        if isinstance(self.bundle.spec, SampleSpec):
            name = self.bundle.spec.name
            return Found(
                notes=(f"{name} takes samples and no rasters: its calls are measured, and no scene is fused.",)
            )
        if not self.task.scenes:
            return Found()
        common = replace(
            _round(self.settings, self.say),
            row=self.planned.row.name,
            tile_seconds=found.tile.p50,
            references=self.task.references,
            device_memory=_nothing if engine.describe().get("device") == "cpu" else nvml.used_memory,
        )
        model = Model(self.bundle, threads=self.threads)
        model.take(engine)  # which is closed by whoever opened it
        return on_scenes.measure(
            model,
            self.task.scenes,
            common,
            tile_batch=self.settings.batch,
            seed=self.settings.seed,
            any_ratio=self.settings.any_ratio,
        )

    def other_batches(self, engine: Engine, own: int) -> list[Latency]:
        """Other numbers of tiles in a call, as far as the engine takes them."""
        found = []
        for batch in (self.settings.batches or _BATCHES) if self.settings.sweep else ():
            if batch != own and (engine.max_batch is None or batch <= engine.max_batch):
                self.say(f"{batch} tile{'s' if batch > 1 else ''} in a call")
                found.append(self.latency(engine, batch, self.threads, self.effort.part(_SWEPT))[0])
        return found

    def other_threads(self, batch: int, on_cpu: bool) -> list[Latency]:
        """Other numbers of threads; where none are stated, of engines on the CPU only."""
        wanted = self.settings.threads or (thread_counts(cores()) if on_cpu else ())
        found = []
        for threads in wanted if self.settings.sweep else ():
            if threads != self.threads:
                self.say(f"{threads} thread{'s' if threads > 1 else ''}")
                with self.open(threads) as engine:
                    engine.trial(self.bundle.golden_feed(batch))
                    found.append(self.latency(engine, batch, threads, self.effort.part(_SWEPT))[0])
        return found


def _nothing() -> None:
    """The memory of a device that is not there."""


def thread_counts(most: int) -> list[int]:
    """Up to four numbers of threads from 1 to ``most``, powers of two but for the last: each opens the engine anew."""
    powers = [n for n in (1 << k for k in range(most.bit_length())) if n < most] + [most]
    places = np.linspace(0, len(powers) - 1, min(len(powers), 4)).round().astype(int)
    return [powers[place] for place in places]


def _told(engine: Engine, candidate: Candidate) -> str:
    """What was opened, for a person."""
    made = engine.describe()
    how = "built before, for" if candidate.stored is not None else "its graph compiled when it is opened, for"
    tiles = f"{engine.preferred_batch} tile{'s' if engine.preferred_batch > 1 else ''} a call"
    return f"{made['engine']} {made.get('version', '')}".strip() + f" on {made.get('device', '?')}: {how} {tiles}"
