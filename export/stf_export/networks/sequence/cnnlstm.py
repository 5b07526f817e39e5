# SPDX-License-Identifier: Apache-2.0
"""CNN-LSTM: precipitation at a point, from small windows of a satellite estimate, an infrared image and the terrain.

Wu, Yang, Liu, Wang: A Spatiotemporal Deep Fusion Model for Merging Satellite and Gauge Precipitation in China. Journal
of Hydrology 584, 124664, 2020, doi:10.1016/j.jhydrol.2020.124664.

    trmm    7x7 ──▶ three convolutions, pool ──▶ 36 ┐
    gridsat 7x7 ──▶ three convolutions, pool ──▶ 36 ├─▶ 108 steps ──▶ 2 LSTM, both ways ──▶ 6 dense ──▶ precipitation
    dem     7x7 ──▶ three convolutions, pool ──▶ 36 ┘

No code and no weights are public. From the architecture figure: the three inputs of 7x7 pixels; convolutions 5x5 to 8,
3x3 to 8 and 2x2 to 4 features with ReLU, which keep the size (a pool to 3x3 gives the 36 numbers shown); the sequence
of 108 single numbers; two bidirectional LSTM of 32; dense layers of 32, 32, 32, 32, 16 with ELU and one of 1.

Chosen here, since the figure does not tell: each input has its own convolutions (``branches="shared"`` uses one set
for all three); the even kernel is padded below and on the right, and the pool is flattened pixel by pixel with the
channels last, both as Keras does by default; the second LSTM gives its last state of either direction; gates are plain
sigmoids. Weights that somebody trained with another code base fit only if it made the same choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import nn

from stf_infer.errors import ExportError
from stf_infer.samples.spec import SampleInput, SampleOutput, SampleSpec, dims

from ..base import About, FusionNetwork, one_of
from ..standardisation import Given, standardised

Branches = Literal["own", "shared"]

SOURCES = ("trmm", "gridsat", "dem")
FEATURES = 4  # of the last convolution
HIDDEN = 32
DENSE = (32, 32, 32, 32, 16)


class CNNLSTM(FusionNetwork):
    """Merges three windows around a rain gauge into its precipitation.

    ``trmm`` (satellite precipitation), ``gridsat`` (infrared brightness temperature of GridSat-B1) and ``dem`` (terrain
    height) are ``(N, 1, window, window)``, centred on the point, in the units that the weights were trained with. The
    output is ``(N, 1)``. It works on points, not on rasters: its contract is one for samples.

    Args:
        bands: Name of the one output.
        branches: Whether each input has its own convolutions.
        window: Rows and columns of the inputs. Published: 7.
        means: What was subtracted from each input in training, in the order of ``SOURCES``; None for nothing. Stated in
            the contract, so that the runtime takes physical values; ``forward`` does not.
        deviations: What each input was divided by then.
        output_mean: What was subtracted from the output in training.
        output_deviation: What the output was divided by then.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="CNN-LSTM",
        family="sequence",
        paper="Wu, Yang, Liu, Wang: A Spatiotemporal Deep Fusion Model for Merging Satellite and Gauge Precipitation "
        "in China. Journal of Hydrology 584, 124664, 2020",
        doi="10.1016/j.jhydrol.2020.124664",
        options={
            "branches": "convolutions of each input: own (default) or shared",
            "window": "rows and columns of the inputs (default 7)",
            "means": "means of trmm, gridsat and dem that the weights were trained with (default: not standardised)",
            "deviations": "their standard deviations",
            "output_mean": "mean of the output that the weights were trained with (default: not standardised)",
            "output_deviation": "its standard deviation",
        },
    )

    def __init__(
        self,
        bands: Sequence[str] = ("precipitation",),
        *,
        branches: Branches = "own",
        window: int = 7,
        means: Sequence[float] | None = None,
        deviations: Sequence[float] | None = None,
        output_mean: float | None = None,
        output_deviation: float | None = None,
    ) -> None:
        super().__init__(bands)
        if len(self.bands) != 1:
            raise ExportError("CNN-LSTM gives one number a point", got=list(self.bands), allowed="one band name")
        if window < 2:
            raise ExportError("The window is pooled by 2", got=window, allowed="2 or more")
        self.branches = one_of("CNN-LSTM", "branches", branches, get_args(Branches))
        self.window = window
        self.values = {
            source: standardised("CNN-LSTM", *_of(i, means, deviations), number=1) for i, source in enumerate(SOURCES)
        }
        self.output_values = standardised("CNN-LSTM", output_mean, output_deviation, number=1)
        self.convolutions = nn.ModuleDict(
            {name: _branch() for name in (SOURCES if self.branches == "own" else ("shared",))}
        )
        self.first_lstm = nn.LSTM(1, HIDDEN, batch_first=True, bidirectional=True)
        self.second_lstm = nn.LSTM(2 * HIDDEN, HIDDEN, batch_first=True, bidirectional=True)
        layers: list[nn.Module] = []
        before = 2 * HIDDEN
        for width in DENSE:
            layers += [nn.Linear(before, width), _ELU()]
            before = width
        self.dense = nn.Sequential(*layers, nn.Linear(before, 1))

    def forward(self, trmm: torch.Tensor, gridsat: torch.Tensor, dem: torch.Tensor) -> torch.Tensor:
        """Precipitation ``(N, 1)``."""
        windows = dict(zip(SOURCES, (trmm, gridsat, dem), strict=True))
        seen = [self._of(name)(image).movedim(1, -1).flatten(1) for name, image in windows.items()]
        steps, _ = self.first_lstm(torch.cat(seen, dim=1)[:, :, None])
        _, (last, _) = self.second_lstm(steps)
        return self.dense(torch.cat((last[0], last[1]), dim=1))

    def contract(self) -> SampleSpec:
        """Three windows around a point give one number."""
        window = dims(channel=1, row=self.window, column=self.window)
        return SampleSpec(
            network="cnnlstm",
            inputs=tuple(SampleInput(role=s, tensor=s, dims=window, values=self.values[s]) for s in SOURCES),
            output=SampleOutput(tensor="precipitation", dims=dims(quantity=self.bands), values=self.output_values),
            options={"branches": self.branches},
            source=self.about.source,
        )

    def _of(self, source: str) -> nn.Module:
        return self.convolutions[source if self.branches == "own" else "shared"]


def _of(index: int, means: Sequence[float] | None, deviations: Sequence[float] | None) -> tuple[Given, Given]:
    """Mean and deviation of one input."""
    lists = (means, deviations)
    for numbers in lists:
        if numbers is not None and (isinstance(numbers, (int, float, str)) or len(numbers) != len(SOURCES)):
            raise ExportError(
                "CNN-LSTM has a mean and a deviation for each input", got=numbers, allowed=", ".join(SOURCES)
            )
    mean, deviation = (None if numbers is None else numbers[index] for numbers in lists)
    return mean, deviation


class _ELU(nn.Module):
    """``x`` above zero, ``exp(x) - 1`` below: ``max(x, 0) + exp(min(x, 0)) - 1``.

    Written out because TensorRT-RTX 1.7 cannot build its own ELU behind an LSTM with a free batch.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) + torch.expm1(-torch.relu(-x))


def _branch() -> nn.Sequential:
    """Three convolutions that keep the size, and a pool that halves it, rounding down."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(8, FEATURES, 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
