# SPDX-License-Identifier: Apache-2.0
"""What a user states about rasters on the command line: ``ROLE=VALUE``, or a value for all roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import UsageError
from ..raster import Raster


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
    files = {role: path for role, path in paths.items() if path is not None}
    files.update(_pairs("--input", others, str, None))
    roles = list(files)
    stated = {
        "bands": _pairs("--bands", bands, _band_list, None),
        "scale": _pairs("--scale", scale, float, roles),
        "offset": _pairs("--offset", offset, float, roles),
        "nodata": _pairs("--nodata", nodata, float, roles),
    }
    for option, values in stated.items():
        strangers = [role for role in values if role not in files]
        if strangers:
            raise UsageError(
                f"--{option} speaks of a raster that is not given",
                got=", ".join(strangers),
                allowed=", ".join(roles) or "the roles of the rasters that are given",
            )
    return {
        role: Raster(path, **{option: values.get(role) for option, values in stated.items()})
        for role, path in files.items()
    }


def _pairs(
    flag: str, statements: Sequence[str], read: Callable[[str], Any], all_roles: Sequence[str] | None
) -> dict[str, Any]:
    """``ROLE=VALUE`` statements as a mapping; a bare value counts for all roles, where that is allowed."""
    found: dict[str, Any] = {}
    for statement in statements:
        role, separator, text = statement.partition("=")
        if not separator:
            role, text = "", statement
        if not role and all_roles is None:
            raise UsageError(f"{flag} needs a role", got=statement, allowed="ROLE=VALUE")
        try:
            value = read(text)
        except ValueError as error:
            raise UsageError(f"{flag} cannot be read", got=statement, allowed="ROLE=NUMBER") from error
        found.update(dict.fromkeys([role] if role else (all_roles or ()), value))
    return found


def _band_list(text: str) -> tuple[str, ...]:
    bands = tuple(part.strip() for part in text.split(","))
    if not all(bands):
        raise ValueError(text)
    return bands
