# SPDX-License-Identifier: Apache-2.0
"""The gate: engines of less than fp32 are run beside fp32 on the tiles of their bundle, and held to a budget."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from ..bundle import TILES, Bundle
from ..engines.host_loop import is_looped
from ..engines.opening import Candidate
from ..engines.registry import available, target
from ..errors import BundleError, CheckFailedError, EngineError
from .budget import Budget
from .comparison import compare
from .record import Record, recorded
from .tile_store import tiles_of
from .tiles import Tiles

if TYPE_CHECKING:
    from ..engines import Engine

_log = logging.getLogger(__name__)

# What computes fp32 is taken in this order, and then in that of the list of engines.
_FIRST = ("onnxruntime-cpu", "openvino-cpu")


def tiles_hash(bundle: Bundle) -> str:
    """SHA-256 of the tiles that a bundle holds, or empty."""
    return bundle.assets[TILES].sha256 if TILES in bundle.assets else ""


class Gate:
    """The fp32 engine and the tiles of a bundle, opened when they are first needed; a context manager.

    Args:
        bundle: The open bundle.
        threads: CPU threads of the fp32 engine; None leaves it to the backend.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        self.bundle, self._threads = bundle, threads
        self._stack = ExitStack()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def tiles(self) -> Tiles:
        """The tiles of the bundle, or procedural ones; one where a sampling is repeated step by step."""
        tiles = tiles_of(self.bundle)
        return tiles.first(1) if is_looped(self.bundle) else tiles

    @cached_property
    def reference(self) -> Engine | None:
        """The network in fp32 on whatever opens it here, or None where nothing does."""
        for candidate in references(self.bundle):
            try:
                return self._stack.enter_context(candidate.open(self.bundle, self._threads))
            except EngineError as error:
                _log.info("%s cannot be what others are compared with: %s", candidate, error)
        _log.warning("nothing here opens the network in fp32, so what is reduced is not compared with it")
        return None

    def judge(self, engine: Engine, budget: Budget) -> Record:
        """Compare an open engine with fp32.

        Raises:
            EngineError: One of them fails.
            AssetError: The tiles of the bundle are damaged, or not those of its network.
        """
        if self.reference is None:
            return Record(budget)
        accuracy = compare(self.bundle.spec, self.reference, engine, self.tiles)
        return Record(budget, accuracy, tiles_hash(self.bundle))


def references(bundle: Bundle) -> list[Candidate]:
    """What could open the network in fp32 on this machine."""
    if "fp32" not in bundle.precisions:
        return []
    usable = [info for info in available() if info.usable and "fp32" in info.precisions]
    usable.sort(key=lambda info: _FIRST.index(info.name) if info.name in _FIRST else len(_FIRST))
    found = [(target(info.name), info) for info in usable]
    return [Candidate(home, info.version, "fp32", None) for home, info in found if home.opens_graph]


def hold(bundle: Bundle, engine: Engine, precision: str, budget: Budget, say: Callable[[str], None]) -> Record:
    """Compare an engine that has just been built with fp32, and refuse it where it is over its budget.

    Args:
        bundle: The open bundle.
        engine: The open engine.
        precision: What it computes in.
        budget: How far it may be from fp32; one that asks for nothing compares nothing.
        say: Called with what is being done.

    Returns:
        What was found, or only the budget where nothing was compared.

    Raises:
        CheckFailedError: It is over its budget; bands and figures are named.
        EngineError, AssetError: As :meth:`Gate.judge`.
    """
    if precision == "fp32" or not budget.asks:
        return Record(budget)
    with Gate(bundle) as gate:
        say(f"comparing it with fp32 on {gate.tiles.told()}")
        found = gate.judge(engine, budget)
    if found.over:
        raise CheckFailedError(
            f"The engine {engine.name} in {precision} is farther from fp32 than its budget allows",
            got=f"{'; '.join(found.over)}; on {gate.tiles.told()}",
            allowed=str(budget),
            fix=_how_to_mend(bundle, found, precision),
        )
    return found


def _how_to_mend(bundle: Bundle, found: Record, precision: str) -> str:
    """What to do about an engine that is over its budget."""
    ways = "Build it in another precision, or state what is good enough: --budget rmse=X%,sam=Xdeg"
    if precision in bundle.precisions:
        half = Budget(*(None if limit is None else limit / 2 for limit in (found.budget.rmse, found.budget.sam)))
        command = f"stf-infer reduce {bundle.path} --precision {precision} --budget {half}"
        ways += f". A graph that is held to less keeps more layers in fp32: `{command}`"
    if found.accuracy is not None and found.accuracy.source == "procedural":
        ways += f". The bundle holds no real tiles to judge by: `stf-infer tiles {bundle.path} ...` cuts some"
    return ways


def record_of(bundle: Bundle, candidate: Candidate) -> Record | None:
    """What is known of the accuracy of an engine of a bundle, or of a graph; None where nobody ever asked.

    An engine that could not be run where it was built is as accurate as the graph that it was built from, as far as
    that was found out.

    Raises:
        BundleError: What the bundle states cannot be read.
    """
    stored = candidate.stored
    of_graph = recorded(bundle).get(candidate.precision) if candidate.precision in bundle.precisions else None
    if stored is None or "budget" not in stored.accuracy:
        return of_graph
    own = Record.from_dict(stored.accuracy)
    return of_graph if own.accuracy is None and own.budget.asks and of_graph is not None else own


def is_proven(bundle: Bundle, candidate: Candidate) -> bool:
    """Whether an engine or a graph is fp32, or is known to be within its budget."""
    if candidate.precision == "fp32":
        return True
    try:
        found = record_of(bundle, candidate)
    except BundleError as error:
        _log.warning("%s", error)
        return False
    return found is not None and found.proven


def over_here(bundle: Bundle, candidate: Candidate, engine: Engine) -> tuple[str, ...]:
    """What of an open engine is over its budget on this machine, a line each, where nobody has compared it itself.

    Empty for fp32, for what was compared when it was built, and for what no budget is known of.

    Raises:
        EngineError, AssetError: As :meth:`Gate.judge`.
        BundleError: As :func:`record_of`.
    """
    compared = candidate.stored is not None and "rmse" in candidate.stored.accuracy
    known = None if compared or candidate.precision == "fp32" else record_of(bundle, candidate)
    if known is None or not known.budget.asks:
        return ()
    with Gate(bundle) as gate:
        _log.info("comparing %s with fp32 on %s", candidate, gate.tiles.told())
        return gate.judge(engine, known.budget).over
