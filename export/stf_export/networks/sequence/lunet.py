# SPDX-License-Identifier: Apache-2.0
"""U-Nets with a convolutional LSTM at every level: what changed in a series of images.

The survey of the field names L-UNet (Sun, Mu, Wang, Liu: L-UNet: An LSTM Network for Remote Sensing Image Change
Detection. IEEE Geoscience and Remote Sensing Letters 19, 2022), for which no code is public. Two relatives of
Papadomanolaki, Vakalopoulou, Karantzalos and others have public code, and these are they: ``unetlstm`` (13 bands) and
``multitask_lunet`` (3 bands), doi:10.1109/IGARSS.2019.8900330 and doi:10.1109/TGRS.2021.3055584. They detect changes,
they do not predict images.

    date 1 ──▶ encoder ──┐  the features of every level, date after date
    ...                  ├─────▶ ConvLSTM of the level ──▶ last hidden state ──▶ decoder ──▶ scores of change
    date T ──▶ encoder ──┘
          features of date 1, and of date T ──▶ second decoder ──▶ scores of classes       (multitask_lunet)

Five levels; level k has half the rows and columns of level k-1. The published code is under the GPL and was not looked
at: the definition follows from a list of its keys and shapes, a short description, and numbers that it gave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec, Values

from ...contract import Contract
from ..base import About, FusionNetwork
from ..blocks.recurrent import SplitGateCell, hidden_states

WIDTHS = (16, 32, 64, 128, 256)
LEVELS = range(1, 6)


class UNetLSTM(FusionNetwork):
    """Scores of change between the first and the last image of a series.

    ``sequence`` is time-major, ``(T, N, C, H, W)``, H and W multiples of 16; any number of dates from one up. The
    output is ``(N, classes, H, W)``, scores before a softmax. How the training images were scaled is not known: the
    contract states reflectance.

    Differences from the published code, as far as it is described: the rows and columns of the hidden states follow
    the images (there: a patch size of the constructor), and the state of zeros before the first date is not computed
    with. Dropout (0.7 on the hidden states) is for training only.

    Args:
        bands: Names of the bands, in the network's order.
        dates: Images of a series in an exported graph, which takes them one by one: ``fine_t1``, ``fine_t2`` and so on.
        classes: Scores of each pixel.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="UNetLSTM",
        family="sequence",
        paper="Papadomanolaki, Verma, Vakalopoulou, Gupta, Karantzalos: Detecting Urban Changes with Recurrent Neural "
        "Networks from Multitemporal Sentinel-2 Data. IGARSS, 2019",
        doi="10.1109/IGARSS.2019.8900330",
        options={
            "dates": "images of a series in an exported graph (default 2)",
            "classes": "scores of each pixel (default 2: unchanged, changed)",
        },
    )
    name: ClassVar[str] = "unetlstm"

    def __init__(self, bands: Sequence[str] | None = None, *, dates: int = 2, classes: int = 2) -> None:
        super().__init__(bands if bands is not None else self._usual_bands())
        for option, value in (("dates", dates), ("classes", classes)):
            if value < 1:
                raise ExportError(f"{self.about.title} needs {option}", got=value, allowed="1 or more")
        self.dates, self.classes = dates, classes
        for level, before, width in zip(LEVELS, (len(self.bands), *WIDTHS), WIDTHS, strict=False):
            self.add_module(f"Conv{level}", _Twice(before, width))
            self.add_module(f"set{level}", _Recurrent(width))
        self._add_decoder("")

    def forward(self, sequence: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """Scores of change ``(N, classes, H, W)``."""
        return self.detect(sequence.unbind(0))

    def detect(self, images: Sequence[torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
        """What :meth:`forward` returns, from a list of images ``(N, C, H, W)`` in the order of time."""
        return self._decode(self._remember(self._encode(images)), "")

    def contract(self) -> Contract:
        """The dates one by one, on the grid of the first."""
        return Contract(
            network=self.name,
            ratio=1,
            inputs=tuple(InputSpec(role=role, tensor=role, bands=self.bands) for role in self.date_roles),
            output=OutputSpec(tensor="change", bands=self._class_names(), values=Values(unit="1")),
            options={"dates": self.dates, "classes": self.classes},
            source=self.about.source,
        )

    def for_export(self) -> nn.Module:
        """A module that takes the dates one by one, by role; the weights are shared."""
        return _ByDate(self)

    @property
    def date_roles(self) -> tuple[str, ...]:
        """Roles of the dates in an exported graph."""
        return tuple(f"fine_t{date + 1}" for date in range(self.dates))

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Input channels of the first convolution."""
        first = state.get("Conv1.conv.0.weight")
        return None if first is None else int(first.shape[1])

    @classmethod
    def options_of(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Scores that come out."""
        last = state.get("Conv_1x1.weight")
        return {} if last is None else {"classes": int(last.shape[0])}

    @classmethod
    def _usual_bands(cls) -> tuple[str, ...]:
        return tuple(f"band_{index + 1}" for index in range(13))

    def _class_names(self) -> tuple[str, ...]:
        if self.classes == 2:
            return "unchanged", "changed"
        return tuple(f"class_{index + 1}" for index in range(self.classes))

    def _encode(self, images: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
        """Features of every level, and within it of every date."""
        levels: list[list[torch.Tensor]] = []
        features = list(images)
        for level in LEVELS:
            if levels:
                features = [functional.max_pool2d(image, 2) for image in features]
            features = [self.get_submodule(f"Conv{level}")(image) for image in features]
            levels.append(features)
        return levels

    def _remember(self, levels: list[list[torch.Tensor]]) -> list[torch.Tensor]:
        """The last hidden state of every level."""
        return [
            hidden_states(self.get_submodule(f"set{level}.RCell"), features)[-1]  # type: ignore[arg-type]
            for level, features in zip(LEVELS, levels, strict=True)
        ]

    def _decode(self, levels: list[torch.Tensor], suffix: str) -> torch.Tensor:
        """Scores from one image of features a level."""
        *skips, image = levels
        for level, skip in zip(reversed(LEVELS), reversed(skips), strict=False):
            image = self.get_submodule(f"Up{level}{suffix}")(image)
            image = self.get_submodule(f"Up_conv{level}{suffix}")(torch.cat((image, skip), dim=1))
        return self.get_submodule(f"Conv_1x1{suffix}")(image)

    def _add_decoder(self, suffix: str) -> None:
        for level in reversed(LEVELS[1:]):
            below, width = WIDTHS[level - 1], WIDTHS[level - 2]
            self.add_module(f"Up{level}{suffix}", _Up(below, width))
            self.add_module(f"Up_conv{level}{suffix}", _Twice(2 * width, width))
        self.add_module(f"Conv_1x1{suffix}", nn.Conv2d(WIDTHS[0], self.classes, 1))


class MultitaskLUNet(UNetLSTM):
    """Scores of change as :class:`UNetLSTM`, and scores of classes for the first and the last date.

    The output is a dict of ``change``, ``segm_first`` and ``segm_last``, each ``(N, classes, H, W)``. Both
    segmentations come from one decoder, which sees the encoder's features of that date alone; the dates between reach
    the change only. An exported graph gives the change.
    """

    about: ClassVar[About] = About(
        title="multi-task L-UNet",
        family="sequence",
        paper="Papadomanolaki, Vakalopoulou, Karantzalos: A Deep Multitask Learning Framework Coupling Semantic "
        "Segmentation and Fully Convolutional LSTM Networks for Urban Change Detection. IEEE Transactions on "
        "Geoscience and Remote Sensing 59, 7651-7668, 2021",
        doi="10.1109/TGRS.2021.3055584",
        options=UNetLSTM.about.options,
    )
    name: ClassVar[str] = "multitask_lunet"

    def __init__(self, bands: Sequence[str] | None = None, *, dates: int = 2, classes: int = 2) -> None:
        super().__init__(bands, dates=dates, classes=classes)
        self._add_decoder("_segm")

    def detect(self, images: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """What :meth:`forward` returns, from a list of images ``(N, C, H, W)`` in the order of time."""
        levels = self._encode(images)
        return {
            "change": self._decode(self._remember(levels), ""),
            "segm_first": self._decode([features[0] for features in levels], "_segm"),
            "segm_last": self._decode([features[-1] for features in levels], "_segm"),
        }

    @classmethod
    def _usual_bands(cls) -> tuple[str, ...]:
        return tuple(f"band_{index + 1}" for index in range(3))


class _ByDate(nn.Module):
    """A network whose dates are separate inputs."""

    def __init__(self, network: UNetLSTM) -> None:
        super().__init__()
        self.network = network

    def forward(self, **dates: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        return self.network.detect([dates[role] for role in self.network.date_roles])


class _Recurrent(nn.Module):
    """Where a level keeps its cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.RCell = SplitGateCell(width, width)


class _Twice(nn.Module):
    """Convolution, batch norm and ReLU, twice."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*_layers(channels_in, channels_out), *_layers(channels_out, channels_out))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(image)


class _Up(nn.Module):
    """Twice the rows and columns: every pixel twice, then convolution, batch norm and ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Upsample(scale_factor=2.0), *_layers(channels_in, channels_out))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.up(image)


def _layers(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU()
