# SPDX-License-Identifier: Apache-2.0
"""What a bench is asked for, checked before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ..engines.key import REDUCED
from ..errors import UsageError
from ..raster import Raster

PRECISIONS = ("fp32", *REDUCED)
OUT = Path("stf-bench")


@dataclass(frozen=True)
class StatedScene:
    """A scene of the user's own.

    Attributes:
        name: Unique among the scenes of a bench.
        inputs: Raster by role.
        truth: The fine raster at t2; None measures no accuracy against truth.
    """

    name: str
    inputs: Mapping[str, Raster]
    truth: Raster | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values: every raster with what was stated about it."""
        truth = None if self.truth is None else _told(self.truth)
        return {"name": self.name, "inputs": {role: _told(r) for role, r in self.inputs.items()}, "truth": truth}


@dataclass(frozen=True)
class Settings:
    """What to measure and for how long.

    Attributes:
        bundles: Folders ``NAME.stf``; none takes the embedded demo.
        engines: Target names; none takes all that can be used here.
        precisions: None takes fp32 and whatever the bundle holds or the target computes by itself.
        tile: Rows and columns that the tiles of the bundles have to have; None takes them as they are.
        batches: Tiles in a call: the first is what everything is measured with, the others are a sweep. None takes
            what suits each engine, and sweeps 1, 2, 4.
        threads: CPU threads, likewise; none leaves them to the engine, and sweeps up to four numbers from 1 to all
            cores.
        sweep: Whether anything is swept.
        runs: Calls that are measured at least; also ``seconds``, whichever is reached later.
        seconds: See ``runs``.
        scene_part: Whether scenes are fused; False measures tiles alone.
        scenes: Scenes of the user's own; none, without a dataset, takes a procedural one.
        dataset: A benchmark dataset of :mod:`stf_infer.datasets`, or ``samples``; empty takes none.
        root: Its folder.
        part: Which pairs of the dataset: ``all``, ``test`` or ``training``.
        limit: Take so many scenes of the dataset at most; None takes all.
        warp_truth: Whether a truth on another grid than that of fine_t1 is warped there; False refuses it.
        any_ratio: Whether coarse rasters are accepted whose pixel size does not fit a bundle's ratio.
        data_range: Span of possible values, for PSNR and SSIM; None takes 1 for reflectance.
        change: Pixels count as changed where the truth departs from fine_t1 by more, in physical units; None finds it.
        side: Rows and columns of the procedural scene, fine pixels.
        repeats: How often each scene is fused.
        seed: Of the noise of diffusion networks.
        steps: Numbers of steps in which networks that are sampled in a loop are measured besides their own.
        baselines: Whether the baselines are measured on the scenes.
        out: Folder of everything that is written.

    Raises:
        UsageError: A value that cannot be used.
    """

    bundles: tuple[Path, ...] = ()
    engines: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    tile: tuple[int, int] | None = None
    batches: tuple[int, ...] = ()
    threads: tuple[int, ...] = ()
    sweep: bool = True
    runs: int = 20
    seconds: float = 1.0
    scene_part: bool = True
    scenes: tuple[StatedScene, ...] = field(default=())
    dataset: str = ""
    root: Path | None = None
    part: Literal["all", "test", "training"] = "all"
    limit: int | None = None
    warp_truth: bool = False
    any_ratio: bool = False
    data_range: float | None = None
    change: float | None = None
    side: int = 512
    repeats: int = 3
    seed: int = 0
    steps: tuple[int, ...] = ()
    baselines: bool = True
    out: Path = OUT

    def __post_init__(self) -> None:
        for name in self.precisions:
            if name not in PRECISIONS:
                raise UsageError("There is no such precision", got=name, allowed=", ".join(PRECISIONS))
        counts = {"batch": self.batches, "threads": self.threads, "runs": (self.runs,), "repeats": (self.repeats,)}
        counts |= {"steps": self.steps, "side": (self.side,), "limit": () if self.limit is None else (self.limit,)}
        counts |= {"tile": self.tile or ()}
        for name, values in counts.items():
            if any(value < 1 for value in values):
                raise UsageError(f"--{name} cannot be used", got=", ".join(map(str, values)), allowed="1 or more")
        if not 0 <= self.seconds < float("inf"):
            raise UsageError("--seconds cannot be used", got=self.seconds, allowed="0 or more")
        for name, number in {"data-range": self.data_range, "change": self.change}.items():
            if number is not None and not 0 < number < float("inf"):
                raise UsageError(f"--{name} cannot be used", got=number, allowed="above 0")
        if not 0 <= self.seed < 2**64:
            raise UsageError("The seed cannot be used", got=self.seed, allowed="0 to 2^64 - 1")
        if self.dataset and self.scenes:
            raise UsageError("Scenes are stated, and a dataset as well", got=self.dataset, fix="Leave one of them out")
        if self.root is not None and not self.dataset:
            raise UsageError("--root is the folder of a dataset, and none is named", fix="Add --dataset NAME")
        for what in ("bundles", "engines", "precisions", "batches", "threads", "steps"):
            _refuse_twice(what, getattr(self, what))
        _refuse_twice("scenes", tuple(scene.name for scene in self.scenes))

    @property
    def batch(self) -> int | None:
        """Tiles in a call that everything is measured with; None is what suits each engine."""
        return self.batches[0] if self.batches else None

    @property
    def thread_count(self) -> int | None:
        """CPU threads that everything is measured with; None leaves them to the engine."""
        return self.threads[0] if self.threads else None

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, defaults written out: what a result keeps."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def _refuse_twice(what: str, values: tuple[Any, ...]) -> None:
    twice = {str(value) for value in values if values.count(value) > 1}
    if twice:
        raise UsageError(f"The same of the {what} is stated twice", got=", ".join(sorted(twice)))


def _told(raster: Raster) -> dict[str, Any]:
    stated = {name: _plain(value) for name, value in vars(raster).items() if value is not None and name != "data"}
    return {"data": raster.label, **stated}


def _plain(value: Any) -> Any:
    if isinstance(value, StatedScene):
        return value.as_dict()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)
