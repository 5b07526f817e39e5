# SPDX-License-Identifier: Apache-2.0
"""One array as the user states it, and the same array opened: in memory, in a file, or lazily behind xarray."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays import is_dataarray
from ..errors import DimError, SampleError, ScaleError
from .files import open_file

Index = slice | list[int]


@dataclass(frozen=True)
class SampleArray:
    """An input of a network that takes samples; everything left None is taken from the array or file itself.

    Attributes:
        data: An array, masked or not, an xarray DataArray, or a path: ``.npy``, ``.npz`` or NetCDF, with ``:NAME``
            behind it where the file holds more than one array.
        dims: Names of its axes, in order. They take the place of those that a DataArray or a file has.
        scale: ``physical = stored * scale + offset``.
        offset: See ``scale``; 0 where only a scale is given.
        nodata: Stored value that means "no measurement"; NaN always does.
    """

    data: Any
    dims: tuple[str, ...] | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None

    @classmethod
    def of(cls, value: Any) -> SampleArray:
        """A SampleArray from whatever a caller may pass."""
        return value if isinstance(value, SampleArray) else cls(value)

    @property
    def is_stated(self) -> bool:
        """Whether something is stated that is meant for stored numbers, not for those that a reader has scaled."""
        return any(value is not None for value in (self.scale, self.offset, self.nodata))

    @property
    def file(self) -> str | None:
        """``FILE`` or ``FILE:NAME``, or None for an array in memory."""
        return os.fspath(self.data) if isinstance(self.data, (str, os.PathLike)) else None

    @property
    def label(self) -> str:
        """How messages name the array."""
        shape = getattr(self.data, "shape", None)
        return self.file or ("an array" if shape is None else f"an array of {' x '.join(map(str, shape))}".strip())


@dataclass(frozen=True)
class Source:
    """An open array. ``physical = stored * scale + offset``; ``stated`` says whether anyone said so.

    Attributes:
        label: How messages name it.
        array: NumPy array (a memory map too) or DataArray.
        dims: Names of its axes, or None for a bare array.
        scale: See above.
        offset: See above.
        missing: Stored values that mean "no measurement".
        stated: Whether a scale is known and not assumed.
        unit: Unit that the array itself names, or empty.
    """

    label: str
    array: Any
    dims: tuple[str, ...] | None
    scale: float = 1.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()
    stated: bool = False
    unit: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of its axes."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored numbers."""
        return np.dtype(self.array.dtype)

    def read(self, where: Sequence[Index]) -> np.ndarray:
        """Stored numbers of a part, all axes kept; masked ones are NaN. A list picks places, and only from named axes.

        Raises:
            SampleError: The file cannot be read.
        """
        try:
            part = self.array[tuple(where)]
            if is_dataarray(part):
                part = part.values
        except (OSError, RuntimeError) as error:
            raise SampleError("An array cannot be read", got=f"{self.label}: {error}", fix="Check the file") from error
        if np.ma.isMaskedArray(part):
            kept = part.dtype if part.dtype.kind == "f" else np.float64
            return np.ma.filled(part.astype(kept), np.nan)  # type: ignore[no-any-return]
        return np.asarray(part)


def opened(role: str, array: SampleArray, stack: ExitStack) -> Source:
    """An array, ready to be read in parts.

    Args:
        role: Whose input it is; a file's variable of that name is taken where none is named.
        array: What the user states.
        stack: Closes the file.

    Raises:
        SampleError: The file is missing or cannot be read, or what it holds is no array of numbers.
        DimError: There are not as many names as axes.
        ScaleError: The scale cannot be used.
        MissingExtraError: A NetCDF file is given and xarray is not installed.
    """
    data, label = array.data, array.label
    if array.file is not None:
        data = open_file(array.file, role, stack, as_stored=array.is_stated)
    if type(data).__name__ == "Dataset" and hasattr(data, "data_vars"):
        raise SampleError(
            f"{role} is a Dataset, and one of its variables is wanted",
            got=", ".join(map(str, data.data_vars)),
            fix=f"Give {role}=dataset[NAME]",
        )
    if not is_dataarray(data) and not isinstance(data, np.ndarray):
        data = _as_numpy(role, data)
    if data.dtype.kind not in "buif":
        raise SampleError(f"{role} holds no numbers", got=f"{label}: dtype {data.dtype}", allowed="integers or floats")
    if array.dims is not None:
        data = _renamed(role, data, array.dims)
    dims = tuple(map(str, data.dims)) if is_dataarray(data) else array.dims
    return _with_scale(role, array, Source(label, data, dims))


def _as_numpy(role: str, data: Any) -> np.ndarray:
    try:
        return np.asarray(data)
    except (TypeError, ValueError) as error:
        raise SampleError(f"{role} is no array", got=f"{type(data).__name__}: {error}") from error


def _renamed(role: str, data: Any, names: tuple[str, ...]) -> Any:
    if len(names) != data.ndim or len(set(names)) != len(names):
        raise DimError(
            f"{role} needs a name for each of its axes, and none twice",
            got=", ".join(names),
            allowed=f"{data.ndim} names for the shape {tuple(data.shape)}",
        )
    if not is_dataarray(data):
        return data
    try:
        return data.rename(dict(zip(data.dims, names, strict=True)))
    except ValueError as error:
        raise DimError(f"The dims of {role} cannot be renamed", got=error) from error


def _with_scale(role: str, array: SampleArray, source: Source) -> Source:
    """The source with the scale that is stated, or else the one that its attributes name."""
    attributes = source.array.attrs if is_dataarray(source.array) else {}
    scale, offset = attributes.get("scale_factor"), attributes.get("add_offset")
    if array.scale is not None or array.offset is not None:
        scale, offset = array.scale, array.offset
    missing = [attributes.get(name) for name in ("_FillValue", "missing_value")] + [array.nodata]
    found = replace(
        source,
        scale=1.0 if scale is None else float(scale),
        offset=0.0 if offset is None else float(offset),
        missing=tuple(float(v) for value in missing if value is not None for v in np.atleast_1d(value)),
        stated=scale is not None or offset is not None,
        unit=str(attributes.get("units", "")),
    )
    if not np.isfinite([found.scale, found.offset]).all() or found.scale == 0:
        raise ScaleError(
            f"The scale of {role} cannot be used", got=f"{source.label}: {found.scale}, offset {found.offset}"
        )
    return found
