# SPDX-License-Identifier: Apache-2.0
"""What a diffusion network gives over a scene with 1, 2, 4 ... T steps, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from stf_infer.diffusion import SamplerSpec
from stf_infer.metrics.comparison import compare
from stf_infer.model import Model
from stf_infer.raster import Raster

from ..samplers import SpacingName
from .resampled import loop_of, rule_of, spaced
from .truth import cut_to, require_grid_of

COUNTS = (1, 2, 4, 8, 16, 32)
METRICS = ("rmse", "ssim", "sam_deg")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Point:
    """Figures of one list of time steps.

    Attributes:
        timesteps: From high to low.
        spacing: How they were chosen; ``all`` for all T.
        seconds_per_mpx: Wall time of the run over a million pixels of the result, with this engine on this machine.
        to_all: Metric to figure, measured against the result of all T steps; None for that itself.
        to_truth: The same against the truth; None where none is given.
    """

    timesteps: tuple[int, ...]
    spacing: str
    seconds_per_mpx: float
    to_all: dict[str, float] | None
    to_truth: dict[str, float] | None

    @property
    def steps(self) -> int:
        """How many time steps."""
        return len(self.timesteps)

    @property
    def follows_a_rule(self) -> bool:
        """Whether the time steps are those of a rule, and not tuned or given ones."""
        return self.spacing in (*get_args(SpacingName), "all")


@dataclass(frozen=True)
class Curve:
    """Steps against quality.

    Attributes:
        name: Name of the bundle.
        sampler: Its sampler in words.
        engine: What ran it.
        train_steps: T.
        pixels: Pixels of the result.
        points: By rising number of steps; the last one has all T.
    """

    name: str
    sampler: str
    engine: str
    train_steps: int
    pixels: int
    points: tuple[Point, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "bundle": self.name,
            "sampler": self.sampler,
            "engine": self.engine,
            "train_steps": self.train_steps,
            "pixels": self.pixels,
            "points": [
                {
                    "steps": p.steps,
                    "timesteps": list(p.timesteps),
                    "spacing": p.spacing,
                    "seconds_per_mpx": p.seconds_per_mpx,
                    "to_all_steps": p.to_all,
                    "to_truth": p.to_truth,
                }
                for p in self.points
            ],
        }


def measure(
    model: Model,
    rasters: Mapping[str, Any],
    *,
    truth: Any = None,
    counts: Sequence[int] | None = None,
    spacing: SpacingName | None = None,
    seed: int | None = None,
    aoi: Any = None,
    tile_batch: int | None = None,
    any_ratio: bool = False,
    data_range: float | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Fuse a scene with several numbers of steps, all from the same noise, and measure every result.

    Besides the numbers that are asked for, all T steps are run, and the bundle's own time steps where they follow no
    rule (tuned or given ones).

    Args:
        model: An open bundle whose sampler is a loop around one step.
        rasters: Role to raster, as for :meth:`stf_infer.model.Model.fuse`.
        truth: Raster of the fine image at t2, on the grid of fine_t1.
        counts: Numbers of steps; None takes 1, 2, 4, 8, 16 and 32, as far as T goes.
        spacing: Rule for the time steps; None takes the bundle's own.
        seed: Which noise; None is 0.
        aoi: Area to measure, as for ``fuse``.
        tile_batch: Tiles in one engine call; None takes what suits the engine.
        any_ratio: Accept coarse rasters whose pixel size does not fit the contract's ratio.
        data_range: Span of possible values, for SSIM; None takes 1 for reflectance.
        progress: Called with a line about what is being done.

    Returns:
        The figures. Results lie in a temporary folder while they are measured: one float32 scene for each.

    Raises:
        UsageError: The bundle's steps cannot be chosen, or more steps than T.
        GridError: The truth lies on another grid.
        StfError: An input cannot be used, as in ``fuse``.
    """
    loop, say = loop_of(model), progress or (lambda _: None)
    stored = loop.sampler
    if truth is not None:
        truth = Raster.of(truth)
        require_grid_of(rasters["fine_t1"], truth)
    samplers = _samplers(stored, counts, spacing)
    with TemporaryDirectory(prefix="stf-steps-") as folder:
        files, seconds, pixels = [], [], 0
        try:
            for number, sampler in enumerate(reversed(samplers)):  # all steps first: that run warms the engine up
                loop.sampler = sampler
                say(f"fusing with {len(sampler.timesteps)} steps ({sampler.spacing})")
                files.append(Path(folder) / f"{number}.tif")
                result = model.fuse(
                    files[-1],
                    aoi=aoi,
                    tile_batch=tile_batch,
                    seed=seed,
                    any_ratio=any_ratio,
                    dtype="float32",
                    compress="none",
                    overviews=False,
                    **dict(rasters),
                )
                seconds.append(result.seconds / (result.pixels / 1e6))
                pixels = result.pixels
        finally:
            loop.sampler = stored
        say("measuring")
        files.reverse()
        seconds.reverse()
        to_all: list[dict[str, float] | None] = [*_figures(files[:-1], files[-1], data_range), None]
        to_truth: list[dict[str, float] | None] = [None] * len(files)
        if truth is not None:
            to_truth = [*_figures(files, cut_to(files[0], truth, Path(folder) / "truth.tif"), data_range)]
    points = [
        Point(s.timesteps, s.spacing, took, near, right)
        for s, took, near, right in zip(samplers, seconds, to_all, to_truth, strict=True)
    ]
    made = model.engine.describe()
    return Curve(
        name=model.spec.name,
        sampler=stored.describe(),
        engine=f"{made['engine']} {made.get('version', '')}, {made['precision']}",
        train_steps=stored.train_steps,
        pixels=pixels,
        points=tuple(points),
    )


def _samplers(stored: SamplerSpec, counts: Sequence[int] | None, spacing: SpacingName | None) -> list[SamplerSpec]:
    """What is run, by rising number of steps; the last has all of them."""
    total = stored.train_steps
    wanted = [n for n in COUNTS if n <= total] if counts is None else list(counts)
    found = [spaced(stored, n, spacing) for n in sorted({*wanted, total})]
    if stored.spacing != rule_of(stored) and stored.timesteps not in [s.timesteps for s in found]:
        found.append(stored)
    return sorted(found, key=lambda s: len(s.timesteps))


def _figures(files: Sequence[Path], truth: Any, data_range: float | None) -> list[dict[str, float]]:
    """Figures of every result against one raster, over the same pixels."""
    if not files:
        return []
    compared = compare(files[0], truth, references=files[1:], data_range=data_range)
    reports = [compared.report, *(report for _, report in compared.references)]
    return [{metric: report.pooled[metric] for metric in METRICS} for report in reports]
