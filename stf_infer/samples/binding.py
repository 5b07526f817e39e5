# SPDX-License-Identifier: Apache-2.0
"""Which axis of which array is which dim of the contract, and along which axes the samples lie.

Axes with names are matched by name, in any order; what the contract does not name is a dim of samples. A bare array
ends with the dims of the contract, in its order, and begins with dims of samples, which broadcast as NumPy's do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays import is_dataarray
from ..errors import DimError, UsageError
from .array import Index, SampleArray, Source, opened
from .spec import Dim, SampleInput, SampleSpec

# Labels that only count: series_1, band 2.
_COUNTED = re.compile(r"[a-z]*[ _-]?\d+")

SAMPLE = "sample"


@dataclass(frozen=True)
class Bound:
    """One input with its axes understood.

    Attributes:
        spec: What the network wants.
        source: The open array, with a name for each axis.
        picks: Dim of the contract: which places of the array are taken, in the network's order.
    """

    spec: SampleInput
    source: Source
    picks: dict[str, list[int]]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all axes of the array."""
        assert self.source.dims is not None
        return self.source.dims

    @property
    def sample_sizes(self) -> dict[str, int]:
        """Length of each dim of samples that this input has."""
        own = {dim.name for dim in self.spec.dims}
        return {name: size for name, size in zip(self.names, self.source.shape, strict=True) if name not in own}

    def read(self, region: Mapping[str, slice]) -> np.ndarray:
        """Stored numbers of a part of the samples.

        Args:
            region: Dim of samples: which of them, for all dims of samples, in their order.

        Returns:
            One axis a dim of samples, of length 1 where this input does not extend along it, then the dims of the
            contract.
        """
        where: list[Index] = [region.get(name, self.picks.get(name, slice(None))) for name in self.names]
        values = self.source.read(where)
        order = [*region, *(dim.name for dim in self.spec.dims)]
        present = [name for name in order if name in self.names]
        values = values.transpose([self.names.index(name) for name in present])
        missing = [axis for axis, name in enumerate(order) if name not in self.names]
        return np.expand_dims(values, missing)


@dataclass(frozen=True)
class Samples:
    """The inputs of one run.

    Attributes:
        inputs: In the contract's order.
        sizes: Dims of samples and their lengths, in the order of the result.
    """

    inputs: tuple[Bound, ...]
    sizes: dict[str, int]

    @property
    def has_names(self) -> bool:
        """Whether an input is a DataArray, so that the result should be one."""
        return any(is_dataarray(bound.source.array) for bound in self.inputs)


def bind(spec: SampleSpec, arrays: Mapping[str, SampleArray], stack: ExitStack) -> Samples:
    """Open all arrays and match their axes with the contract.

    Args:
        spec: The contract.
        arrays: Role: what the user gives.
        stack: Closes files.

    Raises:
        UsageError: A role is missing or unknown.
        SampleError, ScaleError, MissingExtraError: An array cannot be used.
        DimError: Dims are missing, have another length, or contradict one another.
    """
    _check_roles(spec, arrays)
    sources = {one.role: opened(one.role, arrays[one.role], stack) for one in spec.inputs}
    sources = _with_names(spec, sources)
    inputs = tuple(_bound(spec, one, sources[one.role]) for one in spec.inputs)
    sizes: dict[str, int] = {}
    for bound in inputs:
        for name, size in bound.sample_sizes.items():
            if sizes.setdefault(name, size) != size:
                raise DimError(
                    f"Inputs have different numbers of samples along {name}",
                    got=f"{sizes[name]} and {size} ({bound.spec.role}: {bound.source.label})",
                    fix="Cut them to the samples that they share, such as by xarray.align(a, b)",
                )
    return Samples(inputs, sizes)


def _check_roles(spec: SampleSpec, arrays: Mapping[str, Any]) -> None:
    missing = [role for role in spec.roles if role not in arrays]
    unknown = [role for role in arrays if role not in spec.roles]
    if missing or unknown:
        flags = ", ".join(f"{role}=... (--input {role}=FILE)" for role in missing)
        raise UsageError(
            f"{spec.name or spec.network} takes other inputs",
            got=", ".join(arrays) or "nothing",
            allowed=", ".join(spec.roles),
            fix=f"Give {flags}" if missing else f"Leave {', '.join(unknown)} out",
        )


def _with_names(spec: SampleSpec, sources: dict[str, Source]) -> dict[str, Source]:
    """The sources with a name for each axis of bare arrays: the contract's dims last, counted dims of samples first."""
    bare = [one for one in spec.inputs if sources[one.role].dims is None]
    leading = {one.role: _leading(one, sources[one.role]) for one in bare}
    most = max((len(shape) for shape in leading.values()), default=0)
    named = [one.role for one in spec.inputs if one not in bare and _extends(one, sources[one.role])]
    if most and named:
        raise DimError(
            "Some inputs name their dims of samples and some do not, so that nobody can tell how they belong together",
            got=f"without names: {', '.join(role for role, shape in leading.items() if shape)}",
            fix=f"Name all axes, as {named[0]} does: stf_infer.SampleArray(array, dims=(...)), or --dims ROLE=NAMES",
        )
    names = [SAMPLE] if most == 1 else [f"{SAMPLE}_{number}" for number in range(1, most + 1)]
    aligned = [(1,) * (most - len(shape)) + shape for shape in leading.values()]
    lengths = {name: next((shape[i] for shape in aligned if shape[i] != 1), 1) for i, name in enumerate(names)}
    found = dict(sources)
    for one in bare:
        found[one.role] = _named(one, sources[one.role], names[most - len(leading[one.role]) :], lengths)
    return found


