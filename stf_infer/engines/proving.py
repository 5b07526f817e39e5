# SPDX-License-Identifier: Apache-2.0
"""Prove an engine that has just been compiled: the golden tile, and for less than fp32 the distance from it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..bundle import GOLDEN, Bundle
from ..errors import CheckFailedError
from .base import Engine
from .store import StoredEngine
from .target import Compiled, Job, Target

if TYPE_CHECKING:
    from ..accuracy import Budget, Record


def prove(
    bundle: Bundle, target: Target, job: Job, compiled: Compiled, tolerance: float | None, budget: Budget
) -> tuple[dict[str, Any], Record]:
    """Run the golden tile through a compiled engine and hold it to its budget, where this machine can.

    Args:
        bundle: The open bundle.
        target: What it was compiled for.
        job: What was asked for.
        compiled: What the compiler made.
        tolerance: Largest difference to the golden tile, over its range; None takes what is usual.
        budget: How far it may be from fp32.

    Returns:
        What it made of the golden tile, empty where it cannot be run; and how far it is from fp32.

    Raises:
        CheckFailedError: It does not compute what the network computes, or is over its budget.
        EngineError: It cannot be opened, or fails.
    """
    from ..accuracy.gate import hold
    from ..accuracy.record import Record

    has_golden = GOLDEN in bundle.assets
    if not target.probe().usable or (job.precision == "fp32" and not has_golden):
        return {}, Record(budget)
    key = target.key(bundle, job.precision, job.batch, job.options)
    files = tuple(job.folder / name for name in compiled.files)
    fresh = StoredEngine(target.name, key, files, compiled.settings, {}, {}, {}, "")
    with target.open(bundle, fresh, job.precision, None) as engine:
        proof = _prove_golden(bundle, engine, job, tolerance) if has_golden else {}
        return proof, hold(bundle, engine, job.precision, budget, job.say)


def _prove_golden(bundle: Bundle, engine: Engine, job: Job, tolerance: float | None) -> dict[str, Any]:
    from .. import golden

    job.say("proving it with the golden tile")
    found = golden.compare(bundle, engine)
    if tolerance is None:
        tolerance = max(golden.tolerance_of(job.precision), golden.tolerance_in(bundle))
    if not found.relative <= tolerance:
        raise CheckFailedError(
            f"The engine {engine.name} in {job.precision} does not compute what the network computes",
            got=f"a difference of {found.relative:.2g} of the golden output's range",
            allowed=f"{tolerance:.2g}",
            fix="Build it in fp32, or state what is good enough with --tolerance"
            if job.precision != "fp32"
            else "Build it with another version of the backend",
        )
    return {**asdict(found), "tolerance": tolerance}
