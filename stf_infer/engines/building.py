# SPDX-License-Identifier: Apache-2.0
"""Build an engine of a bundle: compile, prove with the golden tile, store. Needs no torch."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..bundle import Asset, Bundle
from ..errors import BundleError, EngineError, EngineUnavailableError, UsageError
from . import registry, store
from .host_loop import is_looped
from .isolation import Errand, run_apart
from .key import EngineKey, fixed_batch, graph_of, usual_batch
from .machine import peak_memory
from .proving import prove
from .store import StoredEngine
from .target import Compiled, Job, Say, Target

if TYPE_CHECKING:
    from ..accuracy import Budget

_log = logging.getLogger(__name__)

Rebuild = Literal["auto", "always"]


@dataclass(frozen=True)
class BuildReport:
    """An engine that stands in the bundle now.

    Attributes:
        target: What it was built for.
        precision: What it computes in.
        batch: Tiles in a call that it was built for.
        path: Its main file.
        bytes: Bytes of all its files.
        seconds: Time of the build, or None where it stood there already and is what would be built again.
        proof: What it made of the golden tile: ``relative`` (:class:`stf_infer.golden.Difference`),
            ``max_abs``, ``tolerance`` and ``seconds`` a tile; empty where it cannot be run on this machine.
        accuracy: How far it is from fp32 (:class:`stf_infer.accuracy.Record` as plain values); empty in fp32, and
            only the budget where it was not compared.
        key: What it was built from and for.
        settings: What the target noted to open it, or to serve it.
    """

    target: str
    precision: str
    batch: int
    path: Path
    bytes: int
    seconds: float | None
    proof: dict[str, Any]
    accuracy: dict[str, Any]
    key: EngineKey
    settings: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "path": str(self.path), "built": self.seconds is not None}


def build(
    bundle: Bundle | str | Path,
    target: str,
    *,
    precision: str | None = None,
    tile_batch: int | None = None,
    options: Mapping[str, Any] | None = None,
    rebuild: Rebuild = "auto",
    tolerance: float | None = None,
    budget: Budget | str | None = None,
    progress: Say | None = None,
    apart: bool = True,
) -> BuildReport:
    """Compile an engine and store it in its bundle.

    Args:
        bundle: The bundle, or its folder.
        target: What to compile for; ``stf-infer engines`` lists the targets.
        precision: What to compute in; None takes fp32.
        tile_batch: Tiles in one call; None takes what suits the target.
        options: Options of the target by name.
        rebuild: ``auto`` does nothing where the engine stands in the bundle and its key is right; ``always``
            compiles all the same.
        tolerance: Largest difference to the golden tile, over its range; None takes that of the precision.
        budget: How far an engine of less than fp32 may be from it on the tiles of the bundle: text such as
            ``rmse=0.5%,sam=0.05deg``, which None stands for, or ``none``, which compares nothing.
        progress: Called with a line at every step, and every ten seconds while one goes on.
        apart: Compile in a process of its own, which alone is lost when memory runs out.

    Returns:
        What stands in the bundle. Minutes for large networks on TensorRT, seconds elsewhere.

    Raises:
        EngineUnavailableError: No target of that name, or it cannot be built here; the message says why.
        EngineError: The bundle has no network in that precision, or the backend refuses it.
        CheckFailedError: The engine does not compute what the network computes, or is over its budget.
        AssetError: The tiles of the bundle are damaged.
        UsageError: An option that the target does not have, or a budget that cannot be read.
        OutputError: The bundle cannot be written to. After any error it is what it was before.
    """
    if rebuild not in get_args(Rebuild):
        raise UsageError("There is no such way to rebuild", got=rebuild, allowed=", ".join(get_args(Rebuild)))
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    if is_looped(bundle):
        raise EngineError(
            "The sampler of this bundle is a loop on the host, around graphs that every engine opens as they are",
            got=bundle.path,
            fix="Export it with --loop graph to have one engine call a tile, which can be built",
        )
    home = buildable(target)
    from ..accuracy import Budget

    held_to = Budget.of(budget)
    precision = precision or _usual(home)
    home.check_precision(precision)
    batch = _batch(bundle, home, tile_batch)
    completed = home.complete(options or {})
    key = home.key(bundle, precision, batch, completed)
    if rebuild == "auto" and (there := _stands(bundle, home, key, held_to)):
        return _report(there, None)
    job = _Wish(completed, tolerance, held_to)
    return _build(bundle, home, key, job, progress or _log.info, apart)


@dataclass(frozen=True)
class _Wish:
    """What somebody wants of an engine besides its key."""

    options: dict[str, Any]
    tolerance: float | None
    budget: Budget


def buildable(name: str) -> Target:
    """A target for which engines can be built on this machine.

    Raises:
        EngineUnavailableError: It is unknown, not installed, or has nothing to build.
    """
    home = registry.target(name)
    info = home.probe()
    if not info.builds:
        why = info.reason or "it opens bundles as they are"
        raise EngineUnavailableError(f"No engine can be built for {name} here: {why}", fix=registry.install(info))
    return home


def _usual(target: Target) -> str:
    offered = target.probe().precisions
    return "fp32" if "fp32" in offered or not offered else offered[0]


def _batch(bundle: Bundle, target: Target, wanted: int | None) -> int:
    """Tiles in a call: as stated, or what the graph takes, or what suits the target."""
    fixed = fixed_batch(bundle)
    if wanted is None:
        return fixed or usual_batch(bundle, target.batch)
    if wanted < 1:
        raise UsageError("The tile batch cannot be used", got=wanted, allowed="1 or more")
    if fixed is not None and wanted != fixed:
        raise UsageError("The network takes another number of tiles in a call", got=wanted, allowed=fixed)
    return wanted


def _stands(bundle: Bundle, target: Target, key: EngineKey, budget: Budget) -> StoredEngine | None:
    """The engine that has this key and this budget, if it stands in the bundle unharmed."""
    asset = bundle.assets.get(store.asset_key(target.name, key.label))
    if asset is None:
        return None
    try:
        stored = store.read(bundle, asset)
    except (BundleError, EngineError) as error:
        _log.info("%s is built again: %s", target.name, error)
        return None
    if target.differences(stored.key, key):
        return None
    if key.precision != "fp32" and (why := _unsure(bundle, target, stored, budget)):
        _log.info("%s is built again: %s", target.name, why)
        return None
    return stored


def _unsure(bundle: Bundle, target: Target, stored: StoredEngine, budget: Budget) -> str:
    """Why what was found of an engine's accuracy is not what would be found now, or empty."""
    from ..accuracy.gate import references, tiles_hash
    from ..accuracy.record import Record

    known = Record.from_dict(stored.accuracy) if stored.accuracy else None
    if known is None or known.budget != budget:
        return "another budget"
    if not budget.asks or not target.probe().usable or not references(bundle):
        return ""
    if known.accuracy is None:
        return "it was never compared with fp32"
    return "" if known.tiles == tiles_hash(bundle) else "it was compared with fp32 on other tiles"


