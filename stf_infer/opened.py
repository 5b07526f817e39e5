# SPDX-License-Identifier: Apache-2.0
"""A bundle with an engine that is compiled when it is first needed: what every kind of model is."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

from .bundle import Bundle
from .engines import Engine, open_engine
from .engines.opening import RebuildHere
from .errors import UsageError

_Self = TypeVar("_Self", bound="OpenBundle")


class OpenBundle:
    """An open bundle; a context manager. One thread fuses at a time.

    Args:
        bundle: The bundle.
        engine: Target name; None takes the fastest that can be used here, which is measured once.
        threads: CPU threads; None leaves it to the engine.
        precision: What the engine has to compute in; None takes any that is built, and fp32.
        rebuild: ``auto`` builds an engine of the bundle again that does not fit this machine or this network.

    Raises:
        UsageError: Less than one thread.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: str | None = None,
        threads: int | None = None,
        precision: str | None = None,
        rebuild: RebuildHere = "never",
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError("The number of threads cannot be used", got=threads, allowed="1 or more")
        self.bundle, self._engine_name, self._threads = bundle, engine, threads
        self._precision, self._rebuild = precision, rebuild
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine, opened when it is first asked for."""
        return self._engine_for(None)

    def _engine_for(self, tile_batch: int | None) -> Engine:
        """The engine, chosen for so many tiles or samples in a call where it is not open yet."""
        if self._engine is None:
            self._engine = open_engine(
                self.bundle,
                self._engine_name,
                self._threads,
                precision=self._precision,
                tile_batch=tile_batch,
                rebuild=self._rebuild,
            )
        return self._engine

    def _made_by(self) -> dict[str, str]:
        """What a result says of the engine."""
        made, choice = self.engine.describe(), self.engine.choice
        name = f"{made['engine']} {made.get('version', '')}".strip()
        return {"engine": name, "precision": made["precision"], **({"engine_choice": choice} if choice else {})}

    def take(self, engine: Engine) -> None:
        """Use an engine that somebody has opened for this bundle; it is closed with the model.

        Raises:
            UsageError: Another one is open.
        """
        if self._engine is not None:
            raise UsageError("The model has an open engine", got=self._engine.name, fix="Close it first")
        self._engine = engine

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


def check_batch(tile_batch: int | None) -> None:
    """Refuse a batch of less than one tile or sample.

    Raises:
        UsageError: It is.
    """
    if tile_batch is not None and tile_batch < 1:
        raise UsageError("The tile batch cannot be used", got=tile_batch, allowed="1 or more")
