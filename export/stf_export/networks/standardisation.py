# SPDX-License-Identifier: Apache-2.0
"""Means and deviations that a network was trained with, as options of networks that take samples."""

from __future__ import annotations

from collections.abc import Sequence

from stf_infer.errors import ExportError
from stf_infer.samples.spec import Numbers, SampleValues

Given = float | Sequence[float] | None


def standardised(
    network: str, means: Given, deviations: Given, *, number: int, along: str | None = None
) -> SampleValues:
    """Values of which a network sees ``(physical - mean) / deviation``; as they are where neither is given.

    Args:
        network: For messages.
        means: One for all, or one for each place along ``along``.
        deviations: Likewise.
        number: How many places there are.
        along: The dim that lists run along; None where there is one number only.

    Raises:
        ExportError: Only one of them is given, they are not as many as places, or a deviation is not above 0.
    """
    if means is None and deviations is None:
        return SampleValues()
    if means is None or deviations is None:
        raise ExportError(f"{network} needs means and deviations, or neither", got="only one of them")
    lists = [_numbers(network, given, number, along) for given in (means, deviations)]
    has_list = any(isinstance(numbers, tuple) for numbers in lists)
    try:
        return SampleValues.standardised(*lists, along=along if has_list else None)
    except ValueError as error:
        raise ExportError(f"{network} cannot be standardised so", got=error) from error


def _numbers(network: str, given: float | Sequence[float], number: int, along: str | None) -> Numbers:
    if isinstance(given, (int, float)):
        return float(given)
    if isinstance(given, str) or along is None or len(given) != number:
        raise ExportError(
            f"{network} has another number of means and deviations",
            got=given if isinstance(given, str) or along is None else len(given),
            allowed=f"one number{'' if along is None else f', or {number}, along {along}'}",
        )
    return tuple(map(float, given))
