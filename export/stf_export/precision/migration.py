# SPDX-License-Identifier: Apache-2.0
"""Channels of one tensor brought to like ranges before they are rounded, at the cost of the weights that read them.

One step serves all channels of a tensor, and the largest channel states it. A channel may be divided by any number
that the weights behind it are multiplied by (Xiao et al., SmoothQuant, ICML 2023, equations 3 and 4):

    Y = (X diag(s)^-1) (diag(s) W),    s_j = max|X_j|^a / max|W_j|^(1-a),    a = 1/2

What gives the channels takes the division into its own weights: a norm's gain and shift (Xiao et al.), or a product and
its bias, also through a rectifier, for which f(s x) = s f(x) where s > 0 (Nagel et al., Data-free quantization through
weight equalization and bias correction, ICCV 2019, section 4.1). Weights have a step for each channel that they give,
so max|W_j| is taken of weights over the largest of their row. Factors are powers of two: they round no number, and the
graph computes what it did, bit by bit, as long as nothing comes near the ends of float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from stf_infer.accuracy import Tiles
from stf_infer.accuracy.tiles import Spec

from .channel_paths import Path, Use, axis_given, paths
from .integers import first_and_last, products
from .naming import Names, constant_value, drop_unused
from .scan import largest_by_channel
from .typed import Source

# Factors beyond these only show that a channel is dead.
_MOST = 2.0**6


def migrate_ranges(source: Source, spec: Spec, tiles: Tiles) -> int:
    """Bring the channels of what 8-bit products read to like ranges, as far as they can be; how many are changed.

    The graph in float32 computes what it did. One run of the network a tile.
    """
    model = source.fresh()
    wanted = {str(node.name) for node in products(model)} - first_and_last(model)
    axes = dict(tensor for path in paths(model, wanted) for tensor in path.tensors)
    if not axes:
        return 0
    largest = largest_by_channel(source, spec, tiles, axes)
    changed = 0

    def change(model: ir.Model) -> None:
        nonlocal changed
        changed = migrate(model, paths(model, wanted), largest)

    source.change(change)
    return changed


def migrate(model: ir.Model, ways: Sequence[Path], largest: Mapping[str, np.ndarray]) -> int:
    """Change the weights of a graph, in place; how many channels are changed.

    Args:
        model: The graph that the paths are of.
        ways: The paths.
        largest: Largest absolute value of each channel, of each of their tensors.
    """
    groups: dict[tuple[object, ...], list[Path]] = {}
    for way in ways:
        groups.setdefault(way.key, []).append(way)
    writer = _Writer(model)
    changed = 0
    for group in groups.values():
        of_values = np.max([largest[name] for way in group for name, _ in way.tensors], axis=0)
        factors = factors_of(of_values, np.max([_relative(use) for use in group[0].readers], axis=0))
        changed += int((factors != 1).sum())
        for way in group if (factors != 1).any() else ():
            for use in way.makers:
                writer.multiply(use, 1 / factors)
            for use in way.readers:
                writer.multiply(use, factors)
    drop_unused(model.graph)
    return changed


def factors_of(of_values: np.ndarray, of_weights: np.ndarray) -> np.ndarray:
    """What to divide channels by: powers of two, 1 where a channel is dead.

    Args:
        of_values: Largest absolute value of each channel.
        of_weights: ... of the weights that read it.
    """
    alive = (of_values > 0) & (of_weights > 0)
    if not alive.any():
        return np.ones(len(of_values), np.float32)
    exponents = np.zeros(len(of_values))
    exponents[alive] = (np.log2(of_values[alive]) - np.log2(of_weights[alive])) / 2
    exponents[alive] -= exponents[alive].max()  # the largest channel keeps its range, so none grows
    return np.where(alive, np.exp2(np.rint(exponents)).clip(1 / _MOST, 1), 1).astype(np.float32)


def _relative(use: Use) -> np.ndarray:
    """Largest weight that reads each channel, each over the largest of the channel that it gives."""
    weights = np.abs(np.moveaxis(use.array, use.axis, 0)).astype(np.float64)
    gives = axis_given(use.node)
    gives += gives < use.axis  # the axis that was moved to the front is before it now
    others = tuple(k for k in range(weights.ndim) if k != gives)
    rows = weights.max(axis=others, keepdims=True)
    relative = weights / np.where(rows > 0, rows, 1)
    return np.asarray(relative.reshape(len(weights), -1).max(axis=1))


class _Writer:
    """Multiplies constants; what several nodes read stays one where all of them ask for the same."""

    def __init__(self, model: ir.Model) -> None:
        self.graph, self.names = model.graph, Names.of(model)
        self.made: dict[tuple[ir.Value, int, bytes], ir.Value] = {}

    def multiply(self, use: Use, factors: np.ndarray) -> None:
        """Multiply a constant along its axis."""
        key = use.value, use.axis, factors.tobytes()
        if key not in self.made:
            array = use.array
            wide = factors.reshape([-1 if k == use.axis else 1 for k in range(array.ndim)])
            self.made[key] = constant_value(self.graph, array * wide, self.names.new(f"{use.value.name}_migrated"))
        use.node.replace_input_with(use.at, self.made[key])
