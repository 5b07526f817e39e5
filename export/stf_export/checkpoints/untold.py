# SPDX-License-Identifier: Apache-2.0
"""Options that decide the numbers and that neither the user nor the weights tell: assumed with a note, or asked for."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from torch import nn

from stf_infer.errors import CheckpointError

from ..networks.base import FusionNetwork, Untold


def settle(network: nn.Module, kinds: Sequence[str], said: Collection[str] | None) -> list[str]:
    """What was assumed about options that nobody told, as sentences for a log.

    Args:
        network: The network as it was built.
        kinds: What each of its checkpoints is: ``torch``, ``safetensors`` or ``keras``.
        said: Names of the options that the user stated; None: all of them are as they were meant.

    Raises:
        CheckpointError: One of them has no value that is safe to assume.
    """
    if said is None or not isinstance(network, FusionNetwork):
        return []
    open_ones = {one.option: one for kind in kinds for one in network.untold(kind) if one.option not in said}
    for one in open_ones.values():
        if not one.assumed:
            raise CheckpointError(
                f"The weights do not tell which {one.option} of {network.about.title} they were trained with",
                got=f"no {one.option}",
                allowed="; ".join(f"{value} ({meaning})" for value, meaning in one.values.items()),
                fix=" or ".join(f"--option {one.option}={value}" for value in one.values),
            )
    return [_assumption(one, getattr(network, one.option)) for one in open_ones.values()]


def _assumption(one: Untold, value: Any) -> str:
    taken = json.dumps(value) if isinstance(value, bool) else str(value)
    others = ", ".join(f"{other} ({meaning})" for other, meaning in one.values.items() if other != taken)
    return f"assumed {one.option}={taken} ({one.assumed}): the weights do not tell it from {others}"
