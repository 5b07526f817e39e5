# SPDX-License-Identifier: Apache-2.0
"""Prove that an engine computes what a bundle's network computed at export: the golden tile, in and out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .engines import EngineInfo, available, open_engine
from .errors import EngineError, EngineUnavailableError

if TYPE_CHECKING:
    from .bundle import Bundle

_log = logging.getLogger(__name__)

# Part of the golden output's range that an fp32 engine may differ by. Fused and re-ordered sums stay below 1e-5; a
# layer that is computed in half precision, or wrongly, does not.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Proof:
    """What an engine made of the golden tile.

    Attributes:
        engine: Target name.
        version: Version of the backend, or empty.
        precision: What it computed in, or empty.
        passed: Whether it is within the tolerance; None where the engine is not installed.
        max_abs: Largest absolute difference in network values, or None.
        relative: ``max_abs`` over the range of the golden output, or None.
        tolerance: Largest ``relative`` that passes.
        seconds: Time of the tile, compilation not included, or None.
        reason: Why the engine did not run, or empty.
    """

    engine: str
    version: str = ""
    precision: str = ""
    passed: bool | None = None
    max_abs: float | None = None
    relative: float | None = None
    tolerance: float = TOLERANCE
    seconds: float | None = None
    reason: str = ""


def prove(
    bundle: Bundle, engines: Sequence[str] | None = None, *, threads: int | None = None, tolerance: float = TOLERANCE
) -> list[Proof]:
    """Run the golden tile through engines and compare.

    Args:
        bundle: The open bundle.
        engines: Target names; None takes all that are known, and lists those that are not installed.
        threads: CPU threads; None leaves it to the backend.
        tolerance: Largest difference, over the range of the golden output.

    Returns:
        One proof an engine. A backend that is installed and fails has ``passed=False``.

    Raises:
        EngineUnavailableError: An engine that was asked for is unknown or not installed, or none is installed at all.
        AssetError: The golden tile is missing or damaged.
    """
    listed = {info.name: info for info in available()}
    chosen = list(listed.values()) if engines is None else [_known(name, listed) for name in dict.fromkeys(engines)]
    if not any(info.usable for info in chosen):
        extras = " or ".join(f"pip install 'stf-infer[{i.extra}]'" for i in chosen if i.extra)
        raise EngineUnavailableError(
            "No inference engine is installed to prove the bundle with",
            got="; ".join(f"{i.name}: {i.reason}" for i in chosen) or None,
            fix=extras or None,
        )
    inputs, output = bundle.golden()
    return [_prove(bundle, info, inputs, output, threads, tolerance) for info in chosen]


def _known(name: str, listed: dict[str, EngineInfo]) -> EngineInfo:
    if name not in listed:
        raise EngineUnavailableError("There is no engine of that name", got=name, allowed=", ".join(listed))
    info = listed[name]
    if not info.usable:
        fix = f"pip install 'stf-infer[{info.extra}]'" if info.extra else None
        raise EngineUnavailableError(f"The engine {name} cannot be used here: {info.reason}", fix=fix)
    return info


def _prove(
    bundle: Bundle,
    info: EngineInfo,
    inputs: dict[str, np.ndarray],
    golden: np.ndarray,
    threads: int | None,
    tolerance: float,
) -> Proof:
    if not info.usable:
        return Proof(info.name, info.version, tolerance=tolerance, reason=info.reason)
    feed = {tensor.name: inputs[tensor.role][None] for tensor in bundle.spec.tensors}
    try:
        with open_engine(bundle, info.name, threads) as engine:
            precision = engine.describe().get("precision", "")
            engine.infer(feed)  # the first run allocates
            started = time.perf_counter()
            result = engine.infer(feed)[bundle.spec.output.tensor][0]
            seconds = time.perf_counter() - started
    except EngineError as error:
        _log.debug("%s failed", info.name, exc_info=True)
        return Proof(info.name, info.version, passed=False, tolerance=tolerance, reason=str(error))
    worst = float(np.abs(result - golden).max())
    # The range of a single number is nothing: its size is taken instead.
    extent = float(golden.max() - golden.min()) or float(np.abs(golden).max())
    relative = worst / extent if extent > 0 else worst
    return Proof(
        info.name,
        info.version,
        precision,
        passed=bool(relative <= tolerance),  # not so where it is NaN
        max_abs=worst,
        relative=relative,
        tolerance=tolerance,
        seconds=seconds,
    )
