# SPDX-License-Identifier: Apache-2.0
"""Benchmark datasets as pairs of rasters, and as the tuples that networks are judged on.

data = datasets.open("CIA", "data/CIA")
for one in data.tuples(part="test"):
    result = model.fuse(**one.inputs_of(model.spec))
    report = ...evaluate_files(prediction, one.truth)
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UsageError
from .layouts import LAYOUTS, Layout

if TYPE_CHECKING:
    from ..raster import Raster
    from ..spec import ModelSpec

Part = Literal["all", "training", "test"]
PARTS = ("all", "training", "test")


@dataclass(frozen=True)
class Statements:
    """How the rasters of a dataset are read; each of them states this by itself.

    Attributes:
        bands: Names, in the order of the files.
        scale: ``reflectance = stored * scale``.
        nodata: Stored value that is no measurement; None leaves it to the files.
        ratio: Coarse pixel / fine pixel.
    """

    bands: tuple[str, ...]
    scale: float
    nodata: float | None
    ratio: float


@dataclass(frozen=True)
class Pair:
    """A fine and a coarse image of one date.

    Attributes:
        date: Of the fine image.
        fine: The fine raster, with bands, scale and grid stated.
        coarse: The coarse raster, likewise.
        coarse_date: Of the coarse image: in some datasets a day or some days off.
    """

    date: datetime.date
    fine: Raster
    coarse: Raster
    coarse_date: datetime.date


@dataclass(frozen=True)
class EvaluationTuple:
    """What a network gets and what it should give.

    Attributes:
        name: The dates, as in ``2001-10-07 to 2001-10-16``, or ``2001-10-07, 2001-11-01 to 2001-10-16``.
        dates: Date of ``t1``, ``t2`` and, with two references, ``t3``.
        inputs: Raster by role: fine_t1, coarse_t1, coarse_t2 and, with two references, fine_t3, coarse_t3.
        truth: The fine raster at t2.
        ratio: Coarse pixel / fine pixel.
        remark: What has to be said wherever figures are shown; empty where there is nothing.
    """

    name: str
    dates: Mapping[str, datetime.date]
    inputs: Mapping[str, Raster]
    truth: Raster
    ratio: float
    remark: str = ""

    def inputs_of(self, spec: ModelSpec) -> dict[str, Raster]:
        """The rasters that a network takes: what :meth:`stf_infer.Model.fuse` wants.

        Raises:
            UsageError: The network takes a role that this tuple does not have.
        """
        wanted = [raster.role for raster in spec.rasters]
        missing = [role for role in wanted if role not in self.inputs]
        if missing:
            second = any(role.endswith("_t3") for role in missing) and "t3" not in self.dates
            raise UsageError(
                f"{spec.name} takes inputs that this tuple does not have: {', '.join(missing)}",
                got=", ".join(self.inputs),
                allowed=", ".join(wanted),
                fix="Take tuples(references=2)" if second else None,
            )
        return {role: self.inputs[role] for role in wanted}


@dataclass(frozen=True)
class Dataset:
    """Pairs of one place in order of time.

    Attributes:
        name: What it is called.
        root: Where it lies.
        pairs: Fine and coarse image of every date that has both, in order.
        statements: How the rasters are read.
        training: So many of the first pairs train where the whole dataset is there; None where no split is known.
        remark: What has to be said wherever figures of it are shown; empty where there is nothing.
        unpaired: Files of a date that has no partner.
    """

    name: str
    root: Path
    pairs: tuple[Pair, ...]
    statements: Statements
    training: int | None = None
    remark: str = ""
    unpaired: tuple[Path, ...] = field(default=(), repr=False)

    def tuples(self, references: int = 1, part: Part = "all") -> tuple[EvaluationTuple, ...]:
        """The usual evaluation: every date from the one before it, or from the ones before and after it.

        Args:
            references: 1 gives (t1, t2) for every two pairs that follow each other; 2 gives (t1, t2, t3) for every
                three, with t2 in the middle.
            part: ``test`` takes the pairs that the survey's code keeps for testing, ``training`` those before them,
                ``all`` all of them.

        Raises:
            UsageError: An argument is none of these; there are not enough pairs; the dataset has no such part.
        """
        if references not in (1, 2):
            raise UsageError("A prediction has one or two references", got=references, allowed="1 or 2")
        pairs = self._part(part)
        if len(pairs) <= references:
            raise UsageError(
                f"{self.name} has too few pairs for a prediction from {references} reference(s)",
                got=f"{len(pairs)}: {', '.join(str(p.date) for p in pairs)}",
                allowed=f"{references + 1} or more",
                fix="Take another part" if part != "all" else f"Complete the folder: {self.root}",
            )
        return tuple(self._tuple(pairs[i : i + references + 1]) for i in range(len(pairs) - references))

    def _part(self, part: str) -> tuple[Pair, ...]:
        if part not in PARTS:
            raise UsageError("A dataset has no such part", got=part, allowed=", ".join(PARTS))
        if part == "all":
            return self.pairs
        if self.training is None:
            raise UsageError(
                f"How {self.name} is parted into training and test is not known for these {len(self.pairs)} pairs",
                got=part,
                allowed="all",
                fix="Complete the dataset, or say training=N when it is opened",
            )
        return self.pairs[: self.training] if part == "training" else self.pairs[self.training :]

    def _tuple(self, pairs: Sequence[Pair]) -> EvaluationTuple:
        t1, t2 = pairs[:2]
        inputs = {"fine_t1": t1.fine, "coarse_t1": t1.coarse, "coarse_t2": t2.coarse}
        dates = {"t1": t1.date, "t2": t2.date}
        for t3 in pairs[2:]:
            inputs |= {"fine_t3": t3.fine, "coarse_t3": t3.coarse}
            dates["t3"] = t3.date
        known = ", ".join(str(day) for when, day in dates.items() if when != "t2")
        return EvaluationTuple(
            name=f"{known} to {t2.date}",
            dates=dates,
            inputs=inputs,
            truth=t2.fine,
            ratio=self.statements.ratio,
            remark=self.remark,
        )


def open(name: str, root: str | Path | None = None, **stated: Any) -> Dataset:
    """Open a benchmark dataset that lies in a folder, or ``samples``: :func:`stf_infer.datasets.landsat_samples`.

    Only headers are read, and a few rows of two files to see whether the scale can be right.

    Args:
        name: One of ``LAYOUTS``, or another name of it (``DX``, ``BC``); any case.
        root: Its folder, or the folder that holds one of that name; ``samples`` are found without.
        **stated: What a copy does otherwise than :data:`stf_infer.datasets.LAYOUTS` says: ``bands`` (names in the
            order of the files), ``scale``, ``nodata``, ``ratio``, ``fine`` and ``coarse`` (patterns of file names),
            ``apart`` (days between the images of a pair), ``training`` (pairs that train), ``skip`` (names of folders
            to leave out). ``samples`` have arguments of their own.

    Raises:
        UsageError: No dataset of that name (close names are offered); no such folder; no pairs in it, with what was
            found and what is expected.
        RasterError: A file cannot be read.
        BandError: A file holds another number of bands.
        ScaleError: The values cannot be reflectance at the stated scale.
        GridError: The images are not of one size.
    """
    if name.lower() == "samples":
        from .landsat import landsat_samples

        if unknown := stated.keys() - {"ratio", "clear", "year"}:
            raise UsageError("The samples have no such statement", got=", ".join(unknown), allowed="ratio, clear, year")
        return landsat_samples(root, **stated)
    layout = layout_of(name)
    if root is None:
        raise UsageError(f"{layout.name} is read from a folder, and none is given", fix="Say where it lies: root")
    from . import _reading

    return _reading.read(layout, Path(root), stated)


def layout_of(name: str) -> Layout:
    """The layout of that name, or of which it is another name.

    Raises:
        UsageError: There is none; the message offers close names.
    """
    known = {alias.lower(): layout for layout in LAYOUTS.values() for alias in (layout.name, *layout.aliases)}
    if name.lower() in known:
        return known[name.lower()]
    close = difflib.get_close_matches(name.lower(), known, n=3)
    raise UsageError(
        "No dataset of that name",
        got=name,
        allowed=", ".join((*LAYOUTS, "samples")),
        fix=f"Did you mean {_either(known[c].name for c in close)}?" if close else None,
    )


def _either(names: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(names))
