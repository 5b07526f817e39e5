# SPDX-License-Identifier: Apache-2.0
"""Open an engine of a bundle: find those that can be used here, take the one asked for or the fastest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import AssetError, EngineError, EngineUnavailableError, StfError, UsageError
from . import registry, store
from .base import Engine, EngineInfo
from .host_loop import HostLoop, is_looped
from .key import graph_of
from .store import StoredEngine
from .target import Target

if TYPE_CHECKING:
    from ..bundle import Asset, Bundle

_log = logging.getLogger(__name__)

RebuildHere = Literal["never", "auto"]


@dataclass(frozen=True)
class Candidate:
    """An engine that could be opened.

    Attributes:
        target: What it runs on.
        version: Version of the backend.
        precision: What it computes in.
        stored: The engine in the bundle, or None where the graph itself is opened.
    """

    target: Target
    version: str
    precision: str
    stored: StoredEngine | None

    def __str__(self) -> str:
        return f"{self.target.name} {self.precision}{'' if self.stored is None else f' b{self.stored.key.batch}'}"

    @property
    def tolerance(self) -> float:
        """Part of the golden output's range that it may differ by: what it was built with, or what is usual."""
        from .. import golden

        stated = None if self.stored is None else self.stored.proof.get("tolerance")
        return golden.tolerance_of(self.precision) if stated is None else float(stated)

    def identity(self, bundle: Bundle) -> list[Any]:
        """What has to be the same for a measurement to hold."""
        built = None if self.stored is None else bundle.assets[self.stored.asset].sha256
        return [self.target.name, self.target.backend(), self.version, self.precision, built]

    def open(self, bundle: Bundle, threads: int | None) -> Engine:
        """Open it.

        Raises:
            EngineError: The backend refuses, or its package cannot be imported.
        """
        try:
            engine = self._open(bundle, threads)
        except ImportError as error:
            raise EngineUnavailableError(
                f"The engine {self.target.name} is installed and cannot be imported",
                got=error,
                fix="Install its package again",
            ) from error
        except EngineError as error:
            if self.stored is None or error.fix is not None:
                raise
            raise EngineError(error.what, got=error.got, allowed=error.allowed, fix=_mend(bundle, self.stored)) from (
                error
            )
        if engine.max_batch is not None:
            more = store.command(bundle, self.target.name, self.precision)
            engine.remedy = f"Take a smaller --tile-batch, or `{more} --tile-batch N`"
        return engine

    def _open(self, bundle: Bundle, threads: int | None) -> Engine:
        if is_looped(bundle):
            return HostLoop(bundle, threads, self.target, self.precision)
        return self.target.open(bundle, self.stored, self.precision, threads)


def open_engine(
    bundle: Bundle,
    name: str | None = None,
    threads: int | None = None,
    *,
    precision: str | None = None,
    tile_batch: int | None = None,
    rebuild: RebuildHere = "never",
) -> Engine:
    """Open an engine for a bundle.

    Args:
        bundle: The open bundle.
        name: Target name; None measures those that can be used here, once, and takes the fastest.
        threads: CPU threads; None leaves it to the backend.
        precision: What it has to compute in; None takes any that is built, and fp32.
        tile_batch: Tiles in a call that it has to take; None takes what suits it.
        rebuild: ``auto`` builds an engine again whose key does not fit this machine or bundle.

    Raises:
        EngineUnavailableError: No target of that name, not installed, or none installed at all; the message names
            the extra.
        EngineError: What is built for the target does not fit (both sides are named, with the command that mends
            it), or the backend cannot load it.
        AssetError: A file of the engine is missing or changed.
    """
    if rebuild not in get_args(RebuildHere):
        raise UsageError("There is no such way to rebuild", got=rebuild, allowed=", ".join(get_args(RebuildHere)))
    targets = [usable(name)] if name is not None else all_usable()
    if name is not None and precision is not None:
        targets[0][0].check_precision(precision)
    found: list[Candidate] = []
    refused: list[StfError] = []
    for target, info in targets:
        for one in candidates(bundle, target, info, precision, tile_batch, rebuild, alone=name is not None):
            if isinstance(one, Candidate):
                found.append(one)
            else:
                refused.append(one)
    if not found:
        raise refused[0] if refused else _nothing(bundle, name, precision)
    for error in refused:
        _log.warning("%s", error)
    if name is None and precision is None:
        found = _proven(bundle, found)
    return _take(bundle, found, name, threads, tile_batch)


def _take(
    bundle: Bundle, found: list[Candidate], name: str | None, threads: int | None, tile_batch: int | None
) -> Engine:
    from .selection import fastest

    if len(found) == 1:
        engine = found[0].open(bundle, threads)
        engine.choice = "asked for" if name is not None else "the only one that can be used here"
    else:
        engine = fastest(bundle, found, threads, tile_batch)
    _log.info("engine %s %s: %s", engine.name, engine.describe().get("precision", ""), engine.choice)
    return engine


def _proven(bundle: Bundle, found: list[Candidate]) -> list[Candidate]:
    """Those that are known to be as accurate as they have to be; all of them where none is."""
    from ..accuracy.gate import is_proven

    proven = [one for one in found if is_proven(bundle, one)]
    for one in found if proven else ():
        if one not in proven:
            build = store.command(bundle, one.target.name, one.precision)
            _log.warning("%s is passed over: how far it is from fp32 is not proven; `%s` finds out", one, build)
    return proven or found


