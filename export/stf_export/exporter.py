# SPDX-License-Identifier: Apache-2.0
"""From a trained network to a bundle: load, measure, write the graph, compare, describe.

Three doors, one stage behind them: :func:`export` for a network of the zoo, :func:`export_module` for any torch
module with a contract, :func:`export_onnx` for an ONNX file with a contract. Each leaves a whole bundle or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stf_infer.bundle import Bundle
from stf_infer.errors import ExportError
from stf_infer.grid import Shape
from stf_infer.samples.spec import SampleSpec
from stf_infer.spec import TileRule

from . import bundle_writer, networks, onnx_graph
from .by_sample import export as by_sample
from .contract import AnyContract, Contract, read_contract
from .extras import need
from .global_operators import global_operators
from .job import Job, Progress
from .oracle import OnnxOracle, Oracle, TorchOracle
from .parity import TOLERANCE, compare, stack
from .probe import Measured, measure, seam
from .samples import scene_tile
from .tile_rule import tile_rule, wanted_tile

if TYPE_CHECKING:
    from torch import nn

Weights = str | Path | Mapping[str, str | Path]

# Two tiles of a network that is tiled exactly may differ by this part of the output's range outside of their halos.
_LARGEST_SEAM = 1e-5


def export(
    network: str,
    weights: Weights,
    *,
    bands: int | Sequence[str] | None = None,
    tile: int | None = None,
    out: str | Path,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
    tolerance: float = TOLERANCE,
    ema: bool | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Export a network of the zoo.

    Args:
        network: One of ``stf_export.networks.names()``.
        weights: A checkpoint; for networks that are trained band by band one for each band, by name.
        bands: Band names in the network's order, or how many; None takes the names that ``weights`` has, or the
            network's own.
        tile: Rows and columns of a tile in fine pixels; None takes 256. Networks that take samples have none.
        out: The bundle to write, ``NAME.stf``.
        options: The network's own options.
        name: Name of the bundle; None takes that of ``out``.
        tolerance: Largest difference of torch and the graph, over the output's range.
        ema: Averaged weights (True) or the last ones (False), where a checkpoint has both.
        force: Replace a bundle that is at ``out`` already.
        progress: Called with a line at every step.

    Returns:
        The bundle, opened and verified. Warnings are logged and stand in its ``stf:notes``.

    Raises:
        UnknownNetworkError, CheckpointError, ContractError, TilePlanError, ParityError, ExportError: As named.
        OutputError: The bundle cannot be written; nothing is left behind.
        MissingExtraError: torch, onnx or another package of the extra is not installed.
    """
    job = Job(out, name, tolerance, force, progress)
    need("torch")
    from .checkpoints import load_into

    if bands is None and isinstance(weights, Mapping):
        bands = list(weights)
    job.say(f"loading {network}")
    made = networks.create(network, bands=bands, **dict(options or {}))
    notes = load_into(made, weights, ema=ema)
    return _export_torch(job, made.for_export(), made.contract(), tile, notes, "network")


