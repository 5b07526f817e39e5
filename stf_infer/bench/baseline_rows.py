# SPDX-License-Identifier: Apache-2.0
"""What a network has to beat, measured on the same scenes in the same way: a row for each baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..baselines import fuse_baseline
from ..baselines.scenes import BASELINES, BaselineName
from ..errors import StfError, UsageError
from .on_scenes import Round, over
from .result import Row
from .scenes import BenchScene
from .throughput import Fuse


def planned(name: BaselineName) -> Row:
    """The row of a baseline before anything is measured."""
    return Row(name=f"baseline | {name}", kind="baseline", network=name)


def measure(name: BaselineName, scenes: Sequence[BenchScene], common: Round, *, threads: int | None = None) -> Row:
    """Measure a baseline on every scene that has what it takes.

    Args:
        name: Which one.
        scenes: What is fused.
        common: How; ``row`` is set here.
        threads: CPU threads; None takes all.

    Returns:
        Its row. Where no scene could be measured, the reason is its failure.
    """
    row = planned(name)

    def prepare(scene: BenchScene) -> Fuse | StfError:
        missing = [role for role in BASELINES[name] if role not in scene.inputs]
        if missing:
            return UsageError(f"The baseline {name} takes {', '.join(missing)} too", got=", ".join(scene.inputs))
        options: dict[str, Any] = {
            "ratio": max(round(scene.facts.ratio), 1),
            "unit": scene.facts.unit,
            "threads": threads,
            "any_ratio": True,
            **{role: scene.compared[role] for role in BASELINES[name]},
        }
        return partial(fuse_baseline, name, **options)

    found = over(scenes, prepare, replace(common, row=row.name))
    if not found.throughput:
        return row.model_copy(update={"failure": "; ".join(found.notes) or "There is no scene"})
    return row.model_copy(update=vars(found))
