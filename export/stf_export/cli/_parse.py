# SPDX-License-Identifier: Apache-2.0
"""Option values as a person types them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stf_infer.errors import UsageError


def parse_bands(text: str | None) -> int | tuple[str, ...] | None:
    """``green,red,nir`` to names, ``4`` to a number."""
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError("A band name is empty", got=text, allowed="NAME,NAME,... or a number of bands")
    return names


def parse_weights(given: Sequence[str]) -> str | dict[str, str] | None:
    """One ``FILE``, or ``PART=FILE`` for each band or stage that has a file of its own.

    Raises:
        UsageError: Both forms are mixed, several files have no name, or one name is given twice.
    """
    if not given:
        return None
    # A file may have an equals sign in its name.
    pairs = [None if Path(text).exists() or "=" not in text else text.partition("=") for text in given]
    if all(pair is None for pair in pairs):
        if len(given) > 1:
            raise UsageError(
                "More than one file of weights", got=", ".join(given), fix="Say which band or stage: NAME=FILE"
            )
        return given[0]
    if any(pair is None for pair in pairs):
        raise UsageError(
            "Some weights say their band or stage and some do not", got=", ".join(given), allowed="NAME=FILE"
        )
    files = {part: file for part, _, file in (pair for pair in pairs if pair is not None)}
    if len(files) != len(given):
        raise UsageError("A band or stage has more than one file of weights", got=", ".join(given))
    return files


def parse_options(given: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` as often as needed; a value that reads as JSON (a number, true, null) is one.

    Raises:
        UsageError: An option has no value or is given twice.
    """
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or name in options:
            what = "An option is given twice" if name in options else "An option needs a value"
            raise UsageError(what, got=text, allowed="--option NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options
