# SPDX-License-Identifier: Apache-2.0
"""Where a verb is, while it works for minutes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import click

from stf_infer.cli._verb import stderr_console


@contextlib.contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """A spinner with the current step on a terminal, a line a step elsewhere; on stderr."""
    console = stderr_console()
    if sys.stderr.isatty():
        with console.status("starting") as status:
            yield status.update
    else:
        yield lambda line: click.echo(line, err=True)
