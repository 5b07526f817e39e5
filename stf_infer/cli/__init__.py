# SPDX-License-Identifier: Apache-2.0
"""The command line: ``stf-infer VERB``. One file a verb; a verb is imported when it is called.

Exit codes: 0 success, 1 a check failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from .. import __version__

# verb: (module that holds a click command of the verb's name, help line)
VERBS = {
    "run": (".run", "Fuse a scene with a bundle."),
    "baseline": (".baseline", "Predict a scene without a network: what fusion has to beat."),
    "compare": (".compare", "Measure a prediction against the truth."),
    "check": (".check", "Prove a bundle on this machine."),
    "bench": (".bench", "Measure latency and accuracy of engines, side by side."),
    "info": (".info", "Show what a bundle wants and gives."),
    "build": (".build", "Compile an engine into a bundle."),
    "tiles": (".tiles", "Store tiles of real rasters, to judge engines by."),
    "engines": (".engines", "List the inference backends, or why one is missing."),
    "demo": (".demo", "Fuse a procedural scene with the embedded network."),
    "export": ("stf_export.cli", "Turn a trained network into a bundle (extra: export)."),
    "contract": ("stf_export.cli", "Print a template of a contract file."),
    "networks": ("stf_export.cli", "List the networks that can be exported (extra: export)."),
    "reduce": ("stf_export.cli", "Write a bundle's network in fp16, bf16 or int8 (extra: export)."),
    "steps": ("stf_export.cli", "Measure a diffusion network's steps against quality, or tune them."),
}


class _LazyGroup(click.Group):
    """A group whose commands are imported on first use, so that ``stf-infer info`` never loads torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        home, _ = VERBS[name]
        try:
            module = importlib.import_module(home, __name__)
        except ModuleNotFoundError as error:
            from ._missing import missing_verb

            return missing_verb(name, error)
        command: click.Command = getattr(module, name)
        return command

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Run the command line; with ``--json``, wrong options too are told as one object on stdout."""
        args = sys.argv[1:] if args is None else list(args)
        if not standalone_mode or "--json" not in args:
            return super().main(args, standalone_mode=standalone_mode, **extra)
        try:
            code = super().main(args, standalone_mode=False, **extra)
        except click.ClickException as error:
            told = {"error": type(error).__name__, "what": error.format_message(), "got": None}
            click.echo(json.dumps({**told, "allowed": None, "fix": None}))
            error.show()
            code = error.exit_code
        except click.Abort:
            click.echo(json.dumps({"error": "Interrupted", "what": "Interrupted"}))
            code = 130
        sys.exit(code if isinstance(code, int) else 0)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="stf-infer")
def main() -> None:
    """Run trained spatiotemporal-fusion networks over whole satellite scenes.

    Every verb takes --json: one object on stdout, everything else on stderr.
    """
