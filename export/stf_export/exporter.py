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

from . import bundle_writer, networks, onnx_graph
from .by_sample import export as by_sample
from .contract import AnyContract, Contract, read_contract
from .extras import need
from .job import Job, Progress
from .oracle import OnnxOracle, TorchOracle
from .probe import measure
from .samplers import Sampler
from .stage import Trial, finish
from .tile_rule import tile_rule, wanted_tile

if TYPE_CHECKING:
    from torch import nn

    from .precision import Reduction

Weights = str | Path | Mapping[str, str | Path]


def export(
    network: str,
    weights: Weights,
    *,
    bands: int | Sequence[str] | None = None,
    tile: int | None = None,
    out: str | Path,
    options: Mapping[str, Any] | None = None,
    sampler: Sampler | None = None,
    name: str | None = None,
    tolerance: float | None = None,
    ema: bool | None = None,
    force: bool = False,
    reduction: Reduction | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Export a network of the zoo.

    Args:
        network: One of ``stf_export.networks.names()``.
        weights: A checkpoint; for networks whose bands or stages are trained one by one a file for each, by name.
        bands: Band names in the network's order, or how many; None takes the names that ``weights`` has, or the
            network's own.
        tile: Rows and columns of a tile in fine pixels; None takes 256. Networks that take samples have none.
        out: The bundle to write, ``NAME.stf``.
        options: The network's own options. One that the weights do not tell has to be among them, or is assumed as
            published and noted.
        sampler: How a diffusion network is sampled; what is left open is as its authors have it.
        name: Name of the bundle; None takes that of ``out``.
        tolerance: Largest difference of torch and the graph, over the output's range. None takes 1e-5, or what the
            network states (``rounding``), and 1e-4 for a sampling, whose steps hand their rounding on.
        ema: Averaged weights (True) or the last ones (False), where a checkpoint has both.
        force: Replace a bundle that is at ``out`` already.
        reduction: Reduced precisions to write as well, within their budget on procedural tiles; see
            :func:`stf_export.reduce`, which does the same with real ones.
        progress: Called with a line at every step.

    Returns:
        The bundle, opened and verified. Warnings are logged and stand in its ``stf:notes``.

    Raises:
        UnknownNetworkError, CheckpointError, ContractError, TilePlanError, ParityError, ExportError: As named.
        OutputError: The bundle cannot be written; nothing is left behind.
        MissingExtraError: torch, onnx or another package of the extra is not installed.
    """
    job = Job(out, name, tolerance, force, progress, reduction)
    need("torch")
    from .checkpoints import load_into
    from .networks.bandwise import BandwiseNetwork

    if bands is None and isinstance(weights, Mapping) and issubclass(networks.network_class(network), BandwiseNetwork):
        bands = list(weights)
    options = dict(options or {})
    job.say(f"loading {network}")
    made = networks.create(network, bands=bands, **options)
    notes = load_into(made, weights, ema=ema, said=options.keys())
    contract = made.contract()
    job.rounding = made.rounding
    if _is_step(contract):
        return _export_sampled(job, made.for_export(), contract, sampler, weights, tile, notes, "network")
    if sampler is not None:
        raise ExportError(f"{network} is no diffusion network: there is nothing to sample", got=sampler.asked)
    return _export_torch(job, made.for_export(), contract, tile, notes, "network")


def export_module(
    module: Any,
    contract: AnyContract | str | Path,
    *,
    weights: Weights | None = None,
    tile: int | None = None,
    out: str | Path,
    options: Mapping[str, Any] | None = None,
    sampler: Sampler | None = None,
    name: str | None = None,
    tolerance: float | None = None,
    ema: bool | None = None,
    force: bool = False,
    reduction: Reduction | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Export any torch module.

    Args:
        module: An ``nn.Module``, something that returns one, or ``package.module:name`` of either. The parameters of
            its ``forward`` are named by roles, or by the tensors of the contract.
        contract: What it wants and gives, or a TOML file that says so. With a table ``[sampler]`` the module is one
            step of a diffusion network, and the contract's inputs are its conditions.
        weights: A checkpoint to load into it; None takes it as it is.
        tile: Rows and columns of a tile in fine pixels; None takes the contract's, or 256.
        options: Arguments by name for what makes the module.
        sampler: How a diffusion network is sampled, before what the contract says.
        out: As in :func:`export`, like all others.
        name: As there.
        tolerance: As there.
        ema: As there.
        force: As there.
        reduction: As there.
        progress: As there.

    Returns:
        The bundle, opened and verified.

    Raises:
        StfError: As :func:`export`.
    """
    from .module_import import resolve

    job = Job(out, name, tolerance, force, progress, reduction)
    contract = read_contract(contract) if isinstance(contract, (str, Path)) else contract
    need("torch")
    job.say("loading the module")
    made = resolve(module, options)
    notes: list[str] = []
    if weights is not None:
        from .checkpoints import load_into

        notes = load_into(made, weights, ema=ema)
    if _is_step(contract) or sampler is not None:
        return _export_sampled(job, made, contract, sampler, weights, tile, notes, "module")
    return _export_torch(job, made, contract, tile, notes, "module")


def export_onnx(
    model: str | Path,
    contract: AnyContract | str | Path,
    *,
    tile: int | None = None,
    out: str | Path,
    name: str | None = None,
    tolerance: float | None = None,
    force: bool = False,
    reduction: Reduction | None = None,
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
        reduction: As there.
        progress: As there.

    Returns:
        The bundle, opened and verified.

    Raises:
        StfError: As :func:`export`.
    """
    job = Job(out, name, tolerance, force, progress, reduction)
    contract = read_contract(contract) if isinstance(contract, (str, Path)) else contract
    if isinstance(contract, SampleSpec):
        return by_sample.export_onnx(job, model, contract, tile)
    if contract.sampler is not None:
        raise ExportError("A sampler repeats a torch module, and this is an ONNX file", fix="Export with --module")
    job.say("reading the graph")
    graph = onnx_graph.load(model)
    fixed = onnx_graph.static_tile(graph, contract)
    shape = wanted_tile(contract, tile, fixed)
    job.check(contract, shape)
    onnx_graph.pin(graph, contract, shape)
    with bundle_writer.staging(job.out, force=job.force) as folder:
        job.say("simplifying the graph")
        job.nodes = onnx_graph.simplify_and_save(graph, Path(model).parent, folder / bundle_writer.MODEL)
        only = shape if fixed or contract.tile.size else None
        given = OnnxOracle(Path(model), contract, fixed=only)
        measured = measure(given, contract, shape, job.say)
        rule = tile_rule(measured, contract, shape)
        written = OnnxOracle(folder / bundle_writer.MODEL, contract, fixed=Shape(rule.height, rule.width))
        trial = Trial(given, "the file as given", written, contract)
        finish(job, folder, contract, measured, rule, trial, {"source": "onnx"})
        job.reduce(folder)
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
        job.nodes = to_onnx(bound, contract, shape, folder / bundle_writer.MODEL)
        trial = Trial(oracle, "torch", OnnxOracle(folder / bundle_writer.MODEL, contract, fixed=shape), contract)
        finish(job, folder, contract, measured, rule, trial, _made(source))
        job.reduce(folder)
    return job.opened()


def _is_step(contract: AnyContract) -> bool:
    """Whether the contract is that of one step of a diffusion network."""
    return isinstance(contract, Contract) and contract.sampler is not None


def _export_sampled(
    job: Job,
    step: nn.Module,
    contract: AnyContract,
    sampler: Sampler | None,
    weights: Weights | None,
    tile: int | None,
    notes: Sequence[str],
    source: str,
) -> Bundle:
    from .sampled import Sampling, write

    if isinstance(contract, SampleSpec):
        raise ExportError("A network that takes samples is not sampled by steps", fix="Leave the sampler out")
    job.notes += notes
    sampling = Sampling.of(step, contract, sampler or Sampler(), weights)
    if job.reduction is not None and sampling.steps().loop == "host":
        raise ExportError(
            "The graphs of a sampling that is looped on the host are not reduced: errors of steps add up over the loop",
            got=f"{len(sampling.steps().timesteps)} steps",
            fix="Take fewer steps, or --loop graph",
        )
    with bundle_writer.staging(job.out, force=job.force) as folder:
        write(job, sampling, folder, tile, _made(source))
        job.reduce(folder)
    return job.opened()


def _made(source: str) -> dict[str, str]:
    return {"source": source, "torch": need("torch").__version__}
