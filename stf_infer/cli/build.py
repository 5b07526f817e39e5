# SPDX-License-Identifier: Apache-2.0
"""``stf-infer build``: compile an engine into a bundle."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ._verb import Report, stderr_console, verb

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..engines import BuildReport

_log = logging.getLogger("stf_infer")


@click.command(short_help="Compile an engine into a bundle.")
@verb
@click.argument("bundle", metavar="NAME.stf")
@click.option("--target", metavar="TARGET", help="What to compile for; see `stf-infer engines`.")
@click.option("--precision", metavar="P", help="What to compute in.  [default: fp32]")
@click.option("--tile-batch", type=int, metavar="N", help="Tiles in one call.  [default: what suits the target]")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Option of the target.")
@click.option(
    "--rebuild",
    type=click.Choice(["auto", "always"]),
    default="auto",
    show_default=True,
    help="auto: only what is missing or does not fit; always: all the same.",
)
@click.option("--tolerance", type=float, help="Difference to the golden tile, over its range, that is allowed.")
@click.option(
    "--budget",
    metavar="TEXT",
    help="How far from fp32 an engine of less may be: rmse=0.5%,sam=0.05deg, or none.  [default: these]",
)
@click.option("--remove", is_flag=True, help="Take engines of the target out of the bundle instead.")
def build(
    bundle: str,
    target: str | None,
    precision: str | None,
    tile_batch: int | None,
    options: tuple[str, ...],
    rebuild: Any,
    tolerance: float | None,
    budget: str | None,
    remove: bool,
) -> Report:
    """Compile the network of NAME.stf for TARGET and store the engine in the bundle. Needs no torch.

    The engine is proven with the golden tile where this machine can run it; one of less than fp32 is compared with
    fp32 on the bundle's tiles, and refused where a band is over the budget. Without --target every engine that the
    bundle holds is brought up to date. After a failure the bundle is what it was before.
    """
    from ..bundle import Bundle
    from ..engines import build as build_one
    from ..engines import update

    opened = Bundle.open(bundle)
    given = _given(options)
    if target is None and (given or any(one is not None for one in (precision, tile_batch, tolerance, budget))):
        raise UsageError("Nothing says what to build for", fix="Give --target; `stf-infer engines` lists them")
    if remove:
        return _removed(opened, target, precision, tile_batch)
    with _Progress(target or "engines") as progress:
        if target is None:
            reports = update(opened, rebuild=rebuild, progress=progress)
        else:
            reports = [
                build_one(
                    opened,
                    target,
                    precision=precision,
                    tile_batch=tile_batch,
                    options=given,
                    rebuild=rebuild,
                    tolerance=tolerance,
                    budget=budget,
                    progress=progress,
                )
            ]
    data = {"bundle": str(opened.path), "engines": [report.as_dict() for report in reports]}
    return Report(data, lambda console: _show(console, opened, reports))


def _removed(bundle: Bundle, target: str | None, precision: str | None, tile_batch: int | None) -> Report:
    from ..engines import store

    if target is None:
        raise UsageError("Nothing says what to remove", fix="Give --target; `stf-infer info` lists the engines")
    found = [
        asset
        for asset in store.entries(bundle, target)
        if precision in (None, asset.precision) and tile_batch in (None, store.batch_of(asset))
    ]
    if not found:
        raise UsageError(
            "The bundle holds no such engine",
            got=target,
            allowed=", ".join(dict.fromkeys(str(asset.target) for asset in store.entries(bundle))) or "none",
        )
    for asset in found:
        store.remove(bundle, asset)
    names = [f"{asset.target} {asset.precision} b{store.batch_of(asset)}" for asset in found]
    data = {"bundle": str(bundle.path), "removed": names}
    return Report(data, lambda console: console.print(f"removed: {', '.join(names)}", highlight=False))


def _given(options: tuple[str, ...]) -> dict[str, str]:
    given = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError("The option cannot be understood", got=text, allowed="NAME=VALUE")
        given[name] = value
    return given


class _Progress:
    """What is being done and for how long: a line that changes on a terminal, log lines elsewhere."""

    def __init__(self, name: str) -> None:
        self._name, self._began = name, time.monotonic()

    def __enter__(self) -> Any:
        if not sys.stderr.isatty():
            _log.setLevel(min(_log.level, logging.INFO))
            return self._log_line
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=stderr_console(),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self._name, total=None)
        return lambda step: self._bar.update(self._task, description=f"{self._name}: {step}")

    def _log_line(self, step: str) -> None:
        _log.info("%s: %s (%.0f s)", self._name, step, time.monotonic() - self._began)

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_bar"):
            self._bar.stop()


def _show(console: Any, bundle: Bundle, reports: list[BuildReport]) -> None:
    from ..engines.base import milliseconds

    if not reports:
        console.print("The bundle holds no engine that can be built here; name a --target.")
    for report in reports:
        how = "is up to date" if report.seconds is None else f"built in {report.seconds:.1f} s"
        console.print(
            f"[bold]{report.target}[/] {report.precision}, {report.batch} tiles a call: {how}, "
            f"{report.bytes / 1e6:.2f} MB",
            highlight=False,
        )
        console.print(f"  {report.path}", highlight=False)
        if report.proof:
            proof = report.proof
            console.print(
                f"  golden tile: {proof['relative']:.1e} of the range off ({proof['tolerance']:.0e} allowed), "
                f"{milliseconds(proof['seconds'])}",
                highlight=False,
            )
        elif "container" in report.settings:
            console.print(f"  served by {report.settings['container']}: {report.settings['serve']}", highlight=False)
        else:
            console.print("  not proven: it cannot be run on this machine; run `stf-infer check` where it can")
        if report.accuracy:
            _show_accuracy(console, bundle, report)
    console.print(f"next: stf-infer check {bundle.path}", highlight=False)


def _show_accuracy(console: Any, bundle: Bundle, report: BuildReport) -> None:
    """How far an engine is from fp32; where it could not be run, how far its graph is."""
    from ..accuracy import Record, recorded

    found = Record.from_dict(report.accuracy)
    of_graph = recorded(bundle).get(report.precision)
    lines = [f"accuracy: {found.told()}"]
    if found.accuracy is None and of_graph is not None and of_graph.accuracy is not None:
        lines.append(f"the {report.precision} network itself: {of_graph.told()}")
    elif found.accuracy is not None and found.accuracy.source == "procedural":
        lines.append(f"`stf-infer tiles {bundle.path} ...` stores real tiles to judge by")
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False)
