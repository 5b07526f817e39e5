# SPDX-License-Identifier: Apache-2.0
"""``stf-infer bench``, also ``python -m stf_infer.bench``: latency and accuracy of engines, side by side."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ._verb import Report, stderr_console, verb

_log = logging.getLogger(__name__)

# Words in place of a bundle that do something with results: click commands of their names.
_COMMANDS = {"compare": "stf_infer.bench.commands", "report": "stf_infer.bench.commands"}


class _Bench(click.Command):
    """A command whose first word may name another one: ``bench compare A.json B.json``."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in _COMMANDS:
            other: click.Command = getattr(importlib.import_module(_COMMANDS[args[0]]), args[0])
            return other.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


@click.command(
    cls=_Bench,
    short_help="Measure latency and accuracy of engines.",
    epilog="`bench compare A.json B.json` tells two results apart; `bench report FILE.json` writes the pages anew.",
)
@click.argument("bundles", metavar="[NAME.stf]...", nargs=-1)
@verb
@click.option("--engine", "engines", multiple=True, metavar="TARGET", help="Measure this one; may be repeated.")
@click.option("--precision", "precisions", multiple=True, help="Measure this one; may be repeated.")
@click.option("--tile", metavar="ROWSxCOLS", help="Refuse bundles whose tiles have another size.")
@click.option("--batch", "batches", metavar="N,N,...", help="Tiles in a call; the first is what scenes are run with.")
@click.option("--threads", metavar="N,N,...", help="CPU threads, likewise.")
@click.option("--no-sweep", is_flag=True, help="Measure no other batches and threads.")
@click.option("--runs", type=int, default=20, show_default=True, help="Calls to measure at least.")
@click.option("--seconds", type=float, default=1.0, show_default=True, help="Seconds to measure at least.")
@click.option("--steps", metavar="N,N,...", help="Of diffusion networks that are looped: other numbers of steps.")
@click.option("--out", metavar="DIR", default="stf-bench", show_default=True, help="Where everything goes.")
def bench(
    bundles: tuple[str, ...],
    engines: tuple[str, ...],
    precisions: tuple[str, ...],
    tile: str | None,
    batches: str | None,
    threads: str | None,
    no_sweep: bool,
    runs: int,
    seconds: float,
    steps: str | None,
    out: str,
) -> Report:
    """Measure bundles on every engine and precision that can be used here: the embedded demo where none is named.

    DIR then holds bench.json, which has all that is needed to repeat the run, and the same as pages for people. An
    engine that fails is listed with its reason, and the rest goes on; the exit code is then 1.
    """
    from ..bench import report, runner
    from ..bench.settings import Settings

    settings = Settings(
        bundles=tuple(Path(path) for path in bundles),
        engines=engines,
        precisions=precisions,
        tile=_tile(tile),
        batches=_numbers("--batch", batches),
        threads=_numbers("--threads", threads),
        sweep=not no_sweep,
        runs=runs,
        seconds=seconds,
        steps=_numbers("--steps", steps),
        out=Path(out),
    )
    with _progress() as progress:
        result = runner.run(settings, command=_command(), progress=progress)
    failed = any(row.failure for row in result.rows)
    written = report.write(result, settings.out)

    def show(console: Any) -> None:
        report.show(result, console)
        for path in written.values():
            console.print(str(path), markup=False, highlight=False, soft_wrap=True)

    return Report(result.model_dump(mode="json"), show, exit_code=1 if failed else 0)


def _command() -> tuple[str, ...]:
    """What a person types to do the same again."""
    from ..bench.runner import PROGRAM

    words = sys.argv[1:]
    return (*PROGRAM, *(words[1:] if words[:1] == ["bench"] else words))


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """One line that changes, on a terminal; a log line for each step elsewhere."""
    console = stderr_console()
    if not console.is_terminal:
        yield lambda what, done, total: _log.info("[%d/%d] %s", done + 1, total, what)
        return
    with console.status("bench") as status:
        yield lambda what, done, total: status.update(f"[{done + 1}/{total}] {what}")


def _numbers(flag: str, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{flag} cannot be read", got=text, allowed="N or N,N,...") from None


def _tile(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError("--tile cannot be read", got=text, allowed="N, or ROWSxCOLS")
    return int(parts[0]), int(parts[-1])
