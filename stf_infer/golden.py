# SPDX-License-Identifier: Apache-2.0
"""Prove engines: with the golden tile, which says what a network computed at export, and beside fp32 on tiles."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .accuracy.budget import DEFAULT, Budget
from .accuracy.gate import Gate, record_of
from .accuracy.record import Record
from .engines import Engine, EngineInfo, available, registry, store
from .engines.opening import Candidate, candidates
from .errors import EngineError, EngineUnavailableError, StfError
from .grid import Window
from .noise import TileNoise
from .samples.spec import SampleSpec

if TYPE_CHECKING:
    from .bundle import Bundle
    from .spec import ModelSpec

_log = logging.getLogger(__name__)

# Part of the golden output's range that an fp32 engine may differ by. Fused and re-ordered sums stay below 1e-5; a
# layer that is computed in half precision, or wrongly, does not.
TOLERANCE = 1e-4

# The same for lower precisions, of the RMS difference: what tells a rounded network from a wrong one. A few pixels may
# be far off, as where 8 bits end; how accurate an engine is, its budget says.
_TOLERANCES = {"fp32": TOLERANCE, "fp16": 2e-2, "bf16": 5e-2, "int8": 1e-1}


def tolerance_of(precision: str) -> float:
    """Part of the golden output's range that an engine of a precision may differ by."""
    return _TOLERANCES.get(precision, TOLERANCE)


def tolerance_in(bundle: Bundle) -> float:
    """What the export of a bundle allowed, over the output's range: no engine has to come nearer than that."""
    return float(bundle.parity.get("tolerance", 0.0))


@dataclass(frozen=True)
class Difference:
    """How far an engine is from the golden output.

    Attributes:
        max_abs: Largest absolute difference in network values.
        relative: In fp32 ``max_abs`` over the range of the golden output, in less the RMS difference over it.
        seconds: Time of a tile.
    """

    max_abs: float
    relative: float
    seconds: float


def compare(bundle: Bundle, engine: Engine) -> Difference:
    """Run the golden tile through an open engine, alone and as a batch of the size that suits the engine.

    Raises:
        EngineError: The engine fails.
        AssetError: The golden tile is missing or damaged.
    """
    _, golden = bundle.golden()
    exact = is_exact(engine)
    found, seconds = [], 0.0
    for tiles in dict.fromkeys((1, engine.preferred_batch)):
        feed = bundle.golden_feed(tiles)
        engine.trial(feed)  # the first run allocates
        started = time.perf_counter()
        result = engine.infer(feed, golden_noise(bundle.spec, tiles))[bundle.spec.output.tensor]
        seconds = (time.perf_counter() - started) / tiles
        found.append(difference(result, golden, exact=exact))
    # NaN is larger than anything, which max() does not know.
    worst = max(found, key=lambda one: (np.isnan(one[0]), one[0]))
    return Difference(*worst, seconds)


def is_exact(engine: Engine) -> bool:
    """Whether an engine computes in fp32, so that no pixel may be off."""
    return engine.describe().get("precision", "fp32") == "fp32"


def difference(result: np.ndarray, golden: np.ndarray, *, exact: bool) -> tuple[float, float]:
    """Difference of a batch ``(N, ...)`` from the golden output.

    Args:
        result: What an engine gave.
        golden: What is right.
        exact: Whether it is fp32.

    Returns:
        The largest one in network values; and over the output's range that one, or the RMS of all where not ``exact``.
    """
    apart = np.abs(result - golden)
    worst = float(apart.max())
    size = worst if exact else float(np.sqrt(np.mean(np.square(apart, dtype=np.float64))))
    # The range of a single number is nothing: its size is taken instead.
    extent = float(golden.max() - golden.min()) or float(np.abs(golden).max())
    return worst, size / extent if extent > 0 else size


def golden_noise(spec: ModelSpec | SampleSpec, tiles: int = 1) -> TileNoise | None:
    """The noise that the golden tile was made with, as far as it is no input: a scene's first tile with the seed 0."""
    if isinstance(spec, SampleSpec):
        return None
    return TileNoise(0, [Window(0, spec.tile.height, 0, spec.tile.width)] * tiles)


@dataclass(frozen=True)
class Proof:
    """What an engine made of the golden tile.

    Attributes:
        engine: Target name.
        version: Version of the backend, or empty.
        precision: What it computed in, or empty.
        batch: Tiles in a call that it was built for, or None where the graph itself was opened.
        passed: Whether it is within the tolerance and its budget; None where the engine is not installed.
        max_abs: Largest absolute difference in network values, or None.
        relative: As of a :class:`Difference`, or None.
        tolerance: Largest ``relative`` that passes.
        seconds: Time of the tile, compilation not included, or None.
        accuracy: Of less than fp32: how far it is from fp32 on the tiles of the bundle, and what it was held to.
        reason: Why the engine did not run, or what is over its budget, or empty.
    """

    engine: str
    version: str = ""
    precision: str = ""
    batch: int | None = None
    passed: bool | None = None
    max_abs: float | None = None
    relative: float | None = None
    tolerance: float = TOLERANCE
    seconds: float | None = None
    accuracy: Record | None = None
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "accuracy": None if self.accuracy is None else self.accuracy.as_dict()}


