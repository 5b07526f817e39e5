# SPDX-License-Identifier: Apache-2.0
"""``stf-infer bench``, also ``python -m stf_infer.bench``: latency and accuracy of engines, side by side."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ._bench_scenes import scene_options, scene_settings
from ._verb import Report, stderr_console, verb

if TYPE_CHECKING:
    from ..bench.result import Result

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
@scene_options
@click.option("--repeats", type=int, default=3, show_default=True, help="How often every scene is fused.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which noise diffusion networks see.")
@click.option("--no-scenes", is_flag=True, help="Measure tiles alone.")
@click.option("--no-baselines", is_flag=True, help="Leave out what fusion has to beat.")
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
    repeats: int,
    seed: int,
    no_scenes: bool,
    no_baselines: bool,
    out: str,
    **scenes: Any,
) -> Report:
    """Measure bundles on every engine and precision that can be used here: the embedded demo where none is named.

    Scenes are a procedural one, folders (--scene), rasters by role (--fine-t1 ... --truth), or a benchmark dataset
    (--dataset CIA --root DIR). DIR then holds bench.json, which has all that is needed to repeat the run, and the same
    as pages for people. An engine that fails is listed with its reason, and the rest goes on; the exit code is then 1.
    What has been measured when you interrupt it (Ctrl-C) is written, too.
    """
    from ..bench import runner
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
        repeats=repeats,
        seed=seed,
        scene_part=not no_scenes,
        baselines=not no_baselines,
        out=Path(out),
        **scene_settings(**scenes),
    )
    with _progress() as progress:
        result = runner.run(settings, command=_command(), progress=progress)
    written, problem = _write(result, settings.out)
    failures = [row.failure for row in result.rows if row.failure]
    code = 130 if runner.INTERRUPTED in failures else 1 if failures or problem else 0

    def show(console: Any) -> None:
        from ..bench import report

        report.show(result, console)
        for path in written.values():
            console.print(str(path), markup=False, highlight=False, soft_wrap=True)
        if problem:
            console.print(problem, markup=False, highlight=False, soft_wrap=True)

    return Report(result.model_dump(mode="json"), show, exit_code=code)


def _write(result: Result, folder: Path) -> tuple[dict[str, Path], str]:
    """Write everything; what was measured is written whatever becomes of the pages for people.

    Returns:
        The files; and why there are not all of them, or nothing.
    """
    from ..bench import report
    from ..bench.report.files import write_all

    (path,) = write_all(folder, {"bench.json": result.model_dump_json(indent=1) + "\n"})
    try:
        return {"json": path, **report.rewrite(result, folder, rasters=folder)}, ""
    except Exception as error:
        _log.debug("the pages failed", exc_info=True)
        problem = f"The pages could not be written: {error}. `python -m stf_infer.bench report {path}` tries again."
        return {"json": path}, problem


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
