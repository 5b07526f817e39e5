# SPDX-License-Identifier: Apache-2.0
"""Which engines a bench measures: what can be opened of every bundle, in one order, and why the rest is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..bundle import Bundle
from ..engines import EngineInfo, registry, store
from ..engines.host_loop import is_looped
from ..engines.opening import Candidate, all_usable, candidates, usable
from ..engines.target import Target
from ..errors import EngineUnavailableError, StfError, UsageError
from ..samples.spec import SampleSpec
from .result import Row
from .settings import PRECISIONS, Settings


@dataclass(frozen=True)
class Planned:
    """One engine to measure, as plain values that a child process finds it by.

    Attributes:
        row: What is known of it before anything is measured; with a ``failure`` nothing will be.
        asset: Key of the engine in the bundle; None opens the graph.
        steps: Number of steps to sample in; None takes the bundle's own.
    """

    row: Row
    asset: str | None = None
    steps: int | None = None

    def find(self, bundle: Bundle, batch: int | None) -> Candidate:
        """The same engine, in another process.

        Raises:
            StfError: It cannot be opened any more.
        """
        target, info = usable(self.row.target)
        refused: list[StfError] = []
        for one in candidates(bundle, target, info, self.row.precision, batch):
            if isinstance(one, StfError):
                refused.append(one)
            elif self.asset == (None if one.stored is None else one.stored.asset):
                return one
        raise refused[0] if refused else UsageError("The engine is no longer in the bundle", got=self.row.name)


def open_bundles(settings: Settings) -> list[Bundle]:
    """The bundles that are measured, open; the embedded demo where none is named.

    Raises:
        BundleError: One is none.
        UsageError: Its tiles are not those that were asked for; nothing can be sampled in other steps, which are.
    """
    from ..demo import bundle_path

    bundles = [Bundle.open(path) for path in settings.bundles or (bundle_path(),)]
    for bundle in bundles:
        _check_tile(bundle, settings.tile)
    if settings.steps and not any(is_looped(bundle) for bundle in bundles):
        raise UsageError(
            "No bundle can be sampled in another number of steps",
            got=", ".join(str(bundle.path) for bundle in bundles),
            allowed="the bundle of a diffusion network whose sampler is a loop around one step (--loop host)",
        )
    return bundles


def _check_tile(bundle: Bundle, wanted: tuple[int, int] | None) -> None:
    spec = bundle.spec
    if wanted is None or isinstance(spec, SampleSpec):
        return
    got = spec.tile.height, spec.tile.width
    if got != wanted:
        export = f"stf-infer export {spec.network} --weights ... --tile {wanted[0]}"
        raise UsageError(
            f"The tiles of {bundle.path} have another size, which is fixed when a network is exported",
            got=f"{got[0]} x {got[1]}",
            allowed=f"{wanted[0]} x {wanted[1]}",
            fix=f"Export it again: {export}; or leave --tile out",
        )


def plan(bundles: Sequence[Bundle], settings: Settings) -> tuple[list[Planned], dict[str, str]]:
    """Every engine to measure: bundle by bundle, target by target, fp32 first.

    Returns:
        The rows; and targets that are not measured, with the reason.

    Raises:
        EngineUnavailableError: A target that was asked for is unknown or cannot be used; or none can be.
    """
    targets = [usable(name) for name in settings.engines] if settings.engines else all_usable()
    away = {} if settings.engines else {i.name: i.reason for i in registry.available() if not i.usable}
    found: list[Planned] = []
    for bundle, title in zip(bundles, _titles(bundles), strict=True):
        for target, info in targets:
            of_target = [
                one
                for precision in _precisions(bundle, target, info, settings)
                for one in _planned(bundle, title, target, info, precision, settings)
            ]
            if not of_target:
                build = store.command(bundle, target.name)
                away.setdefault(target.name, f"nothing is built for it in {bundle.path.name}; `{build}` builds it")
            found += of_target
    if not found:
        wanted = f" in {' or '.join(settings.precisions)}" if settings.precisions else ""
        raise EngineUnavailableError(
            f"Nothing can be measured{wanted}",
            got="; ".join(f"{name}: {why}" for name, why in away.items()),
            fix="`stf-infer engines` says what each engine computes in",
        )
    return _unique(found), away


def _titles(bundles: Sequence[Bundle]) -> list[str]:
    """What each bundle is called: its folder, with the path where that is not enough."""
    names = [bundle.path.resolve().stem for bundle in bundles]
    return [n if names.count(n) == 1 else str(b.path) for n, b in zip(names, bundles, strict=True)]


def _precisions(bundle: Bundle, target: Target, info: EngineInfo, settings: Settings) -> list[str]:
    """What to look for: what was asked for; or what is built, and what the target computes of the graphs."""
    if settings.precisions:
        return [p for p in PRECISIONS if p in settings.precisions and (settings.engines or p in info.precisions)]
    built = {asset.precision for asset in store.entries(bundle, target.name)}
    graphs = set(bundle.precisions) | set(target.executed if "fp32" in bundle.precisions else ())
    return [p for p in PRECISIONS if p in built or (target.opens_graph and p in graphs and p in info.precisions)]


def _planned(
    bundle: Bundle, title: str, target: Target, info: EngineInfo, precision: str, settings: Settings
) -> list[Planned]:
    """All engines of a target in a precision; one that does not fit is a row that says why."""
    found: list[Candidate | StfError]
    try:
        target.check_precision(precision)
        found = list(candidates(bundle, target, info, precision, settings.batch))
    except StfError as error:
        found = [error]
    planned = []
    for one in found:
        if isinstance(one, StfError):
            row = _row(bundle, f"{title} | {target.name} {precision}", target.name, precision)
            planned.append(Planned(row.model_copy(update={"failure": str(one)})))
            continue
        asset = None if one.stored is None else one.stored.asset
        row = _row(bundle, f"{title} | {one}", target.name, precision)
        planned.append(Planned(row, asset))
        for steps in settings.steps if is_looped(bundle) else ():
            if steps != row.steps:
                name = f"{row.name} {steps} step{'s' if steps > 1 else ''}"
                planned.append(Planned(row.model_copy(update={"steps": steps, "name": name}), asset, steps))
    return planned


def _row(bundle: Bundle, name: str, target: str, precision: str) -> Row:
    """What is known before anything is measured."""
    spec = bundle.spec
    common: dict[str, Any] = {"name": name, "bundle": str(bundle.path), "bundle_sha256": bundle.sha256}
    common |= {"network": spec.network, "target": target}
    if isinstance(spec, SampleSpec):
        return Row(**common, precision=precision)
    steps = None if spec.sampler is None else len(spec.sampler.timesteps)
    tile = spec.tile
    return Row(**common, precision=precision, steps=steps, tile=(tile.height, tile.width), halo=tile.halo)


def _unique(planned: list[Planned]) -> list[Planned]:
    """Rows whose names differ: engines that were built with other options have the same one."""
    seen: dict[str, int] = {}
    found = []
    for one in planned:
        count = seen[one.row.name] = seen.get(one.row.name, 0) + 1
        name = one.row.name if count == 1 else f"{one.row.name} #{count}"
        found.append(replace(one, row=one.row.model_copy(update={"name": name})))
    return found
