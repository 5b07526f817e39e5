# SPDX-License-Identifier: Apache-2.0
"""Verbs and steps whose optional packages are not installed: named with the extra that brings them."""

from __future__ import annotations

import click

from ..errors import MissingExtraError, StfError
from ._verb import Report, verb

# package: extra that installs it
_EXTRAS = {
    "stf_export": "export",
    "torch": "export",
    "onnx": "export",
    "onnxscript": "export",
    "networkx": "export",
    "h5py": "export",
    "safetensors": "export",
    "pystac": "export",
    "onnxruntime": "cpu",
    "openvino": "openvino",
    "xarray": "xarray",
    "rioxarray": "xarray",
    "h5netcdf": "xarray",
}


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The error that names the extra, if it is an optional package that was not found."""
    package = (error.name or "").partition(".")[0]
    if package not in _EXTRAS:
        return None
    return MissingExtraError(
        f"This needs the package {package}, which is not installed", fix=f"pip install 'stf-infer[{_EXTRAS[package]}]'"
    )


def missing_verb(name: str, error: ModuleNotFoundError) -> click.Command:
    """A command that stands for a verb that cannot be imported and says why, whatever its arguments are."""
    reason = missing_extra(error) or StfError(f"The verb {name} is not part of this installation", got=error)

    @click.command(
        name, context_settings={"ignore_unknown_options": True, "allow_extra_args": True}, add_help_option=False
    )
    @verb
    def stand_in() -> Report:
        raise reason

    return stand_in
