# SPDX-License-Identifier: Apache-2.0
"""What to say where weights do not fit: what they look like, and what to type.

They may be another network's, those of one band or stage of several, made for another number of bands, or with other
options.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import torch
from torch import nn

from stf_infer.errors import CheckpointError

from .. import networks
from ..networks.base import FusionNetwork
from .fit import Fit, Target, counted_bands, some
from .unwrap import Place, candidates

_Told = TypeVar("_Told")


def require_exact(fit: Fit | None, target: Target, where: Sequence[Place], name: str) -> Fit:
    """The fit, if it is exact.

    Raises:
        CheckpointError: It is not; the message names what differs, and what the weights look like.
    """
    if fit is not None and fit.exact:
        return fit
    keys = [key for place in where for key in place.state]
    raise CheckpointError(
        f"The checkpoint does not fit {target.title}",
        got=f"{name}: {fit.complaint() if fit else f'none of its keys, but {some(keys)}'}",
        allowed="exactly the keys and shapes of the network",
        fix=_advice(fit, target, where),
    )


def _advice(fit: Fit | None, target: Target, where: Sequence[Place]) -> str | None:
    other, share = _closest(target.network, where)
    if other is not None and share > max(fit.share if fit else 0.0, 0.5):
        return f"The keys are those of the network {other}: name that one"
    if (several := _one_of_several(target, where)) is not None:
        return several
    return "; ".join([*_other_bands(target, where), *_other_options(target, where)]) or None


def _one_of_several(target: Target, where: Sequence[Place]) -> str | None:
    """What to say where the weights are those of one band or stage of the network."""
    network = target.network
    parts = network.parts() if isinstance(network, FusionNetwork) and target.part is None else {}
    for module in list(parts.values())[:1] if len(parts) > 1 else ():
        wanted = module.state_dict()
        if any(Fit(c, wanted).exact and not c.outside for place in where for c in candidates(place, wanted)):
            files = " ".join(f"--weights {part}=FILE" for part in parts)
            return f"The weights are those of one {network.part_is_a}: give a file for each, {files}"
    return None


def _other_bands(target: Target, where: Sequence[Place]) -> list[str]:
    """What to say where the weights tell another number of bands."""
    if not isinstance(target.network, FusionNetwork):
        return []
    bands = _implied(target, where, type(target.network).bands_of)
    if bands is None or bands == target.bands:
        return []
    return [f"The weights were made for {counted_bands(bands)}: give as many band names"]


def _other_options(target: Target, where: Sequence[Place]) -> list[str]:
    """What to say of options that the weights tell and that the network was built without."""
    network = target.network
    if not isinstance(network, FusionNetwork):
        return []
    told = _implied(target, where, type(network).options_of) or {}
    return [
        f"The weights were made with {option}={_typed(value)}: --option {option}={_typed(value)}"
        for option, value in told.items()
        if value != _plain(getattr(network, option))
    ]


def _plain(value: Any) -> Any:
    """An option as it is told by weights: of names it is how many there are."""
    return len(value) if isinstance(value, tuple) and value and isinstance(value[0], str) else value


def _typed(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _implied(
    target: Target, where: Sequence[Place], ask: Callable[[Mapping[str, torch.Tensor]], _Told]
) -> _Told | None:
    """What a network can tell of weights, from the first mapping of tensors that tells it anything."""
    states = [place.state for place in where]
    states += [candidate.state for place in where for candidate in candidates(place, target.wanted)]
    return next((told for told in map(ask, states) if told), None)


def _closest(network: nn.Module, where: Sequence[Place]) -> tuple[str | None, float]:
    """The other network of the zoo whose keys have most in common with the checkpoint, and the share.

    Of networks with the same share it is the one that leaves least of the checkpoint aside.
    """
    best: tuple[str | None, float, int] = (None, 0.0, 0)
    for name in networks.names():
        # A form of a network has its description; one that is derived from another has its own.
        if isinstance(network, FusionNetwork) and network.about is networks.about(name):
            continue
        for wanted in _published(name):
            for candidate in (c for place in where for c in candidates(place, wanted)):
                share = Fit(candidate, wanted).share
                if (share, -candidate.outside) > (best[1], -best[2]):
                    best = name, share, candidate.outside
    return best[0], best[1]


@cache
def _published(name: str) -> tuple[Mapping[str, torch.Tensor], ...]:
    """State dicts, without numbers, of a network of the zoo and of its parts."""
    with torch.device("meta"):
        network = networks.create(name)
    return tuple(module.state_dict() for module in (network, *network.parts().values()))
