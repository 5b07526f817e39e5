# SPDX-License-Identifier: Apache-2.0
"""What stages of a pipeline hand to one another through: a bounded queue that ends, and that can be broken off."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from .profile import Profile

# How often a stage that waits looks whether another one has failed.
_LOOK_EVERY = 0.1


class Stopped(Exception):
    """Another thread has failed; nothing more is wanted."""


class Channel:
    """A bounded queue between two threads.

    Args:
        size: Items that may wait in it.
        stop: Set when nothing more is wanted: both sides then get :class:`Stopped`.
        profile: Told how long either side waits.
    """

    def __init__(self, size: int, stop: threading.Event, profile: Profile) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._stop, self._profile = stop, profile

    def put(self, item: Any) -> None:
        """Hand an item on; waits while the queue is full."""
        try:
            return self._queue.put_nowait(item)
        except queue.Full:
            pass
        with self._profile.waiting("room"):
            while True:
                if self._stop.is_set():
                    raise Stopped
                try:
                    return self._queue.put(item, timeout=_LOOK_EVERY)
                except queue.Full:
                    continue

    def end(self) -> None:
        """Say that no item follows."""
        self.put(None)

    def __iter__(self) -> Iterator[Any]:
        while (item := self._get()) is not None:
            yield item

    def _get(self) -> Any:
        with self._profile.waiting("work"):
            while True:
                if self._stop.is_set():
                    raise Stopped
                try:
                    return self._queue.get(timeout=_LOOK_EVERY)
                except queue.Empty:
                    continue
