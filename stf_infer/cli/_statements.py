# SPDX-License-Identifier: Apache-2.0
"""What a user states about inputs on the command line: ``ROLE=VALUE``, or a value for all roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from ..errors import UsageError
from ..raster import Raster
from ..samples.array import SampleArray
from ..spec import KNOWN_ROLES

F = TypeVar("F", bound=Callable[..., Any])


def role_options(function: F) -> F:
    """Give a command an option for the raster of each role that has a name of its own: ``--fine-t1 FILE``."""
    for role in reversed(KNOWN_ROLES):
        function = click.option(f"--{role.replace('_', '-')}", role, metavar="FILE", help=f"Raster of {role}.")(
            function
        )
    return function


def value_options(function: F) -> F:
    """Give a command the options that say of rasters how their numbers are to be read."""
    for option in (
        click.option("--nodata", multiple=True, metavar="[ROLE=]X", help="Stored value that is no measurement."),
        click.option("--offset", multiple=True, metavar="[ROLE=]X", help="See --scale."),
        click.option("--scale", multiple=True, metavar="[ROLE=]X", help="physical = stored * X + offset."),
        click.option("--bands", multiple=True, metavar="ROLE=N,N,...", help="Bands to use: numbers from 1, or names."),
    ):
        function = option(function)
    return function


def statement_options(function: F) -> F:
    """Give a command the options that say of any role what its file is and how its numbers are to be read."""
    function = value_options(function)
    for option in (
        click.option(
            "--dims", multiple=True, metavar="ROLE=A,B,...", help="Of samples: names of a file's axes, in its order."
        ),
        click.option(
            "--input", "others", multiple=True, metavar="ROLE=FILE", help="Raster or array of any other role."
        ),
    ):
        function = option(function)
    return function


_LISTS = {"--bands": "ROLE=N,N,... (numbers from 1, or names)", "--dims": "ROLE=NAME,NAME,..."}


def rasters_from(
    paths: Mapping[str, str | None],
    others: Sequence[str],
    *,
    bands: Sequence[str],
    scale: Sequence[str],
    offset: Sequence[str],
    nodata: Sequence[str],
) -> dict[str, Raster]:
    """One Raster a role from the options of a verb.

    Raises:
        UsageError: A statement names no role that is given, or its value cannot be read.
    """
    files = _files(paths, others)
    stated = _numbers(files, scale, offset, nodata) | {"bands": _pairs("--bands", bands, _name_list, None)}
    _refuse_strangers(stated, files)
    return {role: Raster(path, **_of(role, stated)) for role, path in files.items()}


def arrays_from(
    paths: Mapping[str, str | None],
    others: Sequence[str],
    *,
    dims: Sequence[str],
    scale: Sequence[str],
    offset: Sequence[str],
    nodata: Sequence[str],
) -> dict[str, SampleArray]:
    """One SampleArray a role from the options of a verb.

    Raises:
        UsageError: A statement names no role that is given, or its value cannot be read.
    """
    files = _files(paths, others)
    stated = _numbers(files, scale, offset, nodata) | {"dims": _pairs("--dims", dims, _name_list, None)}
    _refuse_strangers(stated, files)
    return {role: SampleArray(path, **_of(role, stated)) for role, path in files.items()}


def _files(paths: Mapping[str, str | None], others: Sequence[str]) -> dict[str, str]:
    files = {role: path for role, path in paths.items() if path is not None}
    for role, path in _pairs("--input", others, str, None).items():
        if role in files:
            raise UsageError(f"{role} is given twice", got=f"{files[role]}, {path}")
        files[role] = path
    return files


def _numbers(
    files: Mapping[str, str], scale: Sequence[str], offset: Sequence[str], nodata: Sequence[str]
) -> dict[str, dict[str, Any]]:
    options = {"scale": scale, "offset": offset, "nodata": nodata}
    return {option: _pairs(f"--{option}", given, float, list(files)) for option, given in options.items()}


def _refuse_strangers(stated: Mapping[str, Mapping[str, Any]], files: Mapping[str, str]) -> None:
    for option, values in stated.items():
        strangers = [role for role in values if role not in files]
        if strangers:
            raise UsageError(
                f"--{option} speaks of an input that is not given",
                got=", ".join(strangers),
                allowed=", ".join(files) or "the roles of the inputs that are given",
            )


def _of(role: str, stated: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {option: values.get(role) for option, values in stated.items()}


def _pairs(
    flag: str, statements: Sequence[str], read: Callable[[str], Any], all_roles: Sequence[str] | None
) -> dict[str, Any]:
    """``ROLE=VALUE`` statements as a mapping.

    A bare value counts for all roles that no other statement names, where bare values are allowed.
    """
    found: dict[str, Any] = {}
    for statement in statements:
        role, separator, text = statement.partition("=")
        if not separator:
            role, text = "", statement
        if (separator and not role) or (not separator and all_roles is None):
            raise UsageError(f"{flag} needs a role", got=statement, allowed="ROLE=VALUE")
        try:
            value = read(text)
        except ValueError as error:
            allowed = _LISTS.get(flag, "NUMBER or ROLE=NUMBER")
            raise UsageError(f"{flag} cannot be read", got=statement, allowed=allowed) from error
        if role in found:
            raise UsageError(f"{flag} is given twice", got=", ".join(s for s in statements if s.startswith(role)))
        found[role] = value
    if "" in found:
        return dict.fromkeys(all_roles or (), found.pop("")) | found
    return found


def _name_list(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise ValueError(text)
    return names