def _build(
    bundle: Bundle,
    target: Target,
    key: EngineKey,
    wish: _Wish,
    progress: Say,
    apart: bool,
) -> BuildReport:
    began = time.perf_counter()
    bundle.asset(graph_of(bundle, key.precision, target.executed))
    with store.staging(bundle) as folder:
        request = {
            "bundle": str(bundle.path.resolve()),
            "target": target.name,
            "precision": key.precision,
            "batch": key.batch,
            "options": wish.options,
            "tolerance": wish.tolerance,
            "budget": str(wish.budget),
            "folder": str(folder.resolve()),
        }
        done = run_apart(_errand(target.name, folder), request, progress) if apart else compile_here(request, progress)
        seconds = round(time.perf_counter() - began, 2)
        compiled = Compiled(tuple(done["files"]), done["settings"])
        built = {"by": _version(), "at": _now(), "seconds": seconds, "peak_bytes": done["peak_bytes"]}
        progress("storing the engine")
        found = {name: done[name] for name in ("proof", "accuracy")}
        stored = store.add(bundle, target.name, key, compiled, folder, **found, built=built)
    return _report(stored, time.perf_counter() - began)


def _errand(target: str, folder: Path) -> Errand:
    """How building is spoken of, and where the compiler works."""
    return Errand(
        function=f"{__name__}:compile_here",
        doing=f"Building {target}",
        smaller="Build with a smaller --tile-batch, or where there is more memory; the bundle is as it was",
        folder=str(folder.resolve()),
        aftermath="; the bundle is as it was",
    )


