# SPDX-License-Identifier: Apache-2.0
"""Rasters to be measured: which bands, in which unit, on which grid, read in blocks of rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BandError, GridError, RasterError, ScaleError
from ..grid import Shape

if TYPE_CHECKING:
    from ..raster import Raster

log = logging.getLogger(__name__)

# Two grids are the same when their corners lie within this fraction of a pixel.
_ALIGNED = 1e-3


@dataclass
class SceneRows:
    """An open raster, read in blocks of rows.

    Attributes:
        role: ``prediction``, ``truth``, ``reference`` or ``mask``: how messages and flags name it.
        raster: What the user stated about it.
        dataset: The open rasterio dataset.
        numbers: Bands to read, numbered from 1; an alpha band is a mask and none of them, and where nothing is stated
            neither are the standard deviations of an ensemble.
    """

    role: str
    raster: Raster
    dataset: Any
    numbers: list[int] = field(default_factory=list)

    @classmethod
    def open(cls, role: str, source: Any, stack: ExitStack) -> SceneRows:
        """Open a path, an array or a stated raster; the stack closes it.

        Raises:
            RasterError: It is missing or unreadable.
            BandError: A stated band does not exist.
        """
        from ..raster import Raster

        raster = Raster.of(source)
        dataset = stack.enter_context(raster.open())
        scene = cls(role, raster, dataset)
        scene.numbers = scene._chosen()
        return scene

    def _chosen(self) -> list[int]:
        interpretations = [c.name for c in self.dataset.colorinterp]
        data = [n for n, kind in enumerate(interpretations, 1) if kind != "alpha"]
        if self.raster.bands is None:
            # What `run --samples` writes: means, and as many deviations behind them.
            return data[: len(data) // 2] if "STF_SAMPLES" in self.dataset.tags() else data
        names = [(d or "").strip().lower() for d in self.dataset.descriptions]
        out = []
        for band in self.raster.bands:
            text = str(band).strip().lower()
            number = int(text) if text.isdigit() else names.index(text) + 1 if text in names else 0
            if not 1 <= number <= self.dataset.count:
                raise BandError(
                    f"The {self.role} has no such band",
                    got=f"{band} of {self.label}",
                    allowed=f"1 to {self.dataset.count}" + (f", {', '.join(names)}" if all(names) else ""),
                )
            out.append(number)
        return out

    def only_first_band(self) -> SceneRows:
        """Read the first of the chosen bands only, as of a mask; returns self."""
        del self.numbers[1:]
        return self

    @property
    def label(self) -> str:
        """How messages name the raster."""
        return self.raster.label

    @property
    def shape(self) -> Shape:
        """Rows and columns."""
        return Shape(self.dataset.height, self.dataset.width)

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the chosen bands, or None where one has none or two are the same."""
        found = self.raster.names if self.raster.is_array and self.raster.names else self.dataset.descriptions
        names = tuple((found[n - 1] or "").strip() for n in self.numbers)
        if not all(names) or len({n.lower() for n in names}) < len(names):
            return None
        return names

    @property
    def unit(self) -> str:
        """Unit that every chosen band names, or an empty string."""
        units = {(self.dataset.units[n - 1] or "").strip() for n in self.numbers}
        return units.pop() if len(units) == 1 else ""

    @property
    def scaling(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and offset of the chosen bands: ``physical = stored * scale + offset``, each ``(C,)``."""
        stated = self.raster
        count = len(self.numbers)
        if stated.scale is not None or stated.offset is not None:
            return np.full(count, 1.0 if stated.scale is None else stated.scale), np.full(count, stated.offset or 0.0)
        scales = np.array([self.dataset.scales[n - 1] for n in self.numbers], float)
        offsets = np.array([self.dataset.offsets[n - 1] for n in self.numbers], float)
        return scales, offsets

    @property
    def is_scaled(self) -> bool:
        """Whether the raster, or the user, says how its numbers become physical values."""
        scales, offsets = self.scaling
        stated = self.raster.scale is not None or self.raster.offset is not None
        return stated or bool((scales != 1).any() or (offsets != 0).any())

    @property
    def is_integer(self) -> bool:
        """Whether the stored numbers are integers."""
        return all(np.dtype(self.dataset.dtypes[n - 1]).kind in "ui" for n in self.numbers)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Stored numbers ``(C, R, W)`` of some rows, and the pixels ``(R, W)`` that are valid in every chosen band.

        Raises:
            RasterError: The file cannot be read there.
        """
        from rasterio.errors import RasterioIOError
        from rasterio.windows import Window

        window = Window(0, start, self.dataset.width, stop - start)
        try:
            stored = self.dataset.read(self.numbers, window=window)
            valid = self._valid(stored, window)
        except RasterioIOError as error:
            raise RasterError(
                f"Rows {start} to {stop} of the {self.role} cannot be read",
                got=f"{self.label}: {error}",
                fix="The file is truncated or damaged: write or fetch it again",
            ) from error
        nodata = self.raster.nodata
        if nodata is not None and not np.isnan(nodata):
            valid &= (stored != nodata).all(axis=0)
        return stored, valid

    def _valid(self, stored: np.ndarray, window: Any) -> np.ndarray:
        """What the file itself says of pixels ``(R, W)``: by its nodata values alone where it has nothing else.

        GDAL would read the pixels once more to find these.
        """
        from rasterio.enums import MaskFlags

        from ..raster import as_stored

        flags = [set(self.dataset.mask_flag_enums[n - 1]) for n in self.numbers]
        if not all(f <= {MaskFlags.nodata, MaskFlags.all_valid} for f in flags):
            masks = self.dataset.read_masks(self.numbers, window=window)
            return np.asarray((masks != 0).all(axis=0))
        valid = np.ones(stored.shape[1:], bool)
        for band, number, flag in zip(stored, self.numbers, flags, strict=True):
            nodata = self.dataset.nodatavals[number - 1]
            if MaskFlags.nodata in flag and nodata is not None:
                valid &= ~np.isnan(band) if np.isnan(nodata) else band != as_stored(nodata, band.dtype)
        return valid


def bind_bands(prediction: SceneRows, others: Sequence[SceneRows]) -> tuple[str, ...]:
    """Make every raster read the bands of the prediction, in its order; returns their names.

    By name where both rasters name their bands and the other holds all the names (it may hold more). By
    position where one of them names none, or where they share no name, which is logged; then their numbers
    must agree.

    Raises:
        BandError: The numbers of bands differ, or only some of the names are shared.
    """
    wanted, count = prediction.names, len(prediction.numbers)
    for scene in others:
        names = None if scene.raster.bands is not None else scene.names
        place = [name.lower() for name in names or ()]
        shared = [name for name in wanted or () if name.lower() in place]
        if wanted and len(shared) == count:
            scene.numbers = [scene.numbers[place.index(name.lower())] for name in wanted]
            continue
        if shared or len(scene.numbers) != count:
            raise BandError(
                f"The bands of the {scene.role} are not those of the prediction",
                got=f"{scene.label}: {_listed(scene)}",
                allowed=f"{prediction.label}: {_listed(prediction)}",
                fix=f"State them in the order of the prediction: --bands {scene.role}=N,N,...",
            )
        if wanted and names:
            log.warning(
                "Bands of the %s are matched by position, for no name is shared: %s as %s",
                scene.role,
                ", ".join(names),
                ", ".join(wanted),
            )
    for names in (wanted, *(scene.names for scene in others)):
        if names:
            return names
    return tuple(f"band_{i + 1}" for i in range(count))


def _listed(scene: SceneRows) -> str:
    return f"{len(scene.numbers)}" + (f" ({', '.join(scene.names)})" if scene.names else " without names")


def require_same_grid(truth: SceneRows, other: SceneRows) -> None:
    """Refuse a raster whose pixels do not lie on those of the truth.

    Raises:
        GridError: Rows and columns, transform or reference system differ; the message shows both.
    """
    if _same_grid(truth, other):
        return
    raise GridError(
        f"The {other.role} does not lie on the grid of {'the truth' if truth.role == 'truth' else truth.role}",
        got=f"{other.label}: {_grid(other)}",
        allowed=f"{truth.label}: {_grid(truth)}",
        fix=f"Bring it there first: rio warp {other.label} OUT.tif --like {truth.label}",
    )


def _same_grid(truth: SceneRows, other: SceneRows) -> bool:
    if truth.shape != other.shape:
        return False
    mine, theirs = truth.dataset, other.dataset
    if mine.crs and theirs.crs and mine.crs != theirs.crs:
        return False
    a, b, x, d, e, y = tuple(mine.transform)[:6]
    steps = np.array(tuple(theirs.transform)[:6]) - (a, b, x, d, e, y)
    for column, row in ((0, 0), (mine.width, 0), (0, mine.height), (mine.width, mine.height)):
        east, north = steps.reshape(2, 3) @ (column, row, 1)
        apart = np.linalg.solve([[a, b], [d, e]], [east, north])
        if np.abs(apart).max() > _ALIGNED:
            return False
    return True


def _grid(scene: SceneRows) -> str:
    t = scene.dataset.transform
    crs = scene.dataset.crs
    name = "no CRS" if not crs else crs.to_string()[:60]
    return f"{scene.shape} pixels of {t.a:.9g} x {t.e:.9g} from ({t.c:.9g}, {t.f:.9g}), {name}"


def require_same_unit(scenes: Sequence[SceneRows]) -> None:
    """Refuse integers without a scale beside rasters of a known scale or unit: their numbers do not compare.

    Units of different names are logged: their names may mean the same.

    Raises:
        ScaleError: The message names the flag that states the scale.
    """
    known = [s for s in scenes if s.is_scaled or s.unit]
    for scene in scenes:
        if known and scene.is_integer and not scene.is_scaled and not scene.unit:
            raise ScaleError(
                f"The {scene.role} holds integers and no scale, and the {known[0].role} says what its numbers mean",
                got=f"{scene.label}: {scene.dataset.dtypes[scene.numbers[0] - 1]}",
                fix=f"State it: --scale {scene.role}=0.0001 (whatever turns the stored numbers into the unit of the "
                f"{known[0].role}; --offset {scene.role}=... if there is one)",
            )
    units = {s.unit.lower(): s for s in scenes if s.unit}
    if len(units) > 1:
        log.warning("The rasters name different units: %s", ", ".join(f"{s.role} {s.unit}" for s in units.values()))
