# SPDX-License-Identifier: Apache-2.0
"""What every network of rasters goes through once its graph is written: comparison, seam, golden tile, description."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stf_infer.errors import ExportError
from stf_infer.grid import Shape
from stf_infer.spec import TileRule

from . import bundle_writer, onnx_graph
from .contract import Contract
from .global_operators import global_operators
from .job import Job
from .oracle import Oracle
from .parity import TOLERANCE, compare, stack
from .probe import Measured, seam
from .samples import Tile, scene_tile

# Two tiles of a network that is tiled exactly may differ by this part of the output's range outside of their halos.
_LARGEST_SEAM = 1e-5


@dataclass(frozen=True)
class Trial:
    """The network and the graph that was written of it, side by side.

    Attributes:
        reference: The network.
        named: What to call it.
        graph: The graph.
        contract: Inputs and output of both.
        tolerance: Largest difference over the output's range, where none is asked for.
    """

    reference: Oracle
    named: str
    graph: Oracle
    contract: Contract
    tolerance: float = TOLERANCE

    def golden(self, inputs: Tile) -> np.ndarray:
        """What the network makes of one tile, ``(C, H, W)``."""
        return self.reference(stack([inputs]))[0]


def finish(
    job: Job,
    folder: Path,
    contract: Contract,
    measured: Measured,
    rule: TileRule,
    trial: Trial,
    made: Mapping[str, str],
    *,
    golden: Callable[[Tile], np.ndarray] | None = None,
) -> None:
    """What follows once the graph is written: parity, the seam, the golden tile, the description.

    Args:
        job: Where to, and who is told.
        folder: Where the graph lies.
        contract: That of the bundle.
        measured: What probing found.
        rule: How it may be tiled.
        trial: What is compared.
        made: What made the graph, for the item.
        golden: What gives the output of the golden tile; None takes the trial's reference.
    """
    model = onnx_graph.load(folder / bundle_writer.MODEL)
    facts = onnx_graph.facts(model)
    tile = Shape(rule.height, rule.width)
    if rule.mode == "blend":
        rule = rule.model_copy(update={"because": (*global_operators(model, tile), *rule.because)})
    job.say(f"comparing {trial.named} with the graph")
    parity = compare(
        trial.reference,
        trial.graph,
        trial.contract,
        tile,
        named=trial.named,
        tolerance=job.allowed(trial.tolerance),
        batched=facts.batch is None,
    )
    job.explain(parity)
    seam_figure = _seam(trial.graph, trial.contract, rule)
    job.warn_about(measured, rule, contract)
    job.say("writing the bundle")
    inputs = scene_tile(contract, tile)
    bundle_writer.write_description(
        folder,
        contract.measured(job.name, rule),
        inputs,
        (golden or trial.golden)(inputs),
        facts,
        {
            "stf:parity": parity.as_dict(),
            "stf:probe": {
                "size": [measured.size.height, measured.size.width],
                "reach": measured.reach,
                "unused": list(measured.unused),
                "seam": seam_figure,
            },
            "stf:graph": job.graph(),
            "stf:created": job.created(facts, made),
            "stf:notes": job.notes,
        },
    )


def _seam(graph: Oracle, contract: Contract, rule: TileRule) -> float:
    """How much two overlapping tiles disagree where both are used, on a land-like scene, over the output's range."""
    shift = rule.stride if rule.mode == "exact" else (rule.height - rule.overlap) // rule.stride * rule.stride
    tile = Shape(rule.height, rule.width)
    world = scene_tile(contract, Shape(rule.height + shift, rule.width + shift))
    figure = seam(graph, contract, world, tile, shift, rule.halo)
    if rule.mode == "exact" and figure > _LARGEST_SEAM:
        got, allowed = f"{figure:.2g} of the output's range", f"{_LARGEST_SEAM:.2g}"
        if contract.tile.halo is not None:
            raise ExportError(
                f"Tiles shifted by {shift} disagree outside of the halo that the contract states ({rule.halo})",
                got=got,
                allowed=allowed,
                fix="State another halo or stride, or leave both out to have them measured",
            )
        raise ExportError(
            f"At {tile} pixels the graph is not what was measured on smaller tiles: overlapping tiles disagree",
            got=got,
            allowed=allowed,
            fix="Fix the size in the contract ([tile] size = ...), so that it is measured at that size",
        )
    return figure
