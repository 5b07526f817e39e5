# SPDX-License-Identifier: Apache-2.0
"""Cut tiles out of a user's rasters, as a run would, or take samples out of a user's arrays."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle import Bundle
from ..errors import NodataError, SampleError, UsageError
from ..grid import Tile
from ..samples.spec import SampleSpec
from ..spec import ModelSpec
from .tiles import Spec, Tiles, most_tiles

if TYPE_CHECKING:
    from ..scene import Scene

COUNT, SAMPLES = 8, 256  # where nobody says how many

# A tile is taken where at least this part of its core is valid: the rest is filled, as in a run.
_VALID = 0.5

# Rows of tiles that are looked at for each tile that is wanted; they lie evenly over the scene.
_ROWS_A_TILE = 2

# Values become multiples of their span over this power of two, so that a stored tile compresses.
_LEVELS = 2**12


def cut_tiles(
    bundle: Bundle | str | Path, *, count: int | None = None, seed: int = 0, any_ratio: bool = False, **rasters: Any
) -> Tiles:
    """Cut tiles out of rasters and store them in a bundle: what its reduced engines are compared with fp32 on.

    Args:
        bundle: The bundle, or its folder.
        count: How many; None takes 8 tiles, or 256 samples. Fewer where they are large or the scene holds fewer.
        seed: Another seed takes other tiles.
        any_ratio: Accept coarse rasters whose pixel size does not fit the contract's ratio.
        **rasters: One raster a role, or one array, as for :meth:`stf_infer.Model.fuse`.

    Returns:
        The tiles.

    Raises:
        UsageError, RasterError, BandError, ScaleError, GridError, SampleError: An input cannot be used.
        NodataError: No tile is valid enough.
        OutputError: The bundle cannot be written to. After any error it is what it was before.
    """
    from .tile_store import store_tiles

    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    tiles = cut(opened, rasters, count=count, seed=seed, any_ratio=any_ratio)
    store_tiles(opened, tiles)
    return tiles


def cut(
    source: Any, rasters: Mapping[str, Any], *, count: int | None = None, seed: int = 0, any_ratio: bool = False
) -> Tiles:
    """Cut tiles out of rasters, or take samples out of arrays; see :func:`cut_tiles`.

    Tiles are those that a run would see. They lie over a quarter of a tile from each other, where the coarse images
    changed most, and are valid: whole, or by half at least where the scene has no better ones. Values are rounded to 12
    bits of their span. Reads a part of the scene twice.

    Args:
        source: The contract, or what has one: a bundle, a model.
        rasters: By role.
        count: As there.
        seed: As there.
        any_ratio: As there.
    """
    spec: Spec = source if isinstance(source, (ModelSpec, SampleSpec)) else source.spec
    if count is None:
        count = SAMPLES if isinstance(spec, SampleSpec) else COUNT
    if count < 1:
        raise UsageError("The number of tiles cannot be used", got=count, allowed="1 or more")
    count = most_tiles(spec, count)
    tiles = (
        _cut_samples(spec, rasters, count, seed)
        if isinstance(spec, SampleSpec)
        else _cut(spec, rasters, count, seed, any_ratio)
    )
    tiles.check(spec)
    return tiles


def _cut(spec: ModelSpec, rasters: Mapping[str, Any], count: int, seed: int, any_ratio: bool) -> Tiles:
    import rasterio

    from ..scene import Scene

    with rasterio.Env(), Scene(spec, rasters, any_ratio=any_ratio) as scene:
        chosen = _choose(scene, count, seed)
        roles = {one.tensor: one.role for one in spec.inputs}
        parts = []
        for tile in chosen:
            _move_to(scene, tile)
            parts.append(scene.gather([tile]))
        labels = [f"{role}={_name(raster)}" for role, raster in scene.rasters.items()]
    inputs = {roles[name]: _rounded(np.concatenate([part[name] for part in parts])) for name in parts[0]}
    origins = tuple((tile.read.y0, tile.read.x0) for tile in chosen)
    return Tiles(inputs, "real", tuple(labels), origins)


def _choose(scene: Scene, count: int, seed: int) -> list[Tile]:
    """Tiles that are valid, changed, and far from each other, in the order of the scene.

    Raises:
        NodataError: There is none.
    """
    plan = scene.plan()
    rows = np.unique(np.linspace(0, len(plan.y) - 1, min(len(plan.y), _ROWS_A_TILE * count)).round().astype(int))
    looks = [look for iy in rows for look in _look_at_row(scene, int(iy))]
    most = max(valid for _, valid, _ in looks)
    if most < _VALID:
        raise NodataError(
            "No tile of the scene is valid in all inputs, at least by half",
            got=f"the best one: {most:.0%}; {', '.join(f'{role}: {one.label}' for role, one in scene.layers.items())}",
            fix="Check nodata values and masks, and that the rasters overlap; or take another scene",
        )
    whole = [look for look in looks if look[1] == 1]
    looks = whole if len(whole) >= count else [look for look in looks if look[1] >= _VALID]
    places = np.array([(tile.read.y0, tile.read.x0) for tile, _, _ in looks], float)
    changed = np.argsort(np.argsort([change for _, _, change in looks])) + 1.0
    # What another seed takes is as good, or nearly.
    appeal = changed / len(looks) * (1 - 0.5 * np.random.default_rng(seed).random(len(looks)))
    taken = [int(np.argmax(appeal))]
    near = min(plan.tile.height, plan.tile.width) / 4  # tiles that are nearly the same show nothing new
    while len(taken) < count:
        apart = np.min([np.hypot(*(places - places[one]).T) for one in taken], axis=0)
        if apart.max() <= near:
            break
        taken.append(int(np.argmax(np.where(apart <= near, 0, apart**2 * appeal))))
    return [looks[number][0] for number in sorted(taken)]


def _look_at_row(scene: Scene, iy: int) -> list[tuple[Tile, float, float]]:
    """Each tile of a row: which part of its core is valid in all inputs, and how much the coarse images changed."""
    plan = scene.plan()
    tiles = [tile for tile in (plan[iy, ix] for ix in range(len(plan.x))) if tile.core.shape.pixels]
    if not tiles:  # all of its cores lie beyond the scene
        return []
    _move_to(scene, tiles[0])
    core = tiles[0].core
    valid = np.logical_and.reduce([reader.valid(core.y0, core.y1) for reader in scene.readers.values()])
    return [(tile, float(valid[:, tile.core.x0 : tile.core.x1].mean()), _change(scene, tile)) for tile in tiles]


def _change(scene: Scene, tile: Tile) -> float:
    """Mean absolute difference of the coarse images of both dates, in network values; 0 where one is no input."""
    readers = [scene.readers.get(role) for role in ("coarse_t1", "coarse_t2")]
    images = []
    for reader in readers:
        if reader is None:
            return 0.0
        out = np.empty(scene.spec.tensor_shape(scene.spec.input(reader.input.role)), np.float32)
        reader.gather(tile.read, out)
        images.append(out)
    return float(np.abs(images[1] - images[0]).mean()) if images[0].shape == images[1].shape else 0.0


def _move_to(scene: Scene, tile: Tile) -> None:
    for reader in scene.readers.values():
        reader.move_to((tile.read.y0, tile.read.y1))


def _rounded(values: np.ndarray) -> np.ndarray:
    """Multiples of a power of two near the span over 4096."""
    span = float(values.max() - values.min())
    if not span > 0 or not np.isfinite(span):
        return values
    step = np.float32(2.0 ** np.floor(np.log2(span / _LEVELS)))
    return np.round(values / step) * step


def _name(value: Any) -> str:
    """A file's name without its folder: paths of one machine mean nothing on another."""
    data = getattr(value, "data", value)
    return Path(data).name if isinstance(data, (str, Path)) else "array"


