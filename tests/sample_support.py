# SPDX-License-Identifier: Apache-2.0
"""A network that takes samples and whose results are known: the last steps of each station, plus a bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from fakes import FakeBundle, FunctionEngine
from stf_infer.samples.model import SampleModel
from stf_infer.samples.spec import SampleInput, SampleOutput, SampleSpec, SampleValues, dims

STATIONS = ("north", "south")
STEPS, AHEAD = 3, 2


def make_spec(
    *,
    values: SampleValues | None = None,
    output: SampleValues | None = None,
    stations: tuple[str, ...] | int = STATIONS,
) -> SampleSpec:
    """``history`` (time, station) and one ``bias`` a sample give ``forecast`` (ahead, station)."""
    return SampleSpec(
        name="persistence",
        network="persistence",
        inputs=(
            SampleInput(
                role="history",
                tensor="past",
                dims=dims(time=STEPS, station=stations),
                values=values or SampleValues(),
            ),
            SampleInput(role="bias", tensor="bias"),
        ),
        output=SampleOutput(
            tensor="forecast", dims=dims(ahead=AHEAD, station=stations), values=output or SampleValues()
        ),
    )


def forecast(past: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """What the network computes, ``(N, AHEAD, stations)``."""
    return past[:, -AHEAD:] + bias[:, None, None]


def model_of(spec: SampleSpec, function: Any = forecast) -> SampleModel:
    """An open model around a function of tensors."""
    model = SampleModel(FakeBundle(spec))  # type: ignore[arg-type]
    model._engine = FunctionEngine(spec, function)  # type: ignore[arg-type]
    return model


def histories(*samples: int) -> np.ndarray:
    """Different numbers for every sample, step and station, ``(*samples, STEPS, 2)`` float32."""
    shape = (*samples, STEPS, len(STATIONS))
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