def usable(name: str) -> tuple[Target, EngineInfo]:
    """A target by its name, and how it stands here.

    Raises:
        EngineUnavailableError: It is unknown, or cannot be used here.
    """
    target = registry.target(name)
    info = target.probe()
    if not info.usable:
        raise EngineUnavailableError(
            f"The engine {name} cannot be used here: {info.reason}", fix=registry.install(info) if info.extra else None
        )
    return target, info


def all_usable() -> list[tuple[Target, EngineInfo]]:
    """Every target that can be used here, in order of preference.

    Raises:
        EngineUnavailableError: There is none.
    """
    listed = registry.available()
    found = [(registry.target(info.name), info) for info in listed if info.usable]
    if not found:
        extras = " or ".join(dict.fromkeys(filter(None, map(registry.install, listed))))
        raise EngineUnavailableError("No inference engine is installed", fix=extras or None)
    return found


def candidates(
    bundle: Bundle,
    target: Target,
    info: EngineInfo,
    precision: str | None = None,
    tile_batch: int | None = None,
    rebuild: RebuildHere = "never",
    *,
    alone: bool = False,
) -> Iterator[Candidate | StfError]:
    """What can be opened on a target, and why the rest of what is built for it cannot.

    Args:
        bundle: The open bundle.
        target: Where to run.
        info: How it stands here.
        precision: As in :func:`open_engine`, like the two that follow.
        tile_batch: As there.
        rebuild: As there.
        alone: Nothing else may be taken instead: the graph is not opened in place of an engine that does not fit.
    """
    built: set[str] = set()
    for asset in store.entries(bundle, target.name):
        if precision in (None, asset.precision):
            one = _stored(bundle, target, info, asset, tile_batch, rebuild)
            if alone or isinstance(one, Candidate):
                built.add(str(asset.precision))
            yield one
    for wanted in _graphs(bundle, info, precision):
        if not target.opens_graph or wanted in built or wanted not in info.precisions:
            continue
        try:
            graph_of(bundle, wanted, target.executed)
        except EngineError as error:
            if precision is not None:
                yield error
        else:
            yield Candidate(target, info.version, wanted, None)


def _graphs(bundle: Bundle, info: EngineInfo, precision: str | None) -> list[str]:
    """Precisions in which graphs are looked at: the one asked for, or the usual one and those that the bundle holds."""
    if precision is not None:
        return [precision]
    usual = "fp32" if "fp32" in info.precisions else (info.precisions or ("fp32",))[0]
    return list(dict.fromkeys((usual, *bundle.precisions)))


def _stored(
    bundle: Bundle, target: Target, info: EngineInfo, asset: Asset, tile_batch: int | None, rebuild: RebuildHere
) -> Candidate | StfError:
    """An engine of the bundle, built again where it has to be, or why it cannot be used."""
    try:
        stored = store.read(bundle, asset)
        check_key(bundle, target, stored)
    except (AssetError, EngineError) as error:
        if rebuild == "never":
            return error
        try:
            stored = _rebuilt(bundle, target, asset, error)
        except StfError as failed:
            return failed
    if target.bounded and tile_batch is not None and tile_batch > stored.key.batch:
        return EngineError(
            f"The batch is larger than the engine {target.name} was built for",
            got=f"{tile_batch} tiles",
            allowed=f"1 to {stored.key.batch}",
            fix=f"`{store.command(bundle, target.name, asset.precision, tile_batch)}`, or a smaller --tile-batch",
        )
    return Candidate(target, info.version, stored.key.precision, stored)


def check_key(bundle: Bundle, target: Target, stored: StoredEngine) -> None:
    """Compare the key of an engine with this machine and bundle.

    Raises:
        EngineError: They differ; both sides are named.
    """
    here = target.key(bundle, stored.key.precision, stored.key.batch, target.complete(stored.key.flags))
    differing = target.differences(stored.key, here)
    if differing:
        raise EngineError(
            f"The engine {target.name} {stored.key.precision} in the bundle was built for something else",
            got=stored.key.told(differing),
            allowed=here.told(differing),
            fix=_mend(bundle, stored),
        )


def _mend(bundle: Bundle, stored: StoredEngine) -> str:
    return f"`{store.command(bundle, stored.target, stored.key.precision, stored.key.batch)}` builds it again"


def _rebuilt(bundle: Bundle, target: Target, asset: Asset, why: StfError) -> StoredEngine:
    from .building import build_again

    _log.warning("%s is built again: %s", target.name, why.what)
    steps: list[str] = []

    def say(step: str) -> None:
        # What goes on for long is said again, and then to everybody.
        _log.log(logging.WARNING if step in steps else logging.INFO, "%s: %s", target.name, step)
        steps.append(step)

    build_again(bundle, asset, progress=say)
    return store.read(bundle, bundle.assets[asset.key])


def _nothing(bundle: Bundle, name: str | None, precision: str | None) -> EngineError:
    wanted = f" in {precision}" if precision else ""
    if name is None:
        return EngineError(f"Nothing in the bundle can be run here{wanted}", got=bundle.path)
    return EngineError(
        f"Nothing is built for {name}{wanted}",
        got=bundle.path,
        fix=f"`{store.command(bundle, name, precision)}` builds it",
    )
