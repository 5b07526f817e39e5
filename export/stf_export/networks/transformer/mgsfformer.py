# SPDX-License-Identifier: Apache-2.0
"""MGSFformer: stations' series at five granularities, attention along channels and across stations, then a forecast.

Yu, Wang, Wang, Shao, Sun, Yao, Xu: MGSFformer: A Multi-Granularity Spatiotemporal Fusion Transformer for Air Quality
Prediction. Information Fusion 113, 102607, 2025, doi:10.1016/j.inffus.2024.102607.

    history ──▶ normalise ──▶ means over 24, 12, 6, 3, 1 steps ──▶ embed, subtract the coarser ──▶ 5 attention blocks
                                                                   forecast ◀── undo ◀── gate over 5 ◀────┘

Not an image network: a forecast of several series from their own past. It takes samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.samples.spec import SampleInput, SampleOutput, SampleSpec, dims

from ..base import About, FusionNetwork

PERIOD = 24  # steps of the coarsest granularity
STEPS = (24, 12, 6, 3, 1)  # steps averaged, coarse to fine
NORM_OF = (1, 2, 1, 2, 3)  # which of the layer norms each granularity goes through
EPS = 1e-5
SERIES = tuple(f"series_{i + 1}" for i in range(7))


class MGSFformer(FusionNetwork):
    """The network for a fixed number of series, past steps and future steps.

    ``forward`` takes ``history`` ``(N, history, series, 1)`` in any physical unit: each series is brought to mean 0
    and variance 1 over the given steps inside, and the forecast ``(N, horizon, series, 1)`` is brought back. Steps
    are hours in the paper; the granularities are 24, 12, 6, 3 and 1 of them.

    Things that are not as one would write them, and weights are trained with them: the five granularities go through
    layer norms 1, 2, 1, 2, 3 (norms 4 and 5 hold weights that are never used); "temporal" attention compares channels
    with one another, by their rows of time; "spatial" attention compares channels by their stations; the three slices
    of the horizon use one gate, so that they are no slices (the other two hold weights that are never used).

    Differences from the published code: all heads there share their queries, keys and values and differ by dropout
    alone, so one head and the sum of the heads' weights is the same forecast.

    Args:
        bands: Names of the series, in the network's order.
        history: Past steps; a multiple of 24.
        horizon: Future steps.
        width: Channels of an embedding.
        heads: Attention heads of the trained network; they set a scale and the shape of a weight.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="MGSFformer",
        family="transformer",
        paper="Yu, Wang, Wang, Shao, Sun, Yao, Xu: MGSFformer: A Multi-Granularity Spatiotemporal Fusion Transformer "
        "for Air Quality Prediction. Information Fusion 113, 102607, 2025",
        doi="10.1016/j.inffus.2024.102607",
        options={
            "history": "past steps: a multiple of 24 (default 96)",
            "horizon": "future steps (default 24)",
            "width": "channels of an embedding (default 32), a multiple of heads",
            "heads": "attention heads (default 2)",
        },
    )
    roles: ClassVar[tuple[str, ...]] = ("history",)

    def __init__(
        self,
        bands: Sequence[str] = SERIES,
        *,
        history: int = 96,
        horizon: int = 24,
        width: int = 32,
        heads: int = 2,
    ) -> None:
        super().__init__(bands)
        for name, value in (("horizon", horizon), ("width", width), ("heads", heads)):
            if value < 1:
                raise ExportError(f"MGSFformer needs a {name}", got=value, allowed="1 or more")
        if history < PERIOD or history % PERIOD:
            raise ExportError("MGSFformer averages whole periods of the past", got=history, allowed="24, 48, 72 ...")
        if width % heads:
            raise ExportError("The width is no multiple of the heads", got=f"{width} / {heads}")
        self.history, self.horizon, self.width, self.heads = history, horizon, width, heads
        series, rows = len(self.bands), history // PERIOD
        self.RevIN = _Standardising(series)
        for i, steps in enumerate(STEPS, 1):
            self.add_module(f"IE_block{i}", _Embedding(rows, PERIOD // steps, width))
        for i in range(1, 6):
            self.add_module(f"lay_norm{i}", nn.LayerNorm((series, rows, width)))
        for i in range(1, 6):
            self.add_module(f"ST_block{i}", _Block(series, rows, width, heads, horizon))
        self.DF_block = _Gates()

    def forward(self, history: torch.Tensor) -> torch.Tensor:
        """The forecast, ``(N, horizon, series, 1)``, in the unit of ``history``."""
        if history.shape[1:] != (self.history, len(self.bands), 1):
            raise ExportError(
                "This MGSFformer is made for another history",
                got=tuple(history.shape),
                allowed=f"(N, {self.history}, {len(self.bands)}, 1)",
            )
        past = history.squeeze(-1).transpose(1, 2)
        mean = past.mean(dim=-1, keepdim=True)
        distance = past - mean
        deviation = ((distance * distance).mean(dim=-1, keepdim=True) + EPS).sqrt()
        past = self.RevIN(distance / deviation)
        forecasts = []
        coarser: torch.Tensor | None = None
        for i, steps in enumerate(STEPS, 1):
            embedded = self.get_submodule(f"IE_block{i}")(_means(past, steps))
            embedded = self.get_submodule(f"lay_norm{NORM_OF[i - 1]}")(embedded)
            coarser = embedded if coarser is None else embedded - coarser
            forecasts.append(self.get_submodule(f"ST_block{i}")(coarser))
        forecast = self.RevIN.undo(self.DF_block(torch.stack(forecasts, dim=-1))) * deviation + mean
        return forecast.transpose(1, 2).unsqueeze(-1)

    def contract(self) -> SampleSpec:
        """One window of the past gives one forecast; the unit is that of the past."""
        return SampleSpec(
            network="mgsfformer",
            inputs=(
                SampleInput(
                    role="history",
                    tensor="history",
                    dims=dims(time=self.history, station=self.bands, channel=1),
                ),
            ),
            output=SampleOutput(tensor="forecast", dims=dims(horizon=self.horizon, station=self.bands, channel=1)),
            options={"width": self.width, "heads": self.heads},
            source=self.about.source,
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Number of series."""
        scale = state.get("RevIN.affine_weight")
        return int(scale.shape[0]) if scale is not None and scale.ndim == 1 else None


def _means(past: torch.Tensor, steps: int) -> torch.Tensor:
    """``(N, S, L)`` to means over blocks of steps, ``(N, S, L / steps)``."""
    if steps == 1:
        return past
    return past.unflatten(-1, (-1, steps)).mean(dim=-1)


class _Standardising(nn.Module):
    """A learnt scale and offset for each series, after it was brought to mean 0 and variance 1."""

    def __init__(self, series: int) -> None:
        super().__init__()
        self.affine_weight = nn.Parameter(torch.ones(series))
        self.affine_bias = nn.Parameter(torch.zeros(series))

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return past * self.affine_weight[:, None] + self.affine_bias[:, None]

    def undo(self, future: torch.Tensor) -> torch.Tensor:
        return (future - self.affine_bias[:, None]) / self.affine_weight[:, None]


class _Embedding(nn.Module):
    """``(N, S, rows * values)`` to ``(N, S, rows, D)``: a row is one period."""

    def __init__(self, rows: int, values: int, width: int) -> None:
        super().__init__()
        self.rows = rows
        self.output = nn.Linear(values, width)

    def forward(self, means: torch.Tensor) -> torch.Tensor:
        return self.output(means.unflatten(-1, (self.rows, -1)))


class _Block(nn.Module):
    """``(N, S, rows, D)`` to a forecast ``(N, S, horizon)``."""

    def __init__(self, series: int, rows: int, width: int, heads: int, horizon: int) -> None:
        super().__init__()
        self.Time_att = _RowAttention(rows, width, heads)
        self.space_att = _StationAttention(series, width, heads)
        self.cross_att = _RowAttention(rows, width, heads)
        self.linear = nn.Conv1d(width * rows, horizon, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        time = self.Time_att(rows, rows)
        both = self.cross_att(self.space_att(rows), time)
        # Channel by channel, the rows of each: a 1x1 convolution over stations is a dense layer on that.
        return functional.linear(both.transpose(2, 3).flatten(2), self.linear.weight[:, :, 0], self.linear.bias)


class _ChannelDense(nn.Conv2d):
    """A 1x1 convolution by its weight's shape, run as a dense layer on the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return functional.linear(tokens, self.weight[:, :, 0, 0], self.bias)


class _RowAttention(nn.Module):
    """Each channel of a station is a mixture of its channels, compared by their rows: ``(N, S, rows, D)`` kept."""

    def __init__(self, rows: int, width: int, heads: int) -> None:
        super().__init__()
        self.scale = (width // heads) ** -0.5
        self.query, self.key, self.value = (_ChannelDense(width) for _ in range(3))
        self.laynorm = nn.LayerNorm(rows)
        self.output = nn.Linear(heads, 1)

    def forward(self, asking: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        scores = self.query(asking).transpose(2, 3) @ self.key(asked) * self.scale
        mixed = _all_heads(scores.softmax(-1) @ self.value(asked).transpose(2, 3), self.output)
        return self.laynorm(mixed + asked.transpose(2, 3)).transpose(2, 3)


class _StationAttention(nn.Module):
    """Each channel of a row is a mixture of its channels, compared by their stations: ``(N, S, rows, D)`` kept."""

    def __init__(self, series: int, width: int, heads: int) -> None:
        super().__init__()
        self.scale = (width // heads) ** -0.5
        self.query, self.key, self.value = (nn.Linear(series, series) for _ in range(3))
        self.linear1 = nn.Linear(heads, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        channels = rows.permute(0, 2, 3, 1)
        scores = self.query(channels) @ self.key(channels).transpose(2, 3) * self.scale
        return _all_heads(scores.softmax(-1) @ self.value(channels), self.linear1).permute(0, 3, 1, 2)


def _all_heads(one: torch.Tensor, mixing: nn.Linear) -> torch.Tensor:
    """What a dense layer over equal heads gives."""
    return one * mixing.weight.sum() + mixing.bias


class _Gate(nn.Module):
    """``(..., 5)`` to its sum, weighted by a softmax over the five."""

    def __init__(self) -> None:
        super().__init__()
        self.QK = nn.Linear(len(STEPS), len(STEPS))

    def forward(self, forecasts: torch.Tensor) -> torch.Tensor:
        return (self.QK(forecasts).softmax(-1) * forecasts).sum(dim=-1)


class _Gates(nn.Module):
    """The gate; of three in a checkpoint, the first is the one in use."""

    def __init__(self) -> None:
        super().__init__()
        self.att1, self.att2, self.att3 = _Gate(), _Gate(), _Gate()

    def forward(self, forecasts: torch.Tensor) -> torch.Tensor:
        return self.att1(forecasts)
