# SPDX-License-Identifier: Apache-2.0
"""A whole bench: every engine of every bundle in turn, each in a process of its own."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from ..baselines.scenes import BaselineName
from ..bundle import Bundle
from ..engines.isolation import Errand, run_apart
from ..engines.target import Say
from ..errors import OutputError
from . import baseline_rows
from .environment import Environment
from .result import Result, Row
from .rows import Planned, open_bundles, plan
from .scene_list import scene_list
from .scenes import BenchScene
from .settings import Settings
from .worker import BaselineTask, Task, measure, measure_baseline

# Called with what is being done, how many rows are done, and how many there are.
Progress = Callable[[str, int, int], None]

PROGRAM = ("python", "-m", "stf_infer.bench")

# The failure of rows that were not begun when somebody interrupted the bench, or not done.
INTERRUPTED = "Not measured: the bench was interrupted"


def run(
    settings: Settings, *, command: Sequence[str] = PROGRAM, progress: Progress | None = None, apart: bool = True
) -> Result:
    """Measure everything that is asked for.

    Args:
        settings: What to measure.
        command: What a person types to repeat it.
        progress: Called with (what is being done, rows done, rows in all).
        apart: Measure each engine in a process of its own, so that memory is its own, and nothing else is lost where it
            takes all memory or crashes.

    Returns:
        What was found. An engine that fails is a row with its reason, and the rest goes on. Where somebody interrupts
        it, rows that are not done have the failure :data:`INTERRUPTED`.

    Raises:
        OutputError: The folder ``settings.out`` cannot be written to; nothing has been measured.
        BundleError: A bundle is none; likewise.
        UsageError, EngineUnavailableError: Something that is asked for does not exist here; likewise.
    """
    from .. import __version__

    began, measured = time.perf_counter(), _now()
    bundles = open_bundles(settings)
    planned, unavailable = plan(bundles, settings)
    check_writable(settings.out)
    scenes = scene_list(settings, bundles, lambda what: progress and progress(what, 0, len(planned)))
    bench = _Bench(settings, tuple(scenes), planned, progress, apart)
    environment = Environment.before()
    with environment.watch as watch:
        for _ in bench.measured():
            watch.end_row()
    return Result(
        package=__version__,
        measured=measured,
        seconds=time.perf_counter() - began,
        command=tuple(command),
        settings=settings.as_dict() | _found(bundles, planned),
        machine=environment.machine(bench.rows),
        scenes=tuple(scene.facts for scene in scenes),
        rows=tuple(bench.rows),
        unavailable=unavailable,
    )


def _found(bundles: Sequence[Bundle], planned: Sequence[Planned]) -> dict[str, list[str]]:
    """What stands for bundles, engines and precisions where none are named."""
    rows = [one.row for one in planned]
    return {
        "bundles": [str(bundle.path) for bundle in bundles],
        "engines": list(dict.fromkeys(row.target for row in rows)),
        "precisions": list(dict.fromkeys(row.precision for row in rows)),
    }


class _Bench:
    """Rows that are measured one after the other."""

    def __init__(
        self,
        settings: Settings,
        scenes: tuple[BenchScene, ...],
        planned: Sequence[Planned],
        progress: Progress | None,
        apart: bool,
    ) -> None:
        self.settings, self.scenes, self.planned, self.progress, self.apart = settings, scenes, planned, progress, apart
        self.baselines: tuple[BaselineName, ...] = get_args(BaselineName) if scenes and settings.baselines else ()
        self.rows: list[Row] = []
        # What fp32 made of each scene, by bundle and number of steps.
        self._fp32: dict[tuple[str, int | None], dict[str, Path]] = {}

    def measured(self) -> Iterator[Row]:
        """Every row, when it is done."""
        try:
            for one in self.planned:
                yield self._engine(one)
            for name in self.baselines:
                task = BaselineTask(name, self.settings, self.scenes)
                yield self._done(baseline_rows.planned(name), measure_baseline, task)
        except KeyboardInterrupt:
            left = [*(one.row for one in self.planned), *map(baseline_rows.planned, self.baselines)][len(self.rows) :]
            self.rows += [row.model_copy(update={"failure": row.failure or INTERRUPTED}) for row in left]

    def _engine(self, planned: Planned) -> Row:
        row = planned.row
        if row.failure is not None:
            self.rows.append(row)
            return row
        key = row.bundle, row.steps
        row = self._done(row, measure, Task(planned, self.settings, self.scenes, self._fp32.get(key, {})))
        if row.precision == "fp32" and row.quality:
            names = {one.scene for one in row.quality}
            images = {s.facts.name: s.result_path(self.settings.out, row.name) for s in self.scenes}
            self._fp32.setdefault(key, {name: image for name, image in images.items() if name in names})
        return row

    def _done(self, row: Row, function: Callable[[Any, Say], dict[str, Any]], task: Any) -> Row:
        """A row, with its figures or with the reason why there are none."""
        errand = Errand(
            function=f"{function.__module__}:{function.__name__}",
            doing=f"Measuring {row.name}",
            smaller="Take fewer tiles in a call (--batch), or a smaller scene",
        )
        number, total = len(self.rows), len(self.planned) + len(self.baselines)

        def say(what: str) -> None:
            if self.progress is not None:
                self.progress(f"{row.name}: {what}", number, total)

        try:
            found = run_apart(errand, task, say) if self.apart else function(task, say)
            row = Row.model_validate(found)
        except Exception as error:
            row = row.model_copy(update={"failure": str(errand.as_error(error))})
        self.rows.append(row)
        return row


def check_writable(folder: Path) -> None:
    """Make the folder, and write to it.

    Raises:
        OutputError: That cannot be done.
    """
    probe = folder / f".{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(
            "Results cannot be written here", got=f"{folder}: {error.strerror}", fix="Name another folder: --out DIR"
        ) from error


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
