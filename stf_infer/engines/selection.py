# SPDX-License-Identifier: Apache-2.0
"""Which engine is the fastest here: measured on the golden tile, once a bundle, machine and set of engines.

What was measured is kept in a folder of the user, not in the bundle, which may be read-only or travel. ``STF_CACHE``
names another folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle import GOLDEN
from ..errors import EngineError
from . import machine, turns
from .base import Engine, milliseconds
from .host_loop import is_looped

if TYPE_CHECKING:
    from ..bundle import Bundle
    from .opening import Candidate

_log = logging.getLogger(__name__)

# An engine must be this much faster than one that stands before it to be preferred: less is noise.
_WORTH = 0.95


def cache_folder() -> Path:
    """The user's folder for what was measured and for compilers' caches."""
    stated = os.environ.get("STF_CACHE")
    if stated:
        return Path(stated)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stf-infer"


def fastest(bundle: Bundle, found: Sequence[Candidate], threads: int | None, tile_batch: int | None) -> Engine:
    """Open the fastest of several engines.

    Args:
        bundle: The open bundle.
        found: Engines that could be opened, in order of preference where they are equally fast.
        threads: CPU threads; None leaves it to the backends.
        tile_batch: Tiles in a call; None takes what suits each.

    Returns:
        The open engine; its ``choice`` says what was measured.

    Raises:
        EngineError: None of them can be opened and run.
    """
    if GOLDEN not in bundle.assets:
        return _first(bundle, found, threads, "the first that can be used: the bundle has no golden tile to measure")
    path = cache_folder() / "fastest" / f"{_digest(bundle, found, threads, tile_batch)}.json"
    known = _load(path, len(found))
    if known is not None:
        order = rank(known)
        try:
            engine = found[order[0]].open(bundle, threads)
        except EngineError as error:
            _log.warning("%s was the fastest and cannot be opened: %s", found[order[0]], error)
        else:
            engine.choice = _told(found, known, order)
            return engine
    _log.info("measuring %d engines on the golden tile", len(found))
    seconds, engine = _within_budget(bundle, found, threads, *_measure_all(bundle, found, threads, tile_batch))
    _save(path, seconds)
    engine.choice = _told(found, seconds, rank(seconds))
    return engine


def rank(seconds: Sequence[float]) -> list[int]:
    """Numbers of the engines that could be measured, the one to take first and the rest by time.

    An engine that is faster by less than noise does not displace one that stands before it.
    """
    usable = [number for number, value in enumerate(seconds) if np.isfinite(value)]
    if not usable:
        return []
    best = min(seconds[number] for number in usable)
    first = next(number for number in usable if seconds[number] * _WORTH <= best)
    return [first, *sorted((n for n in usable if n != first), key=lambda n: seconds[n])]


def _measure_all(
    bundle: Bundle, found: Sequence[Candidate], threads: int | None, tile_batch: int | None
) -> tuple[list[float], Engine]:
    """Time of a tile on each engine, infinite where it fails; and the one to take, open."""
    seconds: list[float] = []
    kept: tuple[int, Engine] | None = None
    failure: EngineError | None = None
    for number, one in enumerate(found):
        try:
            engine = one.open(bundle, threads)
        except EngineError as error:
            _log.warning("%s cannot be opened: %s", one, error)
            seconds.append(float("inf"))
            failure = error
            continue
        try:
            beside = None if kept is None else (kept[1], seconds[kept[0]])
            seconds.append(seconds_a_tile(bundle, engine, tile_batch, one.tolerance, beside))
            _log.info("%s: %s a tile", one, milliseconds(seconds[-1]))
        except EngineError as error:
            _log.warning("%s fails: %s", one, error)
            seconds.append(float("inf"))
            failure = error
        if number in rank(seconds)[:1]:
            if kept is not None:
                kept[1].close()
            kept = number, engine
        else:
            engine.close()
    if kept is None:
        assert failure is not None
        raise failure
    order = rank(seconds)
    if order[0] != kept[0]:  # noise between three that are nearly equal
        kept[1].close()
        return seconds, found[order[0]].open(bundle, threads)
    return seconds, kept[1]


def _within_budget(
    bundle: Bundle, found: Sequence[Candidate], threads: int | None, seconds: list[float], engine: Engine
) -> tuple[list[float], Engine]:
    """The same, but for engines that are over their budget here: the next one is taken, as if they failed.

    What a bundle states of a graph was found elsewhere. Another library, or a processor that adds 8-bit products in 16
    bits, may be farther off. Where all are over, the fastest is taken all the same.
    """
    from ..accuracy.gate import over_here

    left = list(seconds)
    while over := over_here(bundle, found[rank(left)[0]], engine):
        fastest_left = rank(left)[0]
        _log.warning("%s is farther from fp32 here than its budget allows: %s", found[fastest_left], "; ".join(over))
        left[fastest_left] = float("inf")
        engine.close()
        if not rank(left):
            return seconds, found[rank(seconds)[0]].open(bundle, threads)
        engine = found[rank(left)[0]].open(bundle, threads)
    return left, engine


def seconds_a_tile(
    bundle: Bundle,
    engine: Engine,
    tile_batch: int | None = None,
    tolerance: float | None = None,
    beside: tuple[Engine, float] | None = None,
) -> float:
    """Time of a tile on the golden tile, in calls with as many tiles as a run would give.

    Args:
        bundle: The open bundle.
        engine: The open engine.
        tile_batch: Tiles in a call; None takes what suits the engine.
        tolerance: Largest difference to the golden output, over its range; None does not look.
        beside: Another open engine and its time of a tile. The two are called in turns, and the time that is given
            is to be compared with that one; without it the shortest call counts.

    Raises:
        EngineError: The engine fails, or gives something else than the golden output: such a one is not fast.
    """
    feed, tiles = _feed(bundle, engine, tile_batch)
    if is_looped(bundle):
        engine.trial(feed)  # one step of many; `check` proves the whole sampling
    else:
        result = engine.infer(feed)[bundle.spec.output.tensor]  # the first call allocates
        if tolerance is not None:
            _check(bundle, engine, result, tolerance)
    if beside is None:
        return turns.least_seconds(lambda: engine.trial(feed)) / tiles
    other, seconds = beside
    fed, others = _feed(bundle, other, tile_batch)
    return seconds * turns.ratio(lambda: other.trial(fed), lambda: engine.trial(feed)) * others / tiles


def _feed(bundle: Bundle, engine: Engine, tile_batch: int | None) -> tuple[dict[str, np.ndarray], int]:
    """The golden tile as often as a run would give tiles to an engine, and how often that is."""
    tiles = tile_batch or engine.preferred_batch
    return bundle.golden_feed(tiles), tiles


def _check(bundle: Bundle, engine: Engine, result: np.ndarray, allowed: float) -> None:
    from .. import golden

    _, right = bundle.golden()
    off = golden.difference(result, right, exact=golden.is_exact(engine))[1]
    if not off <= allowed:
        raise EngineError(
            f"The engine {engine.name} does not give the golden output",
            got=f"a difference of {off:.2g} of its range",
            allowed=f"{allowed:.2g}",
        )


def _first(bundle: Bundle, found: Sequence[Candidate], threads: int | None, choice: str) -> Engine:
    engine = found[0].open(bundle, threads)
    engine.choice = choice
    return engine


def _told(found: Sequence[Candidate], seconds: Sequence[float], order: Sequence[int]) -> str:
    times = ", ".join(f"{found[number]} {milliseconds(seconds[number])}" for number in order)
    return f"the fastest of {len(found)} on the golden tile: {times}"


def _digest(bundle: Bundle, found: Sequence[Candidate], threads: int | None, tile_batch: int | None) -> str:
    from .. import __version__

    parts: list[Any] = [__version__, bundle.sha256, [one.identity(bundle) for one in found], threads, tile_batch]
    parts += [str(machine.cpu()), machine.cores(), [str(gpu) for gpu in machine.gpus()]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _load(path: Path, number: int) -> list[float] | None:
    try:
        seconds = [float("inf") if s is None else float(s) for s in json.loads(path.read_text())["seconds"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return seconds if len(seconds) == number and rank(seconds) else None


def _save(path: Path, seconds: Sequence[float]) -> None:
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps({"seconds": [s if np.isfinite(s) else None for s in seconds]}))
        beside.replace(path)
    except OSError as error:
        _log.info("what was measured cannot be kept: %s", error)
