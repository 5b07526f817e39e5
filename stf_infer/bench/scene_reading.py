# SPDX-License-Identifier: Apache-2.0
"""The rasters of a bench's scene beside each other: bands that they share, ratio, and the grid of the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..baselines.scenes import raster_inputs
from ..errors import BandError, GridError
from ..metrics.rasters import SceneRows, require_same_grid
from ..placement import Grid, pixel_size_in
from ..raster import Raster
from ..scene import Scene
from ..spec import ModelSpec, OutputSpec, TileRule, Values
from .scene_files import TRUTH, new_file, raster_profile

# A coarse pixel that is no larger than this many fine ones has been resampled.
_FINE = 1.3
# A ratio that is so near to a whole number is that number.
_WHOLE = 0.01
_ROWS = 256


def open_rows(
    files: Mapping[str, Raster], truth: Raster | None, wanted: Sequence[str], stack: ExitStack
) -> tuple[dict[str, SceneRows], dict[str, tuple[str, ...]]]:
    """Every raster, open, and the names of the bands that are read of it: those that can be compared.

    Args:
        files: By role.
        truth: Shares its bands with fine_t1.
        wanted: Names of bands; where fine_t1 has them all, it and all that do read no others.
        stack: Closes them.

    Raises:
        BandError: The truth shows other bands than fine_t1.
    """
    rows = {role: SceneRows.open(role, raster, stack) for role, raster in files.items()}
    fine = rows["fine_t1"]
    _restrict(fine, wanted)
    if truth is not None:
        rows[TRUTH] = SceneRows.open(TRUTH, truth, stack)
        _share_bands(fine, rows[TRUTH])
    for role, one in rows.items():
        if role not in ("fine_t1", TRUTH):
            _restrict(one, fine.names or ())
    names = {
        role: one.names or tuple(f"band_{n}" for n in range(1, len(one.numbers) + 1)) for role, one in rows.items()
    }
    if truth is not None:
        names[TRUTH] = names["fine_t1"]
    return rows, names


def _restrict(rows: SceneRows, wanted: Sequence[str]) -> None:
    """Read these bands only, where all of them are there by name."""
    places = [name.lower() for name in rows.names or ()]
    if wanted and all(name.lower() in places for name in wanted):
        rows.numbers = [rows.numbers[places.index(name.lower())] for name in wanted]


def _share_bands(fine: SceneRows, truth: SceneRows) -> None:
    """Make both read the bands that they share: by name where both have names, else all of them in order.

    Raises:
        BandError: They share none, or are of different numbers.
    """
    places = [name.lower() for name in truth.names or ()]
    numbers = [
        (number, truth.numbers[places.index(name.lower())])
        for number, name in zip(fine.numbers, fine.names or (), strict=False)
        if name.lower() in places
    ]
    if numbers:
        fine.numbers, truth.numbers = ([pair[i] for pair in numbers] for i in (0, 1))
    elif len(fine.numbers) != len(truth.numbers) or (fine.names and truth.names):
        raise BandError(
            "The truth shows other bands than fine_t1",
            got=f"{truth.label}: {', '.join(truth.names or ()) or len(truth.numbers)}",
            allowed=f"{fine.label}: {', '.join(fine.names or ()) or len(fine.numbers)}",
            fix="State them in the order of fine_t1: --bands truth=N,N,...",
        )


def measured_ratio(rows: Mapping[str, SceneRows]) -> float | None:
    """Side of a coarse pixel in fine pixels; None where there is no coarse raster, or a resampled one."""
    fine = Grid.of(rows["fine_t1"].dataset)
    for role, one in rows.items():
        if role.startswith("coarse"):
            found = pixel_size_in(Grid.of(one.dataset), fine)
            whole = round(found)
            return None if not found > _FINE else float(whole) if abs(found - whole) <= _WHOLE * whole else found
    return None


def contract_of(bands: Mapping[str, tuple[str, ...]], ratio: int, unit: str) -> ModelSpec:
    """A network that would take all rasters of a scene, the truth too: what reads them as a run does."""
    values = Values(unit=unit)
    inputs = tuple(raster_inputs(bands, values))
    output = OutputSpec(tensor="fine_t2", bands=bands["fine_t1"], values=values)
    return ModelSpec(
        name="scene", network="scene", ratio=ratio, inputs=inputs, output=output, tile=TileRule(height=64, width=64)
    )


def lies_on_grid(rows: Mapping[str, SceneRows], *, warp: bool) -> bool:
    """Whether the truth lies on the grid of fine_t1.

    Raises:
        GridError: It does not, and nobody wants it warped.
    """
    try:
        require_same_grid(rows["fine_t1"], rows[TRUTH])
    except GridError as error:
        if warp:
            return False
        raise GridError(
            error.what,
            got=error.got,
            allowed=error.allowed,
            fix="Say --warp-truth, and it is warped there for the bench; or bring it there first: "
            f"rio warp {rows[TRUTH].label} OUT.tif --like {rows['fine_t1'].label}",
        ) from error
    return True


def warped_truth(scene: Scene, path: Path, unit: str) -> Raster:
    """The truth as the layer of a run gives it, as a file of physical float32 on the grid of fine_t1."""
    layer, height = scene.layers[TRUTH], scene.shape.height
    reader = scene.readers[TRUTH]
    with new_file(path, raster_profile(scene.grid, len(layer.spec.bands), "float32", float("nan"))) as out:
        out.descriptions, out.units = layer.spec.bands, (unit,) * len(layer.spec.bands)
        for first in range(0, height, _ROWS):
            stop = min(first + _ROWS, height)
            values, valid = reader.network_rows(first, stop)
            out.write(np.where(valid, values, np.nan), window=((first, stop), (0, scene.shape.width)))
    return Raster(path)
