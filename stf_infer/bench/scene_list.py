# SPDX-License-Identifier: Apache-2.0
"""The scenes of a bench, from its settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..bundle import Bundle
from ..samples.spec import SampleSpec
from ..spec import ModelSpec
from . import scenes
from .scenes import BenchScene
from .settings import Settings


def scene_list(settings: Settings, bundles: Sequence[Bundle], say: Callable[[str], None]) -> list[BenchScene]:
    """Everything that is fused, as files; written below ``settings.out`` where it is none.

    Args:
        settings: What is asked for.
        bundles: What will fuse it; nothing is prepared where none takes rasters.
        say: Called with what is being prepared.

    Raises:
        StfError: As :mod:`stf_infer.bench.scenes`: a raster cannot be read, the truth lies on another grid, nothing
            overlaps.
    """
    specs = [bundle.spec for bundle in bundles if not isinstance(bundle.spec, SampleSpec)]
    if not settings.scene_part or not specs:
        return []
    if settings.dataset:
        say(f"looking through {settings.dataset}")
        return scenes.from_dataset(
            settings.dataset,
            settings.root,
            settings.out,
            part=settings.part,
            references=_references(specs),
            limit=settings.limit,
            threshold=settings.change,
        )
    if not settings.scenes:
        say("making a scene")
        return [scenes.procedural(settings.out, settings.side)]
    found = []
    for one in settings.scenes:
        say(f"looking through {one.name}")
        found.append(
            scenes.from_rasters(
                one.name,
                one.inputs,
                one.truth,
                settings.out,
                warp_truth=settings.warp_truth,
                data_range=settings.data_range,
                threshold=settings.change,
            )
        )
    return found


def _references(specs: Sequence[ModelSpec]) -> int:
    """2 where a network takes rasters of a second reference date."""
    return 2 if any(raster.role.endswith("_t3") for spec in specs for raster in spec.rasters) else 1


__all__ = ["scene_list"]
