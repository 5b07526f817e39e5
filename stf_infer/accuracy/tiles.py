# SPDX-License-Identifier: Apache-2.0
"""Tiles, or samples, that engines are compared on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from ..errors import AssetError
from ..grid import Window
from ..noise import TileNoise
from ..samples.spec import SampleSpec
from ..spec import ModelSpec, Tensor

Source = Literal["real", "procedural"]
Spec = ModelSpec | SampleSpec

# Numbers of all tiles together: what a bundle carries for the sake of proof stays small beside most networks.
MOST_NUMBERS = 4 * 2**20


@dataclass(frozen=True)
class Tiles:
    """What a network is given on a number of tiles, in network values, as an engine takes it.

    Attributes:
        inputs: Role: ``(N, C, h, w)`` float32, of samples ``(N, ...)`` of the tensor's type. Noise is not among them:
            it is drawn (:meth:`batches`).
        source: ``real``: cut from somebody's rasters or arrays; ``procedural``: from scenes made of a seed.
        labels: What they were cut from: ``fine_t1=F1.tif``.
        origins: Row and column of the first pixel of each tile in its scene, which its noise depends on; empty for
            samples.
    """

    inputs: dict[str, np.ndarray]
    source: Source
    labels: tuple[str, ...] = ()
    origins: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values()))) if self.inputs else len(self.origins)

    def first(self, count: int) -> Tiles:
        """The first few of them."""
        return replace(self, inputs={r: a[:count] for r, a in self.inputs.items()}, origins=self.origins[:count])

    def batches(self, spec: Spec, size: int) -> Iterator[tuple[dict[str, np.ndarray], TileNoise | None]]:
        """What an engine is given, batch after batch: arrays by tensor, and the noise that is no input.

        Noise is that of the seed 0 at the place of each tile, as ``run`` would draw it.
        """
        for first in range(0, len(self), size):
            part = slice(first, min(first + size, len(self)))
            feed = {t.name: self.inputs[t.role][part] for t in _stored(spec)}
            if isinstance(spec, SampleSpec):
                yield feed, None
                continue
            height, width = spec.tile.height, spec.tile.width
            noise = TileNoise(0, [Window(y, y + height, x, x + width) for y, x in self.origins[part]])
            feed |= {one.tensor: noise.draw(one.draw, len(one.bands)) for one in spec.noises}
            yield {tensor.name: feed[tensor.name] for tensor in spec.tensors}, noise

    def check(self, spec: Spec) -> None:
        """Refuse tiles that are not those of a network.

        Raises:
            AssetError: Roles, bands, size or type differ, a value is not finite, or there is no tile.
        """
        what = "sample" if isinstance(spec, SampleSpec) else "tile"
        wanted = {t.role: t.shape for t in _stored(spec)}
        found = {role: array.shape[1:] for role, array in self.inputs.items()}
        if found != wanted:
            raise AssetError(f"The {what}s are not those of {spec.name or spec.network}", got=found, allowed=wanted)
        lengths = {role: len(array) for role, array in self.inputs.items()}
        if what == "tile":
            lengths["origins"] = len(self.origins)
        if len(set(lengths.values())) != 1 or not len(self):
            raise AssetError(f"The inputs have different numbers of {what}s, or none", got=lengths)
        if self.source not in get_args(Source):
            raise AssetError(
                f"The {what}s come from nowhere known", got=self.source, allowed=", ".join(get_args(Source))
            )
        for tensor in _stored(spec):
            values = self.inputs[tensor.role]
            if values.dtype != tensor.dtype:
                raise AssetError(
                    f"The {what}s of {tensor.role} have another type", got=values.dtype, allowed=tensor.dtype
                )
            if not np.isfinite(values).all():
                raise AssetError(
                    f"The {what}s of {tensor.role} hold values that are not finite",
                    got=f"{np.count_nonzero(~np.isfinite(values))} values",
                    fix="Cut them from rasters without holes: `stf-infer tiles`",
                )

    def told(self) -> str:
        """How many there are and where they come from, for a person."""
        return counted(len(self), self.source)


def _stored(spec: Spec) -> list[Tensor]:
    """The inputs that tiles hold: all but noise."""
    drawn = () if isinstance(spec, SampleSpec) else tuple(one.role for one in spec.noises)
    return [tensor for tensor in spec.tensors if tensor.role not in drawn]


def counted(number: int, source: str) -> str:
    """``4 real tiles``."""
    return f"{number} {source} tile{'s' * (number != 1)}"


def most_tiles(spec: Spec, wanted: int) -> int:
    """How many tiles may be kept of so many that are wanted: one at least."""
    numbers = sum(int(np.prod(tensor.shape)) for tensor in _stored(spec))
    return max(1, min(wanted, MOST_NUMBERS // max(numbers, 1)))
