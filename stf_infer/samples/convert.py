# SPDX-License-Identifier: Apache-2.0
"""Stored numbers to what the network sees, and what it gives to physical values."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ..errors import SampleError, ScaleError
from ..spec import PLAUSIBLE
from .array import Source
from .spec import SampleInput, SampleOutput

_log = logging.getLogger(__name__)

# Units that need no scale to be stated: none, and whatever the network was trained with.
_BARE = ("", "1")
_SAME = {"k": "kelvin", "degk": "kelvin", "degrees_kelvin": "kelvin", "-": "1", "dimensionless": "1"}


def check_scale(spec: SampleInput, source: Source) -> None:
    """Refuse integers without a scale where a physical unit is wanted; warn of a unit with another name.

    Raises:
        ScaleError: Never guessed.
    """
    wanted, found = _plain(spec.values.unit), _plain(source.unit)
    if source.dtype.kind in "ui" and not source.stated and wanted not in _BARE and found != wanted:
        raise ScaleError(
            f"{spec.role} holds integers and no scale, and the network wants {spec.values.unit}",
            got=f"{source.label}: {source.dtype}",
            fix=f"State it: --scale {spec.role}=X, or stf_infer.SampleArray(array, scale=X); 1 if they are "
            f"{spec.values.unit} already",
        )
    if found and wanted not in _BARE and found != wanted:
        _log.warning("%s is in %s, and the network wants %s", spec.role, source.unit, spec.values.unit)


def _plain(unit: str) -> str:
    lower = unit.strip().lower()
    return _SAME.get(lower, lower)


def to_network(spec: SampleInput, source: Source, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Network values of stored numbers, and which of them are measurements.

    Args:
        spec: The input.
        source: Whose numbers they are: scale and missing values.
        stored: Any axes of samples, then the dims of the contract.

    Returns:
        Values of the tensor's type, and True where a number is one; other values are 0.

    Raises:
        SampleError: Whole numbers are wanted, and others are there, or some that the network does not know.
        ScaleError: Most numbers cannot be of the unit.
    """
    kind = np.dtype("f4" if stored.dtype.kind == "f" and stored.dtype.itemsize <= 4 else "f8")
    physical = stored.astype(kind)
    valid = np.isfinite(physical)
    for value in source.missing:
        valid &= physical != kind.type(value)
    if source.scale != 1 or source.offset != 0:
        physical = physical * source.scale + source.offset
    physical[~valid] = 0
    wants = spec.values.arrays(spec.dims)
    if spec.dtype != "float32":
        _check_whole(spec, source, physical, valid, wants)
        return physical.astype(spec.dtype), valid
    _check_plausible(spec, source, physical[valid])
    if wants["minimum"] is not None or wants["maximum"] is not None:
        physical = np.clip(physical, wants["minimum"], wants["maximum"])
    return np.asarray(physical * wants["scale"] + wants["offset"], np.float32), valid


def _check_whole(
    spec: SampleInput, source: Source, physical: np.ndarray, valid: np.ndarray, wants: dict[str, Any]
) -> None:
    low, high = (np.broadcast_to(wants[name], physical.shape) for name in ("minimum", "maximum"))
    wrong = valid & ((physical != np.rint(physical)) | (physical < low) | (physical > high))
    if not wrong.any():
        return
    place = tuple(int(i[0]) for i in np.nonzero(wrong))
    own = place[len(place) - len(spec.dims) :]
    where = ", ".join(f"{dim.name} {i}" for dim, i in zip(spec.dims, own, strict=True))
    raise SampleError(
        f"{spec.role} takes whole numbers that the network knows",
        got=f"{source.label}: {physical[place]:g}{f' at {where}' if where else ''}",
        allowed=f"{low[place]:g} to {high[place]:g}",
    )


def _check_plausible(spec: SampleInput, source: Source, values: np.ndarray) -> None:
    limits = PLAUSIBLE.get(spec.values.unit)
    if limits is None or source.stated or values.size == 0:
        return
    outside = np.mean((values < limits[0]) | (values > limits[1]))
    if outside > 0.5:
        raise ScaleError(
            f"{spec.role} does not hold {spec.values.unit}: {outside:.0%} of its values lie outside",
            got=f"{source.label}: median {np.median(values):.6g}",
            allowed=f"{limits[0]} to {limits[1]}",
            fix=f"State the scale: --scale {spec.role}=X, or stf_infer.SampleArray(array, scale=X)",
        )


def to_physical(output: SampleOutput, values: np.ndarray) -> np.ndarray:
    """Physical float32 values of what the network gave, ``(N, *dims)``; what is not finite stays so."""
    wants = output.values.arrays(output.dims)
    physical = (values.astype(np.float64) - wants["offset"]) / wants["scale"]
    if wants["minimum"] is not None or wants["maximum"] is not None:
        # An infinite value is an error to be counted, not one to be hidden by a limit.
        physical = np.where(np.isfinite(physical), np.clip(physical, wants["minimum"], wants["maximum"]), physical)
    return physical.astype(np.float32)
