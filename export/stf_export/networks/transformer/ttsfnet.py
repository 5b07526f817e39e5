# SPDX-License-Identifier: Apache-2.0
"""TTSFNet: a profile of the ocean's interior at a point, from a year of its surface and this month's surroundings.

Mu, Yang, Wang, Jia: Spatiotemporal Fusion Network Based on Improved Transformer for Inverting Subsurface Thermohaline
Structure. IEEE Transactions on Geoscience and Remote Sensing 62, 2024, doi:10.1109/TGRS.2024.3446805.

    sequence (12 months) ──▶ causal convolutions, LSTM both ways ──▶ 4 encoder blocks ──▶ 64 ┐
                                                                                             ├─▶ dense ──▶ 33 depths
    patch (20 x 20 cells) ──▶ strip convolutions, pool ──▶ gated block ──▶ convolutions ──▶ 64 ┘

The authors' notebooks (Keras) hold one network for temperature and one for salinity, which are the same but for their
weights. Weights and the scalers of inputs and outputs are not public, so keys and layouts are this module's own.

Chosen here, where a description leaves room: each channel gate adds the gated features to the features; heads of the
spatial block are runs of eight channels that share one gate; the spatial norms act on channels. With these choices the
network has the 135 183 numbers that the notebooks' layers have (an LSTM counts its bias twice here).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.samples.spec import SampleInput, SampleOutput, SampleSpec, dims

from ..base import About, FusionNetwork
from ..blocks.attention import ChannelGate, SpatialGate
from ..standardisation import Given, standardised

WIDTH = 32
HEADS = 8
SPATIAL_HEADS = 4
ENCODERS = 4
FEATURES = 64  # of either branch
EPS = 1e-3  # Keras' default in its norms
SMALLEST = 10  # pooled to 5 cells, of which two convolutions without padding leave one

SURFACE = ("ssh", "sss", "u_wind", "v_wind", "sst", "mean_0_200", "mean_200_1000", "mean_1000_2000")


class TTSFNet(FusionNetwork):
    """Regression of a profile at one point of the sea.

    ``sequence`` is ``(N, months, channels)``: the point in the last months, oldest first. ``patch`` is ``(N, rows,
    columns, channels)``: this month around the point, every second cell of a window of 39 x 39 in the paper. Channels
    are anomalies of surface height, salinity, wind and temperature and of three means over depth (0 to 200, 200 to
    1000, 1000 to 2000 m), each standardised. The output is ``(N, depths)``, standardised depth by depth.

    It works on points, not on rasters: its contract is one for samples.

    Args:
        bands: Names of the channels.
        months: Steps of the sequence.
        depths: Numbers of a profile.
        patch: Rows and columns of the patch in the contract; ``forward`` takes others too.
        means: What was subtracted from the channels in training, one for all or one for each; None where the user
            standardises. Stated in the contract, so that the runtime takes physical values; ``forward`` does not.
        deviations: What the channels were divided by then.
        output_means: What was subtracted from the profile in training, one for all or one for each depth.
        output_deviations: What the profile was divided by then.

    Raises:
        ExportError: A value that is not allowed; in ``forward``, a shape that is not allowed.
    """

    about: ClassVar[About] = About(
        title="TTSFNet",
        family="transformer",
        paper="Mu, Yang, Wang, Jia: Spatiotemporal Fusion Network Based on Improved Transformer for Inverting "
        "Subsurface Thermohaline Structure. IEEE Transactions on Geoscience and Remote Sensing 62, 2024",
        doi="10.1109/TGRS.2024.3446805",
        options={
            "months": "steps of the sequence (default 12)",
            "depths": "numbers of a profile (default 33)",
            "patch": "rows and columns of the patch (default 20), 10 or more",
            "means": "means of the channels in training (default: not standardised)",
            "deviations": "their standard deviations",
            "output_means": "means of the profile in training, by depth (default: not standardised)",
            "output_deviations": "their standard deviations",
        },
    )
    roles: ClassVar[tuple[str, ...]] = ("sequence", "patch")

    def __init__(
        self,
        bands: Sequence[str] = SURFACE,
        *,
        months: int = 12,
        depths: int = 33,
        patch: int = 20,
        means: Given = None,
        deviations: Given = None,
        output_means: Given = None,
        output_deviations: Given = None,
    ) -> None:
        super().__init__(bands)
        for name, value, least in (("months", months, 1), ("depths", depths, 1), ("patch", patch, SMALLEST)):
            if value < least:
                raise ExportError(f"TTSFNet needs {name}", got=value, allowed=f"{least} or more")
        self.months, self.depths, self.patch = months, depths, patch
        self.values = standardised("TTSFNet", means, deviations, number=len(self.bands), along="channel")
        self.output_values = standardised("TTSFNet", output_means, output_deviations, number=depths, along="depth")
        self.temporal = _Temporal(len(self.bands), months)
        self.spatial = _Spatial(len(self.bands))
        self.dense = nn.Linear(2 * FEATURES, 2 * FEATURES)
        self.gate = _Gate(2 * FEATURES)
        self.profile = nn.Linear(2 * FEATURES, depths)

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Channels of the sequence."""
        first = state.get("temporal.near.weight")
        return None if first is None else int(first.shape[1])

    @classmethod
    def options_of(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Numbers of the profile."""
        last = state.get("profile.weight")
        return {} if last is None else {"depths": int(last.shape[0])}

    def forward(self, sequence: torch.Tensor, patch: torch.Tensor) -> torch.Tensor:
        """The profile, ``(N, depths)``."""
        self._require_shapes(sequence, patch)
        seen = torch.cat((self.temporal(sequence), self.spatial(patch.permute(0, 3, 1, 2))), dim=1)
        return self.profile(self.gate(functional.relu(self.dense(seen))))

    def contract(self) -> SampleSpec:
        """A year at a point and this month around it give the profile below."""
        return SampleSpec(
            network="ttsfnet",
            inputs=(
                SampleInput(
                    role="sequence",
                    tensor="sequence",
                    dims=dims(month=self.months, channel=self.bands),
                    values=self.values,
                ),
                SampleInput(
                    role="patch",
                    tensor="patch",
                    dims=dims(row=self.patch, column=self.patch, channel=self.bands),
                    values=self.values,
                ),
            ),
            output=SampleOutput(tensor="profile", dims=dims(depth=self.depths), values=self.output_values),
            source=self.about.source,
        )

    def _require_shapes(self, sequence: torch.Tensor, patch: torch.Tensor) -> None:
        channels = len(self.bands)
        if sequence.shape[1:] != (self.months, channels):
            raise ExportError(
                "This TTSFNet is made for another sequence",
                got=tuple(sequence.shape),
                allowed=f"(N, {self.months}, {channels})",
            )
        if patch.ndim != 4 or patch.shape[3] != channels or min(patch.shape[1:3]) < SMALLEST:
            raise ExportError(
                "This TTSFNet is made for another patch",
                got=tuple(patch.shape),
                allowed=f"(N, rows, columns, {channels}) of at least {SMALLEST} rows and columns; published: 20 x 20",
            )


class _Temporal(nn.Module):
    """``(N, months, channels)`` to ``(N, 64)``."""

    def __init__(self, channels: int, months: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(channels, WIDTH, 3)
        self.far = nn.Conv1d(channels, WIDTH, 3, dilation=2)
        self.lstm = nn.LSTM(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)
        self.shortcut = nn.Linear(channels, WIDTH)
        self.register_buffer("position", _sinusoids(months, WIDTH), persistent=False)
        self.encoder = nn.Sequential(*(_EncoderBlock() for _ in range(ENCODERS)))
        self.dense = nn.Linear(months * WIDTH, FEATURES)
        self.gate = _Gate(FEATURES)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        months = sequence.transpose(1, 2)
        # Padded before the first month alone, so that no month sees a later one.
        both = functional.relu(self.near(functional.pad(months, (2, 0))))
        both = both + functional.relu(self.far(functional.pad(months, (4, 0))))
        states, _ = self.lstm(both.transpose(1, 2))
        tokens = functional.relu(states) + self.shortcut(sequence)
        tokens = self.encoder(tokens * math.sqrt(WIDTH) + self.position)
        return self.gate(functional.relu(self.dense(tokens.flatten(1))))


class _EncoderBlock(nn.Module):
    """Self-attention of eight heads and a dense part, each followed by a norm of the sum; ``(N, T, 32)`` kept."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.joined = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.norm1 = nn.LayerNorm(WIDTH, eps=EPS)
        self.dense1 = nn.Linear(WIDTH, 2 * WIDTH)
        self.dense2 = nn.Linear(2 * WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH, eps=EPS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            layer(tokens).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        weights = (query @ key.transpose(2, 3) * (WIDTH // HEADS) ** -0.5).softmax(-1)
        tokens = self.norm1(tokens + self.joined((weights @ value).transpose(1, 2).flatten(2)))
        return self.norm2(tokens + self.dense2(functional.relu(self.dense1(tokens))))


class _Spatial(nn.Module):
    """``(N, channels, rows, columns)`` to ``(N, 64)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = WIDTH // 2
        self.along = nn.Sequential(nn.Conv2d(channels, half, (1, 5), padding=(0, 2)), _norm(half), nn.ReLU())
        self.across = nn.Sequential(nn.Conv2d(channels, half, (5, 1), padding=(2, 0)), _norm(half), nn.ReLU())
        self.joined = nn.Sequential(*_separable(half, WIDTH), _norm(WIDTH), nn.ReLU())
        self.shortcut = nn.Sequential(nn.Conv2d(channels, WIDTH, 1), _norm(WIDTH))
        self.block = _GatedBlock()
        self.last = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3), _norm(WIDTH), nn.ReLU(), nn.Conv2d(WIDTH, FEATURES, 3))

    def forward(self, patch: torch.Tensor) -> torch.Tensor:
        features = self.joined(functional.relu(self.along(patch) + self.across(patch))) + self.shortcut(patch)
        features = self.last(self.block(functional.max_pool2d(features, 2)))
        return features.mean(dim=(2, 3))


class _GatedBlock(nn.Module):
    """Gates of channels and of places, and a convolutional part, each followed by a norm of the sum; size kept."""

    def __init__(self) -> None:
        super().__init__()
        self.before_channels, self.after_channels = nn.Conv2d(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 1)
        self.channels = ChannelGate(WIDTH // SPATIAL_HEADS, reduction=2, bias=True)
        self.before_places, self.after_places = nn.Conv2d(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 1)
        self.places = SpatialGate(7)
        self.norm1 = nn.LayerNorm(WIDTH, eps=EPS)
        self.mixed = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.ReLU(), *_separable(WIDTH, WIDTH))
        self.norm2 = nn.LayerNorm(WIDTH, eps=EPS)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        heads = self.before_channels(features)
        # Each head is a batch entry of its own, so that all share the gate.
        gated = self.channels(heads.reshape(-1, WIDTH // SPATIAL_HEADS, *features.shape[2:]))
        gated = self.after_channels(gated.reshape(-1, *features.shape[1:]))
        gated = self.after_places(self.places(self.before_places(gated)))
        features = _over_channels(self.norm1, features + gated)
        return _over_channels(self.norm2, features + self.mixed(features))


class _Gate(nn.Module):
    """``(N, C)`` plus itself weighted by a softmax over its channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dense1 = nn.Linear(channels, channels // 4)
        self.dense2 = nn.Linear(channels // 4, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + features * self.dense2(functional.relu(self.dense1(features))).softmax(-1)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPS)


def _separable(channels_in: int, channels_out: int) -> tuple[nn.Module, nn.Module]:
    """A 3x3 convolution of each channel alone, and a 1x1 convolution of all; size kept."""
    return (
        nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False),
        nn.Conv2d(channels_in, channels_out, 1),
    )


def _over_channels(norm: nn.LayerNorm, image: torch.Tensor) -> torch.Tensor:
    return norm(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _sinusoids(steps: int, width: int) -> torch.Tensor:
    """Position of each step, ``(steps, width)``: sine and cosine by turns, of frequencies from 1 to nearly 1e-4."""
    angle = torch.arange(steps)[:, None] * 10000.0 ** (-torch.arange(0, width, 2) / width)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)
