# SPDX-License-Identifier: Apache-2.0
"""The contract of a network that takes samples: which arrays, along which dims, in which unit.

A :class:`SampleSpec` stands where a :class:`stf_infer.spec.ModelSpec` stands for rasters; ``kind`` tells them apart in
a bundle. There are no tiles: a sample is run whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..spec import Role, Tensor

# What the MLM extension allows as the name of an axis.
DimName = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]

# One number, or one for each place along a dim.
Numbers = float | tuple[float, ...]

BATCH = "batch"

# Arguments of `fuse`, which takes inputs by role beside them.
RESERVED = ("self", "output", "tile_batch", "progress")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Dim(_Frozen):
    """One axis of a sample.

    Attributes:
        name: Its name. The same name in another input or in the output is the same axis.
        size: Its length.
        labels: Names of the places along it, in the network's order (stations, channels); empty where they have none.
            An input that carries names along this axis is brought into this order.
    """

    name: DimName
    size: int = Field(gt=0)
    labels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _labels_fit(self) -> Dim:
        if self.name == BATCH:
            raise ValueError(f"{BATCH} is the name of the axis that samples are stacked along")
        if self.labels and (len(self.labels) != self.size or len(set(self.labels)) != self.size):
            raise ValueError(f"{self.name} needs {self.size} labels, each once; it has {len(self.labels)}")
        return self


def dims(**sizes: int | Sequence[str]) -> tuple[Dim, ...]:
    """Dims in the order of a tensor: ``dims(time=96, station=("north", "south"))``, by size or by labels."""
    return tuple(
        Dim(name=name, size=size) if isinstance(size, int) else Dim(name=name, size=len(size), labels=tuple(size))
        for name, size in sizes.items()
    )


class SampleValues(_Frozen):
    """How a physical value becomes the number that the network sees: ``net = clip(physical) * scale + offset``.

    Each number may be a list: one for each place along the dim ``along``.

    Attributes:
        unit: The physical unit; empty where the network takes values in whatever unit it was trained with.
        along: The dim that lists run along.
        scale: See above.
        offset: See above.
        minimum: Clips the physical value before it is scaled (inputs) or after it is scaled back (outputs). Whole
            numbers below it are refused.
        maximum: Likewise from above.
    """

    unit: str = ""
    along: DimName | None = None
    scale: Numbers = 1.0
    offset: Numbers = 0.0
    minimum: Numbers | None = None
    maximum: Numbers | None = None

    @classmethod
    def standardised(
        cls, mean: Numbers, deviation: Numbers, *, unit: str = "", along: str | None = None
    ) -> SampleValues:
        """Values of which the network sees ``(physical - mean) / deviation``.

        Raises:
            ValueError: A deviation is 0 or not finite, or the lists differ in length.
        """
        import numpy as np

        spread, middle = np.asarray(deviation, float), np.asarray(mean, float)
        if not (spread > 0).all() or not np.isfinite(spread).all():
            raise ValueError("a deviation must be a finite number above 0")
        scale, offset = np.broadcast_arrays(1 / spread, -middle / spread)
        return cls(unit=unit, along=along, scale=scale.tolist(), offset=offset.tolist())

    @model_validator(mode="after")
    def _numbers_are_usable(self) -> SampleValues:
        for name in ("scale", "offset", "minimum", "maximum"):
            numbers = self._list(name)
            if not all(math.isfinite(n) for n in numbers) or (name == "scale" and 0 in numbers):
                raise ValueError(f"{name} must be finite{' and not 0' if name == 'scale' else ''}")
            if self.along is None and isinstance(getattr(self, name), tuple):
                raise ValueError(f"{name} is a list: say which dim it runs along")
        return self

    def lengths(self) -> set[int]:
        """Lengths of all lists."""
        found = (getattr(self, name) for name in ("scale", "offset", "minimum", "maximum"))
        return {len(numbers) for numbers in found if isinstance(numbers, tuple)}

    def arrays(self, shape: Sequence[Dim]) -> dict[str, Any]:
        """``scale``, ``offset``, ``minimum`` and ``maximum`` (None where not stated), to be broadcast over a sample."""
        return {name: self._array(name, shape) for name in ("scale", "offset", "minimum", "maximum")}

    def _array(self, name: str, shape: Sequence[Dim]) -> Any:
        numbers = getattr(self, name)
        if not isinstance(numbers, tuple):
            return numbers
        import numpy as np

        return np.reshape(numbers, [-1 if dim.name == self.along else 1 for dim in shape])

    def _list(self, name: str) -> tuple[float, ...]:
        numbers = getattr(self, name)
        if numbers is None:
            return ()
        return numbers if isinstance(numbers, tuple) else (numbers,)


class SampleInput(_Frozen):
    """One input of the network.

    Attributes:
        role: What the array is called where it is handed in.
        tensor: Name of the tensor in the graph.
        dims: Its axes behind the batch axis, in order; none for one number a sample.
        dtype: Type of the tensor. Whole numbers need ``minimum`` and ``maximum``, and have no scale.
        values: Unit and scaling.
    """

    role: Role
    tensor: str
    dims: tuple[Dim, ...] = ()
    dtype: Literal["float32", "int32", "int64"] = "float32"
    values: SampleValues = SampleValues()

    @model_validator(mode="after")
    def _consistent(self) -> SampleInput:
        if self.role in RESERVED:
            raise ValueError(f"no role may be called {', '.join(RESERVED)}: fuse has arguments of these names")
        _check_axes(self.role, self.dims, self.values)
        if self.dtype != "float32":
            if self.values.minimum is None or self.values.maximum is None:
                raise ValueError(f"{self.role} takes whole numbers: say which, by minimum and maximum")
            if self.values.scale != 1 or self.values.offset != 0:
                raise ValueError(f"{self.role} takes whole numbers, which are not scaled")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(dim.size for dim in self.dims)


class SampleOutput(_Frozen):
    """What the network gives for each sample, as float32.

    Attributes:
        tensor: Name of the tensor in the graph.
        dims: Its axes behind the batch axis.
        values: Unit and scaling; ``physical = (net - offset) / scale``, then clipped.
    """

    tensor: str
    dims: tuple[Dim, ...] = ()
    values: SampleValues = SampleValues()

    @model_validator(mode="after")
    def _consistent(self) -> SampleOutput:
        _check_axes("the output", self.dims, self.values)
        return self

    @property
    def variable(self) -> str:
        """Name of the result in a file: the tensor's, with ``_`` for what files give a meaning (``a/b:0``)."""
        return re.sub(r"\W", "_", self.tensor)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(dim.size for dim in self.dims)