def _cut_samples(spec: SampleSpec, arrays: Mapping[str, Any], count: int, seed: int) -> Tiles:
    """Samples at random, of those in which every number is a measurement."""
    from ..samples.array import SampleArray
    from ..samples.binding import bind

    given = {role: SampleArray.of(value) for role, value in arrays.items() if value is not None}
    with ExitStack() as stack:
        samples = bind(spec, given, stack)
        sizes = tuple(samples.sizes.values())
        found = _valid_samples(samples, sizes, np.random.default_rng(seed).permutation(int(np.prod(sizes))), count)
    if not found:
        raise SampleError(
            "No sample is complete in all inputs",
            got=", ".join(f"{role}: {array.label}" for role, array in given.items()),
            fix="Check missing values, or take other samples",
        )
    inputs = {role: np.stack([one[role] for one in found]) for role in spec.roles}
    return Tiles(inputs, "real", tuple(f"{role}={_name(one.file or one)}" for role, one in given.items()))


def _valid_samples(samples: Any, sizes: tuple[int, ...], order: np.ndarray, count: int) -> list[dict[str, np.ndarray]]:
    from ..samples.convert import check_scale, to_network

    for bound in samples.inputs:
        check_scale(bound.spec, bound.source)
    found: list[dict[str, np.ndarray]] = []
    for number in order:
        place = np.unravel_index(number, sizes) if sizes else ()
        region = {name: slice(int(i), int(i) + 1) for name, i in zip(samples.sizes, place, strict=True)}
        one, whole = {}, True
        for bound in samples.inputs:
            values, valid = to_network(bound.spec, bound.source, bound.read(region))
            one[bound.spec.role] = np.array(values.reshape(bound.spec.shape), order="C")
            whole = whole and bool(valid.all())
        if whole:
            found.append(one)
        if len(found) == count:
            break
    return found