def compile_here(request: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Compile an engine into a folder and prove it.

    Args:
        request: ``bundle``, ``target``, ``precision``, ``batch``, ``options``, ``tolerance``, ``budget`` and the
            ``folder`` to write to.
        say: Called with a line at every step.

    Returns:
        ``files``, ``settings``, ``proof``, ``accuracy`` and ``peak_bytes``, as plain values.

    Raises:
        EngineError: The backend refuses, or memory runs out.
        CheckFailedError: The engine does not compute what the network computes, or is over its budget.
    """
    from ..accuracy import Budget

    bundle, target = Bundle.open(request["bundle"]), registry.target(request["target"])
    folder, precision = Path(request["folder"]), request["precision"]
    graph = bundle.asset(graph_of(bundle, precision, target.executed))
    job = Job(bundle, graph, precision, request["batch"], dict(request["options"]), folder, say)
    try:
        compiled = target.compile(job)
        proof, found = prove(bundle, target, job, compiled, request["tolerance"], Budget.parse(request["budget"]))
    except Exception as error:
        raise _errand(target.name, folder).as_error(error) from error
    return {
        "files": list(compiled.files),
        "settings": compiled.settings,
        "proof": proof,
        "accuracy": found.as_dict() if precision != "fp32" else {},
        "peak_bytes": peak_memory(),
    }


def update(
    bundle: Bundle | str | Path, *, rebuild: Rebuild = "auto", progress: Say | None = None, apart: bool = True
) -> list[BuildReport]:
    """Bring every engine of a bundle up to date that can be built on this machine.

    Args:
        bundle: The bundle, or its folder.
        rebuild: As :func:`build`.
        progress: As there.
        apart: As there.

    Returns:
        One report for each of them; an engine of a target that is not here is left as it is.

    Raises:
        StfError: As :func:`build`.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    reports = []
    for asset in store.entries(bundle):
        name = str(asset.target)
        if registry.knows(name) and registry.target(name).probe().builds:
            reports.append(build_again(bundle, asset, rebuild=rebuild, progress=progress, apart=apart))
        else:
            _log.warning("the engine %s is left as it is: it cannot be built here", name)
    return reports


def build_again(
    bundle: Bundle, asset: Asset, *, rebuild: Rebuild = "auto", progress: Say | None = None, apart: bool = True
) -> BuildReport:
    """Build an engine of a bundle again, as it was built: same precision, batch, options, tolerance and budget.

    Args:
        bundle: The open bundle.
        asset: The engine's main file.
        rebuild: As :func:`build`.
        progress: As there.
        apart: As there.

    Raises:
        StfError: As there.
    """
    return build(
        bundle,
        str(asset.target),
        precision=asset.precision,
        tile_batch=store.batch_of(asset),
        **_as_built(bundle, asset),
        rebuild=rebuild,
        progress=progress,
        apart=apart,
    )


def _as_built(bundle: Bundle, asset: Asset) -> dict[str, Any]:
    """The options, tolerance and budget that an engine was built with, or none where its sidecar is lost."""
    try:
        stored = store.read(bundle, asset)
    except (BundleError, EngineError):
        return {}
    return {
        "options": stored.key.flags,
        "tolerance": stored.proof.get("tolerance"),
        "budget": stored.accuracy.get("budget"),
    }


def _report(stored: StoredEngine, seconds: float | None) -> BuildReport:
    key = stored.key
    return BuildReport(
        stored.target,
        key.precision,
        key.batch,
        stored.files[0],
        stored.bytes,
        seconds,
        stored.proof,
        stored.accuracy,
        key,
        stored.settings,
    )


def _version() -> str:
    from .. import __version__

    return f"stf-infer {__version__}"


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0).isoformat()
