# SPDX-License-Identifier: Apache-2.0
"""Files that hold arrays: ``.npy``, ``.npz`` and NetCDF. Nothing is read but what is asked for."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..errors import MissingExtraError, SampleError

NETCDF = (".nc", ".nc4", ".cdf", ".h5", ".hdf5")


def split_name(text: str) -> tuple[Path, str | None]:
    """``FILE`` or ``FILE:NAME`` as a path and a name; a file whose own name has a colon is taken as it is.

    Raises:
        SampleError: There is no such file.
    """
    head, colon, name = text.rpartition(":")
    if colon and name and not Path(text).exists() and Path(head).exists():
        return Path(head), name
    if not Path(text).is_file():
        raise SampleError("A file is missing", got=text, fix="Check the path")
    return Path(text), None


def open_file(text: str, role: str, stack: ExitStack, *, as_stored: bool = False) -> Any:
    """The array of a file: memory-mapped (``.npy``), read (``.npz``), or a lazy DataArray (NetCDF).

    Args:
        text: ``FILE`` or ``FILE:NAME``.
        role: A variable of that name is taken where none is named and the file has several.
        stack: Closes the file.
        as_stored: Leave numbers of a NetCDF file as they are stored, not scaled and masked.

    Raises:
        SampleError: The file is missing, cannot be read, or does not say which array is meant.
        MissingExtraError: xarray or a NetCDF library is not installed.
    """
    path, name = split_name(text)
    if path.suffix in NETCDF:
        return _netcdf(path, name, role, stack, as_stored)
    try:
        if path.suffix == ".npy":
            return _mapped(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as held:
                return held[_chosen(path, name, role, held.files)]
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise SampleError("A file cannot be read as an array", got=f"{path}: {error}") from error
    raise SampleError(
        "A file of this kind cannot be read", got=path, allowed=f".npy, .npz or NetCDF ({', '.join(NETCDF)})"
    )


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except ValueError:  # an array without a single number cannot be mapped
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]


def _chosen(path: Path, name: str | None, role: str, names: list[str]) -> str:
    """Which of several arrays is meant: the one that is named, the only one, or the one that has the role's name."""
    if name is not None and name not in names:
        raise SampleError("The file holds no array of that name", got=f"{path}: {name}", allowed=", ".join(names))
    if name is not None:
        return name
    if len(names) == 1 or role in names:
        return role if role in names else names[0]
    raise SampleError(
        f"The file does not say which of its arrays is {role}",
        got=f"{path}: {', '.join(names) or 'none'}",
        fix=f"Name one of them: {role}={path}:NAME",
    )


def _netcdf(path: Path, name: str | None, role: str, stack: ExitStack, as_stored: bool) -> Any:
    dataset = _dataset(path, stack)
    name = _chosen(path, name, role, [str(v) for v in dataset.data_vars])
    if as_stored:
        # Coordinates stay decoded.
        dataset = dataset.assign({name: _dataset(path, stack, mask_and_scale=False)[name].variable})
    return dataset[name]


def _dataset(path: Path, stack: ExitStack, **options: Any) -> Any:
    try:
        # Decoding of time spans would turn a variable in hours or days into something that is no number.
        opened = need_xarray().open_dataset(path, cache=False, decode_timedelta=False, **options)
    except Exception as error:  # each backend has errors of its own
        if isinstance(error, MissingExtraError):
            raise
        raise SampleError(
            "The file cannot be read as NetCDF",
            got=f"{path}: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            fix="Check the file; classic NetCDF (version 3) needs the package netCDF4 or scipy",
        ) from error
    return stack.enter_context(opened)


def need_xarray() -> Any:
    """xarray, with a library that reads and writes NetCDF.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    try:
        import h5netcdf  # noqa: F401
        import xarray
    except ImportError as error:
        raise MissingExtraError(
            "NetCDF is read and written through xarray and h5netcdf, which are not both installed",
            got=error,
            fix="pip install 'stf-infer[xarray]'",
        ) from error
    return xarray