def export_module(
    module: Any,
    contract: AnyContract | str | Path,
    *,
    weights: Weights | None = None,
    tile: int | None = None,
    out: str | Path,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
    tolerance: float = TOLERANCE,
    ema: bool | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Export any torch module.

    Args:
        module: An ``nn.Module``, something that returns one, or ``package.module:name`` of either. The parameters of
            its ``forward`` are named by roles, or by the tensors of the contract.
        contract: What it wants and gives, or a TOML file that says so.
        weights: A checkpoint to load into it; None takes it as it is.
        tile: Rows and columns of a tile in fine pixels; None takes the contract's, or 256.
        options: Arguments by name for what makes the module.
        out: As in :func:`export`, like all others.
        name: As there.
        tolerance: As there.
        ema: As there.
        force: As there.
        progress: As there.

    Returns:
        The bundle, opened and verified.

    Raises:
        StfError: As :func:`export`.
    """
    from .module_import import resolve

    job = Job(out, name, tolerance, force, progress)
    contract = read_contract(contract) if isinstance(contract, (str, Path)) else contract
    need("torch")
    job.say("loading the module")
    made = resolve(module, options)
    notes: list[str] = []
    if weights is not None:
        from .checkpoints import load_into

        notes = load_into(made, weights, ema=ema)
    return _export_torch(job, made, contract, tile, notes, "module")


def export_onnx(
    model: str | Path,
    contract: AnyContract | str | Path,
    *,
    tile: int | None = None,
    out: str | Path,
    name: str | None = None,
    tolerance: float = TOLERANCE,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Make a bundle of an existing ONNX file.

    The file must take and give float32 (samples: the types that the contract states). Rows and columns that are free
    become the tile's; a batch axis stays as it is. Without torch there is nothing to compare the graph with but itself:
    parity is that of the file as given, one tile at a time, with the file as written, one and several at a time.

    Args:
        model: The file.
        contract: What it wants and gives, or a TOML file that says so.
        tile: Rows and columns of a tile in fine pixels; None takes what the graph fixes, the contract's, or 256.
        out: As in :func:`export`, like all others.
        name: As there.
        tolerance: As there.
        force: As there.
        progress: As there.

    Returns:
        The bundle, opened and verified.

    Raises:
        StfError: As :func:`export`.
    """
    job = Job(out, name, tolerance, force, progress)
    contract = read_contract(contract) if isinstance(contract, (str, Path)) else contract
    if isinstance(contract, SampleSpec):
        return by_sample.export_onnx(job, model, contract, tile)
    job.say("reading the graph")
    graph = onnx_graph.load(model)
    fixed = onnx_graph.static_tile(graph, contract)
    shape = wanted_tile(contract, tile, fixed)
    job.check(contract, shape)
    onnx_graph.pin(graph, contract, shape)
    with bundle_writer.staging(job.out, force=job.force) as folder:
        onnx_graph.save(graph, folder / bundle_writer.MODEL)
        only = shape if fixed or contract.tile.size else None
        given = OnnxOracle(Path(model), contract, fixed=only)
        measured = measure(given, contract, shape, job.say)
        rule = tile_rule(measured, contract, shape)
        _finish(job, folder, given, contract, measured, rule, "the file as given", {"source": "onnx"})
    return job.opened()


def _export_torch(
    job: Job, module: nn.Module, contract: AnyContract, tile: int | None, notes: Sequence[str], source: str
) -> Bundle:
    from .torch_graph import bind, to_onnx

    if isinstance(contract, SampleSpec):
        return by_sample.export_torch(job, module, contract, tile, notes, source)
    shape = wanted_tile(contract, tile)
    job.check(contract, shape)
    job.notes += notes
    bound = bind(module, contract)
    with bundle_writer.staging(job.out, force=job.force) as folder:
        oracle = TorchOracle(bound, contract, fixed=shape if contract.tile.size else None)
        measured = measure(oracle, contract, shape, job.say)
        rule = tile_rule(measured, contract, shape)
        job.say("writing the graph")
        to_onnx(bound, contract, shape, folder / bundle_writer.MODEL)
        made = {"source": source, "torch": need("torch").__version__}
        _finish(job, folder, oracle, contract, measured, rule, "torch", made)
    return job.opened()


def _finish(
    job: Job,
    folder: Path,
    reference: Oracle,
    contract: Contract,
    measured: Measured,
    rule: TileRule,
    reference_name: str,
    made: dict[str, str],
) -> None:
    """What follows once the graph is written: parity, the seam, the golden tile, the description."""
    path = folder / bundle_writer.MODEL
    model = onnx_graph.load(path)
    facts = onnx_graph.facts(model)
    tile = Shape(rule.height, rule.width)
    if rule.mode == "blend":
        rule = rule.model_copy(update={"because": (*global_operators(model, tile), *rule.because)})
    graph = OnnxOracle(path, contract, fixed=tile)
    job.say(f"comparing {reference_name} with the graph")
    parity = compare(
        reference,
        graph,
        contract,
        tile,
        named=reference_name,
        tolerance=job.tolerance,
        batched=facts.batch is None,
    )
    seam_figure = _seam(graph, contract, rule)
    job.warn_about(measured, rule)
    job.say("writing the bundle")
    inputs = scene_tile(contract, tile)
    bundle_writer.write_description(
        folder,
        contract.measured(job.name, rule),
        inputs,
        reference(stack([inputs]))[0],
        facts,
        {
            "stf:parity": parity.as_dict(),
            "stf:probe": {
                "size": [measured.size.height, measured.size.width],
                "reach": measured.reach,
                "unused": list(measured.unused),
                "seam": seam_figure,
            },
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
