# SPDX-License-Identifier: Apache-2.0
"""What every verb shares: ``--json``, ``--verbose``, logging, and errors as exit codes."""

from __future__ import annotations

import functools
import json
import logging
import math
import sys
from collections.abc import Callable
from typing import Any

import click

from ..errors import StfError

Verb = Callable[..., "Report | None"]

_PIPE_WIDTH = 140


class Report:
    """What a verb found out: ``data`` for programs, ``render`` for people.

    Args:
        data: Plain values: what ``--json`` writes to stdout.
        render: Called with a rich console when a person reads.
        exit_code: 0, or 1 where a check failed.
    """

    def __init__(
        self, data: dict[str, Any], render: Callable[[Any], None] | None = None, *, exit_code: int = 0
    ) -> None:
        self.data, self.render, self.exit_code = data, render, exit_code


def verb(function: Verb) -> Verb:
    """Give a click command ``--json`` and ``-v``, and turn errors into exit codes.

    The wrapped function returns a :class:`Report` (or None) and raises :class:`StfError`. Place it below
    ``@click.command`` and above the options.
    """

    @click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, all else on stderr.")
    @click.option("-v", "--verbose", count=True, help="More log lines; twice for all.")
    @functools.wraps(function)
    def wrapped(*args: Any, as_json: bool, verbose: int, **kwargs: Any) -> None:
        _set_up_logging(verbose)
        try:
            report = function(*args, **kwargs)
        except StfError as error:
            _fail(error.as_dict(), str(error), error.exit_code, as_json)
        except ModuleNotFoundError as error:
            from ._missing import missing_extra

            missing = missing_extra(error)
            if missing is None:
                raise
            _fail(missing.as_dict(), str(missing), missing.exit_code, as_json)
        except KeyboardInterrupt:
            _fail({"error": "Interrupted", "what": "Interrupted"}, "Interrupted.", 130, as_json)
        else:
            if report is not None:
                _show(report, as_json)
                sys.exit(report.exit_code)

    return wrapped


def stderr_console() -> Any:
    """The rich console for progress and messages."""
    from rich.console import Console

    return Console(stderr=True)


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NumPy scalars unwrapped, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return str(value)


def _set_up_logging(verbose: int) -> None:
    from rich.logging import RichHandler

    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = RichHandler(console=stderr_console(), show_path=False, show_time=verbose > 1)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    for name in ("stf_infer", "stf_export"):
        logging.getLogger(name).setLevel(level)


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plain(report.data), allow_nan=False))
    elif report.render is not None:
        from rich.console import Console

        # A pipe or a file has no width of its own; tables must not be squeezed into rich's guess of 80.
        report.render(Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH))


def _fail(data: dict[str, Any], message: str, exit_code: int, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plain(data)))
    click.echo(f"Error: {message}", err=True)
    sys.exit(exit_code)
