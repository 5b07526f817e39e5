# SPDX-License-Identifier: Apache-2.0
"""How fast a whole scene is fused: from files to a file, several times, and what each thread did meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..engines.machine import peak_memory
from ..fusion import FusionResult
from ..profile import Profile
from .result import Energy, Span, Stage, Throughput
from .scenes import BenchScene

# Stretches of a timeline that a result keeps.
_MOST_SPANS = 2000

# Fuses the rasters of a scene: ``fuse(output, profile=...)``.
Fuse = Callable[..., FusionResult]


class Metered(Protocol):
    """What a run took of energy, once it is over."""

    def energy(self, pixels: int) -> Energy:
        """Energy of the run, which made so many output pixels."""


Meter = Callable[[], AbstractContextManager[Metered]]


@dataclass(frozen=True)
class Fused:
    """What became of a scene.

    Attributes:
        throughput: How fast it was.
        image: The result.
        seam: The seam figure of the run.
    """

    throughput: Throughput
    image: Path
    seam: float | None


def measure(
    fuse: Fuse,
    scene: BenchScene,
    image: Path,
    *,
    repeats: int,
    tile_seconds: float | None = None,
    meter: Meter | None = None,
    device_memory: Callable[[], int | None] = lambda: None,
) -> Fused:
    """Fuse a scene several times.

    Args:
        fuse: Called with the path of the result and ``profile``; all else of :meth:`stf_infer.Model.fuse` is bound, the
            rasters too. Seconds are the run's own: from the first read to the finished file, which has overviews and
            has been read back.
        scene: What is fused.
        image: Where the result goes; its folder is made. The last run's is left there.
        repeats: How often.
        tile_seconds: What the engine alone takes for a tile.
        meter: Reads energy around a run.
        device_memory: Called after the last run.

    Raises:
        StfError: As :meth:`stf_infer.Model.fuse`.
    """
    image.parent.mkdir(parents=True, exist_ok=True)
    runs: list[tuple[FusionResult, Profile, Energy]] = []
    for _ in range(repeats):
        profile = Profile()
        with nullcontext(_NotRead()) if meter is None else meter() as metered:
            result = fuse(image, profile=profile)
        runs.append((result, profile, metered.energy(result.pixels)))
    seconds = [result.seconds for result, _, _ in runs]
    median = float(np.median(seconds))
    result, profile, energy = runs[int(np.argsort(seconds)[(repeats - 1) // 2])]
    throughput = Throughput(
        scene=scene.facts.name,
        height=scene.facts.height,
        width=scene.facts.width,
        bands=len(result.bands),
        seconds=tuple(seconds),
        tiles=result.tiles,
        engine_seconds=None if tile_seconds is None else tile_seconds * result.tiles,
        megapixels_a_second=result.pixels / 1e6 / median,
        scenes_an_hour=3600 / median,
        stages=tuple(Stage(**stage.as_dict()) for stage in profile.stages),
        spans=tuple(_span(one) for one in profile.stretches[:_MOST_SPANS]),
        peak_memory=peak_memory(),
        device_memory=device_memory(),
        energy=energy,
    )
    return Fused(throughput, image, result.seam_ratio)


def _span(one: Any) -> Span:
    return Span(thread=one.thread, name=one.name, waiting=one.waiting, start=one.start, end=one.end)


class _NotRead:
    def energy(self, pixels: int) -> Energy:
        return Energy(note="not readable: no meter was given")
