# SPDX-License-Identifier: Apache-2.0
"""From the files of a folder to pairs of rasters on one grid."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BandError, GridError, RasterError, ScaleError, UsageError
from ..raster import Raster
from .benchmark import Dataset, Pair, Statements
from .layouts import Layout

if TYPE_CHECKING:
    from ..placement import Grid

# What is read, the preferred first where a file is there twice.
SUFFIXES = (".tif", ".tiff", ".img", ".bsq", ".bil", ".bip", ".int", ".dat")
_RAW = SUFFIXES[3:]
# Products of other methods under the names of coarse images, which one published network keeps beside them.
_SKIPPED = ("CSBS",)
_STATED = ("bands", "scale", "nodata", "ratio", "fine", "coarse", "apart", "training", "skip")
# Where the median of reflectance can lie. Water is darker, snow brighter, but no benchmark is all of either.
_MEDIAN = (0.01, 2.0)
_SAMPLE = 64  # rows and columns of the sample
_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class _File:
    """A file of a dataset."""

    path: Path
    day: date


def read(layout: Layout, root: Path, stated: Mapping[str, Any]) -> Dataset:
    """See :func:`stf_infer.datasets.open`."""
    unknown = [name for name in stated if name not in _STATED]
    if unknown:
        raise UsageError("A dataset has no such statement", got=", ".join(unknown), allowed=", ".join(_STATED))
    changed = {name: value for name, value in stated.items() if name not in ("nodata", "skip") and value is not None}
    for name in ("bands", "fine", "coarse"):
        if isinstance(changed.get(name), (str, list)):
            changed[name] = tuple([changed[name]] if isinstance(changed[name], str) else changed[name])
    layout = replace(layout, **changed)
    root = _folder(layout, root)
    skip = stated.get("skip")
    found = _found(root, _SKIPPED if skip is None else skip)
    fine, coarse = (_dated(found, patterns, root) for patterns in (layout.fine, layout.coarse))
    together = _together(fine, coarse, layout.apart)
    if len(together) < 2:
        _too_few(layout, root, found, fine, coarse, together)
    statements = Statements(layout.bands, layout.scale, stated.get("nodata"), layout.ratio)
    pairs = _on_one_grid(together, statements, check_scale="scale" not in changed)
    whole = layout.pairs is None or len(pairs) == layout.pairs
    paired = {one.path for both in together for one in both}
    return Dataset(
        layout.name,
        root,
        pairs,
        statements,
        training=layout.training if whole or "training" in changed else None,
        remark="" if whole else f"{layout.name}: {len(pairs)} of the {layout.pairs} published pairs.",
        unpaired=tuple(one.path for one in (*fine, *coarse) if one.path not in paired),
    )


# Files -------------------------------------------------------------------------------------------------------


def _folder(layout: Layout, root: Path) -> Path:
    if not root.is_dir():
        raise UsageError(
            f"The folder of {layout.name} is missing", got=root, fix=f"Give the folder that holds {layout.examples[0]}"
        )
    names = {name.lower() for name in (layout.name, *layout.aliases)}
    inside = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name.lower() in names]
    return inside[0] if len(inside) == 1 else root


def _found(root: Path, skip: Sequence[str]) -> list[Path]:
    every = (path for path in sorted(root.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file())
    left_out = {name.lower() for name in skip}
    return [p for p in every if not left_out & {part.lower() for part in p.relative_to(root).parts[:-1]}]


def _dated(found: Iterable[Path], patterns: Sequence[str], root: Path) -> list[_File]:
    """The files whose names fit, one a date, in order."""
    known: dict[date, Path] = {}
    for path in found:
        fits = next(filter(None, (re.fullmatch(p, path.stem, re.IGNORECASE) for p in patterns)), None)
        if fits is None:
            continue
        day = _date(fits.groupdict(), path)
        known[day] = _one_of(known[day], path, day, root) if day in known else path
    return [_File(path, day) for day, path in sorted(known.items())]


def _date(parts: Mapping[str, str], path: Path) -> date:
    try:
        if parts.get("j"):
            day = date(int(parts["y"]), 1, 1) + timedelta(days=int(parts["j"]) - 1)
            if day.year != int(parts["y"]):
                raise ValueError(f"day {parts['j']} is not of the year {parts['y']}")
            return day
        return date(*(int(parts[name]) for name in "ymd"))
    except ValueError as error:
        raise UsageError(
            "The name of a file holds no date", got=f"{path}: {error}", fix="Name it by its date, or move it away"
        ) from error


def _one_of(one: Path, other: Path, day: date, root: Path) -> Path:
    """The preferred of two files of a date that are the same image: copies, or one image in two formats."""
    if one.stem.lower() == other.stem.lower():
        suffixes = [SUFFIXES.index(path.suffix.lower()) for path in (one, other)]
        if suffixes[0] != suffixes[1]:
            return one if suffixes[0] < suffixes[1] else other
        if _alike(one, other):
            return one
    raise UsageError(
        f"Two files claim to be the image of {day}",
        got=f"{one.relative_to(root)} and {other.relative_to(root)}",
        fix="Give the folder of one dataset only, or say which folders to leave out (skip=)",
    )


def _alike(one: Path, other: Path) -> bool:
    """Whether two files are of one size and begin and end alike."""
    size = one.stat().st_size
    if size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        for start in (0, max(0, size - 65536)):
            a.seek(start)
            b.seek(start)
            if a.read(65536) != b.read(65536):
                return False
    return True


def _together(fine: Sequence[_File], coarse: Sequence[_File], apart: int) -> list[tuple[_File, _File]]:
    """Fine and coarse files that are nearest in time, each used once, in order."""
    offers = sorted(
        (abs((c.day - f.day).days), f.day, c.day, f, c)
        for f in fine
        for c in coarse
        if abs((c.day - f.day).days) <= apart
    )
    taken: set[Path] = set()
    pairs = []
    for *_, f, c in offers:
        if f.path not in taken and c.path not in taken:
            taken |= {f.path, c.path}
            pairs.append((f, c))
    return sorted(pairs, key=lambda pair: pair[0].day)


def _too_few(
    layout: Layout,
    root: Path,
    found: Sequence[Path],
    fine: Sequence[_File],
    coarse: Sequence[_File],
    together: Sequence[tuple[_File, _File]],
) -> None:
    if not found:
        got = f"no raster in {root}"
    elif not fine and not coarse:
        got = f"{_some(path.name for path in found)} in {root}"
    else:
        days = [
            f"{kind}: {_some(str(one.day) for one in files)}" for kind, files in (("fine", fine), ("coarse", coarse))
        ]
        got = "; ".join(days)
    within = "of one day" if layout.apart == 0 else f"at most {layout.apart} day(s) apart"
    what = {0: "holds no pair of a fine and a coarse image", 1: "holds one pair only, and a prediction takes two"}
    raise UsageError(
        f"The folder of {layout.name} {what[len(together)]}",
        got=got,
        allowed=f"fine files like {layout.examples[0]} and coarse files like {layout.examples[1]}, {within}, "
        f"anywhere below the folder, as {', '.join(SUFFIXES)}",
        fix="Give another folder, or patterns of its file names (fine=, coarse=)",
    )


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more if every else "none"


# Grids and values --------------------------------------------------------------------------------------------


def _on_one_grid(
    together: Sequence[tuple[_File, _File]], statements: Statements, *, check_scale: bool
) -> tuple[Pair, ...]:
    """Rasters whose equal pixels lie at equal places, as all published code takes them to."""
    grids = {one.path: _grid(one.path, statements.bands) for both in together for one in both}
    first = together[0][0].path
    shape = grids[first].shape
    # The fine images decide; a copy that lost their place has it from a coarse image of the same pixels.
    order = [f.path for f, _ in together] + [c.path for _, c in together]
    placed = [grids[path] for path in order if grids[path].shape == shape]
    reference = max(placed, key=lambda grid: (grid.crs is not None, not grid.transform.is_identity))
    for f, _ in together:
        if grids[f.path].shape != shape:
            raise GridError(
                "The fine images of a dataset are of one size, and these are not",
                got=f"{f.path}: {grids[f.path].shape}",
                allowed=f"{first}: {shape}",
                fix="Give the folder of one dataset only",
            )
    if check_scale:
        for one in together[0]:
            _check_scale(one.path, statements)
    rasters = {path: _raster(path, grid, reference, statements) for path, grid in grids.items()}
    return tuple(Pair(f.day, rasters[f.path], rasters[c.path], c.day) for f, c in together)


def _raster(path: Path, own: Grid, reference: Grid, statements: Statements) -> Raster:
    raster = Raster(path, scale=statements.scale, nodata=statements.nodata, names=statements.bands)
    if own.shape == reference.shape:
        if own == reference:
            return raster
        return replace(raster, crs=reference.crs, transform=reference.transform)
    if own.crs is not None and reference.crs is not None:
        return raster  # of another grid, and it says which: the runtime warps it
    times = reference.shape.height // own.shape.height, reference.shape.width // own.shape.width
    exact = (times[0] * own.shape.height, times[1] * own.shape.width) == (reference.shape.height, reference.shape.width)
    if times[0] != times[1] or not exact:
        raise GridError(
            "A coarse image fits no grid",
            got=f"{path}: {own.shape}, no CRS",
            allowed=f"{reference.shape} (on fine pixels), whole parts of it, or any size with a CRS",
        )
    from affine import Affine

    return replace(raster, crs=reference.crs, transform=reference.transform * Affine.scale(times[0]))


def _grid(path: Path, bands: Sequence[str]) -> Grid:
    from ..placement import Grid

    with _opened(path) as dataset:
        if dataset.count != len(bands):
            raise BandError(
                "A file holds another number of bands than its dataset",
                got=f"{path}: {dataset.count}",
                allowed=f"{len(bands)} ({', '.join(bands)})",
                fix="Say which there are, in the order of the file: bands=",
            )
        return Grid.of(dataset)


def _opened(path: Path) -> Any:
    try:
        return Raster(path).open()
    except RasterError as error:
        if path.suffix.lower() not in _RAW:
            raise
        raise RasterError(
            "Raw pixels cannot be read without a header",
            got=path,
            fix=f"Write {path.with_suffix('.hdr').name} beside it, an ENVI header with samples, lines, bands, "
            "data type (2 is int16) and interleave, or convert the files to GeoTIFF",
        ) from error


def _check_scale(path: Path, statements: Statements) -> None:
    with _opened(path) as dataset:
        shape = (dataset.count, min(_SAMPLE, dataset.height), min(_SAMPLE, dataset.width))
        sample = dataset.read(out_shape=shape, masked=True).compressed()
    sample = sample[np.isfinite(sample)]
    values = sample[sample > 0] * statements.scale
    if values.size and not _MEDIAN[0] <= np.median(values) <= _MEDIAN[1]:
        raise ScaleError(
            "The values of a file cannot be reflectance at the scale of its dataset",
            got=f"{path}: {sample.dtype}, median {np.median(values) / statements.scale:.6g} stored, "
            f"{np.median(values):.3g} at scale {statements.scale:.6g}",
            allowed=f"a median of {_MEDIAN[0]} to {_MEDIAN[1]}",
            fix="State the scale of this copy: scale=0.0001, 1/255, 1, or whatever turns its numbers into reflectance",
        )
