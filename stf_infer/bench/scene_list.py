# SPDX-License-Identifier: Apache-2.0
"""The scenes of a bench, from its settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..bundle import Bundle
from ..errors import UsageError
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

    Unit, and ratio where the coarse rasters lie on fine pixels, are those of the first network.

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
            predicted=_predicted(specs),
            threshold=settings.change,
        )
    if not settings.scenes:
        say("making a scene")
        return [scenes.procedural(settings.out, settings.side, bands=_predicted(specs))]
    found = []
    places = [scenes.place_of(settings.out, one.name) for one in settings.scenes]
    for one, place in zip(settings.scenes, places, strict=True):
        if places.count(place) > 1:
            raise UsageError("Two scenes have names that are too much alike for files", got=one.name)
        say(f"looking through {one.name}")
        found.append(
            scenes.from_rasters(
                one.name,
                one.inputs,
                one.truth,
                settings.out,
                warp_truth=settings.warp_truth,
                usual_ratio=specs[0].ratio,
                bands=_predicted(specs),
                unit=specs[0].input("fine_t1").values.unit,
                data_range=settings.data_range,
                threshold=settings.change,
            )
        )
    return found


def _references(specs: Sequence[ModelSpec]) -> int:
    """2 where a network takes rasters of a second reference date."""
    return 2 if any(raster.role.endswith("_t3") for spec in specs for raster in spec.rasters) else 1


def _predicted(specs: Sequence[ModelSpec]) -> tuple[str, ...]:
    """The bands that networks predict; none where they predict different ones."""
    found = {spec.output.bands for spec in specs}
    return found.pop() if len(found) == 1 else ()
