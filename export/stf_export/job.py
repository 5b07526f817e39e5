# SPDX-License-Identifier: Apache-2.0
"""What every way of exporting shares: where a bundle goes, what it is called, and who is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from stf_infer import __version__
from stf_infer.bundle import Bundle
from stf_infer.errors import ContractError, ExportError
from stf_infer.grid import Shape
from stf_infer.spec import TileRule

from . import bundle_writer
from .contract import Contract
from .extras import need
from .onnx_graph import GraphFacts
from .parity import TOLERANCE, Parity
from .probe import Measured
from .samples import unit_of
from .tile_rule import cost_warning

if TYPE_CHECKING:
    from .lower import Nodes
    from .networks.base import Rounding
    from .precision import Reduction

_log = logging.getLogger(__name__)

Progress = Callable[[str], None]


@dataclass
class Job:
    """What the doors share: destination, name, tolerance, and who is told."""

    destination: str | Path
    asked_name: str | None
    tolerance: float | None
    force: bool
    progress: Progress | None
    reduction: Reduction | None = None
    notes: list[str] = field(default_factory=list)
    nodes: Nodes | None = None
    rounding: Rounding | None = None

    def __post_init__(self) -> None:
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise ExportError("The tolerance is a part of the output's range", got=self.tolerance, allowed="0 to 1")
        for package in ("onnx", "onnx_ir", "onnxscript", "onnxruntime", "pystac"):
            need(package)
        # Refused now rather than after a minute of work.
        bundle_writer.refuse_to_replace(self.out, self.force)

    @property
    def out(self) -> Path:
        """The folder to write."""
        return Path(self.destination)

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.asked_name or self.out.name.removesuffix(".stf")

    def allowed(self, usual: float) -> float:
        """Largest difference over the output's range: what was asked for, or what the network states, or the usual."""
        if self.tolerance is not None:
            return self.tolerance
        return usual if self.rounding is None else max(usual, self.rounding.tolerance)

    def explain(self, parity: Parity) -> None:
        """Note why a difference is allowed that usually is not."""
        if self.rounding is not None and parity.relative > TOLERANCE:
            self.notes.append(f"parity above {TOLERANCE:.0e}: {self.rounding.because}")

    def say(self, line: str) -> None:
        """Tell of a step."""
        _log.info("%s", line)
        if self.progress is not None:
            self.progress(line)

    def reduce(self, folder: Path) -> None:
        """Write the reduced precisions that are wanted into the bundle that has been written to a folder."""
        if self.reduction is not None:
            for report in self.reduction.apply(folder, self.say):
                for note in report.notes:
                    _log.warning("%s: %s", report.precision, note)

    def check(self, contract: Contract, tile: Shape) -> None:
        """Refuse a contract that no bundle could be made of, before anything is run."""
        try:
            contract.measured(self.name, TileRule(height=tile.height, width=tile.width, stride=unit_of(contract)))
        except ValidationError as error:
            wrong = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
            raise ContractError("The contract contradicts itself", got=wrong) from error

    def warn_about(self, measured: Measured, rule: TileRule, contract: Contract) -> None:
        """Warn of rasters that do nothing and of tiles that cost much."""
        for role in measured.unused:
            self.warn(f"{role} does not move the output: the network ignores it")
        if (cost := cost_warning(rule, contract)) is not None:
            self.warn(cost)

    def warn(self, line: str) -> None:
        """Tell of something that the bundle's notes shall keep."""
        _log.warning("%s", line)
        self.notes.append(line)

    def created(self, facts: GraphFacts, made: Mapping[str, str]) -> dict[str, Any]:
        """What wrote a bundle, for its item; ``made`` says more."""
        return {
            "by": f"stf-infer {__version__}",
            "opset": facts.opset,
            "onnx": need("onnx").__version__,
            "onnxruntime": need("onnxruntime").__version__,
            **made,
        }

    def graph(self) -> dict[str, int]:
        """How many operators the graphs have, and had before they were simplified."""
        return {} if self.nodes is None else {"nodes": self.nodes.after, "nodes_before": self.nodes.before}

    def opened(self) -> Bundle:
        """The bundle that was written, verified."""
        bundle = Bundle.open(self.out)
        bundle.verify()
        return bundle
