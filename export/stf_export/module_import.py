# SPDX-License-Identifier: Apache-2.0
"""A user's own network: ``package.module:factory`` to an ``nn.Module``."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stf_infer.errors import ExportError

from .extras import need

if TYPE_CHECKING:
    from torch import nn


def resolve(reference: Any, options: Mapping[str, Any] | None = None) -> nn.Module:
    """The module that a reference means.

    Args:
        reference: A module, something that returns one when called, or ``package.module:name`` of either; packages in
            the working directory are found.
        options: Arguments by name for what is called.

    Raises:
        ExportError: It cannot be imported, is not there, fails, or gives something that is no ``nn.Module``.
    """
    torch = need("torch")
    named = reference if isinstance(reference, str) else getattr(reference, "__name__", type(reference).__name__)
    found = _import(reference) if isinstance(reference, str) else reference
    if not isinstance(found, torch.nn.Module):
        if not callable(found):
            raise ExportError("This is neither a module nor something that makes one", got=f"{named}: {found!r}")
        try:
            found = found(**(options or {}))
        except Exception as error:  # the user's code may raise anything
            raise ExportError(
                f"{named} failed to make a module",
                got=f"{type(error).__name__}: {error}",
                fix="Arguments are given with --option NAME=VALUE",
            ) from error
    elif options:
        raise ExportError(f"{named} is a module already and takes no options", got=", ".join(options))
    if not isinstance(found, torch.nn.Module):
        raise ExportError(f"{named} did not make an nn.Module", got=type(found).__name__)
    return found


def _import(reference: str) -> Any:
    module, separator, attribute = reference.partition(":")
    if not separator or not module or not attribute:
        raise ExportError(
            "A module is named by its package and its factory", got=reference, allowed="package.module:factory"
        )
    with _working_directory_importable():
        try:
            found: Any = importlib.import_module(module)
        except Exception as error:  # the user's code may raise anything
            raise ExportError(
                f"{module} cannot be imported",
                got=f"{type(error).__name__}: {error}",
                fix="Run the command where the package lies, or install it",
            ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ExportError(f"{module} has no {attribute}", got=part)
        found = getattr(found, part)
    return found


@contextlib.contextmanager
def _working_directory_importable() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
