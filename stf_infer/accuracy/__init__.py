# SPDX-License-Identifier: Apache-2.0
"""How far a reduced engine may be from fp32, and how far it is: budgets, tiles to compare on, the comparison.

    budget = Budget.parse("rmse=0.5%,sam=0.05deg")
    tiles = tiles_of(bundle)                              # those it holds, or procedural ones
    found = compare(bundle.spec, fp32_engine, int8_engine, tiles)
    found.over(budget)                                    # () where it is within

Engines are compared with fp32 when they are built (``stf-infer build``) and wherever they are checked (``check``);
reduced graphs are when they are exported. No torch, no onnx.
"""

from __future__ import annotations

from .budget import DEFAULT, Budget
from .comparison import Accuracy, compare
from .cutting import cut, cut_tiles
from .procedural import procedural_tiles
from .record import Record, record, recorded
from .tile_store import store_tiles, tiles_of
from .tiles import Tiles

__all__ = [
    "DEFAULT",
    "Accuracy",
    "Budget",
    "Record",
    "Tiles",
    "compare",
    "cut",
    "cut_tiles",
    "procedural_tiles",
    "record",
    "recorded",
    "store_tiles",
    "tiles_of",
]
