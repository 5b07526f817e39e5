# SPDX-License-Identifier: Apache-2.0
"""Reduce the network of a bundle: measure, search for what has to be kept, write, hold to the budget, store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from stf_infer.accuracy import DEFAULT, Accuracy, Budget, Tiles, compare, tiles_of
from stf_infer.accuracy.comparison import percent
from stf_infer.bundle import Bundle
from stf_infer.engines import Engine, store
from stf_infer.engines.host_loop import is_looped
from stf_infer.errors import CheckFailedError, ExportError, UsageError

from .. import onnx_graph
from ..bundle_writer import MODEL
from ..extras import need
from .calibration import METHODS, thresholds
from .integers import products
from .layers import Layer, kept, layers_of
from .methods import Half, Integers, Method, reducible
from .migration import migrate_ranges
from .operands import HALVES
from .running import GraphEngine, Remembered
from .scan import scan, unfit
from .sensitivity import Found, Search, excess, told
from .storing import asset_key, store_graph
from .typed import OPSET_BF16, Source

_log = logging.getLogger(__name__)

PRECISIONS = (*HALVES, "int8")

# How often the network is compared at most while islands are searched for.
TRIALS = 32

# Part of the work that could be reduced that has to be: below it the graph would not be what its name says.
LEAST_SHARE = 0.5

# Tiles that single groups are measured on. What is chosen is measured on all.
_FEW = 2

# Layers that a refusal names.
_NAMED = 5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Reduced:
    """A reduced graph that stands in a bundle now.

    Attributes:
        precision: Of the graph.
        path: The ONNX file.
        bytes: Of the file and the weights beside it.
        accuracy: How far it is from fp32.
        budget: What it was held to.
        islands: Layers that stayed in fp32 to be within it.
        share: Part of the multiply-adds that is reduced.
        trials: How often the network was compared.
        seconds: How long it took.
        notes: What is worth knowing.
    """

    precision: str
    path: Path
    bytes: int
    accuracy: Accuracy
    budget: Budget
    islands: tuple[str, ...]
    share: float
    trials: int
    seconds: float
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "precision": self.precision,
            "path": str(self.path),
            "bytes": self.bytes,
            "accuracy": self.accuracy.as_dict(),
            "budget": str(self.budget),
            "islands": list(self.islands),
            "share": self.share,
            "trials": self.trials,
            "seconds": round(self.seconds, 2),
            "notes": list(self.notes),
        }


def reduce(
    bundle: Bundle | str | Path,
    precision: str,
    *,
    budget: Budget | str | None = None,
    calibration: str = "minmax",
    migrate: bool = True,
    keep: Collection[str] = (),
    trials: int = TRIALS,
    progress: Say | None = None,
) -> Reduced:
    """Write the network of a bundle in a reduced precision into the bundle.

    What it is compared and calibrated on are the tiles that the bundle holds (``stf-infer tiles``), or procedural ones.
    A graph of the same precision is replaced. No torch is needed.

    Args:
        bundle: The bundle, or its folder.
        precision: ``fp16``, ``bf16`` or ``int8``.
        budget: How far it may be from fp32; None takes the usual one, ``none`` asks for nothing.
        calibration: How ranges of 8-bit tensors are found: ``minmax``, ``percentile`` or ``entropy``.
        migrate: Whether channels of 8-bit tensors may be brought to like ranges, at the cost of weights.
        keep: Layers that stay in fp32 in any case: names or patterns of layers, of modules, or of nodes.
        trials: How often the network is compared at most while islands are searched for.
        progress: Called with a line at every step.

    Returns:
        What stands in the bundle. As long as a few runs of the network on all tiles, and a trial a run on two.

    Raises:
        UsageError: No such precision, calibration or layer.
        ExportError: The network cannot be reduced, or not within the budget; the message names the worst layers.
        AssetError: The tiles of the bundle hold NaN, or are not those of the network.
        OutputError: The bundle cannot be written to. After any error it is what it was before.
        MissingExtraError: onnx, ONNX Runtime or another package of the extra is not installed.
    """
    held_to = check_arguments(precision, budget, calibration)
    if trials < 1:
        raise UsageError("The number of trials cannot be used", got=trials, allowed="1 or more")
    for package in ("onnx", "onnx_ir", "onnxscript", "onnxruntime", "networkx"):
        need(package)
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    return _Reduction(bundle, precision, held_to, calibration, migrate, keep, trials, progress or _log.info).run()


def check_arguments(precision: str, budget: Budget | str | None, calibration: str) -> Budget:
    """The budget, once it is seen that all can be understood.

    Raises:
        UsageError: One of them cannot.
    """
    if precision not in PRECISIONS:
        raise UsageError("A network cannot be reduced to this", got=precision, allowed=", ".join(PRECISIONS))
    if calibration not in METHODS:
        raise UsageError("There is no such calibration", got=calibration, allowed=", ".join(METHODS))
    return Budget.of(budget)


class _Reduction:
    """One reduction of one bundle."""

    def __init__(
        self,
        bundle: Bundle,
        precision: str,
        budget: Budget,
        calibration: str,
        migrate: bool,
        keep: Collection[str],
        trials: int,
        say: Say,
    ) -> None:
        self.began = time.perf_counter()
        self.bundle, self.precision, self.budget, self.calibration = bundle, precision, budget, calibration
        self.migrate, self.trials, self.say = migrate, trials, say
        self.migrated = 0
        _refuse(bundle)
        self.tiles = tiles_of(bundle)
        say("reading the graph")
        graph = bundle.asset(bundle.precisions["fp32"])
        self.source = Source(graph, OPSET_BF16 if precision == "bf16" else None)
        self.keep = kept(layers_of(self.source.fresh()), keep)
        self.unfit: dict[str, str] = {}

    def run(self) -> Reduced:
        """Measure, search, write, store."""
        spec, tiles = self.bundle.spec, self.tiles
        with store.staging(self.bundle) as folder:
            with Remembered(GraphEngine(self.source.fresh(), spec, "fp32"), spec) as reference:
                few = tiles.first(_FEW)
                method = self._method(reference, few)

                def measure(layers: Collection[Layer], everywhere: bool) -> Accuracy:
                    graph = method.trial(layers, alone=not everywhere)
                    return self._compared(graph, reference, tiles if everywhere else few)

                found = Search(method.free, measure, self.budget, self.trials, self.say).run()
                share = method.share(found.islands)
                self._hold(found, share, method.most())
                self.say("writing the graph")
                onnx_graph.save(method.write(found.islands), folder / MODEL)
                self._run_itself(folder / MODEL, reference)
            facts = self._facts(found, share)
            store_graph(self.bundle, self.precision, folder, found.accuracy, self.budget, facts)
        path = self.bundle.asset(asset_key(self.precision))
        return Reduced(
            self.precision,
            path,
            sum(file.stat().st_size for file in path.parent.iterdir()),
            found.accuracy,
            self.budget,
            tuple(layer.name for layer in found.islands),
            share,
            found.trials,
            time.perf_counter() - self.began,
            self._notes(),
        )

    def _method(self, reference: Engine, few: Tiles) -> Method:
        """How the graph is reduced; to int8 with channels of like ranges, where that is nearer to fp32."""
        method = self._measured(self.source)
        if self.precision in HALVES or not self.migrate:
            return method
        self.say(f"ranges of channels on {self.tiles.told()}")
        source = copy(self.source)
        changed = migrate_ranges(source, self.bundle.spec, self.tiles)
        if not changed:
            return method
        other = self._measured(source)
        graphs = [one.trial(one.free, alone=False) for one in (method, other)]
        without, with_them = (excess(self._compared(graph, reference, few), DEFAULT) for graph in graphs)
        self.say(f"as channels are: {told(without)}; with like ranges: {told(with_them)}")
        if with_them >= without:
            return method
        self.migrated = changed
        return other

    def _measured(self, source: Source) -> Method:
        spec, tiles = self.bundle.spec, self.tiles
        self.say(f"ranges of all tensors on {tiles.told()}")
        ranges = scan(source, spec, tiles)
        if self.precision in HALVES:
            self.unfit = unfit(ranges, HALVES[self.precision])
            return Half(source, self.precision, self.keep, self.unfit)
        reducible(source)
        read = [str(node.inputs[0].name) for node in products(source.fresh()) if node.inputs[0] is not None]
        if self.calibration != "minmax":
            self.say(f"histograms of {len(set(read))} tensors")
        return Integers(source, self.keep, thresholds(source, spec, tiles, ranges, read, self.calibration))

    def _compared(self, graph: ir.Model, reference: Engine, tiles: Tiles) -> Accuracy:
        with GraphEngine(graph, self.bundle.spec, self.precision) as candidate:
            return compare(self.bundle.spec, reference, candidate, tiles)

    def _hold(self, found: Found, share: float, most: float) -> None:
        """Refuse what is over the budget, or hardly reduced.

        Raises:
            ExportError: It is; the message names the worst layers.
        """
        lines = found.accuracy.over(self.budget)
        if not self.budget.asks or (found.within and share >= LEAST_SHARE * most):
            return
        fix = "Take a wider --budget, another precision, or other tiles (`stf-infer tiles`)"
        worst = "; ".join(f"{group.name} ({_cost(group.accuracy)})" for group in found.groups[:_NAMED])
        if found.within:
            unheld = "; ".join(f"{name} {why}" for name, why in list(self.unfit.items())[:_NAMED])
            raise ExportError(
                f"In {self.precision} the network is within its budget only with most of it in fp32",
                got=f"{percent(1 - share / most)} of the work that could be reduced"
                + (f"; worst alone: {worst}" if worst else "")
                + (f"; what {self.precision} cannot hold: {unheld}" if unheld else ""),
                allowed=f"at most {percent(1 - LEAST_SHARE)}",
                fix=fix,
            )
        raise ExportError(
            f"In {self.precision} the network is over its budget",
            got=f"{'; '.join(lines)}" + (f"; worst layers alone: {worst}" if worst else ""),
            allowed=f"{self.budget}, on {self.tiles.told()}",
            fix=fix,
        )

    def _run_itself(self, path: Path, reference: Engine) -> None:
        """Run what was written, where ONNX Runtime can: it rounds less than an engine, but a wrong graph shows.

        Raises:
            CheckFailedError: It does not compute what the network computes.
        """
        if self.precision == "bf16":
            return
        model = onnx_graph.editable(onnx_graph.load(path), path.parent)
        one = self.tiles.first(1)
        with GraphEngine(model, self.bundle.spec, self.precision) as engine:
            found = compare(self.bundle.spec, reference, engine, one)
        # Twice the budget: one tile may be worse than all.
        doubled = Budget(*(None if limit is None else 2 * limit for limit in (self.budget.rmse, self.budget.sam)))
        if lines := found.over(doubled):
            raise CheckFailedError(
                f"The graph in {self.precision} does not compute what its trials computed", got="; ".join(lines)
            )

    def _facts(self, found: Found, share: float) -> dict[str, Any]:
        runtime = f"onnxruntime {need('onnxruntime').__version__} on the CPU"
        rounded = "every result" if self.precision in HALVES else "what products read"
        how = f"{runtime}, in fp32 with {rounded} rounded to {self.precision}"
        return {
            "of": self.bundle.assets[self.bundle.precisions["fp32"]].sha256,
            "share": round(share, 4),
            "islands": [layer.name for layer in found.islands],
            "kept": [layer.name for layer in self.keep],
            **({"unfit": self.unfit} if self.unfit else {}),
            **({"calibration": self.calibration, "migrated": self.migrated} if self.precision == "int8" else {}),
            "measured": how,
            "trials": found.trials,
        }

    def _notes(self) -> tuple[str, ...]:
        if self.tiles.source == "real":
            return ()
        return ("measured on procedural tiles; `stf-infer tiles` gives the bundle real ones, to reduce it again",)


def _refuse(bundle: Bundle) -> None:
    """Refuse bundles that cannot be reduced.

    Raises:
        ExportError: It is one.
    """
    if is_looped(bundle):
        raise ExportError(
            "The sampler of this bundle is a loop on the host: its graphs are steps, whose errors add up over a loop",
            got=bundle.path,
            fix="Export it with --loop graph, and reduce that",
        )
    if "fp32" not in bundle.precisions:
        raise ExportError("The bundle has no network in fp32 to start from", got=", ".join(bundle.precisions) or "none")


def _cost(accuracy: Accuracy) -> str:
    """What it costs to reduce something alone, for a person."""
    if accuracy.not_finite:
        return "not finite"
    band, value = accuracy.worst
    angle = "" if accuracy.sam_deg is None else f", {accuracy.sam_deg:.2g} deg"
    return f"{band} {percent(value)}{angle}"


def notes_of(reports: Sequence[Reduced]) -> list[str]:
    """The notes of several reductions, each once."""
    return list(dict.fromkeys(note for report in reports for note in report.notes))
