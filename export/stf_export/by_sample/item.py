# SPDX-License-Identifier: Apache-2.0
"""A contract for samples in the words of the Machine Learning Model extension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stf_infer.samples.spec import BATCH, Dim, SampleInput, SampleSpec, SampleValues

_TASKS = ["regression"]


def words(spec: SampleSpec, batch: int | None) -> dict[str, Any]:
    """Properties of the item that say what the network wants and gives.

    Args:
        spec: The contract.
        batch: Samples per run, None where that is free.
    """
    source = f" {spec.source}" if spec.source else ""
    wants = ", ".join(spec.roles)
    return {
        "description": f"Network {spec.network}: predicts {spec.output.tensor} from {wants}, sample by sample.{source}",
        "mlm:tasks": _TASKS,
        "mlm:input": [_input(one, batch) for one in spec.inputs],
        "mlm:output": [
            {
                "name": spec.output.tensor,
                "description": f"{_axes(spec.output.dims)}; {_unit(spec.output.values)}",
                "tasks": _TASKS,
                "bands": [],
                "result": _structure(spec.output.dims, "float32", batch),
            }
        ],
    }


def _input(one: SampleInput, batch: int | None) -> dict[str, Any]:
    scaling = _value_scaling(one)
    return {
        "name": one.tensor,
        "description": f"{one.role}: {_axes(one.dims)}; {_unit(one.values)}",
        "bands": [],
        "input": _structure(one.dims, one.dtype, batch),
        **({"value_scaling": scaling} if scaling else {}),
    }


def _structure(dims: Sequence[Dim], dtype: str, batch: int | None) -> dict[str, Any]:
    return {
        "shape": [batch or -1, *(dim.size for dim in dims)],
        "dim_order": [BATCH, *(dim.name for dim in dims)],
        "data_type": dtype,
    }


def _axes(dims: Sequence[Dim]) -> str:
    return ", ".join(f"{d.name} ({', '.join(d.labels)})" if d.labels else d.name for d in dims) or "one number"


def _unit(values: SampleValues) -> str:
    return f"in {values.unit}" if values.unit else "in the unit it was trained with"


def _value_scaling(one: SampleInput) -> list[dict[str, Any]]:
    """One scaling object for all, or one for each place along the dim that lists run along; empty for none."""
    lists = one.values.lengths()
    number = lists.pop() if lists else 1
    parts = [
        None if value is None else np.broadcast_to(value, number).tolist()
        for value in (one.values.scale, one.values.offset, one.values.minimum, one.values.maximum)
    ]
    found = [_one_scaling(*(None if part is None else part[i] for part in parts)) for i in range(number)]
    return [] if None in found else [scaling for scaling in found if scaling is not None]


def _one_scaling(scale: Any, offset: Any, low: Any, high: Any) -> dict[str, Any] | None:
    if scale != 1 or offset != 0:
        return {"type": "z-score", "mean": -offset / scale, "stddev": 1 / scale}
    if low is not None and high is not None:
        return {"type": "clip", "minimum": low, "maximum": high}
    if low is not None:
        return {"type": "clip-min", "minimum": low}
    return None if high is None else {"type": "clip-max", "maximum": high}
