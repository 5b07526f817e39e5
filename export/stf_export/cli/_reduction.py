# SPDX-License-Identifier: Apache-2.0
"""The options of a reduction on the command line, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stf_infer.accuracy.comparison import percent
from stf_infer.errors import UsageError

if TYPE_CHECKING:
    from ..precision import Reduction

F = TypeVar("F", bound=Callable[..., Any])


def reduction_options(function: F) -> F:
    """Give a command the options that reduced precisions have."""
    options = (
        click.option("--budget", metavar="B", help="How far they may be from fp32, or none.  [rmse=0.5%,sam=0.05deg]"),
        click.option("--calibration", metavar="HOW", help="Ranges of int8: minmax, percentile, entropy.  [minmax]"),
        click.option("--no-migration", is_flag=True, help="Leave the ranges of channels as they are before int8."),
        click.option("--keep", multiple=True, metavar="LAYER", help="A layer or module that stays in fp32."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def reduction_from(
    precision: str | None,
    budget: str | None,
    calibration: str | None,
    keep: tuple[str, ...],
    no_migration: bool,
) -> Reduction | None:
    """What is asked for; None where it is nothing.

    Raises:
        UsageError: It cannot be understood.
    """
    if precision is None:
        if budget or calibration or keep or no_migration:
            raise UsageError("Nothing says what to reduce to", fix="Give --precision fp16, bf16 or int8")
        return None
    from ..precision import Reduction

    wanted = tuple(dict.fromkeys(part.strip() for part in precision.split(",")))
    return Reduction(wanted, budget, calibration or "minmax", keep, migrate=not no_migration)


def reduced_lines(reduced: dict[str, dict[str, Any]]) -> list[str]:
    """What was found of reduced precisions, for a person."""
    return [
        f"{precision}: rmse {percent(max(one['rmse'], key=lambda value: value or 0))} in the worst band "
        f"(budget {one['budget']}, {one['tiles']} {one['source']} tiles)"
        for precision, one in reduced.items()
        if "rmse" in one
    ]
