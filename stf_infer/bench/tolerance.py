# SPDX-License-Identifier: Apache-2.0
"""How much worse a figure may become: ``5%``, or by kind ``latency=10%,rmse=1%``."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..errors import UsageError

TIMES = ("latency", "throughput")
METRICS = ("rmse", "sam", "ssim", "ergas")
KINDS = (*TIMES, "memory", *METRICS)
DEFAULT = 0.05


def tolerances(texts: Iterable[str]) -> dict[str, float]:
    """Kind of figure to the share by which it may become worse.

    Args:
        texts: ``5%`` or ``0.05`` for every kind that is not named, ``KIND=5%`` for one; several with commas.

    Raises:
        UsageError: A kind that there is not, or no share of zero or more.
    """
    everywhere, named = DEFAULT, {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        kind, equals, share = part.rpartition("=")
        kind = kind.strip()
        if not equals:
            everywhere = _share(part)
        elif kind in KINDS:
            named[kind] = _share(share)
        else:
            raise UsageError("There is no such kind of figure", got=part, allowed=", ".join(KINDS))
    return {kind: named.get(kind, everywhere) for kind in KINDS}


def _share(text: str) -> float:
    number = text.strip()
    try:
        value = float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UsageError("This is no tolerance", got=text or "nothing", allowed="a share of 0 or more: 5% or 0.05")
    return value
