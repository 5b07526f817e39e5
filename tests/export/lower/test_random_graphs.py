# SPDX-License-Identifier: Apache-2.0
"""Graphs that nobody would write: whatever is in a row, what they compute must stay."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lower_support import graph, proven


class Writer:
    """Writes a random chain of operators on values of shape (n, ...)."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.lines: list[str] = []
        self.weights: dict[str, np.ndarray] = {}
        self.values = {"x": [4, 6, 8]}

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def add(self, line: str, shape: list[int]) -> None:
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {line}")
        self.values[name] = shape

    def weight(self, value) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(value)
        return name

    def step(self) -> None:
        # Late values more often: chains, and now and then a branch.
        name = self.pick(list(self.values)[-3:])
        shape = self.values[name]
        getattr(self, self.pick(["view", "turn", "cut", "each", "number", "extra", "pair", "linear", "stack"]))(
            name, shape
        )

    def view(self, name, shape):
        total = math.prod(shape)
        first = self.pick([d for d in range(1, total + 1) if total % d == 0])
        new = [first, total // first] if self.rng.random() < 0.6 else [total]
        self.add(f"Reshape({name}, {self.weight([-1, *new])})", new)

    def turn(self, name, shape):
        order = self.rng.permutation(len(shape))
        self.add(f"Transpose<perm={[0, *(int(o) + 1 for o in order)]}>({name})", [shape[o] for o in order])

    def cut(self, name, shape):
        axis = int(self.rng.integers(len(shape)))
        start, step = int(self.rng.integers(0, (shape[axis] + 1) // 2)), int(self.rng.integers(1, 3))
        end = int(self.rng.integers(start + 1, shape[axis] + 2))
        new = [*shape]
        new[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
        cut = ", ".join(self.weight([v]) for v in (start, end, axis + 1, step))
        self.add(f"Slice({name}, {cut})", new)

    def each(self, name, shape):
        self.add(f"{self.pick(['Relu', 'Neg', 'Tanh', 'Abs'])}({name})", shape)

    def number(self, name, shape):
        number = self.weight(float(self.pick([0.5, 2.0, 1.25, -1.0])))
        pair = [name, number] if self.rng.random() < 0.5 else [number, name]
        self.add(f"{self.pick(['Add', 'Mul', 'Sub'])}({', '.join(pair)})", shape)

    def extra(self, name, shape):
        if 1 in shape and self.rng.random() < 0.5:
            axis = shape.index(1)
            self.add(f"Squeeze({name}, {self.weight([axis + 1])})", [*shape[:axis], *shape[axis + 1 :]] or [])
        elif len(shape) < 5:
            axis = int(self.rng.integers(len(shape) + 1))
            self.add(f"Unsqueeze({name}, {self.weight([axis + 1])})", [*shape[:axis], 1, *shape[axis:]])

    def pair(self, name, shape):
        other = self.pick([n for n, s in self.values.items() if s == shape])
        self.add(f"{self.pick(['Add', 'Mul', 'Max'])}({name}, {other})", shape)

    def linear(self, name, shape):
        if shape and shape[-1] <= 64:
            wide = int(self.rng.integers(1, 9))
            table = self.rng.normal(size=(shape[-1], wide)) / math.sqrt(shape[-1])
            self.add(f"MatMul({name}, {self.weight(table)})", [*shape[:-1], wide])

    def stack(self, name, shape):
        if shape and math.prod(shape) < 1000 and len(shape) < 4:
            axis = self.weight([1])
            self.add(f"Unsqueeze({name}, {axis})", [1, *shape])
            one = list(self.values)[-1]
            self.add(f"Neg({name})", shape)
            self.add(f"Unsqueeze({list(self.values)[-1]}, {axis})", [1, *shape])
            self.add(f"Concat<axis=1>({one}, {list(self.values)[-1]})", [2, *shape])


@pytest.mark.parametrize("seed", range(40))
def test_what_a_random_graph_computes_stays(seed):
    writer = Writer(seed)
    for _ in range(14):
        writer.step()
    last = [name for name in writer.values if name != "x"][-1]
    branch = writer.pick([name for name in writer.values if name != "x"])
    lines = [*writer.lines, f"y = Identity({last})", f"z = Identity({branch})"]
    model = graph("\n".join(lines), writer.weights, outputs=("y", "z"))
    proven(model, exact=False, rounding=2e-6)
