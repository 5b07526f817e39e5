# SPDX-License-Identifier: Apache-2.0
"""Where results of samples go: an array, or a ``.npy``, ``.npz`` or NetCDF file that is complete or not there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import OutputError, UsageError
from .array import SampleArray
from .files import NETCDF, split_name
from .run import Region

SUFFIXES = (".npy", ".npz", *NETCDF)


def check_suffix(path: Path) -> None:
    """Refuse a destination whose name does not say what it shall be.

    Raises:
        OutputError: It has none of the known suffixes.
    """
    if path.suffix not in SUFFIXES:
        raise OutputError("Results of samples are not written as such a file", got=path, allowed=", ".join(SUFFIXES))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden name beside a destination; the file takes the destination's name when the block ends without an error.

    Raises:
        OutputError: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        _to_disk(partial)
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            "The result cannot be written",
            got=f"{path}: {error.strerror or error}{_free(path)}",
            fix="Make room, or write to another place",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def _free(path: Path) -> str:
    try:
        return f" ({shutil.disk_usage(path.parent).free / 1e6:.0f} MB free)"
    except OSError:
        return ""


class ArrayWriter:
    """Collects a result in memory.

    Args:
        shape: Of the whole result.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.array = np.empty(tuple(shape), np.float32)

    def write(self, region: Region, values: np.ndarray) -> None:
        """Take the values of a region."""
        self.array[region] = values


class StreamWriter:
    """Appends a result to a stream behind the header of a ``.npy`` file.

    Args:
        stream: Where to.
        shape: Of the whole result.
    """

    def __init__(self, stream: IO[bytes], shape: Sequence[int]) -> None:
        self._stream = stream
        header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(stream, header)

    def write(self, region: Region, values: np.ndarray) -> None:
        """Take the values of a region, which begins where the last one ended."""
        self._stream.write(np.ascontiguousarray(values, "<f4").tobytes())


@contextlib.contextmanager
def npy(partial: Path, shape: Sequence[int]) -> Iterator[StreamWriter]:
    """A ``.npy`` file: the numbers, and nothing else."""
    with partial.open("wb") as stream:
        yield StreamWriter(stream, shape)


@contextlib.contextmanager
def npz(
    partial: Path, name: str, shape: Sequence[int], dims: Sequence[str], provenance: Mapping[str, str]
) -> Iterator[StreamWriter]:
    """A ``.npz`` file: the result by its name, and as text ``dims`` (names of its axes) and ``provenance`` (JSON)."""
    with zipfile.ZipFile(partial, "w") as archive:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
            yield StreamWriter(stream, shape)
        for key, text in (("dims", np.array(list(dims), str)), ("provenance", np.array(json.dumps(dict(provenance))))):
            with archive.open(f"{key}.npy", "w") as stream:
                np.lib.format.write_array(stream, text, allow_pickle=False)


def refuse_inputs(path: Path, inputs: Mapping[str, SampleArray]) -> None:
    """Refuse to write over a file that is read.

    Args:
        path: The destination.
        inputs: What the user gave, by role.

    Raises:
        UsageError: An input lies there.
    """
    for role, array in inputs.items():
        if array.file is not None and path.exists() and path.samefile(split_name(array.file)[0]):
            raise UsageError("The result would overwrite an input", got=f"{role}: {path}")
