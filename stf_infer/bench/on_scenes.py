# SPDX-License-Identifier: Apache-2.0
"""One row over all scenes: each is fused and judged, and one that cannot be is a note."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import EngineError, StfError
from ..model import Model
from . import quality, throughput
from .result import Quality, Throughput
from .scenes import BenchScene
from .throughput import Fuse, Meter

Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """What a row found on its scenes; parts of :class:`~stf_infer.bench.result.Row`.

    Attributes:
        throughput: Scene by scene; likewise ``quality``.
        notes: Why a scene is missing.
    """

    throughput: tuple[Throughput, ...] = ()
    quality: tuple[Quality, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Round:
    """What all scenes of a row have in common.

    Attributes:
        row: Name of the row: results go into a folder of that name.
        folder: Of the bench.
        repeats: How often each scene is fused.
        tile_seconds: What the engine alone takes for a tile; None where that is not known.
        references: What the fp32 engine of the same bundle made, by name of the scene; empty for that itself.
        meter: Reads energy around a run.
        device_memory: Reads the memory of the device.
        say: Called with a line at every step.
    """

    row: str
    folder: Path
    repeats: int = 1
    tile_seconds: float | None = None
    references: Mapping[str, Path] = field(default_factory=dict)
    meter: Meter | None = None
    device_memory: Callable[[], int | None] = lambda: None
    say: Say = lambda _: None


def measure(
    model: Model,
    scenes: Sequence[BenchScene],
    common: Round,
    *,
    tile_batch: int | None = None,
    seed: int = 0,
    any_ratio: bool = False,
) -> Found:
    """Measure an open engine on every scene that its network can take.

    Args:
        model: With its engine open: everything runs in this process.
        scenes: What is fused.
        common: How.
        tile_batch: Tiles in one engine call; None takes what suits the engine.
        seed: Which noise a diffusion network sees.
        any_ratio: Accept coarse rasters whose pixel size does not fit the contract's ratio.
    """
    spec = model.spec

    def prepare(scene: BenchScene) -> Fuse | StfError:
        refusal = scene.refusal(spec, any_ratio=any_ratio)
        if refusal is not None:
            return refusal
        rasters: dict[str, Any] = scene.inputs_of(spec)
        return partial(
            model.fuse, tile_batch=tile_batch, seed=seed if spec.noises else None, any_ratio=any_ratio, **rasters
        )

    return over(scenes, prepare, common)


def over(scenes: Sequence[BenchScene], prepare: Callable[[BenchScene], Fuse | StfError], common: Round) -> Found:
    """Fuse and judge every scene.

    Args:
        scenes: What is fused.
        prepare: Gives what fuses a scene, or why that cannot be.
        common: How.

    Raises:
        EngineError: The engine fails.
    """
    speed, judged = [], []
    refused: dict[str, list[tuple[str, StfError]]] = {}
    failed = []
    for scene in scenes:
        name = scene.facts.name
        try:
            fuse = prepare(scene)
            if isinstance(fuse, StfError):
                refused.setdefault(fuse.what, []).append((name, fuse))
                continue
            common.say(f"fusing {name}")
            image = scene.result_path(common.folder, common.row)
            fused = throughput.measure(
                fuse,
                scene,
                image,
                repeats=common.repeats,
                tile_seconds=common.tile_seconds,
                meter=common.meter,
                device_memory=common.device_memory,
            )
            speed.append(fused.throughput)
            common.say(f"judging {name}")
            fp32 = common.references.get(name)
            judged.append(quality.judge(image, scene, common.folder, fp32=fp32, seam=fused.seam))
        except EngineError:
            raise  # what cannot compute has no figures at all
        except StfError as error:
            failed.append(f"{name} failed: {error}")
    return Found(tuple(speed), tuple(judged), (*(_left_out(same) for same in refused.values()), *failed))


def _left_out(same: Sequence[tuple[str, StfError]]) -> str:
    """One line for all scenes that are left out for the same reason."""
    (name, error), more = same[0], len(same) - 1
    return f"{name}{f' and {more} more' if more else ''} left out: {error}"
