# SPDX-License-Identifier: Apache-2.0
"""How far a run is, for a person who waits."""

from __future__ import annotations

import logging
import sys
from typing import Any

from ._verb import stderr_console


class ProgressLine:
    """A progress bar with speed and ETA on a terminal; a log line every tenth elsewhere.

    Args:
        name: What is run.
        unit: What is counted: ``Mpx``, ``samples``.
        each: How many steps are one of that unit.
    """

    def __init__(self, name: str, unit: str, each: float = 1.0) -> None:
        self._name, self._unit, self._each, self._logged = name, unit, each, 0

    def __enter__(self) -> Any:
        if not sys.stderr.isatty():
            return self._log_line
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=stderr_console(),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self._name, total=None, rate="")
        return self._advance

    def _advance(self, done: int, total: int) -> None:
        speed = self._bar.tasks[0].finished_speed or self._bar.tasks[0].speed
        rate = f"{speed / self._each:.2f} {self._unit}/s" if speed else ""
        self._bar.update(self._task, completed=done, total=total, rate=rate)

    def _log_line(self, done: int, total: int) -> None:
        tenth = done * 10 // max(total, 1)
        if tenth > self._logged:
            self._logged = tenth
            logging.getLogger("stf_infer").info(
                "%s: %d %% of %.1f %s", self._name, tenth * 10, total / self._each, self._unit
            )

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_bar"):
            self._bar.stop()
