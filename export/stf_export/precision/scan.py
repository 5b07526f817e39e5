# SPDX-License-Identifier: Apache-2.0
"""What the numbers of a network are like on real tiles: the range of every tensor, and histograms of some.

The graph itself works out the figures: each tensor is reduced to three numbers where it arises, so that a scan needs
hardly more memory than a run, and takes one. Histograms need the tensors; they are fetched in groups of bounded size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from stf_infer.accuracy import Tiles
from stf_infer.accuracy.tiles import Spec
from stf_infer.errors import ExportError

from ..lower.graph import dims
from .operands import is_float
from .placement import LOST, unit_roundoff
from .running import session
from .typed import Source

# A tensor may grow this many times on a scene that nobody has seen before it overflows.
HEADROOM = 4.0

# Tensors are fetched for histograms in groups of so many bytes a tile.
_GROUP = 2**28

BINS = 2048


@dataclass(frozen=True)
class Range:
    """The numbers of one tensor over all tiles.

    Attributes:
        low: The smallest.
        high: The largest.
        rms: Their root mean square.
    """

    low: float
    high: float
    rms: float

    @property
    def largest(self) -> float:
        """The largest absolute value."""
        return max(abs(self.low), abs(self.high))


def scan(source: Source, spec: Spec, tiles: Tiles) -> dict[str, Range]:
    """The range of every float32 tensor that depends on the inputs. One run of the network a tile.

    Raises:
        ExportError: The network gives numbers that are not finite on a tile, in float32.
    """
    model = source.fresh()
    names = [str(v.name) for v in _tensors(model)]
    by_name = {str(v.name): v for v in _tensors(model)}
    for name in names:
        for operator in ("ReduceMin", "ReduceMax", "ReduceSumSquare"):
            _attach(model, by_name[name], operator)
    sizes = {name: _size(by_name[name]) for name in names}
    asked = [f"{name}:{operator}" for name in names for operator in ("ReduceMin", "ReduceMax", "ReduceSumSquare")]
    run = session(model)
    count = 0
    low, high, squares = (np.full(len(names), start) for start in (np.inf, -np.inf, 0.0))
    for feed, _ in tiles.batches(spec, _batch(run)):
        found = np.array(run.run(asked, feed), np.float64).reshape(len(names), 3)
        low, high = np.minimum(low, found[:, 0]), np.maximum(high, found[:, 1])
        squares = squares + found[:, 2]
        count += len(next(iter(feed.values())))
    ranges = {
        name: Range(float(low[k]), float(high[k]), float(np.sqrt(squares[k] / (sizes[name] * count))))
        for k, name in enumerate(names)
    }
    output = ranges[spec.output.tensor]
    if not np.isfinite([output.low, output.high]).all():
        raise ExportError("The network gives numbers that are not finite in fp32", got=tiles.told())
    return ranges


def unfit(ranges: dict[str, Range], low: ir.DataType) -> dict[str, str]:
    """Tensors that a half cannot hold, with the reason.

    Too large are those that come within :data:`HEADROOM` of the largest number, too small those that the numbers below
    the smallest normal one hold with less than a few bits.
    """
    limits = low.numpy().type if hasattr(low.numpy(), "type") else low.numpy()
    largest = float(np.finfo(limits).max) if low == ir.DataType.FLOAT16 else 2.0**127
    # Numbers below the smallest normal one are multiples of its step: rounding is off by step / sqrt(12) in RMS.
    step = 2.0**-24 if low == ir.DataType.FLOAT16 else 2.0**-133
    smallest = step / np.sqrt(12) / (LOST * unit_roundoff(low))
    found = {}
    for name, one in ranges.items():
        if not one.largest * HEADROOM <= largest:
            found[name] = f"reaches {one.largest:.3g}"
        elif 0 < one.rms < smallest:
            found[name] = f"is about {one.rms:.1g}"
    return found


def histograms(
    source: Source, spec: Spec, tiles: Tiles, ranges: dict[str, Range], names: Iterable[str]
) -> dict[str, np.ndarray]:
    """How often absolute values of tensors occur, in :data:`BINS` equal steps from 0 to the largest one.

    Args:
        source: The network.
        spec: Its contract.
        tiles: What to run.
        ranges: What :func:`scan` found on these tiles.
        names: Which tensors.
    """
    found = {name: np.zeros(BINS, np.int64) for name in names}
    for name, array in _fetched(source, spec, tiles, found):
        found[name] += np.histogram(np.abs(array), BINS, (0.0, max(ranges[name].largest, 1e-30)))[0]
    return found


def largest_by_channel(source: Source, spec: Spec, tiles: Tiles, axes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The largest absolute value of each channel of tensors, of which the axis of channels is told."""
    found: dict[str, np.ndarray] = {}
    for name, array in _fetched(source, spec, tiles, axes):
        largest = np.abs(np.moveaxis(array, axes[name], 0)).reshape(array.shape[axes[name]], -1).max(axis=1)
        found[name] = np.maximum(found.get(name, 0.0), largest)
    return found


def _fetched(source: Source, spec: Spec, tiles: Tiles, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """What tensors hold, tile by tile. They are fetched in groups, each with a run of its own."""
    for group in _groups(source, list(names)):
        model = source.fresh()
        values = {str(v.name): v for v in _tensors(model)}
        taken = {str(v.name) for v in model.graph.outputs}
        model.graph.outputs.extend(values[name] for name in group if name not in taken)
        run = session(model)
        given = [name for name in group if not values[name].is_graph_input()]
        for feed, _ in tiles.batches(spec, _batch(run)):
            arrays = dict(zip(given, run.run(given, feed), strict=True)) if given else {}
            for name in group:
                yield name, arrays[name] if name in arrays else feed[name]


def _groups(source: Source, names: Sequence[str]) -> list[list[str]]:
    sizes = {str(v.name): 4 * _size(v) for v in _tensors(source.fresh())}
    groups: list[list[str]] = []
    room = 0
    for name in names:
        if not groups or room < sizes[name]:
            groups.append([])
            room = _GROUP
        groups[-1].append(name)
        room -= sizes[name]
    return groups


def _tensors(model: ir.Model) -> list[ir.Value]:
    """Float32 values of the graph that are no constants."""
    values = (*model.graph.inputs, *(v for node in model.graph for v in node.outputs))
    return [v for v in values if is_float(v) and v.name]


def _attach(model: ir.Model, value: ir.Value, operator: str) -> None:
    node = ir.node(operator, [value], {"keepdims": 0}, num_outputs=1)
    made = node.outputs[0]
    made.name, made.type, made.shape = f"{value.name}:{operator}", value.type, ir.Shape(())
    model.graph.append(node)
    model.graph.outputs.append(made)


def _size(value: ir.Value) -> int:
    return int(np.prod([d if isinstance(d, int) else 1 for d in dims(value) or ()], dtype=np.int64)) or 1


def _batch(run: object) -> int:
    """Units that a session takes at once: what it says, or one."""
    first = run.get_inputs()[0].shape[0]  # type: ignore[attr-defined]
    return first if isinstance(first, int) else 1


Say = Callable[[str], None]
