# SPDX-License-Identifier: Apache-2.0
"""A whole bench: every engine of every bundle in turn, each in a process of its own."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ..engines.isolation import Errand, run_apart
from ..errors import OutputError
from .environment import Environment
from .result import Result, Row
from .rows import Planned, open_bundles, plan
from .settings import Settings
from .worker import Task, measure

# Called with what is being done, how many rows are done, and how many there are.
Progress = Callable[[str, int, int], None]

PROGRAM = ("python", "-m", "stf_infer.bench")


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
        What was found. An engine that fails is a row with its reason, and the rest goes on.

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
    environment = Environment.before()
    rows: list[Row] = []
    for one in planned:
        told = partial(_tell, progress, one.row.name, len(rows), len(planned))
        rows.append(_measured(one, settings, told, apart))
        environment.after_row(one.row.name)
    return Result(
        package=__version__,
        measured=measured,
        seconds=time.perf_counter() - began,
        command=tuple(command),
        settings=settings.as_dict(),
        machine=environment.machine(rows),
        scenes=(),
        rows=tuple(rows),
        unavailable=unavailable,
    )


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


def _tell(progress: Progress | None, name: str, done: int, total: int, what: str) -> None:
    if progress is not None:
        progress(f"{name}: {what}", done, total)


def _measured(planned: Planned, settings: Settings, say: Callable[[str], None], apart: bool) -> Row:
    """A row, with its figures or with the reason why there are none."""
    if planned.row.failure is not None:
        return planned.row
    errand = Errand(
        function="stf_infer.bench.worker:measure",
        doing=f"Measuring {planned.row.name}",
        smaller="Take fewer tiles in a call (--batch), or a smaller scene",
    )
    task = Task(planned, settings)
    try:
        return Row.model_validate(run_apart(errand, task, say) if apart else measure(task, say))
    except Exception as error:
        return planned.row.model_copy(update={"failure": str(errand.as_error(error))})


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