def prove(
    bundle: Bundle,
    engines: Sequence[str] | None = None,
    *,
    threads: int | None = None,
    tolerance: float | None = None,
    budget: Budget | None = None,
) -> list[Proof]:
    """Run the golden tile through engines, and those of less than fp32 beside fp32 on the tiles of the bundle.

    Args:
        bundle: The open bundle.
        engines: Target names; None takes all that are known, and lists those that are not installed.
        threads: CPU threads; None leaves it to the backend.
        tolerance: Difference over the range of the golden output that passes; None takes what each was built with, or
            what is usual for the precision.
        budget: How far from fp32 engines of less may be; None holds each to what it was built with, and to the default
            one where nobody has said.

    Returns:
        One proof an engine: those that the bundle holds, and the graph itself where a target opens it. An engine
        that fails, or that does not fit this machine though its target does, has ``passed=False``.

    Raises:
        EngineUnavailableError: An engine that was asked for is unknown or not installed, or none is installed at all.
        AssetError: The golden tile, or the tiles, are missing or damaged.
    """
    listed = {info.name: info for info in available()}
    for name in {str(asset.target) for asset in store.entries(bundle)} - set(listed):
        listed[name] = _elsewhere(name)
    chosen = list(listed.values()) if engines is None else [_known(name, listed) for name in dict.fromkeys(engines)]
    if not any(info.usable for info in chosen):
        extras = " or ".join(dict.fromkeys(filter(None, map(registry.install, chosen))))
        raise EngineUnavailableError(
            "No inference engine is installed to prove the bundle with",
            got="; ".join(f"{i.name}: {i.reason}" for i in chosen) or None,
            fix=extras or None,
        )
    bundle.golden()
    with Gate(bundle, threads) as gate:
        wish = _Wish(threads, tolerance, budget, gate)
        return [proof for info in chosen for proof in _prove(bundle, info, wish)]


@dataclass(frozen=True)
class _Wish:
    """What every engine is proven with."""

    threads: int | None
    tolerance: float | None
    budget: Budget | None
    gate: Gate


def _known(name: str, listed: dict[str, EngineInfo]) -> EngineInfo:
    info = listed.get(name) or registry.target(name).probe()
    if not info.usable:
        raise EngineUnavailableError(
            f"The engine {name} cannot be used here: {info.reason}", fix=registry.install(info)
        )
    return info


def _elsewhere(name: str) -> EngineInfo:
    """A target that is not listed here, of an engine that the bundle holds: of a GPU or plug-in that is not there."""
    try:
        return registry.target(name).probe()
    except EngineUnavailableError as error:
        return EngineInfo(name, usable=False, reason=error.what)


def _prove(bundle: Bundle, info: EngineInfo, wish: _Wish) -> list[Proof]:
    """Prove everything that there is for a target."""
    if not info.usable:
        built = store.entries(bundle, info.name)
        if built:
            return [
                Proof(info.name, info.version, str(asset.precision), store.batch_of(asset), reason=info.reason)
                for asset in built
            ]
        return [] if info.builds else [Proof(info.name, info.version, reason=info.reason)]
    return [_prove_one(bundle, info, one, wish) for one in _openings(bundle, info)]


def _openings(bundle: Bundle, info: EngineInfo) -> list[Candidate | StfError]:
    return list(candidates(bundle, registry.target(info.name), info))


def _prove_one(bundle: Bundle, info: EngineInfo, one: Candidate | StfError, wish: _Wish) -> Proof:
    if isinstance(one, StfError):
        return Proof(info.name, info.version, passed=False, reason=str(one))
    allowed = max(one.tolerance, tolerance_in(bundle)) if wish.tolerance is None else wish.tolerance
    batch = None if one.stored is None else one.stored.key.batch
    try:
        with one.open(bundle, wish.threads) as engine:
            found = compare(bundle, engine)
            accuracy = _accuracy(bundle, one, engine, wish) if one.precision != "fp32" else None
    except EngineError as error:
        _log.debug("%s failed", info.name, exc_info=True)
        return Proof(info.name, info.version, one.precision, batch, passed=False, tolerance=allowed, reason=str(error))
    over = () if accuracy is None else accuracy.over
    return Proof(
        info.name,
        info.version,
        one.precision,
        batch,
        passed=bool(found.relative <= allowed) and not over,  # not so where it is NaN
        max_abs=found.max_abs,
        relative=found.relative,
        tolerance=allowed,
        seconds=found.seconds,
        accuracy=accuracy,
        reason="; ".join(over),
    )


def _accuracy(bundle: Bundle, one: Candidate, engine: Engine, wish: _Wish) -> Record:
    """How far an engine is from fp32 here, and what it is held to."""
    known = record_of(bundle, one)
    budget = wish.budget or (DEFAULT if known is None else known.budget)
    return wish.gate.judge(engine, budget)
