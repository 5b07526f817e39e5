# SPDX-License-Identifier: Apache-2.0
"""What every operation refuses alike: arrays that are not aligned, and outputs that may not be written.

Shapes, types and layouts are tested beside each operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stf_infer import _core

ONE, ZERO = np.ones(1, np.float32), np.zeros(1, np.float32)
MASK = np.ones((3, 4), np.uint8)


def image(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape or (1, 3, 4), dtype)


CALLS: dict[str, dict[str, Any]] = {
    "gather": {
        "strip": image(dtype=np.int16), "first_row": 0, "grid_rows": 3, "scale": ONE, "offset": ZERO, "low": 0.0,
        "high": 1.0, "border": "edge", "y": 0, "x": 0, "tile": image(),
    },
    "gather_bilinear": {
        "strip": image(dtype=np.int16), "first_row": 0, "grid_rows": 3, "scale": ONE, "offset": ZERO, "low": 0.0,
        "high": 1.0, "rows": np.arange(3), "row_weight": image(3), "columns": np.arange(4), "column_weight": image(4),
        "tile": image(),
    },
    "fill_invalid": {"strip": image(dtype=np.int16), "valid": MASK, "fallback": np.zeros(1)},
    "blend": {
        "tile": image(), "y": 0, "x": 0, "row_weight": image(3), "column_weight": image(4), "sums": image(),
        "first_row": 0,
    },
    "finalise": {
        "sums": image(), "valid": MASK, "scale": ONE, "offset": ZERO, "low": 0.0, "high": 1.0, "nodata": 0,
        "stored": image(dtype=np.int16),
    },
    "normals": {"word_1": image(4, dtype=np.uint32), "word_2": image(4, dtype=np.uint32), "out": image(4)},
    "noise": {"seed": 0, "step": 0, "y": 0, "x": 0, "tile": image()},
    "starfm": {
        "fine_t1": image(3, 4), "coarse_t1": image(3, 4), "coarse_t2": image(3, 4), "radius": 1, "similar": 1.0,
        "fine_coarse": 0.0, "coarse_coarse": 0.0, "step": 1e-4, "weight": "product", "out": image(3, 4),
    },
}  # fmt: skip
OUTPUTS = {"gather": "tile", "gather_bilinear": "tile", "fill_invalid": "strip", "blend": "sums", "finalise": "stored",
           "normals": "out", "noise": "tile", "starfm": "out"}  # fmt: skip
WIDE = [(call, name) for call, given in CALLS.items() for name, value in given.items()
        if isinstance(value, np.ndarray) and value.itemsize > 1]  # fmt: skip


def misaligned(array: np.ndarray) -> np.ndarray:
    """The same numbers one byte further on."""
    held = np.zeros(array.nbytes + 1, np.uint8)
    moved = held[1:].view(array.dtype).reshape(array.shape)
    moved[:] = array
    assert not moved.flags.aligned
    return moved


@pytest.mark.parametrize("call", CALLS)
def test_what_is_good_is_taken(call):
    getattr(_core, call)(*CALLS[call].values())


@pytest.mark.parametrize(("call", "name"), WIDE)
def test_an_array_that_is_not_aligned_is_named_with_its_address(call, name):
    given = {**CALLS[call], name: misaligned(CALLS[call][name])}
    address = given[name].__array_interface__["data"][0]
    with pytest.raises(ValueError, match=f"^{name} is not aligned: it lies at address {address}$"):
        getattr(_core, call)(*given.values())


@pytest.mark.parametrize("call", CALLS)
def test_an_output_that_may_not_be_written_is_named(call):
    name = OUTPUTS[call]
    output = CALLS[call][name].copy()
    output.flags.writeable = False
    with pytest.raises(ValueError, match=f"^{name} is read-only$"):
        getattr(_core, call)(*{**CALLS[call], name: output}.values())


@pytest.mark.parametrize("call", CALLS)
def test_inputs_may_be_read_only(call):
    given = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in CALLS[call].items()}
    for name, value in given.items():
        if isinstance(value, np.ndarray) and name != OUTPUTS[call]:
            value.flags.writeable = False
    getattr(_core, call)(*given.values())


def test_gather_keeps_what_is_not_a_number_and_limits_what_is_infinite():
    tile = image(1, 1, 4)
    strip = np.array([[[np.nan, np.inf, -np.inf, 2]]], np.float32)
    _core.gather(strip, 0, 1, ONE, ZERO, 0.0, 1.0, "edge", 0, 0, tile)
    np.testing.assert_array_equal(tile[0, 0], [np.nan, 1, 0, 1])


def test_finalise_refuses_limits_in_the_wrong_order():
    given = {**CALLS["finalise"], "low": 2.0, "high": 1.0}
    with pytest.raises(ValueError, match="low 2 is above high 1"):
        _core.finalise(*given.values())
