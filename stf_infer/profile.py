# SPDX-License-Identifier: Apache-2.0
"""Where the time of a run goes: which stage worked when, on which thread, and on how many bytes.

A trace is a JSON file that Perfetto (ui.perfetto.dev) and Chrome (chrome://tracing) show as lanes over time.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import OutputError

# Spans that a trace holds; later ones are counted in the table only, so that memory does not grow with the scene.
_MOST_SPANS = 200_000


@dataclass(frozen=True)
class Stage:
    """What one thread did of one kind.

    Attributes:
        thread: The thread: ``reader``, ``engine`` or ``writer``.
        name: What was done.
        waiting: Whether that was waiting for another thread.
        calls: How often.
        seconds: How long, all in all.
        bytes: Bytes that were read, made or written by it; 0 where nothing is counted.
    """

    thread: str
    name: str
    waiting: bool
    calls: int
    seconds: float
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Stretch:
    """One call of a stage.

    Attributes:
        thread: As for :class:`Stage`; likewise ``name``, ``waiting``, ``bytes``.
        start: Seconds since the first call of any stage.
        end: Likewise.
    """

    thread: str
    name: str
    waiting: bool
    start: float
    end: float
    bytes: int


class Span:
    """One stage at work; ``bytes`` may be set inside."""

    __slots__ = ("_began", "_name", "_profile", "_waiting", "bytes")

    def __init__(self, profile: Profile, name: str, waiting: bool) -> None:
        self._profile, self._name, self._waiting, self.bytes = profile, name, waiting, 0

    def __enter__(self) -> Span:
        self._began = time.perf_counter_ns()
        return self

    def __exit__(self, *_: object) -> None:
        self._profile.note(self._name, self._waiting, self._began, time.perf_counter_ns(), self.bytes)


class Profile:
    """Collects spans from all threads. Not asked for, it costs next to nothing.

    Args:
        path: The trace to write, or None for a table only.
        wanted: False collects nothing.

    Raises:
        OutputError: The trace could not be written there.
    """

    def __init__(self, path: str | Path | None = None, *, wanted: bool = True) -> None:
        self.path, self.wanted = None if path is None else Path(path), wanted
        self._lock = threading.Lock()
        self._spans: list[tuple[str, str, bool, int, int, int]] = []
        self._totals: dict[tuple[str, str, bool], list[int]] = {}
        if self.path is not None and (not self.path.parent.is_dir() or not os.access(self.path.parent, os.W_OK)):
            raise OutputError("The trace cannot be written here", got=self.path)

    @classmethod
    def of(cls, wanted: bool | str | Path | Profile) -> Profile:
        """What a caller may ask for: nothing, a table, a trace at a path, or to collect in a profile of its own.

        Raises:
            OutputError: The trace could not be written there.
        """
        if isinstance(wanted, Profile):
            return wanted
        return cls(None if isinstance(wanted, bool) else wanted, wanted=wanted is not False)

    def at_work(self, name: str) -> AbstractContextManager[Span]:
        """A span of work, to be entered."""
        return Span(self, name, False) if self.wanted else _NOTHING

    def waiting(self, what: str) -> AbstractContextManager[Span]:
        """A span of waiting for ``what``, to be entered."""
        return Span(self, f"wait for {what}", True) if self.wanted else _NOTHING

    def note(self, name: str, waiting: bool, began: int, ended: int, count: int) -> None:
        """Take a span of the calling thread, in nanoseconds of ``time.perf_counter_ns``."""
        thread = _lane(threading.current_thread().name)
        with self._lock:
            total = self._totals.setdefault((thread, name, waiting), [0, 0, 0])
            for index, more in enumerate((1, ended - began, count)):
                total[index] += more
            if len(self._spans) < _MOST_SPANS:
                self._spans.append((thread, name, waiting, began, ended, count))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The table, thread by thread."""
        with self._lock:
            rows = [
                Stage(thread, name, waiting, calls, ns / 1e9, count)
                for (thread, name, waiting), (calls, ns, count) in self._totals.items()
            ]
        return tuple(sorted(rows, key=lambda row: (_LANES.index(row.thread), row.waiting, -row.seconds)))

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """Single calls in the order in which they ended; of a long run the first ones only."""
        with self._lock:
            spans = list(self._spans)
        first = min((span[3] for span in spans), default=0)
        return tuple(
            Stretch(thread, name, waiting, (began - first) / 1e9, (ended - first) / 1e9, count)
            for thread, name, waiting, began, ended, count in spans
        )

    def write(self, more: dict[str, Any]) -> None:
        """Write the trace, where one is wanted.

        Args:
            more: What else the file shall say of the run.

        Raises:
            OutputError: It cannot be written; nothing is left behind.
        """
        if self.path is None:
            return
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        try:
            beside.write_text(json.dumps({"traceEvents": list(self._events()), "otherData": more}), encoding="utf-8")
            beside.replace(self.path)
        except OSError as error:
            raise OutputError("The trace cannot be written", got=f"{self.path}: {error.strerror}") from error
        finally:
            beside.unlink(missing_ok=True)

    def _events(self) -> Iterator[dict[str, Any]]:
        process = os.getpid()
        for number, lane in enumerate(_LANES):
            yield {"name": "thread_name", "ph": "M", "pid": process, "tid": number, "args": {"name": lane}}
        for one in self.stretches:
            yield {
                "name": one.name,
                "cat": "waiting" if one.waiting else "work",
                "ph": "X",
                "pid": process,
                "tid": _LANES.index(one.thread),
                "ts": one.start * 1e6,
                "dur": (one.end - one.start) * 1e6,
                **({"args": {"bytes": one.bytes}} if one.bytes else {}),
            }


_LANES = ("reader", "engine", "writer")


def _lane(thread: str) -> str:
    """The lane of a thread: the pipeline names its own, and the engine runs on the caller's."""
    name = thread.removeprefix("stf-")
    return name if name in _LANES else "engine"


class _Nothing(Span):
    """A span that nobody asked for."""

    def __init__(self) -> None:
        self.bytes = 0

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        pass


_NOTHING: contextlib.AbstractContextManager[Span] = _Nothing()
