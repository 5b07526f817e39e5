# SPDX-License-Identifier: Apache-2.0
"""Where numbers are rounded that a Concat puts side by side: each part before it is moved, not the whole after it.

``Q(Concat(a, b)) = Concat(Q(a), Q(b))``, since a tensor is rounded in one way wherever a number lies; the same holds of
Reshape and Transpose. OpenVINO (2026.4) moves the rounding there by itself, and where a part comes from DepthToSpace by
way of both it ends in a Concat of different types ("argument element types are inconsistent"). Written here, it
compiles, and what is moved is a quarter of the bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from ..lower.graph import alone, constant, made_by

# They hand numbers on, each of them once.
_MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")


def round_parts(value: ir.Value, rounded: Callable[[ir.Value], ir.Value]) -> bool:
    """Round what is joined to make a value, in place of the value.

    Args:
        value: What is to be rounded; all that read it want it rounded.
        rounded: Gives the rounded form of a part.

    Returns:
        Whether it is made by a Concat; if not, nothing is changed.
    """
    join = made_by(_origin(value), "Concat")
    if join is None or any(part is None or constant(part) is not None for part in join.inputs):
        return False
    for number, part in enumerate(join.inputs):
        assert part is not None
        reader, at, source = join, number, part
        while alone(source) and (move := made_by(source, *_MOVES)) is not None:
            reader, at, source = move, 0, _first(move)
        reader.replace_input_with(at, rounded(source))
    return True


def _origin(value: ir.Value) -> ir.Value:
    """What a value was before it was moved, as far as nothing else reads it on the way."""
    while (move := made_by(value, *_MOVES)) is not None and alone(_first(move)):
        value = _first(move)
    return value


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value
