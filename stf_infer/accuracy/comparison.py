# SPDX-License-Identifier: Apache-2.0
"""A reduced engine against fp32, band by band, on the same tiles with the same noise.

Of a band with the values ``r`` in the reduced engine and ``f`` in fp32, over all pixels of all tiles::

    rmse = sqrt(mean((r - f)^2)) / sqrt(mean(f^2))

and the spectral angle is the mean of the angles between the spectra of both at each pixel
(:class:`stf_infer.metrics.spectral.SpectralAngles`). Both are of physical values, before they are clipped to a range:
what clipping hides today it may not hide on another scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EngineError
from ..metrics.spectral import SpectralAngles
from ..samples.spec import SampleSpec
from .budget import Budget
from .tiles import Spec, Tiles

if TYPE_CHECKING:
    from ..engines import Engine
    from ..spec import TileRule


@dataclass(frozen=True)
class Accuracy:
    """How far a reduced engine is from fp32.

    Attributes:
        bands: Names of the bands; of samples the places along the dim that has names or a scaling of its own, or the
            output as a whole.
        rmse: Of each band: RMS difference over the RMS value of fp32. Infinite where fp32 is 0 and the other is not.
        max_abs: Of each band: largest difference in physical units.
        sam_deg: Mean spectral angle in degrees; None where it is not defined.
        tiles: How many tiles or samples were compared.
        not_finite: Values that are finite in fp32 and not in the reduced engine.
        source: Where the tiles come from, see :class:`stf_infer.accuracy.tiles.Tiles`.
    """

    bands: tuple[str, ...]
    rmse: tuple[float, ...]
    max_abs: tuple[float, ...]
    sam_deg: float | None
    tiles: int
    not_finite: int
    source: str

    @property
    def worst(self) -> tuple[str, float]:
        """The band that is farthest off, and its ``rmse``."""
        number = max(range(len(self.bands)), key=lambda k: (math.isnan(self.rmse[k]), self.rmse[k]))
        return self.bands[number], self.rmse[number]

    def short(self) -> str:
        """The worst band and the spectral angle, for a person: ``0.2% (red), 0.035 deg``."""
        band, rmse = self.worst
        angle = "" if self.sam_deg is None else f", {self.sam_deg:.3g} deg"
        lost = f", {self.not_finite} not finite" if self.not_finite else ""
        return f"{percent(rmse)} ({band}){angle}{lost}"

    def over(self, budget: Budget) -> tuple[str, ...]:
        """What is over a budget, a line each for a person; empty where nothing is."""
        lines = []
        if self.not_finite and budget.asks:
            lines.append(f"{self.not_finite} values are not finite, and are in fp32")
        if budget.rmse is not None:
            lines += [
                f"{band}: rmse {percent(value)}, allowed {percent(budget.rmse)}"
                for band, value in zip(self.bands, self.rmse, strict=True)
                if not value <= budget.rmse
            ]
        if budget.sam is not None and self.sam_deg is not None and not self.sam_deg <= budget.sam:
            lines.append(f"spectral angle {self.sam_deg:.3g} deg, allowed {budget.sam:g} deg")
        return tuple(lines)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them."""
        return {
            "bands": list(self.bands),
            "rmse": [value if math.isfinite(value) else None for value in self.rmse],
            "max_abs": [value if math.isfinite(value) else None for value in self.max_abs],
            "sam_deg": self.sam_deg,
            "tiles": self.tiles,
            "not_finite": self.not_finite,
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Accuracy:
        """What :meth:`as_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: It is no such thing.
        """
        bands = tuple(str(band) for band in data["bands"])
        rmse, max_abs = (_numbers(data[name]) for name in ("rmse", "max_abs"))
        if not len(bands) == len(rmse) == len(max_abs) > 0:
            raise ValueError("figures of another number of bands")
        sam = data["sam_deg"]
        counts = int(data["tiles"]), int(data["not_finite"])
        return cls(bands, rmse, max_abs, None if sam is None else float(sam), *counts, str(data["source"]))


def percent(value: float) -> str:
    """A share for a person: ``0.41%``."""
    return f"{100 * value:.3g}%"


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(math.inf if value is None else float(value) for value in values)


def compare(spec: Spec, reference: Engine, candidate: Engine, tiles: Tiles) -> Accuracy:
    """Compare an engine with fp32. One batch is held at a time.

    Of tiles in exact mode the core counts alone: what is nearer than the halo to an edge is thrown away in a run too.

    Args:
        spec: The contract of both.
        reference: The open engine in fp32.
        candidate: The open engine of the same network in less.
        tiles: What to run.

    Raises:
        EngineError: One of them fails, or fp32 gives not one finite value in a band.
        AssetError: The tiles are not those of the network.
    """
    tiles.check(spec)
    size = min(len(tiles), _batch(spec, reference, candidate))
    sums = _Sums(band_names(spec), angles=not isinstance(spec, SampleSpec))
    name = spec.output.tensor
    for feed, noise in tiles.batches(spec, size):
        right = reference.infer(feed, noise)[name]
        found = candidate.infer(feed, noise)[name]
        for one, other in zip(found, right, strict=True):
            sums.add(_by_band(spec, one), _by_band(spec, other))
    if not sums.pixels.all():
        raise EngineError(
            "A band of the network has no finite value on the tiles in fp32",
            got=tiles.told(),
            fix="`stf-infer check` proves a bundle; cut other tiles: `stf-infer tiles`",
        )
    return sums.accuracy(len(tiles), tiles.source)


def _batch(spec: Spec, *engines: Engine) -> int:
    """Tiles in a call that all engines take."""
    from ..samples.model import BATCH

    suits = BATCH if isinstance(spec, SampleSpec) else max(engine.preferred_batch for engine in engines)
    return max(1, min(suits, *(engine.max_batch or suits for engine in engines)))


def band_names(spec: Spec) -> tuple[str, ...]:
    """What figures are told for, see :class:`Accuracy`."""
    if not isinstance(spec, SampleSpec):
        return spec.output.bands
    axis = _band_axis(spec)
    if axis is None:
        return (spec.output.variable,)
    dim = spec.output.dims[axis]
    return dim.labels or tuple(f"{dim.name} {number}" for number in range(dim.size))


def _band_axis(spec: SampleSpec) -> int | None:
    out = spec.output
    own = [k for k, dim in enumerate(out.dims) if dim.name == out.values.along or dim.labels]
    return own[0] if own else None


def _by_band(spec: Spec, tile: np.ndarray) -> np.ndarray:
    """What counts of the output for one tile, in physical units: float64 ``(bands, pixels)``."""
    if isinstance(spec, SampleSpec):
        values = spec.output.values.arrays(spec.output.dims)
        physical = (tile.astype(np.float64) - values["offset"]) / values["scale"]
        axis = _band_axis(spec)
        return physical.reshape(1, -1) if axis is None else np.moveaxis(physical, axis, 0).reshape(tile.shape[axis], -1)
    rows, columns = _core(spec.tile)
    kept = tile[:, rows, columns].reshape(tile.shape[0], -1).astype(np.float64)
    return (kept - spec.output.values.offset) / spec.output.values.scale


def _core(rule: TileRule) -> tuple[slice, slice]:
    """Rows and columns of a tile inside of a scene that are kept; all where tiles are blended."""
    halo = rule.halo if rule.mode == "exact" else 0
    sides = []
    for side in (rule.height, rule.width):
        sides.append(slice(halo, side - halo) if side > 2 * halo else slice(0, side))
    return sides[0], sides[1]


class _Sums:
    """Sums over the pixels of all tiles, band by band."""

    def __init__(self, bands: tuple[str, ...], *, angles: bool) -> None:
        self.bands = bands
        self.pixels = np.zeros(len(bands), np.int64)
        self.off, self.size, self.worst = (np.zeros(len(bands)) for _ in range(3))
        self.angles = SpectralAngles() if angles and len(bands) > 1 else None
        self.not_finite = 0

    def add(self, found: np.ndarray, right: np.ndarray) -> None:
        """Add a tile: float64 ``(bands, pixels)`` each."""
        wanted = np.isfinite(right)
        usable = wanted & np.isfinite(found)
        self.not_finite += int(np.count_nonzero(wanted & ~usable))
        self.pixels += wanted.sum(1)
        apart = np.where(usable, found, 0.0) - np.where(usable, right, 0.0)
        self.off += np.einsum("bn,bn->b", apart, apart)
        kept = np.where(usable, right, 0.0)
        self.size += np.einsum("bn,bn->b", kept, kept)
        self.worst = np.maximum(self.worst, np.abs(apart).max(axis=1, initial=0.0))
        if self.angles is not None:
            whole = usable.all(axis=0)
            self.angles.add(found[:, whole], right[:, whole])

    def accuracy(self, tiles: int, source: str) -> Accuracy:
        rmse = tuple(_relative(off, size) for off, size in zip(self.off, self.size, strict=True))
        angle = None if self.angles is None or not self.angles.pixels else self.angles.degrees
        worst = tuple(float(value) for value in self.worst)
        return Accuracy(self.bands, rmse, worst, angle, tiles, self.not_finite, source)


def _relative(off: float, size: float) -> float:
    if size == 0:
        return 0.0 if off == 0 else math.inf
    return math.sqrt(off / size)