def _leading(one: SampleInput, source: Source) -> tuple[int, ...]:
    """Lengths of a bare array's axes in front of those of a sample."""
    split = len(source.shape) - len(one.dims)
    if split < 0 or source.shape[split:] != one.shape:
        raise DimError(
            f"{one.role} does not end with the dims of a sample",
            got=f"{source.label}, shape {source.shape}",
            allowed=f"(..., {', '.join(map(str, one.shape))}): {_words(one.dims)}",
            fix="Transpose or reshape it, or name its axes: stf_infer.SampleArray(array, dims=(...)), or --dims "
            f"{one.role}=NAMES",
        )
    return source.shape[:split]


def _extends(one: SampleInput, source: Source) -> bool:
    return bool(set(source.dims or ()) - {dim.name for dim in one.dims})


def _named(one: SampleInput, source: Source, names: Sequence[str], lengths: Mapping[str, int]) -> Source:
    """A bare array with names; an axis of length 1 that stands for more samples is left out."""
    kept = [name for name, size in zip(names, source.shape, strict=False) if size == lengths[name]]
    alone = [axis for axis, name in enumerate(names) if name not in kept]
    if wrong := [source.shape[axis] for axis in alone if source.shape[axis] != 1]:
        raise DimError(
            f"The samples of {one.role} do not broadcast with those of the other inputs",
            got=f"{source.label}: {wrong[0]} where another has {lengths[names[alone[0]]]}",
            allowed="the same number, or 1",
        )
    array = source.array.reshape([n for axis, n in enumerate(source.shape) if axis not in alone])
    return replace(source, array=array, dims=(*kept, *(dim.name for dim in one.dims)))


def _bound(spec: SampleSpec, one: SampleInput, source: Source) -> Bound:
    assert source.dims is not None
    sizes = dict(zip(source.dims, source.shape, strict=True))
    picks = {}
    for dim in one.dims:
        if dim.name not in sizes:
            if dim.size > 1:
                raise _missing(one, dim, source)
            continue
        chosen = _by_label(one, dim, source)
        if chosen is not None:
            picks[dim.name] = chosen
        elif sizes[dim.name] != dim.size:
            raise _wrong_size(one, dim, sizes[dim.name], source)
    own = {dim.name for dim in one.dims}
    if strangers := [name for name in source.dims if name not in own and name in spec.dim_names]:
        raise DimError(
            f"{strangers[0]} is a dim of the network, but not of {one.role}",
            got=f"{source.label}: {_axes(source)}",
            allowed=f"{_words(one.dims)}, and dims of samples that are not called {', '.join(sorted(spec.dim_names))}",
            fix=_rename_hint(one, strangers[0], f"{SAMPLE}_{strangers[0]}"),
        )
    return Bound(one, source, picks)


def _by_label(one: SampleInput, dim: Dim, source: Source) -> list[int] | None:
    """Which places along a dim have the network's labels, in its order; None where places go by their order."""
    names = labels_along(source, dim.name)
    if not dim.labels or names is None:
        return None
    wanted, found = [_plain(label) for label in dim.labels], [_plain(name) for name in names]
    lost = [label for label, plain in zip(dim.labels, wanted, strict=True) if plain not in found]
    if not lost and len(set(found)) == len(found):
        return [found.index(plain) for plain in wanted]
    if all(_COUNTED.fullmatch(plain) for plain in wanted) or all(_COUNTED.fullmatch(plain) for plain in found):
        return None
    raise DimError(
        f"{one.role} names its places along {dim.name} otherwise than the network: "
        + (f"{', '.join(lost[:5])} not found" if lost else "a name stands there twice"),
        got=f"{source.label}: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}",
        allowed=", ".join(dim.labels),
        fix=f"Rename them, or leave the coordinate {dim.name} out to go by the order",
    )


def labels_along(source: Source, name: str) -> list[str] | None:
    """The text that an array's own coordinate puts along one of its dims, or None."""
    if not is_dataarray(source.array) or name not in source.array.coords:
        return None
    coordinate = source.array.coords[name]
    if coordinate.ndim != 1 or coordinate.dtype.kind not in "UOST":
        return None
    return [value.decode() if isinstance(value, bytes) else str(value) for value in coordinate.values]


def _plain(label: str) -> str:
    return label.strip().lower()


def _missing(one: SampleInput, dim: Dim, source: Source) -> DimError:
    fits = [n for n, size in zip(source.dims or (), source.shape, strict=True) if size == dim.size]
    return DimError(
        f"{one.role} has no dim {dim.name}",
        got=f"{source.label}: {_axes(source)}",
        allowed=f"{_words(one.dims)}, and any dims of samples",
        fix=_rename_hint(one, fits[0] if fits else "NAME", dim.name),
    )


def _wrong_size(one: SampleInput, dim: Dim, size: int, source: Source) -> DimError:
    return DimError(
        f"{one.role} has another length along {dim.name} than the network",
        got=f"{source.label}: {size}",
        allowed=dim.size,
        fix=f"Cut it, as by isel({dim.name}=slice(-{dim.size}, None)); every window of a series is "
        f"rolling({dim.name}={dim.size}).construct(...)"
        if size > dim.size
        else None,
    )


def _rename_hint(one: SampleInput, before: str, after: str) -> str:
    return f"Rename it: rename({before}={after!r}), or name all axes by --dims {one.role}=NAMES"


def _words(dims: Sequence[Dim]) -> str:
    return ", ".join(f"{dim.name} ({dim.size})" for dim in dims) or "one number a sample"


def _axes(source: Source) -> str:
    return ", ".join(f"{n} ({size})" for n, size in zip(source.dims or (), source.shape, strict=True)) or "no dims"
