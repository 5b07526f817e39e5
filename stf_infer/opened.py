# SPDX-License-Identifier: Apache-2.0
"""A bundle with an engine that is compiled when it is first needed: what every kind of model is."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

from .bundle import Bundle
from .engines import Engine, open_engine
from .errors import UsageError

_Self = TypeVar("_Self", bound="OpenBundle")


class OpenBundle:
    """An open bundle; a context manager. One thread fuses at a time.

    Args:
        bundle: The bundle.
        engine: Target name; None takes the first usable one.
        threads: CPU threads; None leaves it to the engine.

    Raises:
        UsageError: Less than one thread.
    """

    def __init__(self, bundle: Bundle, *, engine: str | None = None, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise UsageError("The number of threads cannot be used", got=threads, allowed="1 or more")
        self.bundle, self._engine_name, self._threads = bundle, engine, threads
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine, compiled when it is first asked for."""
        if self._engine is None:
            self._engine = open_engine(self.bundle, self._engine_name, self._threads)
        return self._engine

    def close(self) -> None:
        """Free the engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_batch(tile_batch: int) -> None:
    """Refuse a batch of less than one tile or sample.

    Raises:
        UsageError: It is.
    """
    if tile_batch < 1:
        raise UsageError("The tile batch cannot be used", got=tile_batch, allowed="1 or more")
