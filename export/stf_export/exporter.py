# SPDX-License-Identifier: Apache-2.0
"""From a trained network to a bundle: load, measure, write the graph, compare, describe.

Three doors, one stage behind them: :func:`export` for a network of the zoo, :func:`export_module` for any torch
module with a contract, :func:`export_onnx` for an ONNX file with a contract. Each leaves a whole bundle or nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from stf_infer import __version__
from stf_infer.bundle import Bundle
from stf_infer.errors import ContractError, ExportError
from stf_infer.grid import Shape
from stf_infer.spec import TileRule

from . import bundle_writer, networks, onnx_graph
from .contract import Contract
from .extras import need
from .global_operators import global_operators
from .oracle import OnnxOracle, Oracle, TorchOracle
from .parity import TOLERANCE, compare, stack
from .probe import Measured, measure, seam
from .samples import scene_tile, unit_of
from .tile_rule import cost_warning, tile_rule, wanted_tile

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger(__name__)

Weights = str | Path | Mapping[str, str | Path]
Progress = Callable[[str], None]

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
        tile: Rows and columns of a tile in fine pixels; None takes 256.
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
    job = _Job(out, name, tolerance, force, progress)
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
    contract: Contract | str | Path,
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

    job = _Job(out, name, tolerance, force, progress)
    contract = contract if isinstance(contract, Contract) else Contract.from_toml(contract)
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
    contract: Contract | str | Path,
    *,
    tile: int | None = None,
    out: str | Path,
    name: str | None = None,
    tolerance: float = TOLERANCE,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Make a bundle of an existing ONNX file.

    The file must take and give float32. Rows and columns that are free become the tile's; a batch axis stays as it
    is. Without torch there is nothing to compare the graph with but itself: parity is that of the file as given, one
    tile at a time, with the file as written, one and several tiles at a time.

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
    job = _Job(out, name, tolerance, force, progress)
    contract = contract if isinstance(contract, Contract) else Contract.from_toml(contract)
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
    job: _Job, module: nn.Module, contract: Contract, tile: int | None, notes: Sequence[str], source: str
) -> Bundle:
    from .torch_graph import bind, to_onnx

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
    job: _Job,
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
            "stf:created": {
                "by": f"stf-infer {__version__}",
                "opset": facts.opset,
                "onnx": need("onnx").__version__,
                "onnxruntime": need("onnxruntime").__version__,
                **made,
            },
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


@dataclass
class _Job:
    """What the doors share: destination, name, tolerance, and who is told."""

    destination: str | Path
    asked_name: str | None
    tolerance: float
    force: bool
    progress: Progress | None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ExportError("The tolerance is a part of the output's range", got=self.tolerance, allowed="0 to 1")
        for package in ("onnx", "onnxruntime", "pystac"):
            need(package)
        # Refused now rather than after a minute of work.
        bundle_writer.refuse_to_replace(self.out, self.force)

    @property
    def out(self) -> Path:
        return Path(self.destination)

    @property
    def name(self) -> str:
        return self.asked_name or self.out.name.removesuffix(".stf")

    def say(self, line: str) -> None:
        _log.info("%s", line)
        if self.progress is not None:
            self.progress(line)

    def check(self, contract: Contract, tile: Shape) -> None:
        """Refuse a contract that no bundle could be made of, before anything is run."""
        try:
            contract.measured(self.name, TileRule(height=tile.height, width=tile.width, stride=unit_of(contract)))
        except ValidationError as error:
            wrong = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
            raise ContractError("The contract contradicts itself", got=wrong) from error

    def warn_about(self, measured: Measured, rule: TileRule) -> None:
        for role in measured.unused:
            self._warn(f"{role} does not move the output: the network ignores it")
        if (cost := cost_warning(rule)) is not None:
            self._warn(cost)

    def _warn(self, line: str) -> None:
        _log.warning("%s", line)
        self.notes.append(line)

    def opened(self) -> Bundle:
        bundle = Bundle.open(self.out)
        bundle.verify()
        return bundle
