# SPDX-License-Identifier: Apache-2.0
"""A scene: the rasters of one fusion, seen on the grid of fine_t1.

The output grid is the grid of fine_t1, exactly. Every other raster is read on that grid or on the coarse working
grid (fine grid / ratio, same origin), through a warp where its own grid differs. Tiles come out in network values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import numpy as np

from . import _core
from .errors import GridError, NodataError, UsageError
from .grid import Shape, Tile, TilePlan, Window
from .layer import Layer
from .placement import Grid
from .raster import Raster
from .sampling import interpolation, mirrored
from .scene_scalars import RULES, Means
from .spec import KNOWN_ROLES, InputSpec, ModelSpec, RasterSpec
from .strip import Strip

# Rows that are held at once while numbers of the whole scene are computed.
_SCALAR_ROWS = 256


def check_roles(spec: ModelSpec, rasters: Mapping[str, Any]) -> None:
    """Refuse rasters that are not exactly the inputs of the network.

    Raises:
        UsageError: A role is missing or unknown.
    """
    wanted = [r.role for r in spec.rasters]
    missing = [r for r in wanted if r not in rasters]
    unknown = [r for r in rasters if r not in wanted]
    if missing or unknown:
        flags = [f"--{r.replace('_', '-')}" if r in KNOWN_ROLES else f"--input {r}=FILE" for r in missing]
        raise UsageError(
            f"{spec.name} takes other inputs",
            got=", ".join(rasters) or "nothing",
            allowed=", ".join(wanted),
            fix=f"Give {', '.join(flags)}" if missing else f"Leave {', '.join(unknown)} out",
        )


class Scene:
    """The open rasters of one fusion; a context manager.

    Args:
        spec: The contract of the network.
        rasters: Role: a :class:`Raster`, a path, an array or a DataArray.
        any_ratio: Accept coarse rasters whose pixel size does not fit the contract's ratio.

    Raises:
        UsageError: A role is missing or unknown.
        RasterError, BandError, ScaleError, GridError: A raster cannot serve in its role.
    """

    def __init__(self, spec: ModelSpec, rasters: Mapping[str, Any], *, any_ratio: bool = False) -> None:
        self.spec = spec
        self.rasters = {role: Raster.of(value) for role, value in rasters.items() if value is not None}
        check_roles(spec, self.rasters)
        self._stack = ExitStack()
        try:
            self.layers = self._open_layers(any_ratio)
        except BaseException:
            self._stack.close()
            raise

    def _open_layers(self, any_ratio: bool) -> dict[str, Layer]:
        from .raster import shape_of

        fine_raster = self.rasters["fine_t1"]
        with fine_raster.open() as dataset:
            if dataset.gcps[0] and dataset.transform.is_identity:
                raise GridError(
                    "fine_t1 has ground control points and no grid, so the result could have none",
                    got=fine_raster.label,
                    fix="Give it a grid first: gdalwarp FILE NEW_FILE",
                )
            self.grid = Grid.of(dataset)
            self.fine_profile = {
                "dtype": dataset.dtypes[0],
                "nodata": fine_raster.nodata if fine_raster.nodata is not None else dataset.nodata,
            }
        layers = {}
        for spec in self.spec.rasters:
            raster = self.rasters[spec.role]
            if raster.is_array and not raster.has_georeference and spec.role != "fine_t1":
                with raster.open() as dataset:
                    raster = self._laid_on_grid(raster, spec, shape_of(dataset))
            layers[spec.role] = Layer(raster, spec, self.grid, self.spec.ratio, self._stack, any_ratio=any_ratio)
        return layers

    def _laid_on_grid(self, raster: Raster, spec: RasterSpec, shape: Shape) -> Raster:
        """A bare array takes the grid whose shape it has: fine, or coarse working grid."""
        from dataclasses import replace

        coarse = self.grid.coarser(self.spec.ratio)
        for grid in (self.grid, coarse):
            if shape == grid.shape:
                return replace(raster, transform=grid.transform, crs=grid.crs)
        raise GridError(
            f"The array of {spec.role} fits neither grid",
            got=shape,
            allowed=f"{self.grid.shape} (fine) or {coarse.shape} (fine / {self.spec.ratio})",
            fix="Pass Raster(array, transform=..., crs=...) to have it warped",
        )

    def close(self) -> None:
        """Close all rasters."""
        self._stack.close()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shape(self) -> Shape:
        """Rows and columns of the scene in fine pixels."""
        return self.grid.shape

    def plan(self) -> TilePlan:
        """The tile plan of this scene."""
        return TilePlan.for_scene(self.spec.tile, self.shape)

    @cached_property
    def readers(self) -> dict[str, TileReader]:
        """What cuts tiles out of each layer that is an input of the network."""
        return self.readers_of(None)

    def readers_of(self, columns: tuple[int, int] | None) -> dict[str, TileReader]:
        """As :attr:`readers`, of tiles in a range of fine columns alone; it may reach past the scene."""
        roles = [role for role in self.layers if role in self.spec.roles]
        return {role: TileReader(self.layers[role], self.spec, self.shape, columns) for role in roles}

    def empty_batch(self, tiles: int) -> dict[str, np.ndarray]:
        """Arrays for the inputs of so many tiles, by tensor, ``(tiles, C, h, w)``, without noise.

        Numbers of the scene are in them already; :func:`gather_with` fills the rest.
        """
        inputs = {}
        for spec in self.spec.inputs:
            if spec.grid == "noise":
                continue
            inputs[spec.tensor] = np.empty((tiles, *self.spec.tensor_shape(spec)), np.float32)
            if spec.grid == "scene":
                inputs[spec.tensor][:] = self.scalars[spec.role]
        return inputs

    def gather(self, tiles: Sequence[Tile]) -> dict[str, np.ndarray]:
        """Inputs of a batch by tensor, float32 ``(N, C, h, w)`` in network values, without noise."""
        inputs = self.empty_batch(len(tiles))
        for number, tile in enumerate(tiles):
            gather_with(self.readers, self.spec, tile, inputs, number)
        return inputs

    @cached_property
    def scalars(self) -> dict[str, np.ndarray]:
        """Role to float32 ``(C, 1, 1)`` of the inputs that are numbers of the whole scene.

        Costs one pass over the rasters that they are computed from, the first time. Pixels count that are valid in all
        of them.

        Raises:
            NodataError: No pixel is.
        """
        return {spec.role: self._scalar(spec) for spec in self.spec.scalars}

    def _scalar(self, spec: InputSpec) -> np.ndarray:
        assert spec.statistic is not None
        readers = [TileReader(self.layers[role], self.spec, self.shape) for role in spec.statistic.of]
        if len({reader.layer.grid.shape for reader in readers}) > 1:
            raise GridError(
                f"{spec.role} is computed from rasters on different grids",
                got=", ".join(f"{r.layer.spec.role}: {r.layer.grid.shape}" for r in readers),
                fix="Put them on one grid in the contract",
            )
        means, rows = Means(len(readers)), readers[0].layer.grid.shape.height
        for first in range(0, rows, _SCALAR_ROWS):
            blocks = [reader.network_rows(first, min(first + _SCALAR_ROWS, rows)) for reader in readers]
            means.add([values for values, _ in blocks], np.logical_and.reduce([valid for _, valid in blocks]))
        if not means.pixels:
            raise NodataError(
                f"{spec.role} is a number of the scene, and not one pixel is valid in all that it is computed from",
                got=", ".join(f"{reader.layer.spec.role}: {reader.layer.label}" for reader in readers),
                fix="Check nodata values and masks, and that the rasters overlap",
            )
        return RULES[spec.statistic.rule](means).astype(np.float32)[:, None, None]


def gather_with(
    readers: Mapping[str, TileReader], spec: ModelSpec, tile: Tile, inputs: Mapping[str, Any], number: int
) -> int:
    """Write the inputs of a tile in network values into a batch, as tile ``number`` of it; how many bytes that were.

    Every reader must hold the rows of the tile (:meth:`TileReader.move_to`).
    """
    written = 0
    for role, reader in readers.items():
        out = inputs[spec.input(role).tensor][number]
        reader.gather(tile.read, out)
        written += out.nbytes
    return written


class TileReader:
    """Cuts normalised tiles out of one layer, row of tiles after row of tiles.

    Args:
        layer: The raster.
        spec: The contract.
        scene: Rows and columns of the scene.
        columns: The range of fine columns that tiles are cut from, past the border too; None is all of the scene.
    """

    def __init__(self, layer: Layer, spec: ModelSpec, scene: Shape, columns: tuple[int, int] | None = None) -> None:
        self.layer, self.ratio, self.scene = layer, spec.ratio, scene
        self.input = layer.spec
        values = self.input.values
        self._scale = (layer.scaling.scale * values.scale).astype(np.float32)
        self._offset = (layer.scaling.offset * values.scale + values.offset).astype(np.float32)
        limits = [
            -np.inf if values.minimum is None else values.minimum * values.scale + values.offset,
            np.inf if values.maximum is None else values.maximum * values.scale + values.offset,
        ]
        self._low, self._high = min(limits), max(limits)
        on_coarse = any(i.grid == "coarse" for i in spec.inputs)
        self._divisor = spec.ratio if self.input.grid == "coarse" else 1
        self._unit = spec.ratio if on_coarse and self.input.grid == "fine" else 1
        self.strip = Strip(layer, None if columns is None else self._columns_for(*columns))

    def move_to(self, rows: tuple[int, int]) -> int:
        """Read what the tiles need that cover the fine rows ``[rows[0], rows[1])``, past the border too.

        Returns:
            Bytes that were not held already.
        """
        return self.strip.move_to(*self.needed(rows))

    def needed(self, rows: tuple[int, int]) -> tuple[int, int]:
        """The rows of the layer's own grid that such tiles need."""
        return self._needed(*rows, self.scene.height, self.layer.grid.shape.height)

    def _needed(self, start: int, stop: int, fine: int, length: int) -> tuple[int, int]:
        """What the fine pixels ``[start, stop)`` need of the layer's own axis of so many pixels."""
        if self.input.from_coarse:
            first, _ = self.positions(start, stop, fine, length)
            needed = np.clip([first.min(), first.max() + 1], 0, length - 1)
        else:
            needed = mirrored(np.arange(start // self._divisor, -(-stop // self._divisor)), length, self._unit)
        return int(needed.min()), int(needed.max()) + 1

    def _columns_for(self, start: int, stop: int) -> tuple[int, int]:
        """The columns of the layer's own grid that are held: all that tiles need, and that say which pixels are valid.

        Where tiles reach past the scene's border, they end with it: the far mirror then stands where it would.
        """
        width = self.layer.grid.shape.width
        first, last = self._needed(start, stop, self.scene.width, width)
        inside = np.clip([start, stop], 0, self.scene.width)
        cell = self.ratio if self.input.read_grid == "coarse" else 1
        first = min(first, int(inside[0]) // cell) // self._unit * self._unit
        return first, min(max(last, -(-int(inside[1]) // cell)), width)

    def positions(self, start: int, stop: int, fine: int, coarse: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the fine pixels ``[start, stop)``, past the border too, lie between the pixels of the coarse axis."""
        assert self.input.from_coarse is not None
        inside = mirrored(np.arange(start, stop), fine, self._unit)
        lowest = int(inside.min())
        first, weight = interpolation(lowest, int(inside.max()) + 1, coarse, self.ratio, self.input.from_coarse)
        return first[inside - lowest], weight[inside - lowest]

    def network_rows(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the layer's own grid: network values (C, rows, W) and valid (rows, W)."""
        stored, valid = self.layer.read(first, stop)
        values = stored * self._scale[:, None, None] + self._offset[:, None, None]
        return np.clip(values, self._low, self._high), valid

    def gather(self, window: Window, out: np.ndarray) -> None:
        """Write the tile that reads ``window`` (fine pixels) into ``out`` (C, h, w) float32, in network values."""
        strip, grid = self.strip, self.layer.grid.shape
        common = (strip.pixels, strip.first, grid.height, self._scale, self._offset, self._low, self._high)
        if self.input.from_coarse:
            rows, row_weight = self.positions(window.y0, window.y1, self.scene.height, grid.height)
            columns, column_weight = self.positions(window.x0, window.x1, self.scene.width, grid.width)
            _core.gather_bilinear(*common, rows, row_weight, columns - strip.left, column_weight, out)
        else:
            d = self._divisor
            _core.gather(*common, "mirror", window.y0 // d, window.x0 // d - strip.left, out, self._unit)

    def valid(self, first: int, stop: int, columns: tuple[int, int] | None = None) -> np.ndarray:
        """Which fine pixels this layer can serve, of the scene rows ``[first, stop)``: (rows, columns) uint8.

        Args:
            first: The first row.
            stop: One past the last one.
            columns: The range of scene columns, of those that are held; None is all of the scene.
        """
        strip, (x0, x1) = self.strip, columns or (0, self.scene.width)
        if self.input.read_grid == "fine":
            return strip.valid[first - strip.first : stop - strip.first, x0 - strip.left : x1 - strip.left]
        cells = np.arange(first, stop) // self.ratio - strip.first
        return strip.valid[cells][:, np.arange(x0, x1) // self.ratio - strip.left]