class SampleSpec(_Frozen):
    """The contract of one network that takes samples."""

    kind: Literal["samples"] = "samples"
    name: str = ""
    network: str
    inputs: tuple[SampleInput, ...] = Field(min_length=1)
    output: SampleOutput
    options: dict[str, Any] = {}
    source: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> SampleSpec:
        for what in ("role", "tensor"):
            names = [getattr(one, what) for one in self.inputs]
            if len(set(names)) != len(names):
                raise ValueError(f"a {what} is named twice: {names}")
        if self.output.tensor in {one.tensor for one in self.inputs}:
            raise ValueError(f"an input and the output have the same tensor: {self.output.tensor}")
        known: dict[str, Dim] = {}
        for dim in self._all_dims():
            if known.setdefault(dim.name, dim).size != dim.size:
                raise ValueError(f"{dim.name} is one axis and has two sizes: {known[dim.name].size} and {dim.size}")
        return self

    def _all_dims(self) -> tuple[Dim, ...]:
        return (*(dim for one in self.inputs for dim in one.dims), *self.output.dims)

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of all inputs, in their order."""
        return tuple(one.role for one in self.inputs)

    @property
    def dim_names(self) -> frozenset[str]:
        """Names of all dims of inputs and output; no dim of samples may have one of them."""
        return frozenset(dim.name for dim in self._all_dims())

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What the graph takes for one sample."""
        return tuple(Tensor(one.role, one.tensor, one.shape, one.dtype) for one in self.inputs)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output for one sample."""
        return self.output.shape


def _check_axes(whose: str, axes: Sequence[Dim], values: SampleValues) -> None:
    names = [dim.name for dim in axes]
    if len(set(names)) != len(names):
        raise ValueError(f"{whose} names a dim twice: {names}")
    if values.along is None:
        return
    if values.along not in names:
        raise ValueError(f"values of {whose} run along {values.along}, which is none of its dims: {names}")
    size = axes[names.index(values.along)].size
    if values.lengths() - {size}:
        raise ValueError(f"values of {whose} along {values.along} need {size} numbers, not {values.lengths()}")
